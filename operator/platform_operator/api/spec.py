"""The EcommercePlatform's spec: what may be asked for, its defaults, and what is refused with which advice.

The CRD is generated from these models (`python -m platform_operator crd`). Rules are CEL, checked by the API server, so
nobody needs the operator to learn that a spec is wrong; the models parse what the API server let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from platform_operator.errors import InvalidSpecError

SERVICES = ("gateway", "user", "product", "inventory", "order", "payment", "notification", "review")
WITH_DATABASE = tuple(name for name in SERVICES if name != "gateway")
WITH_CACHE = ("gateway", "product")
WITH_BROKER = WITH_DATABASE

RESERVED_ENV = (
    "ADMIN_EMAIL", "ADMIN_PASSWORD", "DB_HOST", "DB_NAME", "DB_PASSWORD", "DB_PORT", "DB_USER", "GRPC_PORT", "HTTP_PORT",
    "INVENTORY_GRPC", "INVENTORY_URL", "JWT_SECRET", "METRICS_PORT", "NOTIFICATION_URL", "ORDER_GRPC", "ORDER_URL",
    "PAYMENT_PROVIDER", "PAYMENT_URL", "PRODUCT_GRPC", "PRODUCT_URL", "RABBITMQ_URL", "REDIS_URL", "REVIEW_GRPC",
    "REVIEW_URL", "SMS_PROVIDER", "SMTP_FROM", "SMTP_HOST", "SMTP_PASSWORD", "SMTP_PORT", "SMTP_STARTTLS", "SMTP_USER",
    "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "TENANT", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM",
    "USER_GRPC", "USER_URL",
)  # fmt: skip

LONGEST_NAME = 30
"""`<platform>-notification-db-` and a controller's hash of ten have to fit into a label's 63 characters, with room."""


def rule(cel: str, message: str, field_path: str = "") -> dict[str, str]:
    """A validation of the CRD: CEL over `self`, and what to write instead."""
    return {"rule": cel, "message": message} | ({"fieldPath": field_path} if field_path else {})


def _rules(*rules: dict[str, str], **schema: JsonValue) -> dict[str, Any]:
    return {"x-kubernetes-validations": list(rules), **schema}


def _quoted(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


def _quantity(what: str, example: str, *more: dict[str, str]) -> Any:
    return Field(
        default=None,
        max_length=20,
        json_schema_extra=_rules(
            rule("isQuantity(self)", f"{what} must be a Kubernetes quantity: write for example {example}"), *more
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
ObjectName: TypeAlias = Annotated[str, Field(min_length=1, max_length=253)]


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class SecretRef(Model):
    """A Secret in the platform's namespace."""

    name: ObjectName = Field(description="Name of a Secret in the platform's namespace.")


class Quantities(Model):
    cpu: Cpu = Field(default=None, description="Processor time, e.g. 500m.")
    memory: Memory = Field(default=None, description="Memory, e.g. 256Mi.")


class Resources(Model):
    """What a container requests and is limited to; what is left out comes from the profile."""

    requests: Quantities = Field(default=Quantities(), description="What the scheduler sets aside.")
    limits: Quantities = Field(default=Quantities(), description="What the container may not exceed.")


class Autoscaling(Model):
    model_config = ConfigDict(
        json_schema_extra=_rules(
            rule("!has(self.min) || !has(self.max) || self.min <= self.max",
                 "autoscaling.min must not exceed autoscaling.max: raise max or lower min", ".max"),
        )
    )  # fmt: skip

    enabled: bool | None = Field(default=None, description="Scale by processor use. Default: as the profile has it.")
    min: int | None = Field(default=None, ge=1, le=100, description="Fewest pods.")
    max: int | None = Field(default=None, ge=1, le=100, description="Most pods.")
    target_cpu_utilization: int | None = Field(
        default=None, alias="targetCPUUtilization", ge=1, le=100, description="Percent of the requested processor time."
    )


