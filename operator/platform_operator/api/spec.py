"""The spec of an EcommercePlatform: its fields, their defaults, and the rules with the messages for what they refuse.

The CustomResourceDefinition is generated from these models (`python -m platform_operator crd`). The rules are CEL,
which the API server checks, so that a wrong spec is refused before it is stored. The models parse what the API server
accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import ConfigDict, Field

from platform_operator.api.backups import BackupPolicy
from platform_operator.api.pods import Objects, Pods
from platform_operator.api.schema import Model, ObjectName, SecretRef, TimeZone, parse_stored, rule, rules
from platform_operator.api.shop_settings import ShopSettings
from platform_operator.api.surge import SurgeWindow

SERVICES = ("gateway", "user", "product", "inventory", "order", "payment", "notification", "review")
WITH_DATABASE = tuple(name for name in SERVICES if name != "gateway")
WITH_CACHE = ("gateway", "product", "user")
WITH_BROKER = WITH_DATABASE

NEIGHBOURS: Mapping[str, tuple[str, ...]] = {
    "gateway": ("user",),
    "user": (),
    "product": ("user", "inventory", "review"),
    "inventory": ("user", "product", "order"),
    "order": ("user", "product", "inventory", "payment"),
    "payment": ("user", "order"),
    "notification": ("user",),
    "review": ("user", "product", "order"),
}
"""The services that each service calls, as proto/shopapi/services.toml has them; hack/tests/unit compares the two."""

RESERVED_ENV = (
    "ADMIN_EMAIL", "ADMIN_PASSWORD", "ADMIN_PASSWORD_PREVIOUS", "DB_CA", "DB_HOST", "DB_NAME", "DB_PASSWORD",
    "DB_PORT", "DB_USER",
    "GRPC_AUTHENTICATION", "GRPC_CALLERS", "GRPC_PORT", "GRPC_TOKENS", "HTTP_PORT", "INVENTORY_GRPC", "INVENTORY_URL",
    "JWT_SECRET", "JWT_SECRET_NEXT", "JWT_SECRET_PREVIOUS", "METRICS_PORT", "NOTIFICATION_URL", "ORDER_GRPC",
    "ORDER_URL", "PAYMENT_GRPC", "PAYMENT_PROVIDER", "PAYMENT_URL",
    "PRODUCT_GRPC", "PRODUCT_URL", "RABBITMQ_CA", "RABBITMQ_URL", "REDIS_CA", "REDIS_URL", "REVIEW_GRPC", "REVIEW_URL",
    "SMS_PROVIDER",
    "SMTP_FROM", "SMTP_HOST", "SMTP_PASSWORD", "SMTP_PORT", "SMTP_STARTTLS", "SMTP_USER", "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET", "TENANT", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM", "USER_GRPC",
    "USER_URL",
)  # fmt: skip

MAX_NAME_LENGTH = 30
"""Characters of a platform's name: `<platform>-notification-db-` and a controller's hash of ten characters have to fit
into the 63 of a label, with some to spare."""


def _quoted(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


def _quantity(name: str, example: str, *more: dict[str, str]) -> Any:
    return Field(
        default=None,
        max_length=20,
        json_schema_extra=rules(
            rule("isQuantity(self)", f"{name} must be a Kubernetes quantity: write for example {example}"), *more
        ),
    )


Cpu: TypeAlias = Annotated[str | None, _quantity("cpu", "500m or 2")]
Memory: TypeAlias = Annotated[str | None, _quantity("memory", "256Mi or 1Gi")]
StorageSize: TypeAlias = Annotated[
    str | None,
    _quantity(
        "storage size",
        "10Gi",
        rule(
            "!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0",
            "storage cannot shrink: keep the size or write a larger one",
        ),
    ),
]
NamespaceName: TypeAlias = Annotated[str, Field(max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Quantities(Model):
    """Amounts of processor time and memory."""

    cpu: Cpu = Field(default=None, description="Processor time, e.g. 500m.")
    memory: Memory = Field(default=None, description="Memory, e.g. 256Mi.")


class Resources(Model):
    """The requests and limits of a container. Those that are left out come from the profile."""

    requests: Quantities = Field(default=Quantities(), description="Resources that the scheduler reserves.")
    limits: Quantities = Field(default=Quantities(), description="Resources that the container cannot exceed.")


class Autoscaling(Model):
    """Autoscaling of one service by processor use."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.min) || !has(self.max) || self.min <= self.max",
                "autoscaling.min must not exceed autoscaling.max: raise max or lower min",
                ".max",
            ),
        )
    )

    enabled: bool | None = Field(default=None, description="Scale by processor use. Default: the profile's.")
    min: int | None = Field(default=None, ge=1, le=100, description="Minimum number of pods.")
    max: int | None = Field(default=None, ge=1, le=100, description="Maximum number of pods.")
    target_cpu_utilization: int | None = Field(
        default=None,
        alias="targetCPUUtilization",
        ge=1,
        le=1000,
        description="Target in percent of the requested processor time. May exceed 100: a request is a minimum.",
    )


