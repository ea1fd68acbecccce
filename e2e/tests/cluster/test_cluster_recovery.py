"""Whatever is killed under an order load: no accepted order is lost, nothing is oversold, and the shop recovers without
help.
"""

import asyncio

import pytest
from devtools.services import SERVICES
from devtools.shop_client import Person, Shop
from shop_e2e.cluster.kubectl import Namespace, Object, eventually
from shop_e2e.cluster.shops import STORES
from shop_e2e.faults.order_load import Failure, OrderLoad

pytestmark = pytest.mark.cluster


async def test_orders_survive_the_death_of_every_pod(namespace: Namespace, shop: Shop, admin: Person) -> None:
    _, product = await shop.stocked_product(admin, 1_000_000)
    stream = OrderLoad(shop, product)
    async with stream.running():
        for component in (*SERVICES, *STORES):
            before = len(stream.failures)
            await asyncio.to_thread(_kill, namespace, component)
            await stream.recovered()
            print(
                f"{component}: {len(stream.failures) - before} orders refused, {len(stream.accepted)} accepted so far"
            )
            _only_expected_failures(stream.failures[before:], component)
    await stream.assert_consistent()


def _kill(namespace: Namespace, component: str) -> None:
    """Kills a ready pod and returns once it is ready again, or an autoscaler has removed it."""
    pod, killed = next((name, one) for name, one in _containers(namespace, component).items() if one["ready"])
    namespace.kill(pod)

    def has_recovered() -> bool:
        container = _containers(namespace, component).get(pod)
        return container is None or bool(container["ready"] and container["containerID"] != killed["containerID"])

    eventually(has_recovered, 90, f"{pod} is ready again")


def _containers(namespace: Namespace, component: str) -> dict[str, Object]:
    """Returns the state of each pod's container, by pod: an autoscaled service may have several."""
    pods = namespace.list("pods", f"app.kubernetes.io/component={component},app.kubernetes.io/instance=shop")
    return {
        pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"] and "containerStatuses" in pod["status"]
    }


def _only_expected_failures(failures: list[Failure], component: str) -> None:
    """Asserts that refused orders got 503; connections may break only where the gateway itself was killed."""
    foreseen = {503, None} if component == "gateway" else {503}
    unforeseen = [failure for failure in failures if failure.status not in foreseen]
    assert unforeseen == [], f"after {component} was killed"
