"""The API server's answers to invalid specs: the exact messages, which say what to write instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.client.api_client import ApiClient

from platform_operator.api.kinds import PLATFORM
from platform_operator.client import KubernetesClient

pytestmark = pytest.mark.cluster

SAMPLES = {path: path.read_text() for path in sorted(Path(__file__).parents[3].glob("manifests/samples/*.yaml"))}
DISK = {"volume": {"claimName": "disk"}}
BUCKET = {"bucket": "shop-backups", "secretRef": {"name": "bucket"}}
BACKUP = {"destination": DISK, "encryptionKeySecretRef": {"name": "key"}}
SERVICES = ("user", "product", "inventory", "order", "payment", "notification", "review")
EXTERNAL = {name: {"secretRef": {"name": name}} for name in SERVICES}
SMTP = {"host": "smtp.example.com", "from": "shop@example.com"}
RESERVED = (
    "env must not set variables that the platform sets itself (DB_*, JWT_SECRET, REDIS_URL, RABBITMQ_URL, ADMIN_*, "
    "ports, "
    "addresses of other services, STRIPE_*, SMTP_*, SMS_*, TWILIO_*): use databases, cache, broker, payments or "
    "notifications of the spec instead"
)

RESERVED_LABEL = (
    "labels must not be those that the platform or Kubernetes sets (app.kubernetes.io/* and others of kubernetes.io "
    "and k8s.io, platform.ecommerce.dev/*, *-hash, controller-uid, job-name): use a name of your own, for example "
    "example.com/team"
)
RESERVED_ANNOTATION = (
    "annotations must not be those that the platform or kubectl sets (platform.ecommerce.dev/*, "
    "kubectl.kubernetes.io/*): use a name of your own, for example example.com/contact"
)
SPREAD = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}

SURGE = {"from": "2026-11-27T06:00:00Z", "until": "2026-11-28T00:00:00Z", "factor": 2}
SURGE_TIME = (
    "surge.from must be a time of RFC 3339: write for example 2026-11-27T06:00:00Z, or 2026-11-27T06:00:00 with "
    "timeZone"
)

OPERATOR_CLASS = "operatorClassName must be the operatorClass of an operator's chart: write for example staging"


def platform(spec: Any, name: str = "shop", namespace: str = "default") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": PLATFORM.api_version, "kind": PLATFORM.kind, "metadata": metadata, "spec": spec}


async def dry_run(connection: ApiClient, manifest: dict[str, Any], verb: str = "POST") -> dict[str, Any]:
    """Returns the API server's answer to a create (POST) or a merge patch (PATCH) that it does not store."""
    metadata = manifest["metadata"]
    path = PLATFORM.path(metadata["namespace"], metadata["name"] if verb == "PATCH" else None)
    headers = {"Content-Type": "application/merge-patch+json" if verb == "PATCH" else "application/json"}
    request = await connection.param_serialize(
        verb, path, query_params=[("dryRun", "All")], header_params=headers, auth_settings=["BearerToken"]
    )
    response = await connection.call_api(request[0], request[1], request[2], manifest)
    answer: dict[str, Any] = json.loads(await response.read())  # type: ignore[no-untyped-call]
    return answer


