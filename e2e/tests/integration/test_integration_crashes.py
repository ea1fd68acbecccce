"""Processes die in the middle of their work: no accepted order is lost, and reservations match the orders."""

import asyncio

import pytest
from devtools.shop_client import Person, Shop
from devtools.stack import Stack
from shop_e2e.faults.order_load import OrderLoad


@pytest.mark.parametrize("service", ["order", "inventory"])
async def test_a_killed_process_loses_no_order_and_no_stock(
    stack: Stack, shop: Shop, admin: Person, service: str
) -> None:
    _seller, product = await shop.stocked_product(admin, 100_000)
    stream = OrderLoad(shop, product, buyers=4, pause=0.05)

    async with stream.running():
        for _ in range(3):
            await stream.recovered()  # so that orders are on their way when the process dies
            await stack.kill(service)
            await asyncio.sleep(0.2)
            await stack.start(service)
        await stream.recovered()

    assert {failure.status for failure in stream.failures} <= {503}, stream.failures
    await stream.assert_consistent()
