"""A shop whose databases CloudNativePG runs takes orders, also while a primary is killed, and leaves nothing behind."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools.shop_client import Shop
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, command, create_namespace, delete_namespace, eventually
from shop_e2e.faults.order_load import OrderLoad

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_INSTALL = Path(__file__).parents[3] / "hack/cluster/install-cnpg"
_NODE_PORT = 30082
_PRIMARY = "shop-order-db-1"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    command(str(_INSTALL), timeout=1800)
    yield create_namespace("e2e-cnpg")
    delete_namespace("e2e-cnpg", wait=False)


async def test_a_killed_primary_loses_no_order_and_delete_takes_its_volumes(namespace: Namespace) -> None:
    databases = {"provider": "cnpg", "resources": {"requests": {"cpu": "10m"}}}
    namespace.apply(
        shops.platform("shop", databases=databases, deletionPolicy="Delete"), shops.node_port("shop", _NODE_PORT)
    )
    namespace.wait_ready("shop", 900)
    async with Shop(shops.gateway_url(_NODE_PORT)) as shop:
        await shop.wait_until_healthy()
        secret = namespace.secret("shop-admin")
        admin = await shop.log_in(secret["ADMIN_EMAIL"], secret["ADMIN_PASSWORD"])
        _, product = await shop.stocked_product(admin, 1_000_000)
        load = OrderLoad(shop, product)
        async with load.running():
            await load.recovered()
            before, began = len(load.failures), time.monotonic()
            await asyncio.to_thread(namespace.kubectl, "delete", "pod", _PRIMARY, "--grace-period=0", "--force")
            await load.recovered()
            refused = load.failures[before:]
            print(f"{len(refused)} orders were refused, and orders flow after {time.monotonic() - began:.0f} s")
        assert {failure.status for failure in refused} <= {503}
        await load.assert_consistent()

    namespace.kubectl("delete", "ecp", "shop", "--wait")
    eventually(lambda: not namespace.list("clusters.postgresql.cnpg.io,persistentvolumeclaims"), 120, "no data is left")
