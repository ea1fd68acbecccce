"""Sales reports: made from events in any order, and for sellers restricted to their own sales."""

import csv
import io
import json
import random
import re
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
from order_harness import (
    ADMIN,
    EURO_PRODUCT,
    EXPENSIVE_PRODUCT,
    OTHER_SELLER,
    SELLER,
    OrderApp,
    payment_of,
    refund_of,
    running_app,
)
from shopapi.events.v1.events_pb2 import OrderConfirmed, OrderLine
from shopapi.money.v1.money_pb2 import Money

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
async def own_app() -> AsyncIterator[OrderApp]:
    """An order service that only the tests of this module use."""
    async with running_app(order_ttl_seconds=3600.0) as service:
        yield service


@pytest.fixture
async def app(own_app: OrderApp) -> OrderApp:
    async with own_app.sql() as sql:
        await sql.execute(
            "TRUNCATE sales, orders, order_items, order_history, payments, payment_differences, manual_payments,"
            " refunds"
        )
    return own_app


async def get_report(
    app: OrderApp, what: str, query: str = "", user: int = ADMIN, role: Role = Role.ADMIN
) -> httpx.Response:
    return await app.http.get(f"/api/v1/analytics/{what}?{query}", headers=app.bearer(user, role))


async def get_sales(
    app: OrderApp, query: str = "", seller: int | None = None
) -> list[tuple[str, int, int, int, int, str]]:
    user, role = (ADMIN, Role.ADMIN) if seller is None else (seller, Role.SELLER)
    response = await get_report(app, "sales", query, user, role)
    assert response.status_code == 200, response.text
    return [
        (
            each["start"][:10],
            each["orders"],
            each["units"],
            each["revenue"]["amount"],
            each["refunds"]["amount"],
            each["revenue"]["currency"],
        )
        for each in response.json()["data"]
    ]


async def place_sold_order(app: OrderApp, at: datetime, *lines: tuple[int, int], charges: int = 0) -> dict[str, Any]:
    """Places an order that is paid, confirmed and sold at the given time."""
    placed = await app.place_order(701, *lines)
    order_id = UUID(placed["id"])
    async with app.sql() as sql:
        await sql.execute(
            "UPDATE orders SET created_at = $1, total_amount = total_amount + $2, tax_amount = $2 WHERE id = $3",
            at,
            charges,
            order_id,
        )
    found: dict[str, Any] = (await app.get(placed["id"], 701)).json()["data"]
    await app.pay(found, f"p-{order_id}")
    await wait_for_sale(app, found)
    async with app.sql() as sql:
        await sql.execute("UPDATE sales SET sold_at = $1 WHERE order_id = $2", at, order_id)
    return found


async def wait_for_sale(app: OrderApp, placed: dict[str, Any]) -> None:
    async def is_recorded() -> bool:
        async with app.sql() as sql:
            return bool(await sql.fetchval("SELECT count(*) FROM sales WHERE order_id = $1", UUID(placed["id"])))

    await eventually(is_recorded)


async def refund(app: OrderApp, placed: dict[str, Any], amount: int, at: datetime) -> None:
    await app.publish(refund_of(placed, f"p-{placed['id']}", amount, at))


YEAR_2024 = "from=2024-01-01&to=2024-12-31"


async def test_sales_are_reported_per_day_and_currency(app: OrderApp) -> None:
    await place_sold_order(app, MONDAY, (1, 2), (2, 1))
    await place_sold_order(app, MONDAY + timedelta(hours=23, minutes=59, seconds=59), (1, 1))
    await place_sold_order(app, MONDAY + timedelta(hours=24), (3, 1))
    await place_sold_order(app, MONDAY, (EURO_PRODUCT, 1))

    assert await get_sales(app, YEAR_2024) == [
        ("2024-01-01", 1, 1, 100_000, 0, "EUR"),
        ("2024-01-01", 2, 4, 500, 0, "USD"),
        ("2024-01-02", 1, 1, 300, 0, "USD"),
    ]


