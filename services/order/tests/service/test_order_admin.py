"""Listing orders: which caller may see which orders, and the filters."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chassis.http.authentication import Role
from chassis.http.cursors import TimePosition
from chassis.types.ids import uuid7
from chassis_testing.query_plans import assert_page_reads_its_own_rows
from order_harness import ADMIN, OrderApp
from order_service.domain.orders import OrderQuery
from order_service.repository.orders import OrderRepository
from sqlalchemy.ext.asyncio import AsyncConnection


async def list_orders(app: OrderApp, query: str, user: int = ADMIN, role: Role = Role.ADMIN) -> httpx.Response:
    return await app.http.get(f"/api/v1/orders?limit=100&{query}", headers=app.bearer(user, role))


async def list_ids(app: OrderApp, query: str, user: int = ADMIN, role: Role = Role.ADMIN) -> list[str]:
    response = await list_orders(app, query, user, role)
    assert response.status_code == 200, response.text
    orders: list[dict[str, Any]] = response.json()["data"]
    assert response.json()["total"] >= len(orders)
    return [each["id"] for each in orders]


async def test_an_admin_lists_the_orders_of_all_buyers_newest_first(app: OrderApp) -> None:
    placed = [(await app.place_order(buyer, (1, 1)))["id"] for buyer in (601, 602, 601)]

    listed = await list_ids(app, "all=true")

    assert listed[:3] == placed[::-1]
    assert await list_ids(app, "") == []
    assert await list_ids(app, "buyer_id=601") == [placed[2], placed[0]]
    assert await list_ids(app, "all=true&buyer_id=602") == [placed[1]]


async def test_orders_are_filtered_by_status_and_time(app: OrderApp) -> None:
    first, second, third = [await app.place_order(603, (1, 1)) for _ in range(3)]
    await app.cancel(second["id"], 603)

    assert await list_ids(app, "buyer_id=603&status=cancelled") == [second["id"]]
    assert await list_ids(app, "buyer_id=603&status=pending") == [third["id"], first["id"]]
    start, end = first["created_at"], third["created_at"]
    assert await list_ids(app, f"buyer_id=603&from={start}&to={end}") == [second["id"], first["id"]]
    assert await list_ids(app, f"from={second['created_at']}", 603, Role.CUSTOMER) == [third["id"], second["id"]]


async def test_a_list_is_followed_to_its_end_by_cursor(app: OrderApp) -> None:
    placed = [(await app.place_order(610, (1, 1)))["id"] for _ in range(5)]
    async with app.sql() as sql:
        await sql.execute("UPDATE orders SET created_at = '2020-01-01T00:00:00Z' WHERE buyer_id = 610")
    seen: list[str] = []
    query: str | None = "buyer_id=610&limit=2"
    while query is not None:
        page = (await app.http.get(f"/api/v1/orders?{query}", headers=app.bearer(ADMIN, Role.ADMIN))).json()
        seen += [order["id"] for order in page["data"]]
        await app.place_order(610, (1, 1))  # moves pages by number, and no page by cursor
        assert page["total"] == 5
        query = page["next"] and f"buyer_id=610&limit=2&cursor={page['next']}"

    assert seen == sorted(placed, reverse=True)  # placed at one time: the ids decide


async def test_a_page_by_cursor_reads_its_own_rows_alone(app: OrderApp) -> None:
    after = TimePosition(datetime.now(UTC), uuid7())

    async def read(transaction: AsyncConnection) -> None:
        await OrderRepository(transaction).page(OrderQuery(), 0, 10, after)

    await assert_page_reads_its_own_rows(app.database, read, "orders_by_time")


async def test_a_page_of_all_orders_as_csv_links_to_the_next_one_by_cursor(app: OrderApp) -> None:
    placed = [(await app.place_order(611, (1, 1)))["id"] for _ in range(3)]
    headers = app.bearer(ADMIN, Role.ADMIN) | {"Accept": "text/csv"}

    first = await app.http.get("/api/v1/orders?buyer_id=611&limit=2&page=1", headers=headers)
    link = first.headers["link"]
    second = await app.http.get(f"/api/v1/orders{link[1 : link.index('>')]}", headers=headers)

    assert "cursor=" in link
    assert "page=" not in link
    assert "link" not in second.headers
    assert [placed[0] in second.text, placed[1] in second.text] == [True, False]


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.SELLER])
@pytest.mark.parametrize("query", ["all=true", "buyer_id=605", "all=true&buyer_id=604"])
async def test_only_admins_list_other_buyers_orders(app: OrderApp, role: Role, query: str) -> None:
    response = await list_orders(app, query, 604, role)

    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


async def test_a_buyer_may_filter_by_their_own_id(app: OrderApp) -> None:
    placed = await app.place_order(606, (1, 1))

    assert await list_ids(app, "all=false&buyer_id=606", 606, Role.CUSTOMER) == [placed["id"]]


@pytest.mark.parametrize(
    "query",
    [
        "all=maybe",
        "status=lost",
        "buyer_id=0",
        f"buyer_id={2**63}",
        "buyer_id=x",
        "from=yesterday",
        "from=0001-01-01T00:00:00%2B14:00",
        "to=9999-12-31T23:59:59-14:00",
        "from=1e400",
        "from=NaN",
        "to=",
        "page=0",
        "limit=101",
    ],
)
async def test_an_invalid_filter_is_an_invalid_field(app: OrderApp, query: str) -> None:
    response = await app.http.get(f"/api/v1/orders?{query}", headers=app.bearer(ADMIN, Role.ADMIN))

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


STATUS_BY_ROLE = [
    ("GET", "/orders", 200, 200, 200),
    ("GET", "/orders/{order}", 404, 404, 200),
    ("DELETE", "/orders/{order}", 404, 404, 204),
    ("PUT", "/orders/{order}/status", 403, 403, 409),
    ("PUT", "/orders/{order}/shipment", 403, 403, 422),
    ("PUT", "/orders/{order}/manual-payment", 403, 403, 422),
    ("GET", "/analytics/sales", 403, 200, 200),
    ("GET", "/analytics/top-products", 403, 200, 200),
    ("GET", "/analytics/conversion", 403, 200, 200),
    ("GET", "/addresses", 200, 200, 200),
    ("DELETE", "/addresses/{address}", 404, 404, 404),
]


@pytest.mark.parametrize(("method", "path", "customer", "seller", "admin"), STATUS_BY_ROLE)
async def test_each_route_admits_only_its_roles(
    app: OrderApp, method: str, path: str, customer: int, seller: int, admin: int
) -> None:
    placed = await app.place_order(607, (1, 1))
    address = {"recipient": "A", "line1": "B", "city": "C", "country": "DE"}
    known = await app.http.post("/api/v1/addresses", json=address, headers=app.bearer(607))
    path = "/api/v1" + path.format(order=placed["id"], address=known.json()["data"]["id"])
    body = {"status": "shipped"} if method == "PUT" else None

    async def status_for(headers: dict[str, str]) -> int:
        return (await app.http.request(method, path, json=body, headers=headers)).status_code

    assert await status_for({}) == 401
    assert await status_for(app.bearer(608)) == customer
    assert await status_for(app.bearer(608, Role.SELLER)) == seller
    assert await status_for(app.bearer(608, Role.ADMIN)) == admin


async def test_an_unknown_id_answers_404(app: OrderApp) -> None:
    headers = app.bearer(ADMIN, Role.ADMIN)

    for path, code in ((f"/orders/{uuid4()}", "unknown_order"), (f"/addresses/{uuid4()}", "unknown_address")):
        response = await app.http.delete(f"/api/v1{path}", headers=headers)
        assert (response.status_code, response.json()["code"]) == (404, code)
