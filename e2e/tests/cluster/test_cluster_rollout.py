"""A change rolls out under load without a failed request."""

import asyncio

import pytest
from devtools.shop_client import Person, Shop
from shop_e2e.cluster.kubectl import Namespace, eventually
from shop_e2e.faults.order_load import OrderLoad

pytestmark = [pytest.mark.cluster, pytest.mark.undisturbed]


async def test_changing_the_profile_rolls_out_without_a_failed_request(
    namespace: Namespace, shop: Shop, admin: Person
) -> None:
    _, product = await shop.stocked_product(admin, 100_000)
    stream = OrderLoad(shop, product, buyers=2, pause=2)  # so few that no autoscaler adds pods to those that start
    try:
        async with stream.running():
            for profile, replicas in (("medium", 2), ("small", 1)):
                namespace.patch("ecp", "shop", {"spec": {"profile": profile}})
                await asyncio.to_thread(_rolled_out, namespace, replicas)
                await asyncio.to_thread(
                    eventually, lambda: _all_reserve(namespace), 120, "every pod of inventory serves"
                )
                await stream.recovered()
    finally:
        namespace.patch("ecp", "shop", {"spec": {"profile": "small"}})

    assert stream.failures == []
    await stream.assert_consistent()


def _rolled_out(namespace: Namespace, replicas: int) -> None:
    namespace.wait_rolled_out("shop")
    deployment = namespace.get("deployment", "shop-inventory")
    assert deployment["status"]["readyReplicas"] >= replicas


def _all_reserve(namespace: Namespace) -> bool:
    """Asserts that gRPC calls reach every pod: clients resolve the headless Service, and resolve again when connections
    end.
    """
    metrics = namespace.metrics("app.kubernetes.io/component=inventory,app.kubernetes.io/instance=shop")
    return all(
        any("Reserve" in series and "_count" in series and value > 0 for series, value in one.items())
        for one in metrics.values()
    )