def assert_refused(answer: dict[str, Any], message: str) -> None:
    """Checks the message of a 422.

    The API server puts the value before it: `Invalid value: "huge": profile must be …`.
    """
    assert answer.get("code") == 422, answer
    causes = [cause["message"] for cause in answer["details"]["causes"]]
    assert any(cause.endswith(f": {message}") for cause in causes), causes


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"profile": "huge"}, "profile must be small, medium or large"),
        ({"version": "1.0/evil"}, "version must be an image tag of letters, digits, _ . and -: write for example "
                                  "1.4.2"),
        (
            {"deletionPolicy": "Keep"},
            "deletionPolicy must be Retain (keeps volumes and credentials) or Delete (removes them)",
        ),
        (
            {"mode": "Watch"},
            "mode must be Manage (keeps the shop as the spec says) or Observe (changes nothing, and reports what it "
            "would change)",
        ),
        ({"maintenance": {"from": "2am"}}, "maintenance.from must be a time of day: write for example 02:00"),
        ({"maintenance": {"from": "02:00:00"}}, "maintenance.from must be a time of day: write for example 02:00"),
        ({"maintenance": {"to": "24:00"}}, "maintenance.to must be a time of day: write for example 05:30"),
        (
            {"maintenance": {"from": "02:00", "to": "02:00"}},
            "maintenance.to must not be maintenance.from: remove maintenance to allow every hour",
        ),
        (
            {"maintenance": {"days": ["Monday"]}},
            "maintenance.days must have names of days: use Mon, Tue, Wed, Thu, Fri, Sat, Sun",
        ),
        (
            {"maintenance": {"days": []}},
            "maintenance.days must have names of days: use Mon, Tue, Wed, Thu, Fri, Sat, Sun",
        ),
        (
            {"maintenance": {"timeZone": "UTC+1 hour"}},
            "maintenance.timeZone must be a name of the IANA time zone database: write for example Europe/Berlin",
        ),
        ({"surge": [SURGE | {"from": "2026-11-27"}]}, SURGE_TIME),
        (
            {"surge": [SURGE | {"until": "2026-11-28T00:00:00"}]},
            "surge.from and surge.until must both have an offset, or both have none: write both with Z, or both "
            "without",
        ),
        (
            {"surge": [SURGE | {"until": "2026-11-27T06:00:00Z"}]},
            "surge.until must be later than surge.from: correct one of them",
        ),
        (
            {"surge": [SURGE | {"timeZone": "UTC"}]},
            "surge.timeZone is used for times without an offset only: remove it, or the offsets",
        ),
        (
            {"upgrade": {"observeSeconds": 600}},
            "upgrade.observeSeconds must be less than upgrade.timeoutSeconds: lower it, or raise timeoutSeconds",
        ),
        (
            {"services": {"orders": {}}},
            "services must have only names of services: use gateway, user, product, inventory, order, payment, "
            "notification, review",
        ),
        (
            {"services": {"order": {"autoscaling": {"min": 5, "max": 2}}}},
            "autoscaling.min must not exceed autoscaling.max: raise max or lower min",
        ),
        (
            {"services": {"order": {"replicas": 2, "autoscaling": {"enabled": True}}}},
            "replicas and autoscaling.enabled exclude each other: set autoscaling.min instead of replicas",
        ),
        (
            {"services": {"order": {"env": {"DB_HOST": "elsewhere"}}}},
            RESERVED,
        ),
        ({"services": {"payment": {"env": {"STRIPE_SECRET_KEY": "sk"}}}}, RESERVED),
        (
            {"services": {"order": {"env": {"1ST": "x"}}}},
            "env names must have only letters, digits and _, and must not begin with a digit: write for example "
            "LOG_LEVEL",
        ),
        (
            {"services": {"order": {"resources": {"limits": {"memory": "lots"}}}}},
            "memory must be a Kubernetes quantity: write for example 256Mi or 1Gi",
        ),
        (
            {"databases": {"storage": {"size": "10 GB"}}},
            "storage size must be a Kubernetes quantity: write for example 10Gi",
        ),
        ({"databases": {"provider": "mysql"}}, "databases.provider must be builtin, cnpg or external"),
        (
            {"databases": {"provider": "external"}},
            "databases.provider external needs external.<name>.secretRef for each of user, product, inventory, order, "
            "payment, "
            "notification, review",
        ),
        (
            {"databases": {"external": EXTERNAL}},
            "databases.external is used by provider external only: write provider: external, or remove it",
        ),
        (
            {"cache": {"port": 6380}},
            "cache.port is used by provider external only: write provider: external, or remove it",
        ),
        *(({"operatorClassName": name}, OPERATOR_CLASS) for name in ("", "Staging", "9", "a.b")),
        ({"databases": {"image": "postgres"}}, "image must have a tag or a digest: write for example postgres:17.6"),
        (
            {"broker": {"provider": "external", "secretRef": {"name": "rabbit"}, "image": "rabbitmq:4"}},
            "broker.image is not used by provider external: write another provider, or remove it",
        ),
        ({"cache": {"provider": "external"}}, "cache.provider external needs cache.secretRef: name a Secret with "
                                              "REDIS_URL"),
        ({"broker": {"provider": "kafka"}}, "broker.provider must be builtin, rabbitmq-operator or external"),
        ({"ingress": {"enabled": True}}, "ingress.enabled needs ingress.host: write the DNS name of the shop"),
        (
            {"ingress": {"enabled": True, "host": "https://shop.example.com/"}},
            "ingress.host must be a DNS name without scheme, port or path: write for example shop.example.com",
        ),
        (
            {"ingress": {"enabled": True, "host": "a.example", "className": "nginx", "gateway": {"name": "public"}}},
            "with ingress.gateway the Gateway determines class and certificate: remove className and tls",
        ),
        ({"payments": {"provider": "cash"}}, "payments.provider must be simulated or stripe"),
        (
            {"payments": {"provider": "stripe"}},
            "payments.provider stripe needs payments.secretRef: name a Secret with STRIPE_SECRET_KEY and "
            "STRIPE_WEBHOOK_SECRET",
        ),
        (
            {"payments": {"secretRef": {"name": "stripe"}}},
            "payments.secretRef is used by provider stripe only: write provider: stripe, or remove it",
        ),
        (
            {"notifications": {"smtp": {"from": "shop@example.com"}}},
            "notifications.smtp needs host: write the name of the mail server, for example smtp.example.com",
        ),
        (
            {"notifications": {"smtp": {"host": "smtp.example.com"}}},
            "notifications.smtp needs from: write the address that mails come from, for example shop@example.com",
        ),
        (
            {"notifications": {"smtp": SMTP | {"host": "smtp.example.com:587"}}},
            "notifications.smtp.host must be a name without scheme or port: write for example smtp.example.com, and "
            "the port as port",
        ),
        (
            {"notifications": {"smtp": SMTP | {"from": "the shop"}}},
            "notifications.smtp.from must be a mail address: write for example shop@example.com",
        ),
        (
            {"notifications": {"smtp": SMTP | {"startTls": False, "secretRef": {"name": "mail"}}}},
            "notifications.smtp.secretRef holds a password, which must not be sent unencrypted: set startTls: true, "
            "or remove secretRef",
        ),
        ({"notifications": {"sms": {"provider": "pigeon"}}}, "notifications.sms.provider must be log or twilio"),
        (
            {"notifications": {"sms": {"provider": "twilio"}}},
            "notifications.sms.provider twilio needs notifications.sms.secretRef: name a Secret with "
            "TWILIO_ACCOUNT_SID, "
            "TWILIO_AUTH_TOKEN and TWILIO_FROM",
        ),
        (
            {"notifications": {"sms": {"secretRef": {"name": "twilio"}}}},
            "notifications.sms.secretRef is used by provider twilio only: write provider: twilio, or remove it",
        ),
        (
            {"settings": {"order": {"homeCountry": "UK"}}},
            "homeCountry must be an ISO 3166-1 country: write for example DE, GB for the United Kingdom, and GR for "
            "Greece",
        ),
        (
            {"settings": {"order": {"taxBasisPoints": {"DE": 1900, "EL": 2400}}}},
            "taxBasisPoints must have ISO 3166-1 countries as keys: write for example DE, GB for the United Kingdom, "
            "and GR for Greece",
        ),
        ({"pods": {"userIds": "Random"}}, "userIds must be Fixed (the ids of the images) or Assigned (the cluster "
                                          "assigns them)"),
        *(({"pods": {"labels": {name: "x"}}}, RESERVED_LABEL) for name in (
            "app.kubernetes.io/instance", "platform.ecommerce.dev/wave", "pod-template-hash", "controller-uid",
        )),
        ({"objects": {"labels": {"app.kubernetes.io/managed-by": "me"}}}, RESERVED_LABEL),
        *(({part: {"annotations": {"platform.ecommerce.dev/wave": "9"}}}, RESERVED_ANNOTATION) for part in (
            "pods", "objects",
        )),
        ({"pods": {"annotations": {"kubectl.kubernetes.io/default-container": "x"}}}, RESERVED_ANNOTATION),
        (
            {"objects": {"labels": {"my team": "a"}}},
            "names of labels must be label names of Kubernetes: write for example cost-center or example.com/team",
        ),
        (
            {"objects": {"annotations": {"a/b/c": "a"}}},
            "names of annotations must be label names of Kubernetes: write for example example.com/contact",
        ),
        (
            {"pods": {"nodeSelector": {"-pool": "a"}}},
            "names of nodeSelector must be label names of Kubernetes: write for example kubernetes.io/arch or "
            "example.com/pool",
        ),
        (
            {"pods": {"labels": {"team": "a team"}}},
            "values of labels must have only letters, digits, - _ and ., and begin and end with a letter or digit: "
            "write for example team-a",
        ),
        (
            {"pods": {"priorityClassName": "High Priority"}},
            "priorityClassName must be the name of a PriorityClass: write for example high-priority",
        ),
        (
            {"pods": {"tolerations": [{"key": "shops", "operator": "In"}]}},
            "operator of a toleration must be Exists or Equal (the default)",
        ),
        (
            {"pods": {"tolerations": [{"key": "shops", "operator": "Exists", "value": "yes"}]}},
            "a toleration with operator Exists tolerates every value: remove value, or write operator: Equal",
        ),
        (
            {"pods": {"tolerations": [{"value": "yes"}]}},
            "a toleration without key tolerates every taint: write operator: Exists if that is meant, else set key",
        ),
        (
            {"pods": {"tolerations": [{"key": "shops", "effect": "Evict"}]}},
            "effect of a toleration must be NoSchedule, PreferNoSchedule or NoExecute; without it, all are meant",
        ),
        (
            {"pods": {"tolerations": [{"key": "shops", "effect": "NoSchedule", "tolerationSeconds": 1}]}},
            "tolerationSeconds has an effect with effect NoExecute only: set effect: NoExecute, or remove it",
        ),
        (
            {"pods": {"topologySpreadConstraints": [SPREAD | {"whenUnsatisfiable": "Never"}]}},
            "whenUnsatisfiable must be DoNotSchedule or ScheduleAnyway",
        ),
        (
            {"pods": {"topologySpreadConstraints": [SPREAD | {"minDomains": 2}]}},
            "minDomains has an effect with whenUnsatisfiable DoNotSchedule only: write that, or remove minDomains",
        ),
        (
            {"backup": BACKUP | {"schedule": "every night"}},
            "backup.schedule must be a cron schedule of five fields, or one such as @daily: write for example "
            "0 3 * * *",
        ),
        (
            {"backup": BACKUP | {"verifyStorage": "much"}},
            "backup.verifyStorage must be a Kubernetes quantity: write for example 20Gi",
        ),
        (
            {"backup": BACKUP | {"verifySchedule": "@sometimes"}},
            "backup.verifySchedule must be a cron schedule of five fields, or one such as @daily: write for example "
            "0 6 * * 0",
        ),
        (
            {"backup": BACKUP | {"timeZone": "+01:00"}},
            "backup.timeZone must be a name of the IANA time zone database: write for example Europe/Berlin",
        ),
        (
            {"backup": BACKUP | {"destination": {}}},
            "destination must have exactly one of s3 and volume: remove one, or write one",
        ),
        (
            {"backup": BACKUP | {"destination": DISK | {"s3": {"bucket": "shop", "secretRef": {"name": "bucket"}}}}},
            "destination must have exactly one of s3 and volume: remove one, or write one",
        ),
        (
            {"backup": BACKUP | {"destination": {"s3": {"bucket": "s3://shop", "secretRef": {"name": "bucket"}}}}},
            "s3.bucket must be the name of a bucket alone: write for example shop-backups, and a path in s3.prefix",
        ),
        (
            {"backup": BACKUP | {"destination": {"s3": BUCKET | {"prefix": "/shops/"}}}},
            "s3.prefix must be a path without a slash at its ends: write for example shops/eu",
        ),
        (
            {"backup": BACKUP | {"destination": {"s3": BUCKET | {"endpoint": "minio:9000"}}}},
            "s3.endpoint must be a URL without a path: write for example https://minio.example.com:9000, or remove "
            "it for AWS",
        ),
    ],
)  # fmt: skip
async def test_an_invalid_spec_is_refused_with_advice(
    client: KubernetesClient, connection: ApiClient, spec: dict[str, Any], message: str
) -> None:
    assert_refused(await dry_run(connection, platform(spec)), message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 31, "metadata.name must have at most 30 characters, so that the names of its objects fit: shorten it"),
        (
            "my.shop",
            "metadata.name must begin with a letter and have no dots, since Services are named after it: write for "
            "example my-shop",
        ),
    ],
)
async def test_a_name_that_does_not_fit_the_children_is_refused(
    client: KubernetesClient, connection: ApiClient, name: str, message: str
) -> None:
    assert_refused(await dry_run(connection, platform({}, name)), message)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"profile": "large", "services": {"gateway": {"autoscaling": {"max": 20}}, "order": {"replicas": 2}}},
        {"databases": {"provider": "external", "external": EXTERNAL}},
        {"services": {"payment": {"replicas": 2}, "notification": {"env": {"SHOP_NAME": "The shop"}}}},
        {"payments": {"provider": "stripe", "secretRef": {"name": "stripe"}}},
        {"notifications": {}},
        {"operatorClassName": "staging-2"},
        {"databases": {"image": "registry:5000/library/postgres:17.6"}, "cache": {"image": f"redis@sha256:{'0' * 64}"}},
        {
            "pods": {
                "nodeSelector": {"kubernetes.io/arch": "arm64"},
                "tolerations": [{"operator": "Exists"}, {"key": "a"}],
            }
        },
        {
            "pods": {"labels": {"example.com/team": "", "kueue.x-k8s.io/queue": "a"}},
            "objects": {"labels": {"a": "B_c.9"}},
        },
        {"pods": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}}},
        {"mode": "Observe", "version": "2.0"},
        {"maintenance": {"days": ["Sat", "Sun"], "from": "22:00", "to": "04:00", "timeZone": "Europe/Berlin"}},
        {"maintenance": {}},
        {"hibernated": True},
        {"surge": [{"from": "2026-11-27T06:00:00Z", "until": "2026-11-27T08:00:00+01:00", "factor": 1.5}]},
        {"surge": [{"from": "2026-11-27T06:00:00", "until": "2026-11-28T00:00:00", "timeZone": "UTC", "factor": 2}]},
        {"settings": {"order": {"homeCountry": "GB", "taxBasisPoints": {"GB": 2000, "GR": 2400}}}},
        {"notifications": {"smtp": SMTP, "sms": {"provider": "twilio", "secretRef": {"name": "twilio"}}}},
        {"notifications": {"smtp": SMTP | {"port": 25, "startTls": False}}},
        {"notifications": {"smtp": SMTP | {"secretRef": {"name": "mail"}}}},
        {"ingress": {"enabled": True, "host": "shop.example.com", "gateway": {"name": "public"}}},
    ],
)
async def test_a_valid_spec_is_accepted(client: KubernetesClient, connection: ApiClient, spec: dict[str, Any]) -> None:
    answer = await dry_run(connection, platform(spec))
    assert answer["kind"] == PLATFORM.kind, answer


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
async def test_the_samples_are_accepted_unchanged(
    client: KubernetesClient, connection: ApiClient, sample: Path
) -> None:
    for manifest in yaml.safe_load_all(SAMPLES[sample]):
        if manifest["kind"] == PLATFORM.kind:
            answer = await dry_run(connection, manifest | {"metadata": manifest["metadata"] | {"namespace": "default"}})
            assert answer["spec"].items() >= manifest["spec"].items()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"size": "2Gi"}, {"size": "1024Mi"}, "storage cannot shrink: keep the size or write a larger one"),
        (
            {"storageClassName": "fast"},
            {"storageClassName": "slow"},
            "storageClassName of existing volumes cannot change: keep it, or create a new platform",
        ),
    ],
)
async def test_storage_can_neither_shrink_nor_change_its_class(
    client: KubernetesClient,
    connection: ApiClient,
    namespace: str,
    before: dict[str, str],
    after: dict[str, str],
    message: str,
) -> None:
    def with_storage(storage: dict[str, str]) -> dict[str, Any]:
        return platform({"paused": True, "databases": {"storage": storage}}, namespace=namespace)

    await client.create(PLATFORM, namespace, with_storage(before))
    assert_refused(await dry_run(connection, with_storage(after), "PATCH"), message)


