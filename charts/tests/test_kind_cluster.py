"""The kind cluster of hack/cluster has room for two shops on a machine with two processors."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., list[Manifest]]

CLUSTER = Path(__file__).resolve().parents[2] / "hack/cluster"
PROCESSORS = 2000
"""What the smallest machine of the README has, in thousandths of a processor."""
ROLLOUT = 100
"""What two further pods of services request, as a migration and a rolling update start them."""


def test_two_shops_and_a_rollout_fit_beside_the_control_plane(render: Render, secrets: str) -> None:
    shop = sum(_requests(render("platform", "--values", secrets)))
    operator = sum(_requests(render("operator")))
    assert shop > 500, "the shop's requests were found"

    assert 2 * shop + operator + sum(_control_plane()) + ROLLOUT <= PROCESSORS


def _requests(manifests: list[Manifest]) -> Iterator[int]:
    """Yields what the pods that keep running request, in thousandths of a processor."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            for container in manifest["spec"]["template"]["spec"]["containers"]:
                yield manifest["spec"].get("replicas", 1) * _thousandths(container["resources"]["requests"]["cpu"])


def _control_plane() -> Iterator[int]:
    patches = sorted((CLUSTER / "patches").glob("*.yaml"))
    assert len(patches) == 5, "the patch of every component was found"
    for patch in patches:
        spec = yaml.safe_load(patch.read_text())["spec"]
        for container in spec.get("template", {"spec": spec})["spec"]["containers"]:
            yield _thousandths(container["resources"]["requests"]["cpu"])
    (kube_proxy,) = re.findall(r"daemonset/kube-proxy --requests=cpu=(\w+)", (CLUSTER / "kind-cluster").read_text())
    yield _thousandths(kube_proxy)


def _thousandths(quantity: str | int) -> int:
    """Returns a quantity of processors in thousandths."""
    text = str(quantity)
    return int(text.removesuffix("m")) if text.endswith("m") else int(text) * 1000