async def test_weeks_begin_on_mondays_and_months_on_their_first(app: OrderApp) -> None:
    for day in (0, 6, 7, 31):
        await place_sold_order(app, MONDAY + timedelta(days=day), (1, 1))

    weeks = [(start, orders) for start, orders, *_ in await get_sales(app, f"{YEAR_2024}&interval=week")]
    months = [(start, orders) for start, orders, *_ in await get_sales(app, f"{YEAR_2024}&interval=month")]

    assert weeks == [("2024-01-01", 2), ("2024-01-08", 1), ("2024-01-29", 1)]
    assert months == [("2024-01-01", 3), ("2024-02-01", 1)]


async def test_sales_are_reported_by_the_days_of_a_time_zone(app: OrderApp) -> None:
    midnight = datetime(2024, 10, 26, 22, tzinfo=UTC)  # of 27 October in Berlin, a day of 25 hours
    for hours in (-0.01, 0, 24.99, 25):
        await place_sold_order(app, midnight + timedelta(hours=hours), (1, 1))
    placed = await place_sold_order(app, midnight + timedelta(hours=26), (1, 1))
    await refund(app, placed, 50, midnight + timedelta(hours=24.5))

    response = await get_report(app, "sales", "from=2024-10-26&to=2024-10-29&timezone=Europe/Berlin")

    assert [(each["start"], each["orders"], each["refunds"]["amount"]) for each in response.json()["data"]] == [
        ("2024-10-26T00:00:00+02:00", 1, 0),
        ("2024-10-27T00:00:00+02:00", 2, 50),
        ("2024-10-28T00:00:00+01:00", 2, 0),
    ]
    assert [orders for _, orders, *_ in await get_sales(app, "from=2024-10-26&to=2024-10-29")] == [2, 2, 1]


@pytest.mark.parametrize("what", ["sales", "top-products", "conversion"])
async def test_a_date_is_the_first_moment_of_its_day_in_the_time_zone(app: OrderApp, what: str) -> None:
    await place_sold_order(app, datetime(2024, 1, 1, 4, 59, tzinfo=UTC), (1, 1))

    found = [
        (await get_report(app, what, f"from=2024-01-01&to=2024-01-02&timezone={zone}")).json()["data"]
        for zone in ("UTC", "America/New_York")
    ]

    assert found[0]
    assert found[1] in ([], {"placed": 0, "paid": 0, "rate": None})


async def test_a_shop_has_a_time_zone_for_its_reports() -> None:
    async with running_app(report_timezone="Asia/Tokyo") as app:
        await place_sold_order(app, datetime(2024, 1, 1, 15, tzinfo=UTC), (1, 1))

        assert [day for day, *_ in await get_sales(app, "from=2024-01-02&to=2024-01-03")] == ["2024-01-02"]
        assert [day for day, *_ in await get_sales(app, "from=2024-01-01&to=2024-01-02&timezone=UTC")] == ["2024-01-01"]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "europe/berlin", "Europe", "../UTC", "", "%00", "x" * 300])
@pytest.mark.parametrize("what", ["sales", "top-products", "conversion"])
async def test_an_unknown_time_zone_is_an_invalid_field(app: OrderApp, what: str, zone: str) -> None:
    response = await get_report(app, what, f"timezone={zone}")

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.json()["errors"][0]["field"] == "timezone"


@pytest.mark.parametrize("path", ["orders", "analytics/sales", "analytics/top-products", "analytics/conversion"])
@pytest.mark.parametrize("offset", ["+01:00", "+0530", ".5+01:00"])
async def test_a_plus_that_was_not_encoded_is_explained(app: OrderApp, path: str, offset: str) -> None:
    response = await app.http.get(f"/api/v1/{path}?from=2026-01-01T00:00:00{offset}", headers=app.bearer(1, Role.ADMIN))

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == "from"
    assert error["message"].endswith(": write the + of an offset as %2B, because a + in a query stands for a blank")


async def test_a_time_range_includes_its_start_and_excludes_its_end(app: OrderApp) -> None:
    for hour in (0, 1, 2):
        await place_sold_order(app, MONDAY + timedelta(hours=hour), (1, 1))

    query = "from=2024-01-01T01:00:00%2B01:00&to=2024-01-01T02:00:00Z"

    assert await get_sales(app, query) == [("2024-01-01", 2, 2, 200, 0, "USD")]


