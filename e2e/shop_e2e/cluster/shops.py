"""Additional shops beside the sample shop, small enough for a machine of two cores."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
from devtools.services import SERVICES

from shop_e2e.cluster.kubectl import CONTEXT, Namespace, Object, command, eventually

_ROOT = Path(__file__).parents[3]
_CHARTS = _ROOT / "charts"
_TINY = {"requests": {"cpu": "10m"}}
_OPEN = {"resources": _TINY, "env": {"RATE_LIMITS": "off"}}
"""All of a test's users come from one address."""
DATABASES = tuple(f"{service}-db" for service, kind in SERVICES.items() if kind.database)
_REGISTRY = "localhost:5001"
_IMAGE_TYPES = tuple(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)
SAMPLE_NODE_PORT = 30080
"""The node port of the sample shop, see hack/cluster/manifests/gateway-nodeport.yaml."""
ASSIGNED_USER = {"runAsUser": 1000650000, "runAsGroup": 0, "fsGroup": 1000650000}
"""Ids as OpenShift's restricted-v2 assigns them: a user that no image knows, with group 0."""
STORES = (*DATABASES, "redis", "rabbitmq")
_AUTOSCALED = ("gateway", "product", "order")
"""The services of the sample shop that have an autoscaler (manifests/samples/ecommerceplatform.yaml)."""
MOST_PODS = 3
"""The most pods of each of them."""


def platform(name: str, **spec: object) -> Object:
    """Returns an EcommercePlatform that requests almost no processor time."""
    tiny = {
        "services": {service: {"resources": _TINY} for service in SERVICES} | {"gateway": _OPEN},
        "databases": {"resources": _TINY},
        "cache": {"resources": _TINY},
        "broker": {"resources": _TINY},
    }
    return {
        "apiVersion": "platform.ecommerce.dev/v1alpha1",
        "kind": "EcommercePlatform",
        "metadata": {"name": name},
        "spec": {"profile": "small", **tiny, **spec},
    }


def single_pods() -> Object:
    """Returns the `services` of a spec, of any profile, with one pod each that requests almost no processor time."""
    one = {"replicas": 1, "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "384Mi"}}}
    return dict.fromkeys(SERVICES, one) | {"gateway": one | {"env": _OPEN["env"]}}


def install_cnpg() -> None:
    """Installs CloudNativePG in the cluster; it may be there already. Raises CommandFailed."""
    command(str(_ROOT / "hack/cluster/install-cnpg"), timeout=1800)


def wait_consistent(namespace: Namespace, platform_name: str) -> None:
    """Waits until no service has an event left to publish, and each has checked its invariants since the call and found
    none violated.
    """
    began, names = time.time(), [name.removesuffix("-db") for name in DATABASES]
    selector = f"app.kubernetes.io/instance={platform_name},app.kubernetes.io/component in ({','.join(names)})"

    def are_all() -> bool:
        pods = list(namespace.metrics(selector).values())
        return len(pods) >= len(names) and all(_is_consistent(series, began) for series in pods)

    eventually(are_all, 120, "all events are published and the invariants hold")


def _is_consistent(series: Mapping[str, float], since: float) -> bool:
    violations = sum(value for name, value in series.items() if name.startswith("business_invariant_violations{"))
    checked = series.get("business_invariants_checked_timestamp_seconds", 0.0)
    return checked > since and violations == 0 and series.get("outbox_backlog") == 0


def node_port(platform_name: str, port: int) -> Object:
    """Returns a Service that exposes a shop's gateway on a node port that hack/cluster/kind.yaml maps; see
    gateway_url.
    """
    gateway = {"app.kubernetes.io/instance": platform_name, "app.kubernetes.io/component": "gateway"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "gateway-node-port"},
        "spec": {
            "type": "NodePort",
            "selector": gateway,
            "ports": [{"port": 8080, "targetPort": 8080, "nodePort": port}],
        },
    }