class Service(Model):
    """Settings of one service that differ from the profile."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.replicas) || !has(self.autoscaling) || !has(self.autoscaling.enabled)"
                " || !self.autoscaling.enabled",
                "replicas and autoscaling.enabled exclude each other: set autoscaling.min instead of replicas",
                ".replicas",
            ),
            rule(
                "!has(self.env) || self.env.all(name, name.matches('^[A-Za-z_][A-Za-z0-9_]*$'))",
                "env names must have only letters, digits and _, and must not begin with a digit: write for example "
                "LOG_LEVEL",
                ".env",
            ),
            rule(
                f"!has(self.env) || self.env.all(name, !(name in {_quoted(RESERVED_ENV)}))",
                "env must not set variables that the platform sets itself (DB_*, JWT_SECRET, REDIS_URL, "
                "RABBITMQ_URL, ADMIN_*, ports, addresses of other services, STRIPE_*, SMTP_*, SMS_*, TWILIO_*): "
                "use databases, cache, broker, payments or notifications of the spec instead",
                ".env",
            ),
        )
    )

    replicas: int | None = Field(
        default=None, ge=1, le=100, description="Number of pods. Disables the profile's autoscaling."
    )
    resources: Resources = Field(default=Resources(), description="Requests and limits of each pod.")
    autoscaling: Autoscaling = Field(default=Autoscaling(), description="Autoscaling by processor use.")
    env: dict[str, Annotated[str, Field(max_length=4096)]] = Field(
        default={}, max_length=64, description="Additional environment variables."
    )


class Storage(Model):
    """The volumes of a builtin store."""

    size: StorageSize = Field(default=None, description="Size of each volume. Default: the profile's.")
    storage_class_name: str | None = Field(
        default=None,
        max_length=253,
        description="Storage class. Default: the cluster's default class.",
        json_schema_extra=rules(
            rule(
                "self == oldSelf",
                "storageClassName of existing volumes cannot change: keep it, or create a new platform",
            )
        ),
    )


StoreImage: TypeAlias = Annotated[
    str,
    Field(
        max_length=255,
        json_schema_extra=rules(
            rule(
                "self.matches('^[a-z0-9][-A-Za-z0-9._/:]*(:[A-Za-z0-9_][-A-Za-z0-9_.]*|@sha256:[0-9a-f]{64})$')",
                "image must have a tag or a digest: write for example postgres:17.6",
            )
        ),
    ),
]


def _image(store: str, example: str, further: str = "") -> Any:
    return Field(
        default=None,
        description=f"Image of the {store}, after the operator's storeRegistry, for example {example}. "
        f"{further}Default: the image that it was created with, which an upgrade of the operator does not change.",
    )


def _image_rule(path: str) -> dict[str, str]:
    return rule(
        "self.provider != 'external' || !has(self.image)",
        f"{path}.image is not used by provider external: write another provider, or remove it",
        ".image",
    )


def _external_port(store: str, source: str, default: int) -> Any:
    return Field(
        default=None,
        ge=1,
        le=65535,
        description=f"Port of the external {store}. Must equal the port in {source}: services connect to "
        "that one, the network "
        f"policies open this one. Default: {default}.",
    )


class ExternalDatabase(Model):
    """The database of one service, given by a Secret with DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME."""

    secret_ref: SecretRef = Field(
        description="Secret with DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME, for the owner of the database; "
        "and DB_CA, the authority by which the server's certificate is verified."
    )
    runtime_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with the same keys, for the role that the service runs as; the migration grants it what "
        "the service needs. Default: the service runs as the owner.",
    )
    port: int | None = _external_port("database", "the Secret's DB_PORT", 5432)


class Databases(Model):
    """The databases of the services, one each."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.provider in ['builtin', 'cnpg', 'external']",
                "databases.provider must be builtin, cnpg or external",
                ".provider",
            ),
            rule(
                "self.provider == oldSelf.provider || (self.provider != 'cnpg' && oldSelf.provider != 'cnpg')",
                "databases.provider cnpg cannot be changed, nor changed to, since the data would stay behind: keep it, "
                "or back the shop up and restore it into a new platform (docs/operations.md, Move a shop to "
                "CloudNativePG)",
                ".provider",
            ),
            rule(
                "self.provider != 'external' || (has(self.external) && "
                f"{_quoted(WITH_DATABASE)}.all(name, name in self.external))",
                "databases.provider external needs external.<name>.secretRef for each of " + ", ".join(WITH_DATABASE),
                ".external",
            ),
            rule(
                "self.provider == 'external' || !has(self.external) || self.external.size() == 0",
                "databases.external is used by provider external only: write provider: external, or remove it",
                ".external",
            ),
            rule(
                f"!has(self.external) || self.external.all(name, name in {_quoted(WITH_DATABASE)})",
                "databases.external must name only services with a database: use " + ", ".join(WITH_DATABASE),
                ".external",
            ),
            _image_rule("databases"),
        )
    )

    provider: Annotated[str, Field(max_length=32)] = Field(
        default="builtin",
        description="builtin: one PostgreSQL per service. cnpg: one Cluster of CloudNativePG per service, with one "
        "instance in the profile small, two in medium, three in large. external: databases given by Secrets.",
    )
    image: StoreImage | None = _image(
        "databases",
        "postgres:17.6",
        "With provider cnpg its user postgres must have the id 999, as that of the official image does. ",
    )
    storage: Storage = Field(default=Storage(), description="Volumes of the databases, unless they are external.")
    resources: Resources = Field(
        default=Resources(),
        description="Requests and limits of each database server, unless it is external.",
    )
    external: dict[str, ExternalDatabase] = Field(
        default={}, max_length=8, description="External databases, by service."
    )


