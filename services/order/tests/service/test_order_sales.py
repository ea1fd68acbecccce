"""The sales figures: fed by events in any order, and each seller's own."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from chassis.grpc.wire import timestamp
from chassis.http.authentication import Role
from chassis.messaging.events import Event
from chassis.types.ids import uuid7
from chassis_testing.waiting import eventually
from order_harness import ADMIN, EURO, OTHER_SELLER, PRECIOUS, SELLER, Order, payment_of, refund_of, running_order
from shopapi.events.v1.events_pb2 import OrderConfirmed, OrderLine
from shopapi.money.v1.money_pb2 import Money

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
async def quiet() -> AsyncIterator[Order]:
    """A service that nobody else sells in."""
    async with running_order(order_ttl_seconds=3600.0) as service:
        yield service


@pytest.fixture
async def shop(quiet: Order) -> Order:
    async with quiet.sql() as sql:
        await sql.execute("TRUNCATE sales, orders, order_items, order_history, payments, refunds")
    return quiet


async def asked(shop: Order, what: str, query: str = "", user: int = ADMIN, role: Role = Role.ADMIN) -> httpx.Response:
    return await shop.http.get(f"/api/v1/analytics/{what}?{query}", headers=shop.bearer(user, role))


async def sales(shop: Order, query: str = "", seller: int | None = None) -> list[tuple[str, int, int, int, int, str]]:
    user, role = (ADMIN, Role.ADMIN) if seller is None else (seller, Role.SELLER)
    answer = await asked(shop, "sales", query, user, role)
    assert answer.status_code == 200, answer.text
    return [
        (
            each["start"][:10],
            each["orders"],
            each["units"],
            each["revenue"]["amount"],
            each["refunds"]["amount"],
            each["revenue"]["currency"],
        )
        for each in answer.json()["data"]
    ]


async def sold(shop: Order, at: datetime, *lines: tuple[int, int], charges: int = 0) -> dict[str, Any]:
    """An order that was placed, paid and confirmed at a time of our choice, through the events."""
    placed = await shop.placed(701, *lines)
    order_id = UUID(placed["id"])
    async with shop.sql() as sql:
        await sql.execute(
            "UPDATE orders SET created_at = $1, total_amount = total_amount + $2, tax_amount = $2 WHERE id = $3",
            at,
            charges,
            order_id,
        )
    found: dict[str, Any] = (await shop.get(placed["id"], 701)).json()["data"]
    await shop.pay(found, f"p-{order_id}")
    await in_the_books(shop, found)
    async with shop.sql() as sql:
        await sql.execute("UPDATE sales SET sold_at = $1 WHERE order_id = $2", at, order_id)
    return found


async def in_the_books(shop: Order, placed: dict[str, Any]) -> None:
    async def is_there() -> bool:
        async with shop.sql() as sql:
            return bool(await sql.fetchval("SELECT count(*) FROM sales WHERE order_id = $1", UUID(placed["id"])))

    await eventually(is_there)


async def give_back(shop: Order, placed: dict[str, Any], amount: int, at: datetime) -> None:
    await shop.tell(refund_of(placed, f"p-{placed['id']}", amount, at))


SPAN = "from=2024-01-01&to=2024-12-31"


async def test_sales_are_told_per_day_and_currency(shop: Order) -> None:
    await sold(shop, MONDAY, (1, 2), (2, 1))
    await sold(shop, MONDAY + timedelta(hours=23, minutes=59, seconds=59), (1, 1))
    await sold(shop, MONDAY + timedelta(hours=24), (3, 1))
    await sold(shop, MONDAY, (EURO, 1))

    assert await sales(shop, SPAN) == [
        ("2024-01-01", 1, 1, 100_000, 0, "EUR"),
        ("2024-01-01", 2, 4, 500, 0, "USD"),
        ("2024-01-02", 1, 1, 300, 0, "USD"),
    ]


async def test_weeks_begin_on_mondays_and_months_on_their_first(shop: Order) -> None:
    for day in (0, 6, 7, 31):
        await sold(shop, MONDAY + timedelta(days=day), (1, 1))

    weeks = [(start, orders) for start, orders, *_ in await sales(shop, f"{SPAN}&interval=week")]
    months = [(start, orders) for start, orders, *_ in await sales(shop, f"{SPAN}&interval=month")]

    assert weeks == [("2024-01-01", 2), ("2024-01-08", 1), ("2024-01-29", 1)]
    assert months == [("2024-01-01", 3), ("2024-02-01", 1)]


async def test_a_span_includes_its_beginning_and_not_its_end(shop: Order) -> None:
    for hour in (0, 1, 2):
        await sold(shop, MONDAY + timedelta(hours=hour), (1, 1))

    query = "from=2024-01-01T01:00:00%2B01:00&to=2024-01-01T02:00:00Z"

    assert await sales(shop, query) == [("2024-01-01", 2, 2, 200, 0, "USD")]


async def test_revenue_is_what_was_paid_with_shipping_and_tax(shop: Order) -> None:
    await sold(shop, MONDAY, (1, 1), charges=19)

    assert await sales(shop, SPAN) == [("2024-01-01", 1, 1, 119, 0, "USD")]
    assert await sales(shop, SPAN, SELLER) == [("2024-01-01", 1, 1, 100, 0, "USD")]


async def test_refunds_count_when_they_are_given(shop: Order) -> None:
    placed = await sold(shop, MONDAY, (1, 3))
    await give_back(shop, placed, 50, MONDAY + timedelta(days=1))
    await give_back(shop, placed, 25, MONDAY + timedelta(days=1))

    assert await sales(shop, SPAN) == [("2024-01-01", 1, 3, 300, 0, "USD"), ("2024-01-02", 0, 0, 0, 75, "USD")]


async def test_a_refund_of_what_was_never_sold_is_in_no_figures(shop: Order) -> None:
    placed = await shop.placed(701, (1, 1))
    await shop.cancel(placed["id"], 701)
    await shop.tell(payment_of(placed, "p"), refund_of(placed, "p", 100, MONDAY))

    assert await sales(shop, SPAN) == []


async def test_a_seller_sees_their_own_lines_and_their_share_of_refunds(shop: Order) -> None:
    mixed = await sold(shop, MONDAY, (1, 1), (9, 1))
    await sold(shop, MONDAY, (9, 2))
    await give_back(shop, mixed, 100, MONDAY)

    assert await sales(shop, SPAN, SELLER) == [("2024-01-01", 1, 1, 100, 10, "USD")]
    assert await sales(shop, SPAN, OTHER_SELLER) == [("2024-01-01", 2, 3, 2700, 90, "USD")]
    assert await sales(shop, SPAN, 12345) == []
    top = (await asked(shop, "top-products", SPAN, SELLER, Role.SELLER)).json()["data"]
    assert [each["product_id"] for each in top] == [1]
    conversion = (await asked(shop, "conversion", SPAN, SELLER, Role.SELLER)).json()["data"]
    assert conversion == {"placed": 1, "paid": 1, "rate": 1.0}


async def test_top_products_are_those_that_sold_most_units(shop: Order) -> None:
    await sold(shop, MONDAY, (1, 2), (2, 3), (3, 1))
    await sold(shop, MONDAY, (1, 2), charges=100)
    await sold(shop, MONDAY - timedelta(days=40), (3, 100))

    answer = await asked(shop, "top-products", f"{SPAN}&limit=2")

    assert answer.json()["data"] == [
        {
            "product_id": 1,
            "name": "Product 1",
            "orders": 2,
            "units": 4,
            "revenue": {"amount": 400, "currency": "USD"},
        },
        {
            "product_id": 2,
            "name": "Product 2",
            "orders": 1,
            "units": 3,
            "revenue": {"amount": 600, "currency": "USD"},
        },
    ]


async def test_conversion_is_of_what_was_placed(shop: Order) -> None:
    await sold(shop, datetime.now(UTC), (1, 1))
    confirmed_then_cancelled = await shop.confirmed(701, (1, 1))
    await shop.cancel(confirmed_then_cancelled["id"], 701)
    await shop.placed(701, (1, 1))

    assert (await asked(shop, "conversion")).json()["data"] == {"placed": 3, "paid": 2, "rate": 0.6667}
    assert (await asked(shop, "conversion", SPAN)).json()["data"] == {"placed": 0, "paid": 0, "rate": None}


async def test_figures_beyond_one_orders_money_are_told_all_the_same(shop: Order) -> None:
    for _ in range(2):
        await sold(shop, MONDAY, (PRECIOUS, 90_000))

    assert await sales(shop, SPAN) == [("2024-01-01", 2, 180_000, 18 * 10**15, 0, "USD")]


@pytest.mark.parametrize("seed", range(20))
async def test_events_replayed_and_shuffled_make_the_same_figures(shop: Order, seed: int) -> None:
    chance = random.Random(seed)
    placed = [await shop.placed(702, (1, 1), (9, 1)) for _ in range(2)]
    told: list[Event] = []
    for each in placed:
        payment_id = f"p-{each['id']}"
        told += [payment_of(each, payment_id), *(refund_of(each, payment_id, n, MONDAY) for n in (100, 200))]
        told += [confirmation_of(each)]
    replayed = told * 2
    chance.shuffle(replayed)

    await shop.tell(*replayed)
    for each in placed:
        await shop.heard(each["id"], "order.placed.v1", "order.confirmed.v1", "order.confirmed.v1")
        await shop.received({event.id for event in shop.about(each["id"]) if event.type.name == "order.confirmed.v1"})

    assert await sales(shop, SPAN) == [("2024-01-01", 0, 0, 0, 600, "USD")]
    ((_, orders, units, revenue, refunds, _),) = await sales(shop)
    assert (orders, units, revenue, refunds) == (2, 4, 2000, 0)


def confirmation_of(placed: dict[str, Any]) -> Event:
    """The same news once more, under another id: as if the relay's own event were told twice."""
    lines = [
        OrderLine(
            product_id=item["product_id"],
            quantity=item["quantity"],
            unit_price=Money(**item["unit_price"]),
            name=item["name"],
            seller_id=OTHER_SELLER if item["product_id"] == 9 else SELLER,
        )
        for item in placed["items"]
    ]
    now = datetime.now(UTC)
    payload = OrderConfirmed(
        order_id=placed["id"], buyer_id=702, lines=lines, total=Money(**placed["total"]), confirmed_at=timestamp(now)
    )
    return Event(uuid7(), placed["id"], now, payload, {})


@pytest.mark.parametrize("what", ["sales", "top-products", "conversion"])
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("from=2024-02-01&to=2024-01-01", "bad_range"),
        ("from=2024-01-01&to=2024-01-01", "bad_range"),
        ("from=2023-01-01&to=2024-06-01", "bad_range"),
        ("from=2999-01-01", "invalid_field"),
        ("from=yesterday", "invalid_field"),
        ("from=0001-01-01T00:00:00%2B14:00", "invalid_field"),
        ("to=9999-12-31T23:59:59-14:00", "invalid_field"),
        ("to=inf", "invalid_field"),
    ],
)
async def test_a_bad_span_is_refused(shop: Order, what: str, query: str, code: str) -> None:
    answer = await asked(shop, what, query)

    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize("query", ["interval=hour", "interval=", "interval=day;--"])
async def test_a_bad_interval_is_a_bad_field(shop: Order, query: str) -> None:
    assert (await asked(shop, "sales", query)).json()["code"] == "invalid_field"


@pytest.mark.parametrize("limit", ["0", "101", "x"])
async def test_a_bad_limit_is_a_bad_field(shop: Order, limit: str) -> None:
    assert (await asked(shop, "top-products", f"limit={limit}")).json()["code"] == "invalid_field"