class Service(Model):
    """Departures of one service from its profile."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            rule("!has(self.replicas) || !has(self.autoscaling) || !has(self.autoscaling.enabled)"
                 " || !self.autoscaling.enabled",
                 "replicas and autoscaling.enabled exclude each other: set autoscaling.min instead of replicas", ".replicas"),
            rule("!has(self.env) || self.env.all(name, name.matches('^[A-Za-z_][A-Za-z0-9_]*$'))",
                 "env names must be of letters, digits and _, and not begin with a digit: write for example LOG_LEVEL", ".env"),
            rule(f"!has(self.env) || self.env.all(name, !(name in {_quoted(RESERVED_ENV)}))",
                 "env may not set what the platform sets itself (DB_*, JWT_SECRET, REDIS_URL, RABBITMQ_URL, ADMIN_*, ports, "
                 "neighbours, STRIPE_*, SMTP_*, SMS_*, TWILIO_*): use databases, cache, broker, payments or notifications of "
                 "the spec instead", ".env"),
        )
    )  # fmt: skip

    replicas: int | None = Field(
        default=None, ge=1, le=100, description="Pods; switches the profile's autoscaling off."
    )
    resources: Resources = Field(default=Resources(), description="What a pod asks for.")
    autoscaling: Autoscaling = Field(default=Autoscaling(), description="Scaling by processor use.")
    env: dict[str, Annotated[str, Field(max_length=4096)]] = Field(
        default={}, max_length=64, description="Further environment variables."
    )


class Storage(Model):
    size: StorageSize = Field(default=None, description="Size of each volume. Default: as the profile has it.")
    storage_class_name: str | None = Field(
        default=None,
        max_length=253,
        description="Storage class. Default: the cluster's.",
        json_schema_extra=_rules(
            rule(
                "self == oldSelf", "storageClassName of existing volumes cannot change: keep it, or make a new platform"
            )
        ),
    )


def _outside_port(of: str, told: str, usual: int) -> Any:
    return Field(
        default=None,
        ge=1,
        le=65535,
        description=f"Port of the {of} outside, which must be the one in {told}: services read that one, the network "
        f"policies open this one. Default: {usual}.",
    )


class ExternalDatabase(Model):
    """Keys of the Secret: DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME."""

    secret_ref: SecretRef = Field(description="Secret with DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME.")
    port: int | None = _outside_port("database", "the Secret's DB_PORT", 5432)


class Databases(Model):
    model_config = ConfigDict(
        json_schema_extra=_rules(
            rule("self.provider in ['builtin', 'cnpg', 'external']",
                 "databases.provider must be builtin or external", ".provider"),
            rule("self.provider != 'cnpg'",
                 "databases.provider cnpg is not available in v1alpha1 yet: write builtin, or external with secretRefs",
                 ".provider"),
            rule("self.provider != 'external' || (has(self.external) && "
                 f"{_quoted(WITH_DATABASE)}.all(name, name in self.external))",
                 "databases.provider external needs external.<name>.secretRef for each of " + ", ".join(WITH_DATABASE),
                 ".external"),
            rule("self.provider == 'external' || !has(self.external) || self.external.size() == 0",
                 "databases.external is used by provider external only: write provider: external, or remove it", ".external"),
            rule(f"!has(self.external) || self.external.all(name, name in {_quoted(WITH_DATABASE)})",
                 "databases.external knows " + ", ".join(WITH_DATABASE) + ": remove the others", ".external"),
        )
    )  # fmt: skip

    provider: Annotated[str, Field(max_length=32)] = Field(
        default="builtin", description="builtin: one PostgreSQL per service. external: those that Secrets point at."
    )
    storage: Storage = Field(default=Storage(), description="Volumes of builtin databases.")
    resources: Resources = Field(default=Resources(), description="What a builtin database asks for.")
    external: dict[str, ExternalDatabase] = Field(
        default={}, max_length=8, description="By service: the Secret that points at its database."
    )


def _port_rule(path: str) -> dict[str, str]:
    return rule("self.provider == 'external' || !has(self.port)",
                f"{path}.port is used by provider external only: write provider: external, or remove it", ".port")  # fmt: skip


def _secret_rules(path: str, provider: str, keys: str) -> tuple[dict[str, str], ...]:
    """One provider needs a Secret, the others have no use for it."""
    return (
        rule(f"self.provider != '{provider}' || has(self.secretRef)",
             f"{path}.provider {provider} needs {path}.secretRef: name a Secret with {keys}", ".secretRef"),
        rule(f"self.provider == '{provider}' || !has(self.secretRef)",
             f"{path}.secretRef is used by provider {provider} only: write provider: {provider}, or remove it", ".secretRef"),
    )  # fmt: skip


class Cache(Model):
    model_config = ConfigDict(
        json_schema_extra=_rules(
            rule("self.provider in ['builtin', 'external']", "cache.provider must be builtin or external", ".provider"),
            *_secret_rules("cache", "external", "REDIS_URL"),
            _port_rule("cache"),
        )
    )

    provider: Annotated[str, Field(max_length=32)] = Field(
        default="builtin", description="builtin: one Redis. external: that which a Secret points at."
    )
    resources: Resources = Field(default=Resources(), description="What the builtin Redis asks for.")
    secret_ref: SecretRef | None = Field(default=None, description="Secret with REDIS_URL.")
    port: int | None = _outside_port("Redis", "the Secret's REDIS_URL", 6379)


class Broker(Model):
    model_config = ConfigDict(
        json_schema_extra=_rules(
            rule("self.provider in ['builtin', 'rabbitmq-operator', 'external']",
                 "broker.provider must be builtin or external", ".provider"),
            rule("self.provider != 'rabbitmq-operator'",
                 "broker.provider rabbitmq-operator is not available in v1alpha1 yet: write builtin, or external with secretRef",
                 ".provider"),
            *_secret_rules("broker", "external", "RABBITMQ_URL"),
            _port_rule("broker"),
        )
    )  # fmt: skip

    provider: Annotated[str, Field(max_length=32)] = Field(
        default="builtin", description="builtin: one RabbitMQ. external: that which a Secret points at."
    )
    storage: Storage = Field(default=Storage(), description="Volume of the builtin RabbitMQ.")
    resources: Resources = Field(default=Resources(), description="What the builtin RabbitMQ asks for.")
    secret_ref: SecretRef | None = Field(default=None, description="Secret with RABBITMQ_URL.")
    port: int | None = _outside_port("RabbitMQ", "the Secret's RABBITMQ_URL", 5672)


class Tls(Model):
    secret_name: ObjectName = Field(description="Secret with tls.crt and tls.key for the host.")


class ParentGateway(Model):
    """A Gateway of the Gateway API that the route attaches to."""

    name: ObjectName = Field(description="Name of the Gateway.")
    namespace: str | None = Field(default=None, max_length=63, description="Its namespace. Default: the platform's.")


class Ingress(Model):
    model_config = ConfigDict(
        json_schema_extra=_rules(
            rule("!self.enabled || (has(self.host) && self.host != '')",
                 "ingress.enabled needs ingress.host: write the DNS name of the shop", ".host"),
            rule("self.enabled || !has(self.gateway)",
                 "ingress.gateway does nothing while ingress.enabled is false: set enabled: true, or remove gateway", ".gateway"),
            rule("!has(self.gateway) || (!has(self.className) && !has(self.tls))",
                 "with ingress.gateway the Gateway decides class and certificate: remove className and tls", ".gateway"),
        )
    )  # fmt: skip

    enabled: bool = Field(default=False, description="Make the shop reachable from outside the cluster.")
    host: str | None = Field(
        default=None,
        max_length=253,
        description="DNS name of the shop.",
        json_schema_extra=_rules(
            rule("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
                 "ingress.host must be a DNS name without scheme, port or path: write for example shop.example.com"),
        ),
    )  # fmt: skip
    class_name: str | None = Field(default=None, max_length=253, description="Ingress class. Default: the cluster's.")
    tls: Tls | None = Field(default=None, description="Certificate of the host.")
    gateway: ParentGateway | None = Field(
        default=None, description="Use Gateway API: an HTTPRoute instead of an Ingress."
    )


class Payments(Model):
    model_config = ConfigDict(
        json_schema_extra=_rules(
            rule(
                "self.provider in ['simulated', 'stripe']", "payments.provider must be simulated or stripe", ".provider"
            ),
            *_secret_rules("payments", "stripe", "STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET"),
        )
    )

    provider: Annotated[str, Field(max_length=32)] = Field(
        default="simulated", description="simulated: test cards, no money moves. stripe: Stripe, with your account."
    )
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret with STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET."
    )


class Smtp(Model):
    """A mail server. Without one, mails go to notification's log."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            rule("has(self.host)",
                 "notifications.smtp needs host: write the name of the mail server, for example smtp.example.com", ".host"),
            rule("has(self.from)",
                 "notifications.smtp needs from: write the address that mails come from, for example shop@example.com", ".from"),
            rule("self.startTls || !has(self.secretRef)",
                 "notifications.smtp.secretRef holds a password, which must not be sent in the clear: set startTls: true, or remove "
                 "secretRef", ".startTls"),
        )
    )  # fmt: skip

    host: str | None = Field(
        default=None,
        max_length=253,
        description="Name of the mail server.",
        json_schema_extra=_rules(
            rule("self.matches('^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$')",
                 "notifications.smtp.host must be a name without scheme or port: write for example smtp.example.com, and the "
                 "port as port"),
        ),
    )  # fmt: skip
    port: int = Field(default=587, ge=1, le=65535, description="Its port.")
    from_: str | None = Field(
        default=None,
        alias="from",
        max_length=320,
        description="Address that mails come from.",
        json_schema_extra=_rules(
            rule("self.matches('^[^@ ]+@[^@ ]+$')",
                 "notifications.smtp.from must be a mail address: write for example shop@example.com"),
        ),
    )  # fmt: skip
    start_tls: bool = Field(default=True, description="Encrypt the connection (STARTTLS) before anything is sent.")
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret with SMTP_USER and SMTP_PASSWORD, where the server wants a login."
    )


