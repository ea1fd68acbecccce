"""Whatever is sent to whichever door, the answer is never the service's fault."""

import random
from typing import Any

import pytest
from chassis.http.authentication import Role
from order_harness import ADMIN, Order

JUNK: list[object] = [
    None,
    True,
    -1,
    0,
    1,
    1.5,
    2**31,
    2**63,
    10**400,
    "",
    "\x00",
    "x" * 5000,
    "Ω🙂",
    [],
    [None],
    {},
    {"a": {}},
]
PATHS: list[tuple[str, str]] = [
    ("POST", "/orders"),
    ("PUT", "/orders/{id}/status"),
    ("POST", "/cart"),
    ("PUT", "/cart/{id}"),
    ("POST", "/addresses"),
    ("PUT", "/addresses/{id}"),
]
FIELDS = [
    *("items", "shipping_address", "address_id", "product_id", "quantity", "status", "carrier", "tracking_number"),
    *("recipient", "line1", "line2", "city", "region", "postal_code", "country", "phone", "unknown"),
]
IDS = ["1", "0", "-1", str(2**63), "00000000-0000-0000-0000-000000000000", "%00", "%ff", "x" * 300, "☃"]


def body(chance: random.Random) -> object:
    if chance.random() < 0.2:
        return chance.choice(JUNK)
    made: dict[str, object] = {name: chance.choice(JUNK) for name in chance.sample(FIELDS, chance.randint(0, 6))}
    if chance.random() < 0.5:
        made["items"] = [{"product_id": chance.choice(JUNK), "quantity": chance.choice(JUNK)}]
    return made


@pytest.mark.parametrize("seed", range(20))
async def test_no_body_and_no_path_is_a_5xx(order: Order, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        method, path = chance.choice(PATHS)
        filled, sent = path.replace("{id}", chance.choice(IDS)), body(chance)
        headers = order.bearer(ADMIN + 900, Role.ADMIN) | {"Idempotency-Key": str(chance.random())}

        answer = await order.http.request(method, f"/api/v1{filled}", json=sent, headers=headers)

        assert answer.status_code < 500, (method, filled, sent, answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"]


@pytest.mark.parametrize("seed", range(10))
async def test_no_query_is_a_5xx(order: Order, seed: int) -> None:
    chance = random.Random(seed)
    values = [*IDS, "", "true", "day", "month", "2024-01-01", "2024-02-30", "1e9", "-1e99", "2024-01-01T00:00:00-24:00"]
    names = ["all", "buyer_id", "status", "from", "to", "page", "limit", "interval", "x"]
    for _ in range(30):
        path = chance.choice(["orders", "analytics/sales", "analytics/top-products", "analytics/conversion", "cart"])
        query = "&".join(f"{name}={chance.choice(values)}" for name in chance.sample(names, chance.randint(0, 4)))

        answer = await order.http.get(f"/api/v1/{path}?{query}", headers=order.bearer(ADMIN, Role.ADMIN))

        assert answer.status_code < 500, (path, query, answer.text)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "x"])
@pytest.mark.parametrize("content", [b"a=1", b"\xff\xfe", b"{}", b'{"items": [{"product_id": 1, "quantity": 1}]}'])
async def test_a_body_of_another_kind_is_the_callers_fault(order: Order, kind: str, content: bytes) -> None:
    headers = order.bearer(901) | {"Content-Type": kind}

    answer = await order.http.post("/api/v1/orders", content=content, headers=headers)

    assert 400 <= answer.status_code < 500


async def document(order: Order) -> dict[str, Any]:
    found: dict[str, Any] = (await order.http.get("/openapi.json")).json()
    return found


async def test_the_document_says_what_the_doors_take(order: Order) -> None:
    paths = (await document(order))["paths"]

    assert {path for path in paths if path.startswith("/api/")} == {
        "/api/v1/orders",
        "/api/v1/orders/{order_id}",
        "/api/v1/orders/{order_id}/status",
        "/api/v1/cart",
        "/api/v1/cart/{product_id}",
        "/api/v1/addresses",
        "/api/v1/addresses/{address_id}",
        "/api/v1/analytics/sales",
        "/api/v1/analytics/top-products",
        "/api/v1/analytics/conversion",
    }
    assert "required" not in paths["/api/v1/orders"]["post"]["requestBody"]
    assert paths["/api/v1/cart"]["post"]["requestBody"]["required"] is True
    listed = {parameter["name"] for parameter in paths["/api/v1/orders"]["get"]["parameters"]}
    assert {"all", "status", "buyer_id", "from", "to", "page", "limit", "Cart-Token"} <= listed
    figures = {parameter["name"] for parameter in paths["/api/v1/analytics/sales"]["get"]["parameters"]}
    assert figures == {"from", "to", "interval"}
    assert "Cart-Token" in paths["/api/v1/cart"]["post"]["responses"]["201"]["headers"]


async def test_the_document_shows_answers_as_they_are(order: Order) -> None:
    schemas = (await document(order))["components"]["schemas"]

    await order.put_in(902, 1, 1)
    cart = (await order.cart("GET", buyer=902)).json()["data"]
    assert set(cart) == set(schemas["CartAnswer"]["properties"])
    assert set(cart["lines"][0]) == set(schemas["CartLineAnswer"]["properties"])
    placed = await order.placed(902, (1, 1))
    assert set(placed) == set(schemas["OrderAnswer"]["properties"])