def gateway_url(port: int = SAMPLE_NODE_PORT) -> str:
    """Returns the URL on this machine of the gateway that a node port exposes."""
    address = command("docker", "port", f"{CONTEXT.removeprefix('kind-')}-control-plane", f"{port}/tcp")
    return f"http://{address.split()[0]}"


def limit_pods(sample: Namespace, most: int) -> None:
    """Sets the most pods of each autoscaled service of the sample shop, which with one are neither started nor ended by
    an autoscaler. Returns when there are no more.
    """
    services = {service: {"autoscaling": {"max": most}} for service in _AUTOSCALED}
    sample.patch("ecp", "shop", {"spec": {"services": services}})

    def is_limited() -> bool:
        selector = f"app.kubernetes.io/instance=shop,app.kubernetes.io/component in ({','.join(_AUTOSCALED)})"
        return len(sample.list("pods", selector)) <= most * len(_AUTOSCALED)

    eventually(is_limited, 180, f"each autoscaled service has at most {most} pods")


def wait_for_gateways(namespace: Namespace) -> None:
    """Waits until the sample shop is rolled out, and its node port leads to new pods of the gateway and no others.

    On a busy machine kube-proxy learns late that a pod has stopped; a connection to it ends without a response.
    """

    def are_all_new() -> bool:
        new: int = namespace.get("deployment", "shop-gateway")["status"].get("updatedReplicas", 0)
        return len(namespace.list("pods", labels)) == new

    namespace.wait_rolled_out("shop")
    labels = "app.kubernetes.io/component=gateway,app.kubernetes.io/instance=shop"
    eventually(are_all_new, 120, "only new pods of the gateway are left")
    eventually(_every_connection_is_answered, 120, "the node port leads to the new gateways alone")


def _every_connection_is_answered() -> bool:
    """Opens so many connections that one of them reaches a pod that has stopped, if the node port leads to any."""
    with httpx.Client(timeout=10, limits=httpx.Limits(max_keepalive_connections=0)) as http:
        try:
            return all(http.get(f"{gateway_url()}/health").is_success for _ in range(30))
        except httpx.TransportError:
            return False


def tag_image(service: str, tag: str, another: str) -> None:
    """Gives the image of a service another tag in the cluster's registry: the same code is another version."""
    manifests = f"http://{_REGISTRY}/v2/ecommerce/{service}/manifests"
    image = httpx.get(f"{manifests}/{tag}", headers={"Accept": ", ".join(_IMAGE_TYPES)}).raise_for_status()
    headers = {"Content-Type": image.headers["Content-Type"]}
    httpx.put(f"{manifests}/{another}", content=image.content, headers=headers).raise_for_status()


def new_secrets(release: str) -> str:
    """Returns values for charts/platform with random secrets of a release."""
    return command(str(_CHARTS / "secrets"), "--release", release)


def helm_install(namespace: Namespace, release: str) -> None:
    """Installs a shop by Helm, without the operator: the sample's images, new secrets, and pods that run under
    ASSIGNED_USER. Returns when it is ready.
    """
    settings = "".join(f" --set={key}={value}" for key, value in _chart_settings().items())
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as values:
        values.write(new_secrets(release))
        values.flush()
        install = f"helm --kube-context {CONTEXT} --namespace {namespace.name} install {release} {_CHARTS}/platform"
        command(*f"{install} --values {values.name} --wait --timeout 10m{settings}".split(), timeout=620)


def _chart_settings() -> dict[str, str]:
    sample = Namespace("shop").get("deployment", "shop-order")
    image = sample["spec"]["template"]["spec"]["containers"][0]["image"]
    return {
        "global.image.registry": image.split("/")[0],
        "global.image.tag": image.rpartition(":")[2],
        "global.storeRegistry": f"{_REGISTRY}/library/",
        **{f"global.pods.securityContext.{field}": str(number) for field, number in ASSIGNED_USER.items()},
        **{f"{part}.resources.requests.cpu": "10m" for part in (*SERVICES, *STORES)},
    }