class Sms(Model):
    model_config = ConfigDict(
        json_schema_extra=_rules(
            rule("self.provider in ['log', 'twilio']", "notifications.sms.provider must be log or twilio", ".provider"),
            *_secret_rules("notifications.sms", "twilio", "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_FROM"),
        )
    )

    provider: Annotated[str, Field(max_length=32)] = Field(
        default="log", description="log: text messages go to notification's log. twilio: Twilio sends them."
    )
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret with TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_FROM."
    )


class Notifications(Model):
    smtp: Smtp | None = Field(default=None, description="The mail server. Default: mails go to notification's log.")
    sms: Sms = Field(default=Sms(), description="Who sends text messages.")


class Monitoring(Model):
    enabled: bool = Field(default=False, description="Run a Prometheus for this platform, with its alerts.")
    service_monitors: bool = Field(
        default=False, description="Make ServiceMonitors; needs the Prometheus operator in the cluster."
    )
    alerts: bool = Field(
        default=False, description="Make a PrometheusRule; needs the Prometheus operator in the cluster."
    )


class NetworkPolicies(Model):
    enabled: bool = Field(default=True, description="Allow only the connections that the services need.")


NotYet: TypeAlias = dict[str, object] | None


def _not_yet(path: str, meanwhile: str) -> dict[str, str]:
    return rule(
        f"!has(self.{path})", f"spec.{path} is not available in v1alpha1 yet: remove it; {meanwhile}", f".{path}"
    )


