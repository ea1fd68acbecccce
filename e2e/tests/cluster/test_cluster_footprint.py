"""The resources that a shop needs stay below their limits; each figure is reported."""

import json

import pytest
from devtools.services import SERVICES
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import OPERATOR_NAMESPACE, Namespace, command

pytestmark = pytest.mark.cluster

MEBIBYTE = 1024 * 1024
RUN_OF_HELM = """
import resource, subprocess

command = ["helm", "template", "shop", "/app/charts/platform", "--skip-crds", "--no-hooks", "--values", "-"]
subprocess.run(command, input={values!r}, text=True, check=True, stdout=subprocess.DEVNULL, timeout=60)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""
"""Prints the resident memory of Helm in bytes. With less memory than it needs, the kernel reads Helm's program from the
disk again and again, and a run of half a second takes minutes."""


@pytest.mark.parametrize("component", SERVICES)
def test_a_service_is_resident_in_at_most_128_mib(namespace: Namespace, component: str) -> None:
    resident = _resident(namespace, f"app.kubernetes.io/component={component},app.kubernetes.io/instance=shop")

    assert resident <= 128 * MEBIBYTE, f"{resident / MEBIBYTE:.1f} MiB"


def test_the_operator_is_resident_in_at_most_128_mib() -> None:
    resident = _resident(Namespace(OPERATOR_NAMESPACE), "app.kubernetes.io/component=operator")

    assert resident <= 128 * MEBIBYTE, f"{resident / MEBIBYTE:.1f} MiB"


def test_the_operator_may_use_twice_the_memory_that_it_needs_with_a_run_of_helm() -> None:
    namespace = Namespace(OPERATOR_NAMESPACE)
    helm = float(namespace.run_python("ecommerce-operator", RUN_OF_HELM.format(values=shops.new_secrets("shop"))))
    needed = _resident(namespace, "app.kubernetes.io/component=operator") + helm
    (container,) = namespace.get("deployment", "ecommerce-operator")["spec"]["template"]["spec"]["containers"]
    limit = _bytes(container["resources"]["limits"]["memory"])

    assert 2 * needed <= limit, f"{helm / MEBIBYTE:.1f} MiB of Helm, {needed / MEBIBYTE:.1f} MiB with the operator"


def test_a_small_shop_requests_at_most_1_5_cpus_and_3_gib(namespace: Namespace) -> None:
    pods = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod  # one of each part: autoscalers may add pods
        for pod in namespace.list("pods", "app.kubernetes.io/instance=shop")
        if pod["status"]["phase"] == "Running"
    }
    requests = [c["resources"]["requests"] for pod in pods.values() for c in pod["spec"]["containers"]]

    assert sum(_milli(request["cpu"]) for request in requests) <= 1500
    assert sum(_bytes(request["memory"]) for request in requests) <= 3 * 1024 * MEBIBYTE


def test_images_share_all_layers_but_5_mib(namespace: Namespace) -> None:
    deployment = namespace.get("deployment", "shop-order")
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    layers = {service: _layers(image.replace("/order:", f"/{service}:")) for service in SERVICES}
    shared = set.intersection(*(set(of_image) for of_image in layers.values()))

    for service, of_image in layers.items():
        own = sum(size for layer, size in of_image.items() if layer not in shared)
        assert own <= 5 * MEBIBYTE, f"{service}: {own / MEBIBYTE:.2f} MiB of its own"


def _resident(namespace: Namespace, selector: str) -> float:
    """Returns the largest resident set of the pods in bytes, as they export it."""
    resident = max(metrics["process_resident_memory_bytes"] for metrics in namespace.metrics(selector).values())
    print(f"{selector}: {resident / MEBIBYTE:.1f} MiB resident")
    return resident


def _layers(image: str) -> dict[str, int]:
    """Returns the compressed size of each layer by digest, from the registry's manifest."""
    registry, _, rest = image.partition("/")
    name, _, tag = rest.rpartition(":")
    types = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.loads(
        command("curl", "-fsS", "-H", f"Accept: {types}", f"http://{registry}/v2/{name}/manifests/{tag}")
    )
    return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


def _milli(quantity: str) -> int:
    return int(quantity[:-1]) if quantity.endswith("m") else int(float(quantity) * 1000)


def _bytes(quantity: str) -> int:
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(quantity[:-2]) * units[quantity[-2:]]
