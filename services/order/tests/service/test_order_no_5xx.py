"""No request to any route is answered with a 5xx status."""

import random
from typing import Any

import pytest
from chassis.http.authentication import Role
from order_harness import ADMIN, OrderApp

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
    ("PUT", "/orders/{id}/shipment"),
    ("PUT", "/orders/{id}/manual-payment"),
    ("POST", "/cart"),
    ("PUT", "/cart/{id}"),
    ("POST", "/addresses"),
    ("PUT", "/addresses/{id}"),
]
FIELDS = [
    *("items", "shipping_address", "address_id", "product_id", "quantity", "status", "carrier", "tracking_number"),
    *("recipient", "line1", "line2", "city", "region", "postal_code", "country", "phone", "unknown"),
    *("expected_total", "reason"),
]
IDS = ["1", "0", "-1", str(2**63), "00000000-0000-0000-0000-000000000000", "%00", "%ff", "x" * 300, "☃"]


def random_body(rng: random.Random) -> object:
    if rng.random() < 0.2:
        return rng.choice(JUNK)
    made: dict[str, object] = {name: rng.choice(JUNK) for name in rng.sample(FIELDS, rng.randint(0, 6))}
    if rng.random() < 0.5:
        made["items"] = [{"product_id": rng.choice(JUNK), "quantity": rng.choice(JUNK)}]
    return made


@pytest.mark.parametrize("seed", range(20))
async def test_no_body_or_path_causes_a_5xx(app: OrderApp, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(30):
        method, path = rng.choice(PATHS)
        filled, sent = path.replace("{id}", rng.choice(IDS)), random_body(rng)
        headers = app.bearer(ADMIN + 1900, Role.ADMIN) | {"Idempotency-Key": str(rng.random())}

        response = await app.http.request(method, f"/api/v1{filled}", json=sent, headers=headers)

        assert response.status_code < 500, (method, filled, sent, response.text)
        if response.status_code >= 400:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["code"]


@pytest.mark.parametrize("seed", range(10))
async def test_no_query_causes_a_5xx(app: OrderApp, seed: int) -> None:
    rng = random.Random(seed)
    values = [*IDS, "", "true", "day", "month", "2024-01-01", "2024-02-30", "1e9", "-1e99", "2024-01-01T00:00:00-24:00"]
    names = ["all", "buyer_id", "status", "from", "to", "page", "limit", "interval", "x"]
    for _ in range(30):
        path = rng.choice(["orders", "analytics/sales", "analytics/top-products", "analytics/conversion", "cart"])
        query = "&".join(f"{name}={rng.choice(values)}" for name in rng.sample(names, rng.randint(0, 4)))

        response = await app.http.get(f"/api/v1/{path}?{query}", headers=app.bearer(ADMIN, Role.ADMIN))

        assert response.status_code < 500, (path, query, response.text)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "x"])
@pytest.mark.parametrize("content", [b"a=1", b"\xff\xfe", b"{}", b'{"items": [{"product_id": 1, "quantity": 1}]}'])
async def test_a_body_of_another_media_type_is_refused(app: OrderApp, kind: str, content: bytes) -> None:
    headers = app.bearer(1901) | {"Content-Type": kind}

    response = await app.http.post("/api/v1/orders", content=content, headers=headers)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


async def openapi_document(app: OrderApp) -> dict[str, Any]:
    found: dict[str, Any] = (await app.http.get("/openapi.json")).json()
    return found


async def test_the_openapi_document_lists_paths_and_parameters(app: OrderApp) -> None:
    paths = (await openapi_document(app))["paths"]

    assert {path for path in paths if path.startswith("/api/")} == {
        "/api/v1/orders",
        "/api/v1/orders/{order_id}",
        "/api/v1/orders/{order_id}/status",
        "/api/v1/orders/{order_id}/shipment",
        "/api/v1/orders/{order_id}/manual-payment",
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
    reported = {parameter["name"] for parameter in paths["/api/v1/analytics/sales"]["get"]["parameters"]}
    assert reported == {"from", "to", "interval", "timezone"}
    assert "Cart-Token" in paths["/api/v1/cart"]["post"]["responses"]["201"]["headers"]


async def test_the_openapi_document_describes_the_responses(app: OrderApp) -> None:
    schemas = (await openapi_document(app))["components"]["schemas"]

    await app.add_to_cart(1902, 1, 1)
    cart = (await app.request_cart("GET", buyer=1902)).json()["data"]
    assert set(cart) == set(schemas["CartResponse"]["properties"])
    assert set(cart["lines"][0]) == set(schemas["CartLineResponse"]["properties"])
    placed = await app.place_order(1902, (1, 1))
    assert set(placed) == set(schemas["OrderResponse"]["properties"])
