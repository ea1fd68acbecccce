"""Whose orders who may list, and how they are chosen."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from chassis.http.authentication import Role
from order_harness import ADMIN, Order


async def listed(order: Order, query: str, user: int = ADMIN, role: Role = Role.ADMIN) -> httpx.Response:
    return await order.http.get(f"/api/v1/orders?limit=100&{query}", headers=order.bearer(user, role))


async def ids(order: Order, query: str, user: int = ADMIN, role: Role = Role.ADMIN) -> list[str]:
    answer = await listed(order, query, user, role)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    assert answer.json()["total"] >= len(found)
    return [each["id"] for each in found]


async def test_an_admin_lists_everybodys_orders_newest_first(order: Order) -> None:
    placed = [(await order.placed(buyer, (1, 1)))["id"] for buyer in (601, 602, 601)]

    everybody = await ids(order, "all=true")

    assert everybody[:3] == placed[::-1]
    assert await ids(order, "") == []
    assert await ids(order, "buyer_id=601") == [placed[2], placed[0]]
    assert await ids(order, "all=true&buyer_id=602") == [placed[1]]


async def test_orders_are_chosen_by_status_and_time(order: Order) -> None:
    first, second, third = [await order.placed(603, (1, 1)) for _ in range(3)]
    await order.cancel(second["id"], 603)

    assert await ids(order, "buyer_id=603&status=cancelled") == [second["id"]]
    assert await ids(order, "buyer_id=603&status=pending") == [third["id"], first["id"]]
    start, end = first["created_at"], third["created_at"]
    assert await ids(order, f"buyer_id=603&from={start}&to={end}") == [second["id"], first["id"]]
    assert await ids(order, f"from={second['created_at']}", 603, Role.CUSTOMER) == [third["id"], second["id"]]


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.SELLER])
@pytest.mark.parametrize("query", ["all=true", "buyer_id=605", "all=true&buyer_id=604"])
async def test_others_orders_are_for_admins(order: Order, role: Role, query: str) -> None:
    answer = await listed(order, query, 604, role)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_one_may_say_that_ones_own_are_ones_own(order: Order) -> None:
    placed = await order.placed(606, (1, 1))

    assert await ids(order, "all=false&buyer_id=606", 606, Role.CUSTOMER) == [placed["id"]]


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
async def test_a_bad_choice_is_a_bad_field(order: Order, query: str) -> None:
    answer = await order.http.get(f"/api/v1/orders?{query}", headers=order.bearer(ADMIN, Role.ADMIN))

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


MATRIX = [
    ("GET", "/orders", 200, 200, 200),
    ("GET", "/orders/{order}", 404, 404, 200),
    ("DELETE", "/orders/{order}", 404, 404, 204),
    ("PUT", "/orders/{order}/status", 403, 403, 409),
    ("GET", "/analytics/sales", 403, 200, 200),
    ("GET", "/analytics/top-products", 403, 200, 200),
    ("GET", "/analytics/conversion", 403, 200, 200),
    ("GET", "/addresses", 200, 200, 200),
    ("DELETE", "/addresses/{address}", 404, 404, 404),
]


@pytest.mark.parametrize(("method", "path", "customer", "seller", "admin"), MATRIX)
async def test_every_door_knows_whom_it_lets_in(
    order: Order, method: str, path: str, customer: int, seller: int, admin: int
) -> None:
    placed = await order.placed(607, (1, 1))
    address = {"recipient": "A", "line1": "B", "city": "C", "country": "DE"}
    known = await order.http.post("/api/v1/addresses", json=address, headers=order.bearer(607))
    path = "/api/v1" + path.format(order=placed["id"], address=known.json()["data"]["id"])
    body = {"status": "shipped"} if method == "PUT" else None

    async def ask(headers: dict[str, str]) -> int:
        return (await order.http.request(method, path, json=body, headers=headers)).status_code

    assert await ask({}) == 401
    assert await ask(order.bearer(608)) == customer
    assert await ask(order.bearer(608, Role.SELLER)) == seller
    assert await ask(order.bearer(608, Role.ADMIN)) == admin


async def test_an_unknown_id_of_anything_is_a_404(order: Order) -> None:
    headers = order.bearer(ADMIN, Role.ADMIN)

    for path in (f"/orders/{uuid4()}", f"/addresses/{uuid4()}"):
        assert (await order.http.delete(f"/api/v1{path}", headers=headers)).status_code == 404