def _port_rule(path: str) -> dict[str, str]:
    return rule(
        "self.provider == 'external' || !has(self.port)",
        f"{path}.port is used by provider external only: write provider: external, or remove it",
        ".port",
    )


def _secret_rules(path: str, provider: str, keys: str) -> tuple[dict[str, str], ...]:
    """Returns rules for a provider that needs a Secret, which the others do not use."""
    return (
        rule(
            f"self.provider != '{provider}' || has(self.secretRef)",
            f"{path}.provider {provider} needs {path}.secretRef: name a Secret with {keys}",
            ".secretRef",
        ),
        rule(
            f"self.provider == '{provider}' || !has(self.secretRef)",
            f"{path}.secretRef is used by provider {provider} only: write provider: {provider}, or remove it",
            ".secretRef",
        ),
    )


class Cache(Model):
    """The Redis of the shop."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.provider in ['builtin', 'external']", "cache.provider must be builtin or external", ".provider"),
            *_secret_rules("cache", "external", "REDIS_URL"),
            _port_rule("cache"),
            _image_rule("cache"),
        )
    )

    provider: Annotated[str, Field(max_length=32)] = Field(
        default="builtin", description="builtin: one Redis. external: a Redis given by a Secret."
    )
    image: StoreImage | None = _image("builtin Redis", "redis:8.2")
    resources: Resources = Field(default=Resources(), description="Requests and limits of the builtin Redis.")
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret with REDIS_URL; and REDIS_CA, for a URL with rediss://."
    )
    port: int | None = _external_port("Redis", "the Secret's REDIS_URL", 6379)


class Broker(Model):
    """The RabbitMQ of the shop."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.provider in ['builtin', 'rabbitmq-operator', 'external']",
                "broker.provider must be builtin, rabbitmq-operator or external",
                ".provider",
            ),
            rule(
                "self.provider == oldSelf.provider || "
                "(self.provider != 'rabbitmq-operator' && oldSelf.provider != 'rabbitmq-operator')",
                "broker.provider rabbitmq-operator cannot be changed, nor changed to, since the events in the queues "
                "would stay behind: keep it, or back the shop up and restore it into a new platform "
                "(docs/operations.md, Move a shop to the RabbitMQ cluster operator)",
                ".provider",
            ),
            *_secret_rules("broker", "external", "RABBITMQ_URL"),
            _port_rule("broker"),
            _image_rule("broker"),
        )
    )

    provider: Annotated[str, Field(max_length=32)] = Field(
        default="builtin",
        description="builtin: one RabbitMQ. rabbitmq-operator: a RabbitmqCluster of the RabbitMQ cluster operator, "
        "with one node in the profile small, three in medium and large. external: a RabbitMQ given by a Secret.",
    )
    image: StoreImage | None = _image("RabbitMQ", "rabbitmq:4.1-management")
    storage: Storage = Field(
        default=Storage(), description="Volume of each node of the RabbitMQ, unless it is external."
    )
    resources: Resources = Field(
        default=Resources(), description="Requests and limits of each node of the RabbitMQ, unless it is external."
    )
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret with RABBITMQ_URL; and RABBITMQ_CA, for a URL with amqps://."
    )
    port: int | None = _external_port("RabbitMQ", "the Secret's RABBITMQ_URL", 5672)