class Spec(Model):
    """What the platform should be. Everything has a default: `spec: {}` is a working shop."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            rule("self.profile in ['small', 'medium', 'large']", "profile must be small, medium or large", ".profile"),
            rule("self.deletionPolicy in ['Retain', 'Delete']",
                 "deletionPolicy must be Retain (keeps volumes and credentials) or Delete (leaves nothing)", ".deletionPolicy"),
            rule(f"!has(self.services) || self.services.all(name, name in {_quoted(SERVICES)})",
                 "services knows " + ", ".join(SERVICES) + ": correct the name", ".services"),
            _not_yet("backup", "back the volumes up with your storage's snapshots until then"),
        )
    )  # fmt: skip

    version: str | None = Field(
        default=None,
        max_length=128,
        description="Image tag of the services. Default: the operator's own version.",
        json_schema_extra=_rules(
            rule("self.matches('^[A-Za-z0-9_][A-Za-z0-9_.-]*$')",
                 "version must be an image tag of letters, digits, _ . and -: write for example 1.4.2"),
        ),
    )  # fmt: skip
    profile: Annotated[str, Field(max_length=32)] = Field(
        default="small",
        description="small, medium or large: replicas, resources and autoscaling of the services. Builtin stores keep "
        "the profile they were made with, since resizing one means an outage: state their resources to do so.",
    )
    services: dict[str, Service] = Field(
        default={}, max_length=8, description="By service: departures from the profile."
    )
    databases: Databases = Field(default=Databases(), description="The services' PostgreSQL databases.")
    cache: Cache = Field(default=Cache(), description="Redis.")
    broker: Broker = Field(default=Broker(), description="RabbitMQ.")
    ingress: Ingress = Field(default=Ingress(), description="The way in from outside the cluster.")
    payments: Payments = Field(default=Payments(), description="Who takes the money.")
    notifications: Notifications = Field(default=Notifications(), description="How customers are told.")
    monitoring: Monitoring = Field(default=Monitoring(), description="What Prometheus is told.")
    network_policies: NetworkPolicies = Field(default=NetworkPolicies(), description="Isolation of the pods.")
    paused: bool = Field(
        default=False, description="Stop reconciling; what runs keeps running, changes are not undone."
    )
    deletion_policy: Annotated[str, Field(max_length=32)] = Field(
        default="Retain",
        description="Retain keeps volumes and credentials when the platform is deleted, Delete nothing.",
    )
    backup: NotYet = Field(default=None, description="Not available yet.")


def parse(spec: Mapping[str, Any]) -> Spec:
    """Raises InvalidSpecError where a spec got past the CRD, e.g. one stored under an older CRD."""
    try:
        return Spec.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSpecError(f"spec.{where}: {first['msg']}: correct it with kubectl edit") from error
