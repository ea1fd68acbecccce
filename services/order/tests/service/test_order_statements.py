"""Carts and orders take a fixed number of statements, commits and calls of neighbours."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from chassis.database.engine import Database
from chassis.database.idempotency import Key
from chassis.http.authentication import Principal, Role
from chassis.messaging.broker import Broker
from chassis.messaging.outbox import Outbox
from chassis.types.ids import OrderId, ProductId, UserId, uuid7
from chassis.types.money import Money
from chassis_testing.databases import migrated_database
from chassis_testing.sent_statements import SentStatements, sent_statements
from order_service.app import SCHEMA
from order_service.domain.addresses import Address
from order_service.domain.carts import CartOwner, CartToken
from order_service.domain.expiry import ExpiryPolicy
from order_service.domain.items import Line, Offer
from order_service.domain.open_orders import OpenOrderLimits
from order_service.domain.orders import Order, PayableOrder, Payment
from order_service.repository.carts import CartRepository
from order_service.service.carts import CartService
from order_service.service.orders import OrderService
from order_service.service.placement import OrderPlacement, PlacementPolicy, PlacementRequest
from order_service.service.published_events import OrderEvents

BUYER = UserId(7)
LINES = tuple(Line(ProductId(product), 2) for product in range(1, 6))
SHIP_TO = Address("Ada Lovelace", "12 St James's Square", "London", "GB")
_HOUR = timedelta(hours=1)


@dataclass
class Neighbours:
    """The product and inventory services at their protocols: everything has a price and is in stock."""

    calls: list[str] = field(default_factory=list)
    on_reserve: Callable[[], None] = lambda: None

    async def offers(self, product_ids: Sequence[ProductId]) -> Mapping[ProductId, Offer]:
        self.calls.append("offers")
        return {each: Offer(each, "a cup", Money(500, "USD"), UserId(1)) for each in product_ids}

    async def reserve(self, order_id: OrderId, lines: Sequence[Line], until: datetime) -> None:
        self.calls.append("reserve")
        self.on_reserve()

    async def release(self, order_id: OrderId) -> None:
        self.calls.append("release")

    async def available(self, product_ids: Sequence[ProductId]) -> dict[ProductId, int]:
        self.calls.append("available")
        return dict.fromkeys(product_ids, 1000)


@dataclass(frozen=True)
class Orders:
    """The use cases of orders; no loop runs in the background."""

    database: Database
    neighbours: Neighbours
    sent: SentStatements
    placement: OrderPlacement
    service: OrderService
    carts: CartService

    async def place(self, request: PlacementRequest, key: str | None = None) -> Order:
        return await self.placement.place_order(BUYER, request, None if key is None else Key(key))

    async def fill_cart(self) -> None:
        async with self.database.begin() as transaction:
            carts = CartRepository(transaction)
            cart_id = await carts.ensure_of_buyer(BUYER, uuid7(), _now())
            assert cart_id is not None
            await carts.add_lines(cart_id, LINES)

    async def get(self, order: Order) -> Order:
        return await self.service.get_order(Principal(BUYER, Role.CUSTOMER), order.id)

    async def pay(self, order: Order) -> None:
        async with self.database.begin() as transaction:
            await self.service.record_payment(transaction, order.id, Payment(str(uuid7()), order.total, _now()))

    @asynccontextmanager
    async def counting(self) -> AsyncIterator[None]:
        self.sent.clear()
        self.neighbours.calls.clear()
        yield


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def orders() -> AsyncIterator[Orders]:
    """The use cases, each of which has run once, so that nothing is prepared or looked up later."""
    async with migrated_database("order_service") as settings, sent_statements(settings) as (sent, proxied):
        database, neighbours = Database(proxied, SCHEMA), Neighbours()
        events = OrderEvents(Outbox(database, Broker("amqp://broker.invalid/", "order")), uuid7)
        policy = PlacementPolicy(_HOUR, _HOUR, OpenOrderLimits(100, 1000))
        placement = OrderPlacement(database, events, neighbours, neighbours, policy, _now, uuid7)
        service = OrderService(database, events, ExpiryPolicy(timedelta(), timedelta()), _now)
        carts = CartService(database, neighbours, neighbours, _now, uuid7, lambda: CartToken("unused"))
        opened = Orders(database, neighbours, sent, placement, service, carts)
        await opened.fill_cart()
        await opened.pay(await opened.place(PlacementRequest(None, SHIP_TO), "first"))
        yield opened
        await database.close()


_STATE = ["WITH"]
"""What the order depends on: its key, the cart, the buyer, the buyer's open orders."""
_STORED = ["WITH", "INSERT", "WITH", "INSERT"]
"""The order with its items and history, the lock of the buyer, the buyer's open orders, and the event."""
_STORED_OF_CART = ["WITH", "WITH", "WITH", "INSERT", "WITH"]
"""The same, with the lock of the cart in the statement that locks the buyer, and the lines that are taken from it."""