class Tls(Model):
    """The certificate of the host."""

    secret_name: ObjectName = Field(description="Secret with tls.crt and tls.key for the host.")


class ParentGateway(Model):
    """A Gateway of the Gateway API that the route attaches to."""

    name: ObjectName = Field(description="Name of the Gateway.")
    namespace: str | None = Field(
        default=None, max_length=63, description="Namespace of the Gateway. Default: the platform's."
    )


class Ingress(Model):
    """Access from outside the cluster, by an Ingress or a Gateway."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!self.enabled || (has(self.host) && self.host != '')",
                "ingress.enabled needs ingress.host: write the DNS name of the shop",
                ".host",
            ),
            rule(
                "self.enabled || !has(self.gateway)",
                "ingress.gateway has no effect while ingress.enabled is false: set enabled: true, or remove gateway",
                ".gateway",
            ),
            rule(
                "!has(self.gateway) || (!has(self.className) && !has(self.tls))",
                "with ingress.gateway the Gateway determines class and certificate: remove className and tls",
                ".gateway",
            ),
        )
    )

    enabled: bool = Field(default=False, description="Expose the shop outside the cluster.")
    host: str | None = Field(
        default=None,
        max_length=253,
        description="DNS name of the shop.",
        json_schema_extra=rules(
            rule(
                "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
                "ingress.host must be a DNS name without scheme, port or path: write for example shop.example.com",
            ),
        ),
    )
    class_name: str | None = Field(
        default=None, max_length=253, description="Ingress class. Default: the cluster's default class."
    )
    tls: Tls | None = Field(default=None, description="Certificate for the host.")
    gateway: ParentGateway | None = Field(
        default=None, description="Gateway of the Gateway API. Creates an HTTPRoute instead of an Ingress."
    )
    proxy_namespaces: list[NamespaceName] | None = Field(
        default=None,
        max_length=8,
        description="Namespaces of the pods of the ingress controller or Gateway. Only these may connect to the shop, "
        "and their X-Forwarded-* headers say where a request comes from. Without it all callers share one rate limit.",
    )


class Payments(Model):
    """The payment provider."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.provider in ['simulated', 'stripe']", "payments.provider must be simulated or stripe", ".provider"
            ),
            *_secret_rules("payments", "stripe", "STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET"),
        )
    )

    provider: Annotated[str, Field(max_length=32)] = Field(
        default="simulated",
        description="simulated: test cards only, no real payments. stripe: payments through your Stripe account.",
    )
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret with STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET."
    )


