"""No request fails while autoscalers add pods under growing load, and remove them when it is gone."""

import asyncio
from collections.abc import Iterator

import pytest
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, create_namespace, delete_namespace
from shop_e2e.cluster.loaded_shops import constant_load, reached

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.undisturbed]

NAME, NODE_PORT = "ramp", 30081
AUTOSCALED = ("gateway", "order", "product")
ONE_EACH, MOST_PODS = dict.fromkeys(AUTOSCALED, 1), 2
RATES = (3.0, 6.0, 9.0, 12.0)
"""Requests a second of the ramp, of which every third is an order."""
STEP_SECONDS = 30.0
REST_RATE = 0.5
AUTOSCALING = {
    "autoscaling": {"enabled": True, "min": 1, "max": MOST_PODS, "targetCPUUtilization": 200},
    "resources": {"requests": {"cpu": "20m"}},
}


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    yield create_namespace("e2e-ramp")
    delete_namespace("e2e-ramp", wait=False)


@pytest.fixture
def growing(namespace: Namespace) -> Namespace:
    """The namespace of a shop that is Ready, of which some services have autoscalers."""
    services = shops.platform(NAME)["spec"]["services"]
    autoscaled = {name: services[name] | AUTOSCALING for name in AUTOSCALED}
    namespace.apply(shops.platform(NAME, services=services | autoscaled), shops.node_port(NAME, NODE_PORT))
    namespace.wait_ready(NAME)
    return namespace


async def test_no_request_fails_while_pods_are_added_and_removed(growing: Namespace) -> None:
    async with constant_load(growing, NAME, NODE_PORT) as load:
        load.phase, load.rate = "little load, until one pod of each is left", REST_RATE
        await reached(lambda: pods(growing) == ONE_EACH, "pods that the start of the shop has added are removed")

        for rate in RATES:
            load.phase, load.rate = f"ramp, {rate:g} requests/s", rate
            await asyncio.sleep(STEP_SECONDS)
        load.phase = f"{RATES[-1]:g} requests/s, until a service has {MOST_PODS} ready pods"
        await reached(lambda: MOST_PODS in pods(growing).values(), "an autoscaler has added a pod")

        load.phase, load.rate = "less load, until one pod is left of each", REST_RATE
        await reached(lambda: pods(growing) == ONE_EACH, "the added pods are removed")
        await asyncio.to_thread(growing.wait_rolled_out, NAME)
    assert load.sent[load.phase] > 0


def pods(namespace: Namespace) -> dict[str, int]:
    """Returns how many pods of each autoscaled service are ready."""
    statuses = {service: namespace.get("deployment", f"{NAME}-{service}")["status"] for service in AUTOSCALED}
    return {service: status.get("readyReplicas", 0) for service, status in statuses.items()}
