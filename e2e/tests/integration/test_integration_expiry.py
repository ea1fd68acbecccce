"""While the broker is away for longer than orders and reservations last, nothing that is placed or paid is given up."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.waiting import eventually
from devtools import consistency
from devtools.shop_client import Person, Shop
from devtools.stack import Servers, Stack
from ecommerce_client import ProblemError
from ecommerce_client.models.order import OrderResponse
from shop_e2e.api.mailbox import Mailbox
from shop_e2e.isolated.stacks import admin_of, isolated_stack, unexpected_errors

_TTL, _MARGIN = timedelta(seconds=20), timedelta(seconds=5)
_HOLD_SECONDS = 2
_ENDS_WITHIN = 60.0


@dataclass(frozen=True)
class Outage:
    """A shop with two buyers, and the proxy through which its services reach the broker."""

    stack: Stack
    shop: Shop
    admin: Person
    broker: FaultProxy
    buyer: Person
    other: Person

    async def one_unit(self) -> int:
        """Returns a new product of which one unit is in stock."""
        _seller, product = await self.shop.stocked_product(self.admin, 1)
        return product

    async def wait_until_held_for(self, order: OrderResponse) -> None:
        """Waits until inventory has extended the reservation beyond the expiry of the order."""
        connection = await asyncpg.connect(self.stack.database_of("inventory"))
        query = "SELECT held_until > $2 FROM reservations WHERE order_id = $1 AND status = 'pending'"

        async def is_extended() -> bool:
            return bool(await connection.fetchval(query, order.id, order.expires_at))

        try:
            await eventually(is_extended, _ENDS_WITHIN)
        finally:
            await connection.close()

    async def is_sold_out_for_the_other_buyer(self, product: int) -> bool:
        with pytest.raises(ProblemError) as refused:
            await self.other.order((product, 1))
        return refused.value.code == "out_of_stock"

    async def wait_until_consistent(self) -> None:
        async with consistency.open_checker(self.stack) as opened:
            await opened.wait_until_consistent(_ENDS_WITHIN)


@pytest.fixture(scope="module")
async def outage(tmp_path_factory: pytest.TempPathFactory, mails: Mailbox) -> AsyncIterator[Outage]:
    rabbitmq = urlsplit(Servers.from_environment().rabbitmq)
    soon = {"ORDER_TTL_SECONDS": str(_TTL.seconds), "RESERVATION_HOLD_SECONDS": str(_HOLD_SECONDS)}
    async with (
        fault_proxy(rabbitmq.hostname or "", rabbitmq.port or 0) as broker,
        isolated_stack(
            "expiry",
            tmp_path_factory.mktemp("expiry-logs"),
            mails,
            proxied_ports={"rabbitmq": broker.port},
            settings={"order": soon},
        ) as stack,
        Shop(stack.url) as shop,
    ):
        admin, buyer, other = await admin_of(stack, shop), await shop.register(), await shop.register()
        yield Outage(stack, shop, admin, broker, buyer, other)
        assert unexpected_errors(stack) == []


async def test_an_order_paid_while_the_broker_is_away_past_its_expiry_is_confirmed(outage: Outage) -> None:
    product = await outage.one_unit()
    await outage.broker.sever()
    try:
        order = await outage.buyer.order((product, 1))
        payment = await outage.buyer.pay(order.id)
        assert payment.status == "completed"
        await eventually(lambda: _is_past(order.expires_at + _MARGIN), _ENDS_WITHIN)
        await outage.buyer.order_becomes(order.id, "confirmed")
        assert await outage.is_sold_out_for_the_other_buyer(product)
    finally:
        await outage.broker.restore()

    await outage.wait_until_consistent()
    kept = await outage.buyer.order_becomes(order.id, "confirmed")
    assert [change.status for change in kept.history] == ["pending", "confirmed"]
    stock = await outage.shop.stock(product)
    assert (stock.available, stock.reserved) == (0, 0)
    paid = await outage.buyer.call("GET", f"/payments/order/{order.id}")
    assert (paid["status"], paid["refunded"]["amount"]) == ("completed", 0)


async def test_the_last_unit_of_an_order_placed_while_the_broker_is_away_stays_its_own(outage: Outage) -> None:
    product = await outage.one_unit()
    await outage.broker.sever()
    try:
        order = await outage.buyer.order((product, 1))
        await outage.wait_until_held_for(order)
        assert await outage.is_sold_out_for_the_other_buyer(product)
        assert (await outage.buyer.pay(order.id)).status == "completed"
    finally:
        await outage.broker.restore()

    await outage.buyer.order_becomes(order.id, "confirmed")
    await outage.wait_until_consistent()


async def _is_past(time: datetime) -> bool:
    return datetime.now(UTC) > time
