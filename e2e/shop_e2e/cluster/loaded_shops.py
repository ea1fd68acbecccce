"""Shops of the cluster under a constant load, of which no request may fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from devtools.shop_client import Shop

from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, eventually
from shop_e2e.faults.constant_load import ConstantLoad

TIMEOUT = 20 * 60.0
"""Seconds within which a shop under load comes to its next state, also on a machine with much other work."""


@asynccontextmanager
async def constant_load(namespace: Namespace, name: str, port: int) -> AsyncIterator[ConstantLoad]:
    """Runs a constant load on the shop behind a node port, prints its table, and asserts that no request has failed."""
    secret = namespace.secret(f"{name}-admin")
    async with Shop(shops.gateway_url(port)) as shop:
        await shop.wait_until_healthy(120)
        admin = await shop.log_in(secret["ADMIN_EMAIL"], secret["ADMIN_PASSWORD"])
        _, product = await shop.stocked_product(admin, 100_000)
        load = ConstantLoad(shop, product)
        try:
            async with load.running():
                yield load
        finally:
            print(f"\n{load.table()}", *load.failures, sep="\n")
    assert load.failures == []


async def reached(check: Callable[[], bool], what: str, within: float = TIMEOUT) -> None:
    """Waits until `check` holds, beside the load; raises AssertionError with `what` after `within` seconds."""
    await asyncio.to_thread(eventually, check, within, what)