async def test_revenue_includes_shipping_and_tax(app: OrderApp) -> None:
    await place_sold_order(app, MONDAY, (1, 1), charges=19)

    assert await get_sales(app, YEAR_2024) == [("2024-01-01", 1, 1, 119, 0, "USD")]
    assert await get_sales(app, YEAR_2024, SELLER) == [("2024-01-01", 1, 1, 100, 0, "USD")]


async def test_refunds_are_reported_when_they_are_made(app: OrderApp) -> None:
    placed = await place_sold_order(app, MONDAY, (1, 3))
    await refund(app, placed, 50, MONDAY + timedelta(days=1))
    await refund(app, placed, 25, MONDAY + timedelta(days=1))

    assert await get_sales(app, YEAR_2024) == [("2024-01-01", 1, 3, 300, 0, "USD"), ("2024-01-02", 0, 0, 0, 75, "USD")]


async def test_a_refund_of_an_unconfirmed_order_is_not_reported(app: OrderApp) -> None:
    placed = await app.place_order(701, (1, 1))
    await app.cancel(placed["id"], 701)
    await app.publish(payment_of(placed, "p"), refund_of(placed, "p", 100, MONDAY))

    assert await get_sales(app, YEAR_2024) == []


async def test_a_seller_sees_only_their_own_sales_and_share_of_refunds(app: OrderApp) -> None:
    mixed = await place_sold_order(app, MONDAY, (1, 1), (9, 1))
    await place_sold_order(app, MONDAY, (9, 2))
    await refund(app, mixed, 100, MONDAY)

    assert await get_sales(app, YEAR_2024, SELLER) == [("2024-01-01", 1, 1, 100, 10, "USD")]
    assert await get_sales(app, YEAR_2024, OTHER_SELLER) == [("2024-01-01", 2, 3, 2700, 90, "USD")]
    assert await get_sales(app, YEAR_2024, 12345) == []
    top = (await get_report(app, "top-products", YEAR_2024, SELLER, Role.SELLER)).json()["data"]
    assert [each["product_id"] for each in top] == [1]
    conversion = (await get_report(app, "conversion", YEAR_2024, SELLER, Role.SELLER)).json()["data"]
    assert conversion == {"placed": 1, "paid": 1, "rate": 1.0}


