"""Tests that hold for every rendering of the charts, whatever the values."""

import base64
import hashlib
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
import yaml
from chassis.runtime.command import EXIT_DATA_LOST
from devtools.services import grpc_credentials

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., list[Manifest]]
Helm: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

CHARTS = Path(__file__).resolve().parents[1]
DECLARED = tomllib.loads((CHARTS.parent / "proto/shopapi/services.toml").read_text())
SERVICES = tuple(DECLARED)
STORES = ("postgres", "redis", "rabbitmq")
WITH_DATABASE = tuple(name for name in SERVICES if name != "gateway")
LABEL = "app.kubernetes.io/"
WAVE = "platform.ecommerce.dev/wave"

STANDALONE = {
    "gateway": {"cache.existingSecret": "cache"},
    "user": {
        "database.existingSecret": "db",
        "cache.existingSecret": "cache",
        "broker.existingSecret": "broker",
        "jwt.existingSecret": "jwt",
        "admin.existingSecret": "admin",
    },
    "product": {
        "database.existingSecret": "db",
        "cache.existingSecret": "cache",
        "broker.url": "amqp://u:p@broker/",
    },
    "inventory": {"database.existingSecret": "db", "broker.existingSecret": "broker"},
    "order": {"database.password": "0123456789abcdef", "database.host": "db", "broker.url": "amqp://u:p@broker/"},
    "payment": {
        "database.existingSecret": "db",
        "broker.existingSecret": "broker",
        "provider": "stripe",
        "stripe.secretKey": "sk_test",
        "stripe.webhookSecret": "whsec_test",
    },
    "notification": {
        "database.existingSecret": "db",
        "broker.existingSecret": "broker",
        "smtp.host": "mail.example.com",
        "smtp.from": "shop@example.com",
        "smtp.user": "shop",
        "smtp.password": "mail-password",
        "sms.provider": "twilio",
        "sms.existingSecret": "twilio",
    },
    "review": {"database.existingSecret": "db", "broker.existingSecret": "broker"},
    "postgres": {"password": "0123456789abcdef", "global.tls.plainStores[0]": "postgres"},
    "redis": {"password": "0123456789abcdef", "global.tls.plainStores[0]": "redis"},
    "rabbitmq": {"existingSecret": "rabbit"},
    "monitoring": {"global.monitoring.prometheus": "true"},
}
for _service in SERVICES:
    STANDALONE[_service]["global.grpc.secret"] = "0123456789abcdef0123456789abcdef"
AUTOSCALING = {f"{service}.autoscaling.enabled": "true" for service in SERVICES}
EXISTING_SECRETS = {
    **{f"{service}-db.existingSecret": f"shop-{service}-db" for service in WITH_DATABASE},
    **{f"{store}.existingSecret": f"shop-{store}" for store in ("redis", "rabbitmq")},
    "user.jwt.existingSecret": "shop-jwt",
    "user.admin.existingSecret": "shop-admin",
    **{f"{service}.grpc.existingSecret": f"shop-{service}-grpc" for service in SERVICES},
}
RUNTIME_SECRETS = {f"{service}.database.runtimeSecret": f"shop-{service}-db-runtime" for service in WITH_DATABASE}
BROKER_SECRETS = {f"{service}.broker.existingSecret": f"shop-{service}-broker" for service in WITH_DATABASE}
CERTIFICATES = {
    **{
        f"{store}.tls": f"shop-{store}-tls"
        for store in (*(f"{name}-db" for name in WITH_DATABASE), "redis", "rabbitmq")
    },
    "global.tls.caCertificate": "shop-ca",
}
SHARED_BROKER_USER = {f"{service}.broker.existingSecret": "shop-rabbitmq" for service in WITH_DATABASE}
DATABASE_KEYS = ("DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME")
EXTERNAL_DATABASES = {
    **EXISTING_SECRETS,
    **{f"{service}-db.enabled": "false" for service in WITH_DATABASE},
    **{f"{service}.database.existingSecret": f"outside-{service}" for service in WITH_DATABASE},
}
PROVIDERS = {
    "payment.provider": "stripe",
    "global.settings.paymentProvider": "stripe",
    "payment.stripe.existingSecret": "stripe",
    "notification.smtp.host": "mail.example.com",
    "notification.smtp.port": "2525",
    "notification.smtp.from": "shop@example.com",
    "notification.smtp.existingSecret": "smtp",
    "notification.sms.provider": "twilio",
    "notification.sms.existingSecret": "twilio",
}
CLUSTERS = {
    **{f"{service}-db.provider": "cnpg" for service in WITH_DATABASE},
    "order-db.instances": "3",
    "payment-db.instances": "2",
}
PLATFORM_CASES: dict[str, dict[str, str]] = {
    "cloudnativepg": CLUSTERS | {"global.monitoring.serviceMonitors": "true"},
    "defaults": {},
    "autoscaling": AUTOSCALING,
    "ingress": {"ingress.enabled": "true", "ingress.host": "shop.example.com", "ingress.tls.secretName": "tls"},
    "gateway api": {"gatewayApi.enabled": "true", "gatewayApi.parentRef.name": "edge"},
    "no policies": {"global.networkPolicies.enabled": "false"},
    "own prometheus": {"global.monitoring.prometheus": "true", "monitoring.operator": "operator.operators.svc"},
    "shared prometheus": {"global.monitoring.serviceMonitors": "true", "global.monitoring.alerts": "true"},
    "existing secrets": EXISTING_SECRETS,
    "external databases": EXTERNAL_DATABASES,
    "one broker user": SHARED_BROKER_USER,
    "providers": PROVIDERS,
    "plain stores": {"global.tls.plainStores[0]": "redis", "global.tls.plainStores[1]": "order-db"},
    "delete": {"global.deletionPolicy": "Delete", "global.storageClassName": "fast"},
    "images": {
        "global.image.registry": "localhost:5001",
        "global.image.tag": "abc",
        "global.image.pullSecrets[0]": "key",
    },
}


def set_arguments(values: dict[str, str]) -> list[str]:
    """Returns the `--set` arguments of Helm for values by path."""
    return [argument for name, value in values.items() for argument in ("--set", f"{name}={value}")]


CASES = [*(f"alone: {chart}" for chart in STANDALONE), *(f"platform: {case}" for case in PLATFORM_CASES)]


@pytest.fixture(params=CASES)
def manifests(request: pytest.FixtureRequest, render: Render, secrets: str) -> list[Manifest]:
    """Renders each chart alone, then the platform with each set of values."""
    kind, _, case = str(request.param).partition(": ")
    if kind == "alone":
        return render(case, *set_arguments(STANDALONE[case]))
    return render_platform(render, secrets, PLATFORM_CASES[case])


def render_platform(render: Render, secrets: str, values: dict[str, str], release: str = "shop") -> list[Manifest]:
    """Renders the platform, with secrets from the file unless the values name existing ones."""
    file = () if "user.jwt.existingSecret" in values else ("--values", secrets)
    return render("platform", *file, *set_arguments(values), release=release)


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """Returns the manifests of these kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Returns the one manifest of this kind and name."""
    (found,) = [manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name]
    return found


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yields every pod template with the name of its owner."""
    for manifest in of_kind(manifests, "Deployment", "StatefulSet", "Job"):
        yield manifest["metadata"]["name"], manifest["spec"]["template"]


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yields every container with the name of the owner of its pod."""
    for name, pod in pods(manifests):
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            yield name, container


def values_of(chart: str) -> Any:
    """Returns the values.yaml of a chart."""
    return yaml.safe_load((CHARTS / chart / "values.yaml").read_text())


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """Returns whether a label selector matches these labels."""
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))


# Every object.