class Smtp(Model):
    """A mail server."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.host)",
                "notifications.smtp needs host: write the name of the mail server, for example smtp.example.com",
                ".host",
            ),
            rule(
                "has(self.from)",
                "notifications.smtp needs from: write the address that mails come from, for example shop@example.com",
                ".from",
            ),
            rule(
                "self.startTls || !has(self.secretRef)",
                "notifications.smtp.secretRef holds a password, which must not be sent unencrypted: "
                "set startTls: true, or remove secretRef",
                ".startTls",
            ),
        )
    )

    host: str | None = Field(
        default=None,
        max_length=253,
        description="Name of the mail server.",
        json_schema_extra=rules(
            rule(
                "self.matches('^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$')",
                "notifications.smtp.host must be a name without scheme or port: write for example "
                "smtp.example.com, and the "
                "port as port",
            ),
        ),
    )
    port: int = Field(default=587, ge=1, le=65535, description="Port of the mail server.")
    from_: str | None = Field(
        default=None,
        alias="from",
        max_length=320,
        description="Address that mails come from.",
        json_schema_extra=rules(
            rule(
                "self.matches('^[^@ ]+@[^@ ]+$')",
                "notifications.smtp.from must be a mail address: write for example shop@example.com",
            ),
        ),
    )
    start_tls: bool = Field(default=True, description="Encrypt the connection (STARTTLS) before anything is sent.")
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret with SMTP_USER and SMTP_PASSWORD, if the server requires a login."
    )


class Sms(Model):
    """The provider of text messages."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.provider in ['log', 'twilio']", "notifications.sms.provider must be log or twilio", ".provider"),
            *_secret_rules("notifications.sms", "twilio", "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_FROM"),
        )
    )

    provider: Annotated[str, Field(max_length=32)] = Field(
        default="log",
        description="log: no text message is sent. twilio: sent by Twilio.",
    )
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret with TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_FROM."
    )


class Notifications(Model):
    """Mail and text messages to customers."""

    smtp: Smtp | None = Field(default=None, description="Mail server. Default: no mail is sent.")
    sms: Sms = Field(default=Sms(), description="Provider of text messages.")


class Monitoring(Model):
    """Monitoring of the shop with Prometheus."""

    enabled: bool = Field(default=False, description="Run a Prometheus for this platform, with its alerts.")
    service_monitors: bool = Field(
        default=False, description="Create ServiceMonitors. Needs the Prometheus operator in the cluster."
    )
    alerts: bool = Field(
        default=False, description="Create a PrometheusRule. Needs the Prometheus operator in the cluster."
    )


class NetworkPolicies(Model):
    """Isolation of the pods by NetworkPolicies."""

    enabled: bool = Field(default=True, description="Allow only the connections that the services need.")


