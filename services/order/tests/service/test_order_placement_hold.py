"""An order is never stored under a reservation that has run out: inventory may have sold its stock by then."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.database import idempotency
from chassis.database.engine import Database
from chassis.messaging.broker import Broker
from chassis.messaging.outbox import Outbox
from chassis.types.ids import OrderId, ProductId, UserId, uuid7
from chassis.types.money import Money
from order_harness import SELLER, OrderApp
from order_service.app import SCHEMA
from order_service.domain.errors import PlacementTooSlow
from order_service.domain.items import Line, Offer
from order_service.domain.open_orders import OpenOrderLimits
from order_service.domain.orders import Order
from order_service.handlers.problems import PROBLEMS
from order_service.service.placement import OrderPlacement, PlacementPolicy, PlacementRequest
from order_service.service.published_events import OrderEvents

HOLD = timedelta(seconds=60)
LINE = Line(ProductId(1), 1)


class OneOffer:
    async def offers(self, product_ids: Sequence[ProductId]) -> Mapping[ProductId, Offer]:
        return {product: Offer(product, "Cup", Money(100, "USD"), UserId(SELLER)) for product in product_ids}


@dataclass
class SlowShop:
    """The placement of orders on a real database, whose clock moves by `delays`, one for each reservation."""

    database: Database
    delays: list[timedelta]
    elapsed: timedelta = timedelta()
    reserved: list[tuple[OrderId, datetime]] = field(default_factory=list)
    released: list[OrderId] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.elapsed

    async def reserve(self, order_id: OrderId, lines: Sequence[Line], until: datetime) -> None:
        self.reserved.append((order_id, until))
        self.elapsed += self.delays.pop(0)

    async def release(self, order_id: OrderId) -> None:
        self.released.append(order_id)

    async def available(self, product_ids: Sequence[ProductId]) -> dict[ProductId, int]:
        raise NotImplementedError

    async def place_order(self, buyer: int, key: str | None = None) -> Order:
        events = OrderEvents(Outbox(self.database, Broker("amqp://broker.invalid/", "order")), uuid7)
        policy = PlacementPolicy(HOLD, timedelta(minutes=30), OpenOrderLimits(orders=10, units_per_product=100))
        placement = OrderPlacement(self.database, events, OneOffer(), self, policy, self.now, uuid7)
        return await placement.place_order(
            UserId(buyer), PlacementRequest((LINE,)), None if key is None else idempotency.Key(key)
        )


@pytest.fixture
async def database(app: OrderApp) -> AsyncIterator[Database]:
    database = Database(app.database, SCHEMA)
    yield database
    await database.close()


async def stored_orders(app: OrderApp, buyer: int) -> set[UUID]:
    return {UUID(order["id"]) for order in await app.orders_of(buyer)}


@pytest.mark.parametrize("delay", [HOLD, HOLD - timedelta(seconds=10)])
@pytest.mark.parametrize("key", [None, "checkout-1"])
async def test_an_order_whose_reservation_ran_out_is_placed_with_a_new_one(
    app: OrderApp, database: Database, key: str | None, delay: timedelta
) -> None:
    buyer = 1450 + delay.seconds + (key is None)
    shop = SlowShop(database, [delay, timedelta()])

    order = await shop.place_order(buyer, key)

    assert await stored_orders(app, buyer) == {order.id}
    (first, _), (second, until) = shop.reserved
    assert (order.id, until) == (second, order.created_at + HOLD)
    assert (first == second) is (key is not None)  # under a key, the reservation of the same order is extended
    assert shop.released == ([] if key is not None else [first])
    await app.wait_for_events(str(order.id), "order.placed.v1")


async def test_an_order_that_is_stored_in_time_is_placed_at_once(app: OrderApp, database: Database) -> None:
    shop = SlowShop(database, [HOLD / 2])

    order = await shop.place_order(1520)

    assert ([reserved for reserved, _ in shop.reserved], shop.released) == ([order.id], [])


async def test_a_placement_that_is_always_too_slow_stores_nothing(app: OrderApp, database: Database) -> None:
    shop = SlowShop(database, [HOLD] * 3)

    with pytest.raises(PlacementTooSlow):
        await shop.place_order(1521)

    assert await stored_orders(app, 1521) == set()
    assert shop.released == [order_id for order_id, _ in shop.reserved]
    problem = PROBLEMS[PlacementTooSlow]
    assert (problem.status, problem.code, problem.headers) == (503, "placement_too_slow", {"Retry-After": "1"})