def test_every_object_has_the_recommended_labels_and_its_wave(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        metadata = manifest["metadata"]
        assert metadata["namespace"] == "tests"
        labels = {key.removeprefix(LABEL): value for key, value in metadata["labels"].items()}
        assert labels.keys() == {"name", "instance", "component", "part-of", "managed-by", "version"}
        assert (labels["instance"], labels["part-of"], labels["managed-by"]) == ("shop", "ecommerce", "Helm")
        assert all(re.fullmatch(r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?", value) for value in labels.values())
        assert metadata["name"].startswith("shop-")
        assert metadata["annotations"][WAVE] == str(wave(manifest)), metadata["name"]
        assert not any(key.startswith("helm.sh/hook") for key in metadata["annotations"]), "hooks"


def wave(manifest: Manifest) -> int:
    """Returns the wave in which the operator applies an object."""
    if manifest["kind"] == "Deployment":
        return 4 if manifest["metadata"]["labels"][f"{LABEL}component"] == "gateway" else 3
    if manifest["kind"] == "StatefulSet":
        return 5 if manifest["metadata"]["labels"][f"{LABEL}component"] == "monitoring" else 1
    late = {
        "Cluster": 1,
        "Job": 2,
        "HorizontalPodAutoscaler": 4,
        "Ingress": 4,
        "HTTPRoute": 4,
        "ServiceMonitor": 5,
        "PrometheusRule": 5,
    }
    return late.get(manifest["kind"], 0)


def test_no_two_objects_share_a_name(manifests: list[Manifest]) -> None:
    keys = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(keys) == len(set(keys))


def test_the_longest_release_name_gives_valid_object_names(render: Render, secrets: str) -> None:
    values = AUTOSCALING | {"global.tls.release": "r" * 30}
    for manifest in render_platform(render, secrets, values, release="r" * 30):
        assert len(manifest["metadata"]["name"]) <= (52 if manifest["kind"] == "StatefulSet" else 63)


NAMES = (
    *("ingress.className", "ingress.tls.secretName", "gatewayApi.parentRef.name", "gatewayApi.parentRef.namespace"),
    *("global.image.pullSecrets[0]", "global.storageClassName", "global.managedBy", "notification.smtp.host"),
    *("payment.stripe.existingSecret", "notification.smtp.existingSecret", "notification.sms.existingSecret"),
)
WITH_EVERY_NAME = set_arguments({
    **PLATFORM_CASES["own prometheus"], **PLATFORM_CASES["shared prometheus"], **PROVIDERS, **AUTOSCALING,
    "ingress.enabled": "true", "gatewayApi.enabled": "true",
})  # fmt: skip


@pytest.mark.parametrize("word", ["no", "on", "off", "yes", "true", "false", "1e3", "2026-01-01"])
def test_a_release_name_that_yaml_reads_as_another_type_stays_a_string(render: Render, secrets: str, word: str) -> None:
    def types_by_object(word: str) -> dict[str, Any]:
        release = "shop" if word[0].isdigit() else word
        names = [f"--set-string={path}={word}" for path in NAMES] + [f"--set-string=global.tls.release={release}"]
        chosen = (*WITH_EVERY_NAME, *names, f"--namespace={word}")
        manifests = render("platform", "--values", secrets, *chosen, release=release)
        return {identity(manifest, release): value_types(manifest) for manifest in manifests}

    assert types_by_object(word) == types_by_object("word")


def identity(manifest: Manifest, release: str) -> str:
    """Returns the kind and name of a manifest, without the release name and the hash of a migration."""
    name = manifest["metadata"]["name"].removeprefix(f"{release}-")
    return f"{manifest['kind']} {re.sub('-migrate-[0-9a-f]{8}$', '-migrate', name)}"


def value_types(value: Any) -> Any:
    """Returns the manifest, or a Prometheus configuration in it, with each value replaced by its type."""
    if isinstance(value, list):
        return [value_types(one) for one in value]
    if isinstance(value, dict):
        return {key: value_types(yaml.safe_load(one) if key == "prometheus.yml" else one) for key, one in value.items()}
    return type(value).__name__


def test_the_same_values_give_the_same_bytes(helm: Helm, secrets: str) -> None:
    renderings = {helm("template", "shop", "platform", "--values", secrets).stdout for _ in range(5)}
    assert len(renderings) == 1
    assert renderings != {""}


def test_templates_depend_on_neither_cluster_nor_time() -> None:
    banned = re.compile(
        r"\b(lookup|rand\w+|shuffle|uuidv4|now|gen\w*(?:Cert|CA|Key|Password)\w*|htpasswd|bcrypt)\b"
        r"|\.(?:Capabilities|Release\.Is\w+|Release\.Revision)|\(values "  # `values` returns them in no fixed order
    )
    comment_or_string = re.compile(r'/\*.*?\*/|"[^"\n]*"', re.DOTALL)
    for template in CHARTS.glob("*/templates/*"):
        assert not banned.findall(comment_or_string.sub("", template.read_text())), template


def test_the_operator_renders_the_same_objects_except_for_the_manager_label(render: Render, secrets: str) -> None:
    by_helm = render_platform(render, secrets, EXISTING_SECRETS)
    by_operator = render_platform(render, secrets, {**EXISTING_SECRETS, "global.managedBy": "ecommerce-operator"})
    text = json.dumps(by_helm).replace('managed-by": "Helm"', 'managed-by": "ecommerce-operator"')
    assert json.loads(text) == by_operator


# Pods.


def test_every_pod_meets_the_restricted_level(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        spec = pod["spec"]
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        kinds = {key for volume in spec.get("volumes", []) for key in volume if key != "name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret", "downwardAPI"}
    for name, container in containers(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert not any("hostPort" in port for port in container.get("ports", []))


def test_assigned_user_ids_are_left_out_of_every_pod(render: Render, secrets: str) -> None:
    ids = {"runAsUser", "runAsGroup", "fsGroup"}
    assigned = render_platform(render, secrets, {"global.pods.userIds": "Assigned"})
    for name, pod in pods(assigned):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True, name
        assert not ids & pod["spec"]["securityContext"].keys(), name


def test_fields_of_the_pod_security_context_are_replaced(render: Render, secrets: str) -> None:
    replaced = render_platform(render, secrets, {"global.pods.securityContext.runAsUser": "1000650000"})
    for name, pod in pods(replaced):
        context = pod["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsNonRoot"]) == (1000650000, True), name


POD_FIELDS: dict[str, Any] = {
    "nodeSelector": {"pool": "shops", "numeric": "1"},
    "tolerations": [{"key": "shops", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
    "priorityClassName": "high",
}
SPREAD = {"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}


def set_json(path: str, value: Any) -> tuple[str, str]:
    """Returns the Helm arguments that set a value to JSON."""
    return "--set-json", f"{path}={json.dumps(value)}"


def test_scheduling_applies_to_services_stores_and_migrations_alike(render: Render, secrets: str) -> None:
    settings = set_json("global.pods", {"userIds": "Fixed", "securityContext": {}, **POD_FIELDS})
    manifests = render("platform", "--values", secrets, *settings, "--set=global.monitoring.prometheus=true")
    assert {manifest["kind"] for manifest in manifests if "template" in manifest.get("spec", {})} == {
        "Deployment", "StatefulSet", "Job",
    }  # fmt: skip
    for name, pod in pods(manifests):
        assert {field: pod["spec"].get(field) for field in POD_FIELDS} == POD_FIELDS, name


def test_topology_constraints_replace_the_default_and_select_the_pods_of_their_service(
    render: Render, secrets: str
) -> None:
    spread = set_json("global.pods.topologySpreadConstraints", [SPREAD])
    for deployment in of_kind(render("platform", "--values", secrets, *spread), "Deployment"):
        selector = deployment["spec"]["selector"]
        constraints = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert constraints == [SPREAD | {"labelSelector": selector}]


def test_further_labels_and_annotations_reach_every_object_and_every_pod(render: Render, secrets: str) -> None:
    plain = render_platform(render, secrets, PLATFORM_CASES["own prometheus"])
    extra = [
        *set_json("global.pods.labels", {"team": "1"}), *set_json("global.pods.annotations", {"note": "of pods"}),
        *set_json("global.objects.labels", {"cost": "7"}), *set_json("global.objects.annotations", {"note": "#1"}),
        *set_arguments(PLATFORM_CASES["own prometheus"]),
    ]  # fmt: skip
    extended = render("platform", "--values", secrets, *extra)
    for before, after in zip(plain, extended, strict=True):
        own, more = before["metadata"], after["metadata"]
        assert more["labels"] == own["labels"] | {"cost": "7"}
        assert more["annotations"] == own["annotations"] | {"note": "#1"}
        assert before["spec"].get("selector") == after["spec"].get("selector") if "spec" in before else True
    own_pods, more_pods = list(pods(plain)), list(pods(extended))
    for (_, before), (name, after) in zip(own_pods, more_pods, strict=True):
        own, more = before["metadata"], after["metadata"]
        assert more["labels"] == own["labels"] | {"team": "1"}, name
        assert more["annotations"] == own.get("annotations", {}) | {"note": "of pods"}, name
    templates = (manifest["spec"].get("volumeClaimTemplates", []) for manifest in of_kind(extended, "StatefulSet"))
    assert not any("cost" in claim["metadata"]["labels"] for claims in templates for claim in claims), "immutable"


@pytest.mark.parametrize("part", ["pods", "objects"])
@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("labels", "app.kubernetes.io/component"),
        ("labels", "platform.ecommerce.dev/platform"),
        ("labels", "pod-template-hash"),
        ("annotations", "platform.ecommerce.dev/wave"),
        ("annotations", "kubectl.kubernetes.io/default-container"),
    ],
)
def test_labels_and_annotations_of_the_platform_are_refused(helm: Helm, part: str, field: str, name: str) -> None:
    settings = [*set_arguments(STANDALONE["order"]), *set_json(f"global.{part}.{field}", {name: "other"})]
    refused = helm("template", "shop", "order", *settings)
    assert refused.returncode != 0
    expected = f"global.{part}.{field}: {name} is set by the platform or by Kubernetes: use a name of your own"
    assert expected in refused.stderr


def test_every_container_has_requests_and_limits(manifests: list[Manifest]) -> None:
    for name, container in containers(manifests):
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
        assert "memory" in container["resources"]["limits"], name


def test_every_server_has_its_three_probes(manifests: list[Manifest]) -> None:
    for manifest in of_kind(manifests, "Deployment", "StatefulSet"):
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
        if manifest["kind"] == "Deployment":
            paths = [container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")]
            assert paths == ["/health", "/health", "/ready"]


def test_the_small_shop_requests_no_more_than_its_budget(render: Render, secrets: str) -> None:
    manifests = of_kind(render_platform(render, secrets, {}), "Deployment", "StatefulSet")
    requested = [container["resources"]["requests"] for _, container in containers(manifests)]
    assert len(requested) == len(SERVICES) + len(WITH_DATABASE) + len(("redis", "rabbitmq", "its listeners"))
    assert sum(millicores(requests["cpu"]) for requests in requested) <= 1500
    assert sum(mebibytes(requests["memory"]) for requests in requested) <= 3 * 1024


def test_two_shops_and_a_rollout_fit_on_two_processors_beside_the_kind_cluster(render: Render, secrets: str) -> None:
    shop = requested_millicores(render_platform(render, secrets, {}))
    install = (CHARTS.parent / "hack/cluster/install-operator").read_text()
    operator = requested_millicores(render("operator", *re.findall(r"--set replicas=\d+", install)[0].split()))
    rollout = 100  # a migration and a new pod
    assert shop > 500, "the shop's requests were found"
    assert 2 * shop + operator + sum(control_plane_millicores()) + rollout <= 2000


def requested_millicores(manifests: list[Manifest]) -> float:
    """Returns what the pods request that keep running."""
    requested: float = sum(
        workload["spec"].get("replicas", 1) * millicores(container["resources"]["requests"]["cpu"])
        for workload in of_kind(manifests, "Deployment", "StatefulSet")
        for container in workload["spec"]["template"]["spec"]["containers"]
    )
    return requested


def control_plane_millicores() -> Iterator[float]:
    """Yields what each component of the kind cluster requests."""
    cluster = CHARTS.parent / "hack/cluster"
    patches = sorted((cluster / "patches").glob("*.yaml"))
    assert len(patches) == 5, "the patch of every component was found"
    for patch in patches:
        spec = yaml.safe_load(patch.read_text())["spec"]
        for container in spec.get("template", {"spec": spec})["spec"]["containers"]:
            yield millicores(container["resources"]["requests"]["cpu"])
    (kube_proxy,) = re.findall(r"daemonset/kube-proxy --requests=cpu=(\w+)", (cluster / "kind-cluster").read_text())
    yield millicores(kube_proxy)


def millicores(quantity: str) -> float:
    """Returns a quantity of processor time in millicores."""
    return float(quantity.removesuffix("m")) if quantity.endswith("m") else 1000 * float(quantity)


def mebibytes(quantity: str) -> float:
    """Returns a quantity of memory in MiB; knows the units that the charts use."""
    return float(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


@pytest.mark.parametrize(
    ("memory", "buffers", "connections"), [("256Mi", "32MB", 60), ("1Gi", "128MB", 240), ("512M", "61MB", 114)]
)
def test_a_database_grows_with_its_memory(render: Render, memory: str, buffers: str, connections: int) -> None:
    values = {**STANDALONE["postgres"], "resources.limits.memory": memory}
    (database,) = of_kind(render("postgres", *set_arguments(values)), "StatefulSet")
    arguments = database["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {f"shared_buffers={buffers}", f"max_connections={connections}"} <= set(arguments)


# Workloads.


def test_an_autoscaled_deployment_sets_no_replicas(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, AUTOSCALING)
    scaled = {manifest["spec"]["scaleTargetRef"]["name"] for manifest in of_kind(manifests, "HorizontalPodAutoscaler")}
    assert scaled == {f"shop-{service}" for service in SERVICES}
    assert not [deployment for deployment in of_kind(manifests, "Deployment") if "replicas" in deployment["spec"]]


def test_a_hibernated_shop_is_the_same_without_pods_and_what_acts_on_pods(render: Render, secrets: str) -> None:
    monitored = AUTOSCALING | {"global.monitoring.prometheus": "true"}
    awake = render_platform(render, secrets, monitored)
    for hibernated, stores in (("Services", 1), ("All", 0)):
        asleep = render_platform(render, secrets, monitored | {"global.hibernated": hibernated})
        assert {one["spec"]["replicas"] for one in of_kind(asleep, "Deployment")} == {0}
        assert {one["spec"]["replicas"] for one in of_kind(asleep, "StatefulSet")} == {stores}
        left = {(one["kind"], one["metadata"]["name"]) for one in awake} - {
            (one["kind"], one["metadata"]["name"]) for one in asleep
        }
        assert {kind for kind, _ in left} == {"Job", "HorizontalPodAutoscaler"}
        pods = {one["metadata"]["name"]: one["spec"]["template"] for one in asleep if "template" in one.get("spec", {})}
        known = {one["metadata"]["name"]: one["spec"]["template"] for one in awake if "template" in one.get("spec", {})}
        assert pods.items() <= known.items(), "waking replaces no pod that was not stopped"


def test_an_autoscaler_adds_pods_in_small_steps_for_load_that_stays(render: Render, secrets: str) -> None:
    for autoscaler in of_kind(render_platform(render, secrets, AUTOSCALING), "HorizontalPodAutoscaler"):
        up = autoscaler["spec"]["behavior"]["scaleUp"]
        assert up["stabilizationWindowSeconds"] == 60
        assert up["policies"] == [{"type": "Percent", "value": 50, "periodSeconds": 60}]


def test_the_first_new_pod_of_several_is_a_canary(render: Render, secrets: str) -> None:
    several = {"user.replicas": "2", "order.autoscaling.enabled": "true", "order.autoscaling.min": "2"}
    manifests = render_platform(render, secrets, EXISTING_SECRETS | several)
    seconds = {
        one["metadata"]["name"]: one["spec"]["minReadySeconds"]
        for one in manifests
        if one["kind"] == "Deployment" and "minReadySeconds" in one["spec"]
    }
    assert seconds == {"shop-user": 10, "shop-order": 10}, "a single pod has none that could wait for it"


def test_a_rollout_never_reduces_the_number_of_ready_pods(manifests: list[Manifest]) -> None:
    for deployment in of_kind(manifests, "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 40


def test_each_component_has_a_disruption_budget_and_a_service_account(manifests: list[Manifest]) -> None:
    servers = {manifest["metadata"]["name"] for manifest in of_kind(manifests, "Deployment", "StatefulSet")}
    for kind in ("PodDisruptionBudget", "ServiceAccount"):
        assert {manifest["metadata"]["name"] for manifest in of_kind(manifests, kind)} == servers


def test_a_drain_never_waits_for_a_pod(manifests: list[Manifest]) -> None:
    """A budget that keeps the only pod of a store, or one that never becomes ready, would stop a drain for ever."""
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert (budget["spec"]["maxUnavailable"], "minAvailable" in budget["spec"]) == (1, False)
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_every_selector_matches_the_pods_of_its_component_and_no_migration(manifests: list[Manifest]) -> None:
    templates = dict(pods(manifests))
    for manifest in of_kind(manifests, "Service", "PodDisruptionBudget", "Deployment", "StatefulSet"):
        selector = manifest["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        assert selector.keys() == {f"{LABEL}instance", f"{LABEL}component"}
        selected = [
            name for name, pod in templates.items() if matches({"matchLabels": selector}, pod["metadata"]["labels"])
        ]
        served = re.sub("-(grpc|pods)$", "", manifest["metadata"]["name"])
        assert selected == [name for name in templates if name == served]


def test_grpc_services_are_headless(render: Render, secrets: str) -> None:
    services = of_kind(render_platform(render, secrets, {}), "Service")
    grpc = {service["metadata"]["name"] for service in services if service["spec"].get("clusterIP") == "None"}
    assert grpc == {f"shop-{service}-grpc" for service in WITH_DATABASE}


def test_a_migration_runs_again_only_when_its_image_or_settings_change(render: Render, secrets: str) -> None:
    def jobs(values: dict[str, str]) -> frozenset[str]:
        names = {str(job["metadata"]["name"]) for job in of_kind(render_platform(render, secrets, values), "Job")}
        assert len(names) == len(WITH_DATABASE)
        assert all(re.fullmatch(r"shop-[a-z]+-migrate-[0-9a-f]{8}", name) for name in names)
        return frozenset(names)

    same = [
        {},
        AUTOSCALING,
        {"order.replicas": "3", "order.env.LOG_LEVEL": "DEBUG", "global.managedBy": "ecommerce-operator"},
    ]
    other = [{"global.image.tag": "next"}, {"global.image.registry": "registry.example.com"}, EXTERNAL_DATABASES]
    assert len({jobs(values) for values in same}) == 1
    assert not any(jobs({}) & jobs(values) for values in other)
    assert len({jobs(values) for values in [{}, *other]}) == 4


def test_volumes_are_retained_unless_the_deletion_policy_is_delete(render: Render, secrets: str) -> None:
    for values, policy, storage_class in (({}, "Retain", None), (PLATFORM_CASES["delete"], "Delete", "fast")):
        kept = [
            s["spec"]
            for s in of_kind(render_platform(render, secrets, values), "StatefulSet")
            if "volumeClaimTemplates" in s["spec"]
        ]
        assert len(kept) == len(WITH_DATABASE) + 1
        assert {spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] for spec in kept} == {policy}
        claims = [claim for spec in kept for claim in spec["volumeClaimTemplates"]]
        assert {claim["spec"].get("storageClassName") for claim in claims} == {storage_class}
        assert all(f"{LABEL}version" not in claim["metadata"]["labels"] for claim in claims), (
            "it could never change again"
        )


# Environment of the services.


def test_each_service_gets_exactly_its_variables(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, {})
    database = {*DATABASE_KEYS, "DB_CA"}
    common = {"TENANT", "SERVICE_VERSION", "LOG_LEVEL", "HTTP_PORT", "METRICS_PORT"}
    shared = common | database | {"GRPC_PORT", "RABBITMQ_URL", "RABBITMQ_CA"}
    redis = {"REDIS_URL", "REDIS_CA"}
    urls = {f"{service.upper()}_URL" for service in WITH_DATABASE}
    tokens = {"GRPC_TOKENS", "GRPC_CALLERS"}
    jwt = {"JWT_SECRET", "JWT_SECRET_NEXT", "JWT_SECRET_PREVIOUS"}
    admin = {"ADMIN_EMAIL", "ADMIN_PASSWORD", "ADMIN_PASSWORD_PREVIOUS"}
    expected = {
        "gateway": common | urls | redis | {"USER_GRPC", "GRPC_TOKENS"},
        "user": shared | jwt | redis | admin | {"GRPC_CALLERS"},
        "product": shared | tokens | redis | {"USER_GRPC", "INVENTORY_GRPC", "REVIEW_GRPC"},
        "inventory": shared | tokens | {"USER_GRPC", "PRODUCT_GRPC", "ORDER_GRPC"},
        "order": shared | tokens | {"USER_GRPC", "PRODUCT_GRPC", "INVENTORY_GRPC", "PAYMENT_GRPC"},
        "payment": shared | tokens | {"USER_GRPC", "ORDER_GRPC", "PAYMENT_PROVIDER"},
        "notification": shared | {"USER_GRPC", "GRPC_TOKENS", "SMS_PROVIDER", "SHOP_NAME", "SHOP_URL"},
        "review": shared | tokens | {"USER_GRPC", "PRODUCT_GRPC", "ORDER_GRPC"},
    }
    for service, names in expected.items():
        deployment = named(manifests, "Deployment", f"shop-{service}")
        env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        assert sorted(variable["name"] for variable in env) == sorted(names), service
        if service in WITH_DATABASE:
            (job,) = [
                m for m in of_kind(manifests, "Job") if m["metadata"]["name"].startswith(f"shop-{service}-migrate-")
            ]
            migrating = {variable["name"] for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]}
            recorded = {"LOG_LEVEL", "TENANT", "DB_MIGRATED_AT"}
            assert migrating == recorded | {"DB_RUNTIME_USER", "DB_RUNTIME_PASSWORD"} | database


def test_a_migration_that_finds_lost_data_fails_at_once(render: Render, secrets: str) -> None:
    for job in of_kind(render_platform(render, secrets, {}), "Job"):
        (rule,) = job["spec"]["podFailurePolicy"]["rules"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert rule["action"] == "FailJob"
        assert rule["onExitCodes"] == {
            "containerName": container["name"], "operator": "In", "values": [EXIT_DATA_LOST]
        }  # fmt: skip
        service = job["metadata"]["labels"][f"{LABEL}component"]
        (recorded,) = [v["valueFrom"]["configMapKeyRef"] for v in container["env"] if v["name"] == "DB_MIGRATED_AT"]
        assert recorded == {"name": "shop-databases", "key": service, "optional": True}


def test_settings_of_the_shop_reach_every_service(render: Render, secrets: str) -> None:
    chosen = {"global.settings.currencies": "{USD,EUR}", "order.settings.orderTtlSeconds": "600"}
    manifests = render_platform(render, secrets, PROVIDERS | chosen)

    for service in ("order", "product"):
        assert env_of(manifests, service)["CURRENCIES"] == "USD,EUR"
    order = env_of(manifests, "order")
    assert (order["PAYMENT_PROVIDER"], order["ORDER_TTL_SECONDS"]) == ("stripe", "600")


def env_of(manifests: list[Manifest], service: str) -> dict[str, Any]:
    """Returns the environment of a service by variable: a value, or the name and key of a Secret."""
    deployment = named(manifests, "Deployment", f"shop-{service}")
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return {v["name"]: v["value"] if "value" in v else tuple(v["valueFrom"]["secretKeyRef"].values()) for v in env}


@pytest.mark.parametrize("value", ["nextSecret", "previousSecret"])
def test_a_rotated_signing_secret_is_read_from_the_same_secret(render: Render, secrets: str, value: str) -> None:
    variable, given = f"JWT_SECRET_{value.removesuffix('Secret').upper()}", "another-0123456789abcdef01234567"
    manifests = render_platform(render, secrets, {f"user.jwt.{value}": given})

    assert env_of(manifests, "user")[variable] == ("shop-jwt", variable, True)
    content = named(manifests, "Secret", "shop-jwt")["data"]
    assert set(content) == {"JWT_SECRET", variable}
    assert base64.b64decode(content[variable]).decode() == given


def test_a_signing_secret_is_never_a_plain_variable(helm: Helm, secrets: str) -> None:
    plain = set_arguments({"user.env.JWT_SECRET_NEXT": "0123456789abcdef0123456789abcdef"})
    refused = helm("template", "shop", "platform", "--values", secrets, *plain)

    assert "env.JWT_SECRET_NEXT of user is read from a Secret: set jwt.existingSecret instead" in refused.stderr


def test_payment_gets_its_provider_and_only_the_secrets_of_stripe(render: Render, secrets: str) -> None:
    assert env_of(render_platform(render, secrets, {}), "payment")["PAYMENT_PROVIDER"] == "simulated"
    env = env_of(render_platform(render, secrets, PROVIDERS), "payment")
    assert env["PAYMENT_PROVIDER"] == "stripe"
    assert {name: value for name, value in env.items() if name.startswith("STRIPE_")} == {
        "STRIPE_SECRET_KEY": ("stripe", "STRIPE_SECRET_KEY"),
        "STRIPE_WEBHOOK_SECRET": ("stripe", "STRIPE_WEBHOOK_SECRET"),
    }


def test_notification_gets_its_mail_server_and_sms_provider(render: Render, secrets: str) -> None:
    alone = env_of(render_platform(render, secrets, {}), "notification")
    assert (alone["SHOP_NAME"], alone["SHOP_URL"]) == ("shop", "http://shop-gateway.tests.svc:8080")
    env = env_of(render_platform(render, secrets, PROVIDERS), "notification")
    assert {name: value for name, value in env.items() if name.startswith(("SMTP_", "SMS_", "TWILIO_"))} == {
        "SMTP_HOST": "mail.example.com",
        "SMTP_PORT": "2525",
        "SMTP_FROM": "shop@example.com",
        "SMTP_STARTTLS": "true",
        "SMTP_USER": ("smtp", "SMTP_USER"),
        "SMTP_PASSWORD": ("smtp", "SMTP_PASSWORD"),
        "SMS_PROVIDER": "twilio",
        **{f"TWILIO_{key}": ("twilio", f"TWILIO_{key}") for key in ("ACCOUNT_SID", "AUTH_TOKEN", "FROM")},
    }

    public = {**PROVIDERS, "notification.shop.url": "https://shop.example.com/"}
    reachable = env_of(render_platform(render, secrets, public), "notification")
    assert reachable["TWILIO_STATUS_CALLBACK"] == "https://shop.example.com/api/v1/webhooks/twilio"


def test_every_address_names_a_service_and_one_of_its_ports(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, {})
    ports = {
        f"{service['metadata']['name']}:{port['port']}"
        for service in of_kind(manifests, "Service")
        for port in service["spec"]["ports"]
    }
    addresses = {
        variable["value"].removeprefix("http://")
        for _, container in containers(of_kind(manifests, "Deployment"))
        for variable in container["env"]
        if variable["name"].endswith(("_GRPC", "_URL")) and variable["name"] != "SHOP_URL" and "value" in variable
    }
    assert len(addresses) == 7 + 6
    assert addresses <= ports


def test_env_of_the_values_overrides_the_chart_but_never_a_secret(render: Render, helm: Helm) -> None:
    values = {**STANDALONE["order"], "env.USER_GRPC": "elsewhere:1", "env.EXTRA": "yes"}
    (deployment,) = of_kind(render("order", *set_arguments(values)), "Deployment")
    env = {v["name"]: v.get("value") for v in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (env["USER_GRPC"], env["EXTRA"]) == ("elsewhere:1", "yes")
    refused = helm("template", "shop", "order", *set_arguments({**STANDALONE["order"], "env.DB_PASSWORD": "x"}))
    assert "env.DB_PASSWORD of order is read from a Secret" in refused.stderr


# Secrets.


def test_a_pod_gets_its_own_tokens_and_of_its_callers_only_digests(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, {})
    tokens = {service: pairs_of(manifests, service, "GRPC_TOKENS") for service in SERVICES}

    assert {service: {callee for callee, _ in pairs} for service, pairs in tokens.items()} == {
        service: set(declared["neighbours"]) for service, declared in DECLARED.items()
    }
    shown = [token for pairs in tokens.values() for _, token in pairs]
    assert len(shown) == len(set(shown))
    for service in SERVICES:
        assert sorted(pairs_of(manifests, service, "GRPC_CALLERS")) == sorted(
            (caller, hashlib.sha256(token.encode()).hexdigest())
            for caller, pairs in tokens.items()
            for callee, token in pairs
            if callee == service
        )
        sources = env_of(manifests, service)
        given = {"GRPC_TOKENS": tokens[service], "GRPC_CALLERS": pairs_of(manifests, service, "GRPC_CALLERS")}
        assert {name: sources[name] for name in given if name in sources} == {
            name: (f"shop-{service}-grpc", name) for name, pairs in given.items() if pairs
        }


def test_the_next_secret_is_accepted_but_not_yet_shown(render: Render, secrets: str) -> None:
    following = {"global.grpc.nextSecret": "next" * 10}
    before, both = render_platform(render, secrets, {}), render_platform(render, secrets, following)
    after = render_platform(render, secrets, {"global.grpc.secret": "next" * 10})

    assert pairs_of(both, "order", "GRPC_TOKENS") == pairs_of(before, "order", "GRPC_TOKENS")
    assert pairs_of(both, "order", "GRPC_CALLERS") == [
        *pairs_of(before, "order", "GRPC_CALLERS"),
        *pairs_of(after, "order", "GRPC_CALLERS"),
    ]


def test_charts_and_processes_derive_the_same_tokens(render: Render, secrets: str) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    manifests = render_platform(render, secrets, {"global.grpc.secret": secret})

    for service in SERVICES:
        derived = grpc_credentials(service, secret)
        for variable in ("GRPC_TOKENS", "GRPC_CALLERS"):
            pairs = dict(pairs_of(manifests, service, variable))
            assert pairs == dict(pair.split("=") for pair in derived.get(variable, "").split(",") if pair)


def test_tokens_are_required_unless_the_shop_says_otherwise(render: Render, secrets: str) -> None:
    assert "GRPC_AUTHENTICATION" not in env_of(render_platform(render, secrets, {}), "user")
    optional = render_platform(render, secrets, {"global.settings.grpcAuthentication": "optional"})
    assert env_of(optional, "user")["GRPC_AUTHENTICATION"] == "optional"


def test_a_shop_without_a_secret_for_tokens_is_refused(helm: Helm) -> None:
    stores = {"database.existingSecret": "db", "broker.existingSecret": "broker"}
    refused = helm("template", "shop", "notification", *set_arguments(stores))

    assert "set grpc.existingSecret to the name of a Secret with the keys GRPC_TOKENS" in refused.stderr
    assert "or global.grpc.secret to a value" in refused.stderr


def pairs_of(manifests: list[Manifest], service: str, variable: str) -> list[tuple[str, str]]:
    """Returns the pairs of a variable that the Secret of a service has, none if it has no such variable."""
    secret = named(manifests, "Secret", f"shop-{service}-grpc")
    text = base64.b64decode(secret["data"].get(variable, "")).decode()
    return [(pair.partition("=")[0], pair.partition("=")[2]) for pair in text.split(",") if pair]


def test_every_secret_key_that_a_pod_reads_exists(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, {})
    made = {(s["metadata"]["name"], key) for s in of_kind(manifests, "Secret") for key in s["data"]}
    created = EXISTING_SECRETS | RUNTIME_SECRETS | BROKER_SECRETS | CERTIFICATES
    assert {name for name, _ in made} == set(created.values())
    read = {
        (secret["name"], secret["key"])
        for _, container in containers(manifests)
        for variable in container.get("env", [])
        if (secret := variable.get("valueFrom", {}).get("secretKeyRef")) and not secret.get("optional")
    }
    assert read <= made


def test_a_service_runs_as_its_runtime_role_and_migrates_as_the_owner(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, {})
    for service in WITH_DATABASE:
        owner, runtime = f"shop-{service}-db", f"shop-{service}-db-runtime"
        assert {name: env_of(manifests, service)[name] for name in DATABASE_KEYS} == {
            name: (runtime, name) for name in DATABASE_KEYS
        }
        assert secrets_of_migration(manifests, service) == {
            **{name: (owner, name) for name in DATABASE_KEYS},
            "DB_CA": (owner, "DB_CA", True),
            "DB_RUNTIME_USER": (runtime, "DB_USER"),
            "DB_RUNTIME_PASSWORD": (runtime, "DB_PASSWORD"),
        }


def test_each_step_of_a_rotation_is_a_migration_of_its_own(render: Render, secrets: str) -> None:
    """The next role is created from keys of its own before pods use it; the last Job retires the former one."""
    keys = {"Publish": "DB_NEXT", "Use": "DB", "Retire": "DB"}
    names = {of_kind(render_platform(render, secrets, {}), "Job")[0]["metadata"]["name"]}
    for step, prefix in keys.items():
        rotation = {"order.migration.rotation.generation": "1", "order.migration.rotation.step": step}
        manifests = render_platform(render, secrets, rotation)
        read, runtime = secrets_of_migration(manifests, "order"), "shop-order-db-runtime"
        assert read["DB_RUNTIME_USER"] == (runtime, f"{prefix}_USER")
        assert read["DB_RUNTIME_PASSWORD"] == (runtime, f"{prefix}_PASSWORD")
        retired = (runtime, "DB_RETIRED_USER") if step == "Retire" else ()
        assert read.get("DB_RUNTIME_RETIRED_USER", ())[:2] == retired
        names |= {job["metadata"]["name"] for job in of_kind(manifests, "Job") if "order" in job["metadata"]["name"]}
    assert len(names) == 1 + len(keys)


@pytest.mark.parametrize("provider", ["builtin", "cnpg"])
def test_only_the_migration_that_replaces_the_password_of_an_owner_reads_the_former_one(
    render: Render, secrets: str, provider: str
) -> None:
    """Its key is required: with the Secret of the step before, it would complete with the former password."""
    names, owner = set(), "order.migration.ownerRotation"
    for generation, replaces in ((0, ""), (1, "true"), (1, "false"), (2, "true")):
        rotation = {f"{owner}.generation": str(generation), f"{owner}.replaces": replaces} if replaces else {}
        manifests = render_platform(render, secrets, rotation | {"order-db.provider": provider})
        former = ("shop-order-db", "DB_PREVIOUS_PASSWORD") if replaces == "true" else None
        assert secrets_of_migration(manifests, "order").get("DB_PREVIOUS_PASSWORD") == former
        names |= {job["metadata"]["name"] for job in of_kind(manifests, "Job") if "order" in job["metadata"]["name"]}
        assert len([one for one in containers(manifests) if "DB_PREVIOUS_PASSWORD" in str(one[1])]) == bool(former)
    assert len(names) == 4, "each is a migration of its own"


def test_each_runtime_role_has_a_password_of_its_own_that_stays(render: Render, secrets: str) -> None:
    def logins() -> dict[str, dict[str, str]]:
        return {
            secret["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
            for secret in of_kind(render_platform(render, secrets, {}), "Secret")
            if "DB_USER" in secret["data"]
        }

    made = logins()
    for service in WITH_DATABASE:
        owner, runtime = made[f"shop-{service}-db"], made[f"shop-{service}-db-runtime"]
        assert runtime["DB_USER"] == f"{owner['DB_USER']}_runtime"
        assert all(runtime[key] == owner[key] for key in ("DB_HOST", "DB_PORT", "DB_NAME"))
    assert len({login["DB_PASSWORD"] for login in made.values()}) == 2 * len(WITH_DATABASE)
    assert logins() == made


@pytest.mark.parametrize("given", [{"runtimeSecret": ""}, {"runtimeSecret": "runtime"}], ids=["one role", "two roles"])
@pytest.mark.parametrize("owner", [{"existingSecret": "outside"}, {"password": "0123456789abcdef", "host": "pg"}])
def test_a_database_outside_has_the_roles_that_the_values_name(
    render: Render, secrets: str, owner: dict[str, str], given: dict[str, str]
) -> None:
    values = {f"order.database.{name}": value for name, value in (owner | given).items()}
    manifests = render_platform(render, secrets, {"order-db.enabled": "false"} | values)
    of_owner, runtime = owner.get("existingSecret", "shop-order-db"), given["runtimeSecret"]

    assert env_of(manifests, "order")["DB_USER"] == (runtime or of_owner, "DB_USER")
    migrating = secrets_of_migration(manifests, "order")
    assert migrating["DB_USER"] == (of_owner, "DB_USER")
    assert migrating.get("DB_RUNTIME_USER") == ((runtime, "DB_USER") if runtime else None)
    assert ("password" in owner) == bool(
        [secret for secret in of_kind(manifests, "Secret") if secret["metadata"]["name"] == "shop-order-db"]
    )


def secrets_of_migration(manifests: list[Manifest], service: str) -> dict[str, tuple[str, ...]]:
    """Returns the Secret and the key of each variable that a migration reads from a Secret."""
    (job,) = [m for m in of_kind(manifests, "Job") if m["metadata"]["name"].startswith(f"shop-{service}-migrate-")]
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    read = {v["name"]: v.get("valueFrom", {}).get("secretKeyRef") for v in env}
    return {name: tuple(secret.values()) for name, secret in read.items() if secret}


def test_each_pod_reads_the_credentials_of_its_own_broker_user_only(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, {})
    readers: dict[str, set[str]] = {}
    for owner, container in containers(manifests):
        for variable in container.get("env", []):
            secret = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name", "")
            readers.setdefault(secret, set()).add(f"{owner} {container['name']}")
    mounted = {secret["name"] for secret in user_files(manifests)}
    assert mounted == {"shop-rabbitmq", *(f"shop-{service}-broker" for service in WITH_DATABASE)}
    for service in WITH_DATABASE:
        assert readers[f"shop-{service}-broker"] == {f"shop-{service} {service}"}
    assert "shop-rabbitmq" not in readers


def user_files(manifests: list[Manifest]) -> list[Manifest]:
    """Returns the Secrets whose passwords the broker's pod has as files."""
    volumes = named(manifests, "StatefulSet", "shop-rabbitmq")["spec"]["template"]["spec"]["volumes"]
    (users,) = [volume["projected"]["sources"] for volume in volumes if volume["name"] == "users"]
    return [source["secret"] for source in users]


def test_each_broker_user_has_a_password_of_its_own_that_stays(render: Render, secrets: str) -> None:
    def users() -> dict[str, tuple[str, str]]:
        found = {}
        for secret in of_kind(render_platform(render, secrets, {}), "Secret"):
            if "RABBITMQ_URL" in secret["data"]:
                url = urlsplit(base64.b64decode(secret["data"]["RABBITMQ_URL"]).decode())
                assert url.password == base64.b64decode(secret["data"]["RABBITMQ_PASSWORD"]).decode()
                found[secret["metadata"]["name"]] = (url.username or "", url.password or "")
        return found

    made = users()
    assert {name: user for name, (user, _) in made.items()} == {
        "shop-rabbitmq": "shop",
        **{f"shop-{service}-broker": service for service in WITH_DATABASE},
    }
    assert len({password for _, password in made.values()}) == len(WITH_DATABASE) + 1
    assert users() == made


def test_a_service_may_keep_the_broker_user_that_all_share(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, SHARED_BROKER_USER)
    for service in WITH_DATABASE:
        assert env_of(manifests, service)["RABBITMQ_URL"] == ("shop-rabbitmq", "RABBITMQ_URL")
    assert [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy")] == [
        policy["spec"] for policy in of_kind(render_platform(render, secrets, {}), "NetworkPolicy")
    ]


def test_the_definitions_get_a_password_for_each_user_and_make_no_service_an_administrator(
    render: Render, secrets: str, tmp_path: Path
) -> None:
    manifests = render_platform(render, secrets, {})
    for name, content in named(manifests, "ConfigMap", "shop-rabbitmq")["data"].items():
        (tmp_path / name).write_text(content)
    files = [item["path"] for secret in user_files(manifests) for item in secret["items"]]
    passwords = {name: f'"\\&@{name}@' for name in files if not name.startswith("SECOND_ORDER")}
    (tmp_path / "users").mkdir()
    for name, password in passwords.items():
        (tmp_path / "users" / name).write_text(password)
    command = ["bash", "write-definitions.bash", "definitions.json", "users"]
    written = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)

    administrator, *users = json.loads(written.stdout)["users"]
    assert administrator["name"] == passwords["RABBITMQ_USER"]
    assert {user["name"]: user["password"] for user in users} == {
        **{service: passwords[f"{service.upper()}_PASSWORD"] for service in WITH_DATABASE},
        **{f"2.{service}": passwords.get(f"SECOND_{service.upper()}_PASSWORD", "") for service in WITH_DATABASE},
    }
    assert not any(user["tags"] for user in users)


def test_both_users_of_a_service_may_do_the_same(render: Render, secrets: str) -> None:
    config = named(render_platform(render, secrets, {}), "ConfigMap", "shop-rabbitmq")["data"]
    defined = json.loads(config["definitions.json"])
    for section in ("permissions", "topic_permissions"):
        rows = {row["user"]: {name: row[name] for name in row if name != "user"} for row in defined[section]}
        for service in WITH_DATABASE:
            assert rows[f"2.{service}"] == rows[service]


def test_the_metrics_of_the_broker_listen_on_ipv6_where_the_node_has_it(
    render: Render, secrets: str, tmp_path: Path
) -> None:
    manifests = render_platform(render, secrets, {})
    script = tmp_path / "write-listeners.bash"
    for addresses, expected in (("fe80::1", ["prometheus.tcp.ip = ::"]), ("", [])):
        (tmp_path / "if_inet6").write_text(addresses)
        content = named(manifests, "ConfigMap", "shop-rabbitmq")["data"][script.name]
        script.write_text(content.replace("/proc/net/if_inet6", str(tmp_path / "if_inet6")))
        written = subprocess.run(["bash", script], check=True, capture_output=True, text=True).stdout
        assert [line for line in written.splitlines() if not line.startswith("#")] == expected
    pod = named(manifests, "StatefulSet", "shop-rabbitmq")["spec"]["template"]["spec"]
    (before,), (broker,) = pod["initContainers"], pod["containers"]
    assert before["command"][-1] == "bash /config/write-listeners.bash >/definitions/listeners.conf"
    (mount,) = [each for each in broker["volumeMounts"] if each.get("subPath") == "listeners.conf"]
    assert mount["mountPath"].startswith("/etc/rabbitmq/conf.d/")


def test_existing_secrets_are_used_and_none_is_created(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, EXISTING_SECRETS)
    assert not of_kind(manifests, "Secret")
    made = len(EXISTING_SECRETS | RUNTIME_SECRETS | BROKER_SECRETS | CERTIFICATES)
    assert len(manifests) == len(render_platform(render, secrets, {})) - made


def test_no_secret_is_in_arguments_or_plain_values(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, {})
    words = SECRET_VALUE.findall(Path(secrets).read_text())
    keys = re.findall(r"PRIVATE KEY-----\\n([A-Za-z0-9+/]{64})", Path(secrets).read_text())
    assert (len(words), len(keys)) == (12, 9)
    rest = json.dumps([manifest for manifest in manifests if manifest["kind"] != "Secret"])
    assert not [word for word in words + keys if word in rest]


SECRET_VALUE = re.compile(r"(?:password|secret): ([A-Za-z0-9]{32,})")


def test_random_secrets_are_long_alphanumeric_and_unique(secrets: str) -> None:
    other = subprocess.run([CHARTS / "secrets"], check=True, capture_output=True, text=True).stdout
    mine, theirs = (set(SECRET_VALUE.findall(text)) for text in (Path(secrets).read_text(), other))
    assert len(mine) == len(theirs) == 12
    assert not mine & theirs


# Network policies.


def test_network_policies_allow_exactly_the_designed_connections_at_both_ends(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, {})
    gateway = {("gateway", f"{service}:http") for service in WITH_DATABASE}
    jwks = {(service, "user:grpc") for service in SERVICES if service != "user"}
    grpc = {
        *(
            ("product", "inventory:grpc"),
            ("product", "review:grpc"),
            ("order", "product:grpc"),
            ("order", "inventory:grpc"),
            ("order", "payment:grpc"),
        ),
        *(
            ("inventory", "product:grpc"),
            ("inventory", "order:grpc"),
            ("review", "product:grpc"),
            ("review", "order:grpc"),
        ),
        ("payment", "order:grpc"),
    }
    databases = {(f"{service}{job}", f"{service}-db:postgres") for service in WITH_DATABASE for job in ("", "-migrate")}
    cache = {(service, "redis:redis") for service in ("gateway", "product", "user")}
    broker = {(service, "rabbitmq:amqp") for service in WITH_DATABASE}
    expected = gateway | jwks | grpc | databases | cache | broker
    assert allowed_connections(manifests, "ingress", "from") == expected
    assert allowed_connections(manifests, "egress", "to") == expected


def allowed_connections(manifests: list[Manifest], direction: str, side: str) -> set[tuple[str, str]]:
    """Returns (client, server:port) for each connection that the policies of a direction allow between components."""
    found = set()
    for policy in of_kind(manifests, "NetworkPolicy"):
        own = policy["spec"]["podSelector"]["matchLabels"].get(f"{LABEL}component")
        for rule in policy["spec"].get(direction, []):
            for peer in rule.get(side, []):
                if "podSelector" not in peer or "namespaceSelector" in peer:
                    continue
                (expression,) = peer["podSelector"]["matchExpressions"]
                for other in expression["values"]:
                    client, server = (other, own) if direction == "ingress" else (own, other)
                    found |= {
                        (client, f"{server}:{port_name(manifests, server, port['port'])}") for port in rule["ports"]
                    }
    return found


def port_name(manifests: list[Manifest], component: str, port: str | int) -> str:
    """Returns the name of a port of a component."""
    (pod,) = [pod for name, pod in pods(manifests) if name == f"shop-{component}"]
    names = {p["containerPort"]: p["name"] for p in pod["spec"]["containers"][0]["ports"]}
    return str(names.get(port, port))


def test_only_the_gateway_accepts_connections_from_anywhere(render: Render, secrets: str) -> None:
    policies = of_kind(render_platform(render, secrets, {}), "NetworkPolicy")
    open_to_all = {
        policy["metadata"]["name"]: rule["ports"]
        for policy in policies
        for rule in policy["spec"].get("ingress", [])
        if "from" not in rule
    }
    assert open_to_all == {"shop-gateway": [{"port": "http", "protocol": "TCP"}]}
    deny = named(policies, "NetworkPolicy", "shop-default-deny")
    assert deny["spec"].keys() == {"podSelector", "policyTypes"}


def test_only_payment_and_notification_connect_to_the_internet_and_only_to_their_providers(
    render: Render, secrets: str
) -> None:
    def external_ports(values: dict[str, str]) -> dict[str, list[int]]:
        return {
            policy["metadata"]["name"]: sorted(rule["ports"][0]["port"] for rule in open_rules)
            for policy in of_kind(render_platform(render, secrets, values), "NetworkPolicy")
            if (open_rules := [rule for rule in policy["spec"].get("egress", []) if "to" not in rule])
        }

    assert external_ports({}) == {}
    assert external_ports(PROVIDERS) == {"shop-payment": [443], "shop-notification": [443, 2525]}
    doubles = {
        "payment.env.STRIPE_API_BASE": "http://double:12111",
        "notification.env.TWILIO_API_BASE": "http://double:81",
    }
    assert external_ports({**PROVIDERS, **doubles}) == {"shop-payment": [12111], "shop-notification": [81, 2525]}


def test_metrics_are_reachable_only_from_the_monitoring_and_operator_namespaces(render: Render, secrets: str) -> None:
    for values, namespaces in (
        ({}, ["monitoring", "ecommerce-system"]),
        ({"global.networkPolicies.metricsFrom": "{a,b}"}, ["a", "b"]),
    ):
        rules = {
            policy["metadata"]["name"]: rule["from"]
            for policy in of_kind(render_platform(render, secrets, values), "NetworkPolicy")
            for rule in policy["spec"].get("ingress", [])
            if rule["ports"] == [{"port": "metrics", "protocol": "TCP"}]
        }
        assert rules.keys() == {f"shop-{server}" for server in (*SERVICES, "rabbitmq")}
        reader = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces}
        assert all(peers == [{"namespaceSelector": {"matchExpressions": [reader]}}] for peers in rules.values())


def test_pods_reach_the_cluster_dns_and_its_node_local_cache(render: Render, secrets: str) -> None:
    dns_ports = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    policies = of_kind(render_platform(render, secrets, PLATFORM_CASES["own prometheus"]), "NetworkPolicy")
    dns_rules = [rule for policy in policies for rule in policy["spec"].get("egress", []) if rule["ports"] == dns_ports]
    assert len(dns_rules) == len(SERVICES) + len(WITH_DATABASE) + len(("rabbitmq", "monitoring"))
    for rule in dns_rules:
        pods, *addresses = rule["to"]
        assert pods["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
        assert [peer["ipBlock"]["cidr"] for peer in addresses] == ["169.254.20.10/32", "169.254.169.254/32"]


def test_every_pod_is_denied_connections_that_no_policy_allows(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    for name, pod in pods(manifests):
        labels = pod["metadata"]["labels"]
        selected = [policy for policy in policies if matches(policy["spec"]["podSelector"], labels)]
        assert selected or not policies, name
        assert all(policy["spec"]["policyTypes"] == ["Ingress", "Egress"] for policy in selected)


def test_an_external_store_is_reached_by_its_port(render: Render, secrets: str) -> None:
    policy = named(render_platform(render, secrets, EXTERNAL_DATABASES), "NetworkPolicy", "shop-order")
    assert {"ports": [{"port": 5432, "protocol": "TCP"}]} in policy["spec"]["egress"]


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://collector.monitoring:4318", 4318),
        ("https://traces.example.com", 443),
        ("http://traces.example.com", 80),
    ],
)
def test_traces_may_be_sent_to_the_configured_collector(render: Render, secrets: str, endpoint: str, port: int) -> None:
    values = {"order.env.OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    policy = named(render_platform(render, secrets, values), "NetworkPolicy", "shop-order")
    assert {"ports": [{"port": port, "protocol": "TCP"}]} in policy["spec"]["egress"]


# Monitoring.


def prometheus_files(manifests: list[Manifest]) -> dict[str, Any]:
    """Returns the files of the Prometheus of the shop, by name."""
    files: dict[str, Any] = named(manifests, "ConfigMap", "shop-monitoring")["data"]
    return files


def test_the_shops_own_prometheus_may_scrape_every_exporter(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, PLATFORM_CASES["own prometheus"])
    with_metrics = {
        name.removeprefix("shop-"): port["containerPort"]
        for name, pod in pods(of_kind(manifests, "Deployment", "StatefulSet"))
        for port in pod["spec"]["containers"][0]["ports"]
        if port["name"] == "metrics" and name != "shop-monitoring"
    }
    jobs = yaml.safe_load(prometheus_files(manifests)["prometheus.yml"])["scrape_configs"]
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in jobs if "dns_sd_configs" in job}
    assert {name: found[name]["port"] for name in with_metrics} == with_metrics
    assert found.keys() == {*with_metrics, "queues", "operator"}
    for name in with_metrics:
        (address,) = found[name]["names"]
        assert named(manifests, "Service", address.removesuffix(".tests.svc"))["spec"]["publishNotReadyAddresses"]

    def connections_of_prometheus(direction: str, side: str) -> set[tuple[str, str]]:
        allowed = allowed_connections(manifests, direction, side)
        return {(client, server) for client, server in allowed if client == "monitoring"}

    expected = {("monitoring", f"{name}:metrics") for name in with_metrics}
    assert connections_of_prometheus("egress", "to") == expected
    assert connections_of_prometheus("ingress", "from") >= expected


def test_the_rules_are_those_of_the_manifests_with_the_configured_runbook_urls(render: Render, secrets: str) -> None:
    rules = CHARTS.parent / "manifests/observability/rules"
    values = PLATFORM_CASES["own prometheus"]
    files = prometheus_files(render_platform(render, secrets, values))
    assert {name: yaml.safe_load(files[name]) for name in files if name != "prometheus.yml"} == {
        path.name: yaml.safe_load(path.read_text()) for path in rules.glob("*.yaml")
    }
    elsewhere = prometheus_files(
        render_platform(render, secrets, {**values, "monitoring.runbooks": "https://git.example.com/shop/"})
    )
    alerts = re.findall(r"runbook_url: (\S+)", json.dumps(elsewhere))
    assert alerts
    assert all(alert.startswith("https://git.example.com/shop/docs/operations.md#") for alert in alerts)


def test_a_shared_prometheus_gets_rules_narrowed_to_one_shop(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, PLATFORM_CASES["shared prometheus"])
    (rules,) = of_kind(manifests, "PrometheusRule")
    for expression in [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]:
        selectors = re.findall(r"\{[^}]*\}", expression)
        assert selectors
        assert all(selector.startswith('{namespace="tests",') for selector in selectors), expression
        assert "ecommerce_operator_" not in expression, "a series of the operator's namespace"
    monitors = {monitor["metadata"]["name"] for monitor in of_kind(manifests, "ServiceMonitor")}
    assert monitors == {f"shop-{server}" for server in (*SERVICES, "rabbitmq")}
    assert not [m for m in of_kind(manifests, "StatefulSet") if m["metadata"]["name"] == "shop-monitoring"]


def test_a_shop_with_its_own_and_a_shared_prometheus_is_scraped_once_by_each(render: Render, secrets: str) -> None:
    both = PLATFORM_CASES["own prometheus"] | PLATFORM_CASES["shared prometheus"]
    manifests = render_platform(render, secrets, both)
    services = [m for m in of_kind(manifests, "Service") if "metrics" in {p.get("name") for p in m["spec"]["ports"]}]
    for monitor in of_kind(manifests, "ServiceMonitor"):
        scraped = [
            s["metadata"]["name"] for s in services if matches(monitor["spec"]["selector"], s["metadata"]["labels"])
        ]
        assert scraped == [monitor["metadata"]["name"]]


# Ingress.


def test_only_the_pods_of_proxies_reach_a_gateway_that_believes_them(render: Render, secrets: str) -> None:
    namespaces = {"gateway.proxyNamespaces": "{ingress-nginx,edge}"}
    open_to_all = render_platform(render, secrets, {})
    closed = render_platform(render, secrets, namespaces)
    without_policies = render_platform(render, secrets, namespaces | {"global.networkPolicies.enabled": "false"})
    explicit = render_platform(render, secrets, namespaces | {"gateway.settings.trustedProxies": "{10.1.0.0/16}"})

    (rule, _metrics) = named(closed, "NetworkPolicy", "shop-gateway")["spec"]["ingress"]
    (peer,) = rule["from"]
    (expression,) = peer["namespaceSelector"]["matchExpressions"]
    assert (expression["key"], expression["values"]) == ("kubernetes.io/metadata.name", ["ingress-nginx", "edge"])
    assert "10.0.0.0/8" in environment(closed)["TRUSTED_PROXIES"].split(",")
    assert environment(explicit)["TRUSTED_PROXIES"] == "10.1.0.0/16"
    for believing_no_one in (open_to_all, without_policies):
        assert "TRUSTED_PROXIES" not in environment(believing_no_one)


def environment(manifests: list[Manifest]) -> dict[str, str]:
    """Returns the environment of the gateway, without what it reads from Secrets."""
    (pod,) = [pod for name, pod in pods(manifests) if name == "shop-gateway"]
    return {entry["name"]: entry["value"] for entry in pod["spec"]["containers"][0]["env"] if "value" in entry}


def test_the_ingress_leads_to_the_gateway(render: Render, secrets: str) -> None:
    ingress = named(render_platform(render, secrets, PLATFORM_CASES["ingress"]), "Ingress", "shop-gateway")
    (rule,) = ingress["spec"]["rules"]
    backend = {"service": {"name": "shop-gateway", "port": {"name": "http"}}}
    assert rule == {
        "host": "shop.example.com",
        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
    }
    assert ingress["spec"]["tls"] == [{"secretName": "tls", "hosts": ["shop.example.com"]}]
    route = named(render_platform(render, secrets, PLATFORM_CASES["gateway api"]), "HTTPRoute", "shop-gateway")
    assert route["spec"]["rules"][0]["backendRefs"][0]["name"] == "shop-gateway"
    assert route["spec"]["parentRefs"][0]["name"] == "edge"


# Refused values.

REFUSED = {
    "user.jwt.secret=": "user.jwt has no secret: set user.jwt.existingSecret to the name of a Secret with the keys"
    " JWT_SECRET",
    "user.jwt.secret=short": "user.jwt.secret is too short: it needs 32 characters or more",
    "order-db.password=": "order-db has no secret: set order-db.existingSecret",
    "order-db.existingSecret=x": "order-db.existingSecret and order-db.password are both set: leave one of them empty",
    "redis.password=0123456789abcde/": "redis.password becomes part of a URL: use only A-Z a-z 0-9 . _ ~ -",
    "redis.enabled=false": "redis is disabled: set gateway.cache.existingSecret to the Secret of the store to use"
    " instead",
    "order.broker.existingSecret=x": 'order.broker.existingSecret is "x" but rabbitmq.existingSecret is ""',
    "order.broker.existingSecret=shop-user-broker": "both must name the same Secret",
    "order.database.existingSecret=x": 'order.database.existingSecret is "x" but order-db.existingSecret is ""',
    "order.database.password=0123456789abcdef": "order.database.password names another store than order-db, which is"
    " enabled: set order-db.enabled to false",
    "payment.provider=stripe": "payment.stripe has no secret: set payment.stripe.existingSecret to the name of a Secret"
    " with the keys STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET, or payment.stripe.secretKey to a value; Stripe's"
    " dashboard shows both",
    "payment.provider=stripe,payment.stripe.secretKey=sk": "payment.stripe.webhookSecret is empty: set it too",
    "payment.provider=stripe,payment.stripe.existingSecret=stripe": 'payment.provider is "stripe", but '
    'global.settings.paymentProvider is "simulated": set both to the same provider',
    "global.settings.currencies={USD,ZZZ}": "at '/global/settings/currencies/1'",
    "order.settings.shippingRates.XXX.amount=1": "'XXX'",
    "order.settings.homeCountry=UK": "at '/settings/homeCountry': 'UK' does not match pattern",
    "order.settings.taxBasisPoints.EL=2400": "'EL'",
    "payment.provider=cash": "at '/provider': value must be one of 'simulated', 'stripe'",
    "notification.smtp.host=mail": "notification.smtp.from is empty: set it to the sender address of the shop's mails",
    "notification.smtp.password=x": "notification.smtp.user is empty: set it too; ask the administrator of the mail"
    " server",
    "notification.smtp.existingSecret=x,notification.smtp.startTls=false": "notification.smtp.startTls is false, and"
    " the password would be sent unencrypted: set it to true, or set no login",
    "notification.sms.provider=twilio": "notification.sms has no secret: set notification.sms.existingSecret to the"
    " name of a Secret with the keys TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_FROM",
    "global.networkPolicies.metricsFrom=null": "missing property 'metricsFrom'",
    "gateway.enabled=false,ingress.enabled=true": "route to the gateway, which is disabled: set gateway.enabled to"
    " true",
    "gatewayApi.enabled=true": "set gatewayApi.parentRef.name to the Gateway",
    "order.autoscaling.enabled=true,order.autoscaling.max=1,order.autoscaling.min=2": "autoscaling.max (1) is less"
    " than",
    "order.replcas=2": "additional properties 'replcas' not allowed",
    "gateway.database.password=x": "additional properties 'database' not allowed",
    "payments.x=1": "additional properties 'payments' not allowed",
    "order.replicas=two": "at '/replicas': got string, want integer",
    "order.resources.limits.memory=1x": "at '/resources/limits/memory': '1x' does not match pattern",
    "global.deletionPolicy=Keep": "value must be one of 'Retain', 'Delete'",
}
"""The error message, or a part of it, by `--set` argument."""


@pytest.mark.parametrize("setting", REFUSED)
def test_a_wrong_value_is_refused_with_advice(helm: Helm, secrets: str, setting: str) -> None:
    done = helm("template", "shop", "platform", "--values", secrets, "--set", setting)
    assert done.returncode != 0
    assert REFUSED[setting] in done.stderr


@pytest.mark.parametrize("chart", [*SERVICES, *STORES])
def test_a_chart_alone_does_not_render_without_its_secrets(helm: Helm, chart: str) -> None:
    assert " has no secret: set " in helm("template", "shop", chart).stderr


def test_a_release_name_that_gives_invalid_object_names_is_refused(helm: Helm, secrets: str) -> None:
    for release in ("r" * 31, "1shop", "shop.eu"):
        done = helm("template", release, "platform", "--values", secrets)
        assert "gives invalid names of Services and Jobs" in done.stderr


# The charts themselves.


@pytest.mark.parametrize("chart", [*STANDALONE, "platform"])
def test_helm_lint_reports_nothing(helm: Helm, secrets: str, chart: str) -> None:
    values = ["--values", secrets] if chart == "platform" else set_arguments(STANDALONE[chart])
    done = helm("lint", "--strict", "--quiet", chart, *values)
    assert done.returncode == 0, done.stdout + done.stderr


def test_schemas_are_current() -> None:
    subprocess.run([CHARTS / "schemas", "--check"], check=True)


@pytest.mark.usefixtures("helm")
def test_a_second_build_does_nothing() -> None:
    done = subprocess.run([CHARTS / "build"], check=True, capture_output=True, text=True)
    assert done.stdout == ""


def test_declared_callers_are_the_services_that_call() -> None:
    neighbours = {service: values_of(service)["neighbours"] for service in SERVICES}
    for service in WITH_DATABASE:
        values = values_of(service)
        assert set(values["callers"]) == {caller for caller, called in neighbours.items() if service in called}
        assert {called[service] for called in neighbours.values() if service in called} <= {values["ports"]["grpc"]}
        assert values_of("gateway")["routes"][service] == values["ports"]["http"]


def test_a_chart_alone_has_the_platforms_defaults() -> None:
    platform = values_of("platform")
    charts = {
        **{service: service for service in SERVICES},
        **{f"{service}-db": "postgres" for service in WITH_DATABASE},
        "redis": "redis",
        "rabbitmq": "rabbitmq",
        "monitoring": "monitoring",
    }
    own = {"enabled", "clients", "username", "database"}
    for component, chart in charts.items():
        alone = values_of(chart)
        here = {key: value for key, value in platform[component].items() if key not in own}
        assert here == {key: restrict(alone[key], value) for key, value in here.items()}, component
        assert restrict(platform["global"], alone["global"]) == alone["global"], component


def restrict(values: Any, like: Any) -> Any:
    """Returns the values whose keys are also in `like`, at every depth."""
    if not isinstance(values, dict) or not isinstance(like, dict) or not like:
        return values
    return {key: restrict(value, like[key]) for key, value in values.items() if key in like}


# TLS of the stores.


def test_every_store_of_the_platform_has_a_certificate_and_no_plain_port(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, {})
    stores = [*(f"{service}-db" for service in WITH_DATABASE), "redis", "rabbitmq"]
    for store in stores:
        pod = named(manifests, "StatefulSet", f"shop-{store}")["spec"]["template"]["spec"]
        mount = {"name": "tls", "mountPath": "/tls", "readOnly": True}
        (volume,) = [one for one in pod["volumes"] if one["name"] == "tls"]
        assert mount in pod["containers"][0]["volumeMounts"]
        assert volume["secret"] == {"secretName": f"shop-{store}-tls", "defaultMode": 0o440}
    database = arguments(manifests, "shop-order-db")
    assert {"ssl=on", "hba_file=/tmp/pg_hba.conf"} <= set(database)
    assert "'local all all trust' 'hostssl all all all scram-sha-256' >/tmp/pg_hba.conf" in database[0]
    assert "--port 0 --tls-port 6379" in arguments(manifests, "shop-redis")[0]
    broker = named(manifests, "ConfigMap", "shop-rabbitmq")["data"]["90-platform.conf"].splitlines()
    assert {"listeners.tcp = none", "listeners.ssl.default = 5672", "management.tcp.ip = 127.0.0.1"} <= set(broker)


def arguments(manifests: list[Manifest], store: str) -> list[str]:
    """Returns the arguments of a store's container."""
    found: list[str] = named(manifests, "StatefulSet", store)["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


def test_the_authority_of_the_values_has_signed_a_certificate_for_each_store(
    render: Render, secrets: str, tmp_path: Path
) -> None:
    manifests = render_platform(render, secrets, {})
    authority = tmp_path / "ca.crt"
    authority.write_text(decoded(named(manifests, "Secret", "shop-ca"))["ca.crt"])
    for store in ("order-db", "redis", "rabbitmq"):
        made = decoded(named(manifests, "Secret", f"shop-{store}-tls"))
        (tmp_path / "tls.crt").write_text(made["tls.crt"])
        verify = ["openssl", "verify", "-x509_strict", "-CAfile", str(authority), "-verify_hostname", f"shop-{store}"]
        subprocess.run([*verify, "tls.crt"], cwd=tmp_path, check=True, capture_output=True)
        assert made["ca.crt"] == authority.read_text()
        assert "PRIVATE KEY" in made["tls.key"]


def decoded(secret: Manifest) -> dict[str, str]:
    """Returns the content of a Secret."""
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


def test_the_clients_of_a_store_get_its_authority_and_no_key(render: Render, secrets: str) -> None:
    manifests = render_platform(render, secrets, {})
    authority = decoded(named(manifests, "Secret", "shop-ca"))["ca.crt"]
    for name, key, scheme in (
        ("shop-order-db", "DB_CA", ""),
        ("shop-order-db-runtime", "DB_CA", ""),
        ("shop-redis", "REDIS_CA", "rediss://"),
        ("shop-order-broker", "RABBITMQ_CA", "amqps://"),
    ):
        content = decoded(named(manifests, "Secret", name))
        assert content[key] == authority
        assert content.get(key.replace("_CA", "_URL"), "").startswith(scheme)
    holders = [one["metadata"]["name"] for one in of_kind(manifests, "Secret") if "tls.key" in one["data"]]
    read = {
        entry["valueFrom"]["secretKeyRef"]["name"]
        for _, container in containers(manifests)
        for entry in container.get("env", [])
        if "secretKeyRef" in entry.get("valueFrom", {})
    }
    assert not read & set(holders)


def test_a_plain_store_is_as_before_and_the_pods_of_its_clients_restart(render: Render, secrets: str) -> None:
    plain = {"global.tls.plainStores[0]": "redis", "global.tls.plainStores[1]": "order-db"}
    manifests = render_platform(render, secrets, plain)
    assert "--port 6379" in arguments(manifests, "shop-redis")[0]
    assert "/tls" not in arguments(manifests, "shop-redis")[0]
    assert "ssl=on" not in arguments(manifests, "shop-order-db")
    redis = decoded(named(manifests, "Secret", "shop-redis"))
    assert redis["REDIS_URL"].startswith("redis://")
    assert "REDIS_CA" not in redis
    annotation = "platform.ecommerce.dev/plain-stores"
    noted = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"].get("annotations", {}).get(annotation)
        for one in of_kind(manifests, "Deployment")
    }
    clients = dict.fromkeys(("shop-gateway", "shop-product", "shop-user"), "redis") | {"shop-order": "order-db"}
    assert {name: stores for name, stores in noted.items() if stores} == clients


def test_a_store_without_a_certificate_or_a_choice_is_refused(helm: Helm) -> None:
    password = {"password": "0123456789abcdef"}
    refused = helm("template", "shop", str(CHARTS / "redis"), *set_arguments(password))
    assert "set global.tls and tls as `charts/secrets --release shop` prints them" in refused.stderr


def test_certificates_for_another_release_are_refused(helm: Helm, secrets: str) -> None:
    refused = helm("template", "mine", "platform", "--values", secrets)
    assert 'for release "shop": set those that `charts/secrets --release mine` prints' in refused.stderr


def test_a_store_reads_a_renewed_certificate_without_a_restart(render: Render, secrets: str, tmp_path: Path) -> None:
    script = arguments(render_platform(render, secrets, {}), "shop-redis")[0]
    loop = re.search(r"(?s)used=\$\(cat /tls/tls.crt\).*?\n\)", script)[0]  # type: ignore[index]  # it is there
    loop = re.sub(r"run config set.*?(?= >/dev/null)", "./reload", loop)
    loop = loop.replace("/tls/", "./").replace("sleep 60", "read _")  # a line of the test is a minute
    certificate, reloads = tmp_path / "tls.crt", tmp_path / "reloads"
    certificate.write_text("first")
    (tmp_path / "reload").write_text("#!/bin/sh\ncat tls.crt >>reloads\necho >>reloads\n[ ! -e broken ]\n")
    (tmp_path / "reload").chmod(0o755)

    def minute(content: str) -> str:
        certificate.write_text(content)
        watch.stdin.write("\n")  # type: ignore[union-attr]  # it is a pipe
        return watch.stdout.readline()  # type: ignore[union-attr]

    loop = loop.replace("then used=$new; fi", "then used=$new; fi; echo minute")
    command = ["sh", "-euc", loop]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as watch:
        (tmp_path / "broken").touch()
        for content in ("first", "second"):
            minute(content)
        (tmp_path / "broken").unlink()
        for content in ("second", "second", "third"):
            minute(content)
        watch.stdin.close()  # type: ignore[union-attr]
    assert reloads.read_text().split() == ["second", "second", "third"]