class RotationSchedule(Model):
    """Rotation of the credentials that the operator derived."""

    every_days: int | None = Field(
        default=None,
        ge=1,
        le=3650,
        description="Rotate each kind of credentials this many days after its last rotation. Those of external stores "
        "do not rotate. Default: only when the annotation platform.ecommerce.dev/rotate asks for it.",
    )


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_CLOCK = "matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')"


class Maintenance(Model):
    """The hours in which the operator may bring its own release to the shop."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"self.days.size() > 0 && self.days.all(day, day in {_quoted(DAYS)})",
                "maintenance.days must have names of days: use " + ", ".join(DAYS),
                ".days",
            ),
            rule(f"self.from.{_CLOCK}", "maintenance.from must be a time of day: write for example 02:00", ".from"),
            rule(f"self.to.{_CLOCK}", "maintenance.to must be a time of day: write for example 05:30", ".to"),
            rule(
                "self.from != self.to",
                "maintenance.to must not be maintenance.from: remove maintenance to allow every hour",
                ".to",
            ),
            rule(
                "self.timeZone.matches('^[A-Za-z][A-Za-z0-9_+/-]*$')",
                "maintenance.timeZone must be a name of the IANA time zone database: write for example Europe/Berlin",
                ".timeZone",
            ),
        )
    )

    days: list[Annotated[str, Field(max_length=16)]] = Field(
        default=list(DAYS),
        max_length=7,
        description="Days on which a window begins: Mon, Tue, Wed, Thu, Fri, Sat, Sun.",
    )
    from_: Annotated[str, Field(max_length=16)] = Field(
        default="02:00", alias="from", description="Time of day at which a window begins."
    )
    to: Annotated[str, Field(max_length=16)] = Field(
        default="05:00", description="Time of day at which a window ends; before from: on the next day."
    )
    time_zone: TimeZone = Field(
        default="UTC", description="Time zone of from and to, a name of the IANA database such as Europe/Berlin."
    )


class UpgradeGates(Model):
    """What each step of an upgrade is measured by before the next one begins."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.observeSeconds < self.timeoutSeconds",
                "upgrade.observeSeconds must be less than upgrade.timeoutSeconds: lower it, or raise timeoutSeconds",
                ".observeSeconds",
            ),
        )
    )

    timeout_seconds: int = Field(
        default=600,
        ge=60,
        le=86400,
        description="Seconds that a step may take until its objects are ready. After that the shop goes back to the "
        "version before.",
    )
    observe_seconds: int = Field(
        default=60,
        ge=0,
        le=3600,
        description="Seconds for which the objects of a step must stay ready, without too many failed requests or a "
        "broken invariant, before the next step begins. 0: readiness alone decides.",
    )
    max_error_percent: int = Field(
        default=5,
        ge=0,
        le=100,
        description="Percentage of requests that may fail (status 5xx) while a step is observed. 100: any number may.",
    )