@pytest.mark.parametrize(("before", "after"), [("builtin", "cnpg"), ("cnpg", "builtin")])
async def test_the_databases_of_a_shop_cannot_move_to_or_from_cloudnativepg(
    client: KubernetesClient, connection: ApiClient, namespace: str, before: str, after: str
) -> None:
    def provided_by(provider: str) -> dict[str, Any]:
        return platform({"paused": True, "databases": {"provider": provider}}, namespace=namespace)

    await client.create(PLATFORM, namespace, provided_by(before))
    assert_refused(
        await dry_run(connection, provided_by(after), "PATCH"),
        "databases.provider cnpg cannot be changed, nor changed to, since the data would stay behind: keep it, or "
        "back the shop up and restore it into a new platform (docs/operations.md, Move a shop to CloudNativePG)",
    )


@pytest.mark.parametrize(("before", "after"), [("builtin", "rabbitmq-operator"), ("rabbitmq-operator", "builtin")])
async def test_a_shop_moves_to_another_broker_by_a_restore_alone(
    client: KubernetesClient, connection: ApiClient, namespace: str, before: str, after: str
) -> None:
    def with_broker(provider: str) -> dict[str, Any]:
        return platform({"paused": True, "broker": {"provider": provider}}, namespace=namespace)

    await client.create(PLATFORM, namespace, with_broker(before))
    assert "spec" in await dry_run(connection, with_broker(before), "PATCH")
    assert_refused(
        await dry_run(connection, with_broker(after), "PATCH"),
        "broker.provider rabbitmq-operator cannot be changed, nor changed to, since the events in the queues would "
        "stay behind: keep it, or back the shop up and restore it into a new platform (docs/operations.md, Move a shop "
        "to the RabbitMQ cluster operator)",
    )
