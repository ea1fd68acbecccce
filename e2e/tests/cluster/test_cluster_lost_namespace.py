"""A shop whose namespace was deleted under load is created again, and restored from a bucket."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from devtools.shop_client import Shop
from ecommerce_client import ProblemError
from shop_e2e.cluster import backups, s3_server, shops
from shop_e2e.cluster.kubectl import Namespace, Object, create_namespace, delete_namespace
from shop_e2e.faults.order_load import OrderLoad

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

NAMESPACE, NAME, NODE_PORT = "e2e-lost", "lost", 30081


@dataclass(frozen=True)
class LostShop:
    """The shop as a platform engineer has it outside of the cluster."""

    destination: Object
    key: str

    def create(self) -> Namespace:
        """Creates the namespace, the shop in it, and what its backups need."""
        namespace = create_namespace(NAMESPACE)
        policy = backups.policy(self.destination)
        namespace.apply(
            *backups.bucket_secrets(self.key),
            shops.platform(NAME, backup=policy),
            shops.node_port(NAME, NODE_PORT),
        )
        return namespace


@pytest.fixture
async def lost_shop() -> AsyncIterator[LostShop]:
    async with s3_server.bucket() as destination:
        yield LostShop(destination, backups.new_key())


@pytest.fixture
def namespace(lost_shop: LostShop) -> Iterator[Namespace]:
    try:
        created = lost_shop.create()
        created.wait_ready(NAME)
        yield created
    finally:
        delete_namespace(NAMESPACE, wait=False)


async def test_a_shop_whose_namespace_was_deleted_is_restored_into_a_new_one(
    lost_shop: LostShop, namespace: Namespace
) -> None:
    async with Shop(shops.gateway_url(NODE_PORT)) as shop:
        await shop.wait_until_healthy(120)
        former = namespace.secret(f"{NAME}-admin")
        admin = await shop.log_in(former["ADMIN_EMAIL"], former["ADMIN_PASSWORD"])
        _, product = await shop.stocked_product(admin, 10_000)
        customer = await shop.register()
        kept = await customer.buy((product, 1))
        load = OrderLoad(shop, product, pause=0.5)
        async with load.running():
            backup = await backups.LoadedBackup.take(load, namespace, "before", NAME)
            late_comer = await shop.register()
            await asyncio.to_thread(delete_namespace, NAMESPACE)

    began = time.monotonic()
    await asyncio.to_thread(lost_shop.create)
    restored = await asyncio.to_thread(backups.restore, namespace, "after-the-loss", NAME, source={})
    seconds = time.monotonic() - began
    print(f"from an empty namespace to a shop that is restored and has checked its invariants: {seconds:.0f} s")

    assert backups.reason(restored)[:2] == ("Succeeded", "Succeeded"), backups.reason(restored)
    async with Shop(shops.gateway_url(NODE_PORT)) as shop:
        await shop.wait_until_healthy(120)
        await shop.log_in(former["ADMIN_EMAIL"], former["ADMIN_PASSWORD"])
        customer = await shop.log_in(customer.email, customer.password)
        assert [order.id for order in await customer.orders()] == [kept.id]
        await load.reconnect(shop)
        await backup.assert_restored(restored)
        with pytest.raises(ProblemError, match="wrong_credentials"):
            await shop.log_in(late_comer.email, late_comer.password)
        await customer.buy((product, 3))
    namespace.wait_ready(NAME)
