"""A shop whose databases CloudNativePG runs takes orders, also while a primary is killed, and leaves nothing behind."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from devtools.shop_client import Shop
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, create_namespace, delete_namespace, eventually
from shop_e2e.faults.order_load import OrderLoad

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_NODE_PORT = 30082
_DATABASE = "shop-order-db"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    shops.install_cnpg()
    yield create_namespace("e2e-cnpg")
    delete_namespace("e2e-cnpg", wait=False)


@pytest.mark.parametrize(("profile", "instances"), [("small", 1), ("medium", 2)])
async def test_a_killed_primary_loses_no_order_and_delete_takes_its_volumes(
    namespace: Namespace, profile: str, instances: int
) -> None:
    databases = {"provider": "cnpg", "storage": {"size": "1Gi"}, "resources": {"requests": {"cpu": "10m"}}}
    services = shops.single_pods()
    platform = shops.platform("shop", profile=profile, databases=databases, services=services, deletionPolicy="Delete")
    namespace.apply(platform, shops.node_port("shop", _NODE_PORT))
    namespace.wait_ready("shop", 900)
    assert len(namespace.list("pods", f"cnpg.io/cluster={_DATABASE}")) == instances
    async with Shop(shops.gateway_url(_NODE_PORT)) as shop:
        await shop.wait_until_healthy()
        secret = namespace.secret("shop-admin")
        admin = await shop.log_in(secret["ADMIN_EMAIL"], secret["ADMIN_PASSWORD"])
        _, product = await shop.stocked_product(admin, 1_000_000)
        load = OrderLoad(shop, product)
        async with load.running():
            await load.recovered()
            promoted = await _kill(namespace, load)
            assert promoted == (instances > 1), "a standby is promoted if there is one"
        assert {failure.status for failure in load.failures} <= {503}
        await load.assert_consistent()
        await asyncio.to_thread(shops.wait_consistent, namespace, "shop")

    namespace.kubectl("delete", "ecp", "shop", "--wait", timeout=180)
    eventually(lambda: not namespace.list("clusters.postgresql.cnpg.io,persistentvolumeclaims"), 120, "no data is left")


async def _kill(namespace: Namespace, load: OrderLoad) -> bool:
    """Kills the primary, and returns when orders are accepted again and all instances are ready: True if another one is
    the primary then.
    """
    ((before, name),) = _primaries(namespace).items()
    refused, accepted, load.longest_pause, began = len(load.failures), len(load.accepted), 0.0, time.monotonic()
    await asyncio.to_thread(namespace.kubectl, "delete", "pod", name, "--grace-period=0", "--force")
    await asyncio.to_thread(eventually, lambda: _primaries(namespace).keys() - {before}, 120, "another pod is primary")
    await load.recovered()
    await asyncio.to_thread(namespace.wait_ready, "shop")
    (primary,) = _primaries(namespace).values()
    print(
        f"{name}: {len(load.failures) - refused} orders refused, {len(load.accepted) - accepted} accepted, the longest "
        f"pause between two {load.longest_pause:.1f} s; all is ready after {time.monotonic() - began:.1f} s"
    )
    return primary != name


def _primaries(namespace: Namespace) -> dict[str, str]:
    """Returns the name of the primary's pod by its uid; empty while no pod is the primary."""
    pods = namespace.list("pods", f"cnpg.io/cluster={_DATABASE},cnpg.io/instanceRole=primary")
    return {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in pods}