async def test_an_order_of_items_is_committed_once(orders: Orders) -> None:
    async with orders.counting():
        await orders.place(PlacementRequest(LINES, SHIP_TO))

    assert orders.sent.verbs == [*_STATE, "BEGIN", *_STORED, "COMMIT"]
    assert orders.neighbours.calls == ["offers", "reserve"]


async def test_an_order_of_a_cart_is_committed_once(orders: Orders) -> None:
    await orders.fill_cart()

    async with orders.counting():
        await orders.place(PlacementRequest(None, SHIP_TO))

    assert orders.sent.verbs == [*_STATE, "BEGIN", *_STORED_OF_CART, "COMMIT"]
    assert orders.neighbours.calls == ["offers", "reserve"]


@pytest.mark.parametrize("lines", [LINES, None])
async def test_a_key_is_claimed_before_stock_is_reserved_for_its_order(
    orders: Orders, lines: tuple[Line, ...] | None
) -> None:
    await orders.fill_cart()
    sent_before_reserving: list[str] = []
    orders.neighbours.on_reserve = lambda: sent_before_reserving.extend(orders.sent.verbs)

    async with orders.counting():
        placed = await orders.place(PlacementRequest(lines, SHIP_TO), "a key")
    claimed = [*_STATE, "WITH"]
    assert sent_before_reserving == claimed
    assert orders.sent.verbs == [*claimed, "BEGIN", *(_STORED if lines else _STORED_OF_CART), "COMMIT"]

    async with orders.counting():
        assert await orders.place(PlacementRequest(lines, SHIP_TO), "a key") == placed
    assert orders.sent.verbs == [*_STATE, "SELECT"]
    assert orders.neighbours.calls == []


async def test_an_order_is_read_by_one_statement(orders: Orders) -> None:
    placed = await orders.place(PlacementRequest(LINES, SHIP_TO))

    async with orders.counting():
        assert await orders.get(placed) == placed

    assert orders.sent.verbs == ["SELECT"]


async def test_a_product_is_added_to_a_cart_in_two_statements(orders: Orders) -> None:
    async with orders.counting():
        await orders.carts.add_line(CartOwner(BUYER), LINES[0])
    assert orders.sent.verbs == ["BEGIN", "WITH", "WITH", "COMMIT"]

    async with orders.counting():
        await orders.carts.add_line(CartOwner(BUYER), LINES[0], Key("a key"))
    assert orders.sent.verbs == ["BEGIN", "WITH", "INSERT", "WITH", "COMMIT"]


async def test_a_buyers_cart_is_read_by_one_statement(orders: Orders) -> None:
    await orders.fill_cart()

    async with orders.counting():
        cart = await orders.carts.get_cart(CartOwner(BUYER))

    assert [Line(line.product_id, line.quantity) for line in cart.lines] == list(LINES)
    assert orders.sent.verbs == ["SELECT"]


async def test_a_payment_asks_whether_an_order_is_payable_by_one_read(orders: Orders) -> None:
    placed = await orders.place(PlacementRequest(LINES, SHIP_TO))

    async with orders.counting():
        payable, is_payable = await orders.service.get_payable(placed.id)

    assert is_payable
    assert payable == PayableOrder(placed.id, BUYER, placed.status, placed.total, placed.expires_at, False)
    assert orders.sent.verbs == ["SELECT"]


async def test_a_payment_confirms_an_order_in_these_statements(orders: Orders) -> None:
    placed = await orders.place(PlacementRequest(LINES, SHIP_TO))

    async with orders.counting():
        await orders.pay(placed)

    locked, confirmed = ["SELECT", "SELECT"], ["INSERT", "WITH", "INSERT"]
    assert orders.sent.verbs == ["BEGIN", *locked, *confirmed, "COMMIT"]