class Spec(Model):
    """The desired state of a platform. Every field has a default: `spec: {}` is a working shop."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.profile in ['small', 'medium', 'large']", "profile must be small, medium or large", ".profile"),
            rule(
                "self.deletionPolicy in ['Retain', 'Delete']",
                "deletionPolicy must be Retain (keeps volumes and credentials) or Delete (removes them)",
                ".deletionPolicy",
            ),
            rule(
                "self.mode in ['Manage', 'Observe']",
                "mode must be Manage (keeps the shop as the spec says) or Observe (changes nothing, and reports what "
                "it would change)",
                ".mode",
            ),
            rule(
                f"!has(self.services) || self.services.all(name, name in {_quoted(SERVICES)})",
                "services must have only names of services: use " + ", ".join(SERVICES),
                ".services",
            ),
        )
    )

    version: str | None = Field(
        default=None,
        max_length=128,
        description="Image tag of the services. Default: the operator's own version, as soon as its policy of upgrades "
        "allows it.",
        json_schema_extra=rules(
            rule(
                "self.matches('^[A-Za-z0-9_][A-Za-z0-9_.-]*$')",
                "version must be an image tag of letters, digits, _ . and -: write for example 1.4.2",
            ),
        ),
    )
    operator_class_name: str | None = Field(
        default=None,
        max_length=63,
        description="Class of the operator that reconciles the platform. Default: the operator without a class.",
        json_schema_extra=rules(
            rule(
                "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "operatorClassName must be the operatorClass of an operator's chart: write for example staging",
            ),
        ),
    )
    profile: Annotated[str, Field(max_length=32)] = Field(
        default="small",
        description="small, medium or large: replicas, resources and autoscaling of the services. Builtin stores keep "
        "the profile they were created with, since resizing a store causes an outage: set their resources to resize "
        "them.",
    )
    services: dict[str, Service] = Field(
        default={}, max_length=8, description="Settings that differ from the profile, by service."
    )
    settings: ShopSettings = Field(default=ShopSettings(), description="Settings of the services themselves.")
    databases: Databases = Field(default=Databases(), description="PostgreSQL databases of the services.")
    cache: Cache = Field(default=Cache(), description="Redis.")
    broker: Broker = Field(default=Broker(), description="RabbitMQ.")
    ingress: Ingress = Field(default=Ingress(), description="Access from outside the cluster.")
    payments: Payments = Field(default=Payments(), description="Payment provider.")
    notifications: Notifications = Field(default=Notifications(), description="Mail and text messages to customers.")
    monitoring: Monitoring = Field(default=Monitoring(), description="Monitoring with Prometheus.")
    network_policies: NetworkPolicies = Field(default=NetworkPolicies(), description="Isolation of the pods.")
    pods: Pods = Field(default=Pods(), description="What all pods have in common.")
    objects: Objects = Field(default=Objects(), description="What all objects have in common.")
    rotation: RotationSchedule = Field(default=RotationSchedule(), description="Rotation of credentials.")
    mode: Annotated[str, Field(max_length=32)] = Field(
        default="Manage",
        description="Manage: keep the shop as the spec says. Observe: the shop keeps running, but nothing is changed, "
        "repaired or deleted; status.pending says what would be.",
    )
    paused: bool = Field(
        default=False, description="Earlier name of mode Observe: if true, the shop is observed, whatever mode says."
    )
    hibernated: bool = Field(
        default=False,
        description="Stop every pod of the services and builtin stores, and keep volumes, Secrets and the version. "
        "false starts them again.",
    )
    closed: bool = Field(
        default=False,
        description="Stop every pod of the services, and let the stores run: nothing changes the data, so a backup has "
        "all of it. false opens the shop again.",
    )
    surge: list[SurgeWindow] = Field(
        default=[], max_length=20, description="Times in which the shop has more pods, for load that is known before."
    )
    maintenance: Maintenance | None = Field(
        default=None,
        description="Hours in which a new release of the operator may begin to roll out. Default: at any time. A "
        "change of the spec does not wait for them.",
    )
    upgrade: UpgradeGates = Field(
        default=UpgradeGates(),
        description="When an upgrade goes on and when it goes back: limits for each of its steps.",
    )
    deletion_policy: Annotated[str, Field(max_length=32)] = Field(
        default="Retain",
        description="What happens to volumes and credentials when the platform is deleted: Retain keeps them, Delete "
        "removes them.",
    )
    backup: BackupPolicy | None = Field(
        default=None, description="Backups of all databases by a schedule, and their verification. Default: none."
    )

    @property
    def observes(self) -> bool:
        """Tells whether nothing of the shop may be changed."""
        return self.paused or self.mode == "Observe"

    @property
    def stops_services(self) -> bool:
        """Tells whether no service is to have a pod."""
        return self.hibernated or self.closed


def parse(spec: Mapping[str, Any]) -> Spec:
    """Parses the stored spec of an EcommercePlatform. Raises InvalidSpecError."""
    return parse_stored(Spec, spec)