async def test_top_products_are_ordered_by_units_sold(app: OrderApp) -> None:
    await place_sold_order(app, MONDAY, (1, 2), (2, 3), (3, 1))
    await place_sold_order(app, MONDAY, (1, 2), charges=100)
    await place_sold_order(app, MONDAY - timedelta(days=40), (3, 100))

    response = await get_report(app, "top-products", f"{YEAR_2024}&limit=2")

    assert response.json()["data"] == [
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


async def test_conversion_counts_the_paid_orders_among_those_placed(app: OrderApp) -> None:
    await place_sold_order(app, datetime.now(UTC), (1, 1))
    confirmed_then_cancelled = await app.place_confirmed_order(701, (1, 1))
    await app.cancel(confirmed_then_cancelled["id"], 701)
    await app.place_order(701, (1, 1))

    assert (await get_report(app, "conversion")).json()["data"] == {"placed": 3, "paid": 2, "rate": 0.6667}
    assert (await get_report(app, "conversion", YEAR_2024)).json()["data"] == {"placed": 0, "paid": 0, "rate": None}


async def test_a_report_may_sum_up_more_money_than_one_order_may_cost(app: OrderApp) -> None:
    app.products.prices[EXPENSIVE_PRODUCT] = 10**13
    for _ in range(2):
        await place_sold_order(app, MONDAY, (EXPENSIVE_PRODUCT, 900))

    assert await get_sales(app, YEAR_2024) == [("2024-01-01", 2, 1_800, 18 * 10**15, 0, "USD")]


@pytest.mark.parametrize("seed", range(20))
async def test_replayed_and_shuffled_events_give_the_same_report(app: OrderApp, seed: int) -> None:
    rng = random.Random(seed)
    placed = [await app.place_order(702, (1, 1), (9, 1)) for _ in range(2)]
    deliveries: list[Event] = []
    for each in placed:
        payment_id = f"p-{each['id']}"
        deliveries += [payment_of(each, payment_id), *(refund_of(each, payment_id, n, MONDAY) for n in (100, 200))]
        deliveries += [confirmation_of(each)]
    replayed = deliveries * 2
    rng.shuffle(replayed)

    await app.publish(*replayed)
    for each in placed:
        await app.wait_for_events(each["id"], "order.placed.v1", "order.confirmed.v1", "order.confirmed.v1")
        await app.wait_until_received(
            {event.id for event in app.events_about(each["id"]) if event.type.name == "order.confirmed.v1"}
        )

    assert await get_sales(app, YEAR_2024) == [("2024-01-01", 0, 0, 0, 600, "USD")]
    ((_, orders, units, revenue, refunds, _),) = await get_sales(app)
    assert (orders, units, revenue, refunds) == (2, 4, 2000, 0)


def confirmation_of(placed: dict[str, Any]) -> Event:
    """Returns a second confirmation event of an order under another id, as if the relay had published it twice."""
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
async def test_an_invalid_time_range_is_refused(app: OrderApp, what: str, query: str, code: str) -> None:
    response = await get_report(app, what, query)

    assert (response.status_code, response.json()["code"]) == (422, code)


@pytest.mark.parametrize("query", ["interval=hour", "interval=", "interval=day;--"])
async def test_an_invalid_interval_is_an_invalid_field(app: OrderApp, query: str) -> None:
    response = await get_report(app, "sales", query)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize("limit", ["0", "101", "x"])
async def test_an_invalid_limit_is_an_invalid_field(app: OrderApp, limit: str) -> None:
    response = await get_report(app, "top-products", f"limit={limit}")

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


async def test_an_order_that_was_paid_manually_is_sold_once_and_returned_when_it_is_cancelled(app: OrderApp) -> None:
    """A refund through the provider that a manual payment replaced is none: the shop has the order's money."""
    pending, refunded = [await app.place_order(520, (1, 1)) for _ in range(2)]
    await app.pay(refunded, "payment-520")
    await app.publish(refund_of(refunded, "payment-520", 100))
    for order in (pending, refunded):
        assert (await app.put(order["id"], "manual-payment", reason="cash")).status_code == 200

    async def figures() -> list[tuple[int, int, int]]:
        return [(orders, revenue, refunds) for _, orders, _, revenue, refunds, _ in await get_sales(app)]

    async def both_are_sold() -> bool:
        return await figures() == [(2, 200, 0)]

    await eventually(both_are_sold)
    await app.put_status(refunded["id"], "cancelled")

    assert await figures() == [(2, 200, 100)]


async def test_sales_are_read_as_csv(app: OrderApp) -> None:
    await place_sold_order(app, MONDAY, (1, 2))
    headers = app.bearer(ADMIN, Role.ADMIN) | {"Accept": "text/csv"}

    response = await app.http.get(f"/api/v1/analytics/sales?{YEAR_2024}", headers=headers)

    assert response.headers["content-type"].startswith("text/csv")
    assert response.text == (
        "start,orders,units,revenue.amount,revenue.currency,refunds.amount,refunds.currency\r\n"
        "2024-01-01T00:00:00Z,1,2,200,USD,0,USD\r\n"
    )


async def test_orders_are_read_as_csv(app: OrderApp) -> None:
    placed = [await app.place_order(buyer, (1, 2)) for buyer in (711, 712)]
    headers = app.bearer(ADMIN, Role.ADMIN) | {"Accept": "text/csv"}

    response = await app.http.get("/api/v1/orders?all=true&limit=1", headers=headers)

    (row,) = csv.DictReader(io.StringIO(response.text, newline=""))
    assert (row["id"], row["buyer_id"], row["total.amount"], row["total.currency"]) == (
        placed[1]["id"],
        "712",
        str(placed[1]["total"]["amount"]),
        "USD",
    )
    assert json.loads(row["items"])[0]["quantity"] == 2
    link = re.fullmatch(r'<(\?all=true&limit=1&cursor=[\w-]+)>; rel="next"', response.headers["link"])
    assert link is not None
    following = await app.http.get(f"/api/v1/orders{link[1]}", headers=headers)
    assert [row["id"] for row in csv.DictReader(io.StringIO(following.text, newline=""))] == [placed[0]["id"]]
    assert (await app.http.get("/api/v1/cart", headers=headers)).status_code == 406
