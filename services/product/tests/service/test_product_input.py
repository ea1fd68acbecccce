"""Invalid input gets a machine-readable problem document, never a 500."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from chassis.http.authentication import Role
from product_harness import SELLER, Catalogue


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 201),
        ("name", 5),
        ("name", None),
        ("name", "a\x00b"),
        ("name", "\ud800"),
        ("description", None),
        ("description", "\x00"),
        ("description", "x" * 10_001),
        ("price", 1290),
        ("price", None),
        ("price", {}),
        ("price", {"amount": 0, "currency": "USD"}),
        ("price", {"amount": -1, "currency": "USD"}),
        ("price", {"amount": 12.9, "currency": "USD"}),
        ("price", {"amount": "1290", "currency": "USD"}),
        ("price", {"amount": True, "currency": "USD"}),
        ("price", {"amount": 10**30, "currency": "USD"}),
        ("price", {"amount": 1290, "currency": "usd"}),
        ("price", {"amount": 1290, "currency": "US\x00"}),
        ("price", {"amount": 1290}),
        ("price", {"amount": 1290, "currency": "USD", "cents": 0}),
        ("category_id", 0),
        ("category_id", -1),
        ("category_id", "1"),
        ("category_id", 2**63),
        ("category_id", None),
        ("images", "https://example.com/a.jpg"),
        ("images", [None]),
        ("images", [""]),
        ("images", ["example.com/a.jpg"]),
        ("images", ["ftp://example.com/a.jpg"]),
        ("images", ["javascript:alert(1)"]),
        ("images", ["https://"]),
        ("images", ["https://[::1"]),
        ("images", ["https://example.com/a b.jpg"]),
        ("images", ['https://example.com/"onload="x']),
        ("images", ["https://example.com/\x00"]),
        ("images", ["https://example.com/" + "x" * 2048]),
        ("images", ["https://example.com/a.jpg"] * 11),
        ("seller_id", 1),
        ("\ud800", 1),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_an_invalid_field_of_a_product_is_reported(catalogue: Catalogue, field: str, value: object) -> None:
    body = json.dumps({**await catalogue.product_body(), field: value})
    headers = {**catalogue.seller, "Content-Type": "application/json"}

    response = await catalogue.http.post("/api/v1/products", content=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.headers["content-type"] == "application/problem+json"
    if field.isascii():
        assert response.json()["errors"][0]["field"].split(".")[0] == field


@pytest.mark.parametrize("field", ["name", "price", "category_id"])
async def test_a_missing_field_of_a_product_is_reported(catalogue: Catalogue, field: str) -> None:
    body = await catalogue.product_body()
    del body[field]

    response = await catalogue.http.post("/api/v1/products", json=body, headers=catalogue.seller)

    assert (response.status_code, response.json()["errors"]) == (422, [{"field": field, "message": "field required"}])


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 422, "invalid_field"),
        ("{", 400, "malformed_json"),
        ("[]", 422, "invalid_field"),
        ("null", 422, "invalid_field"),
        ("NaN", 422, "invalid_field"),
        ("[" * 100_000, 400, "malformed_json"),
        ('{"name": 1' + "0" * 5000 + "}", 400, "malformed_json"),
        ("\udcff", 400, "malformed_json"),
        ('{"name": "x"}' + " " * 1024 * 1024, 413, "body_too_large"),
    ],
    ids=lambda value: ascii(value)[:30],
)
@pytest.mark.parametrize("path", ["/api/v1/categories", "/api/v1/products"])
async def test_an_invalid_body_gets_a_stable_code(
    catalogue: Catalogue, path: str, body: str, status: int, code: str
) -> None:
    headers = {**catalogue.admin, "Content-Type": "application/json"}
    sent = body.encode("utf-8", "surrogateescape")

    response = await catalogue.http.post(path, content=sent, headers=headers)

    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("name", ["", " ", "x" * 101, 1, None, "a\x00b", ["x"]], ids=lambda value: ascii(value)[:20])
async def test_an_invalid_category_name_is_reported(catalogue: Catalogue, name: object) -> None:
    response = await catalogue.http.post("/api/v1/categories", json={"name": name}, headers=catalogue.admin)

    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "name")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("sort", "cheapest"),
        ("sort", "price; DROP TABLE products"),
        ("category", "x"),
        ("category", "0"),
        ("category", str(2**63)),
        ("min_price", "-1"),
        ("min_price", "1.5"),
        ("min_price", "9" * 400),
        ("max_price", "many"),
        ("max_price", str(2**63)),
        ("q", "a\x00b"),
        ("q", "x" * 201),
        ("page", "0"),
        ("page", "-1"),
        ("page", "10001"),
        ("page", "x"),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "9" * 5000),
    ],
    ids=lambda value: ascii(value)[:30],
)
async def test_a_bad_parameter_is_named(catalogue: Catalogue, parameter: str, value: str) -> None:
    response = await catalogue.http.get("/api/v1/products", params={parameter: value})

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.json()["errors"][0]["field"] == parameter


async def test_a_query_that_is_not_utf8_finds_nothing(catalogue: Catalogue) -> None:
    response = await catalogue.http.get("/api/v1/products?q=%ff%fe%ed%a0%80")

    assert (response.status_code, response.json()["data"]) == (200, [])


@pytest.mark.parametrize("number", ["0", "-1", "x", str(2**63), "9" * 5000, "1%00"])
@pytest.mark.parametrize("kind", ["products", "categories"])
async def test_an_identifier_that_cannot_exist_is_refused(catalogue: Catalogue, kind: str, number: str) -> None:
    response = await catalogue.http.delete(f"/api/v1/{kind}/{number}", headers=catalogue.admin)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


Headers = Callable[[Catalogue], dict[str, str]]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        (lambda _shop: {}, "unauthenticated"),
        (lambda _shop: {"Authorization": "Bearer a.b.c"}, "unauthenticated"),
        (lambda catalogue: type(catalogue.issuer)().bearer(SELLER, Role.ADMIN), "unauthenticated"),
        (lambda catalogue: catalogue.issuer.bearer(SELLER, Role.ADMIN, expires_in=-1), "token_expired"),
    ],
    ids=["none", "nonsense", "forged", "expired"],
)
async def test_changes_need_a_valid_token(catalogue: Catalogue, headers: Headers, code: str) -> None:
    product = await catalogue.add_product()
    body: dict[str, Any] = await catalogue.product_body(category_id=product["category_id"])
    path, category = f"/api/v1/products/{product['id']}", f"/api/v1/categories/{product['category_id']}"
    calls = [
        ("POST", "/api/v1/products", body),
        ("PUT", path, body),
        ("DELETE", path, None),
        ("POST", "/api/v1/categories", {"name": "Mine"}),
        ("PUT", category, {"name": "Mine"}),
        ("DELETE", category, None),
    ]

    for method, address, sent in calls:
        response = await catalogue.http.request(method, address, json=sent, headers=headers(catalogue))
        assert (response.status_code, response.json()["code"]) == (401, code), (method, address)


async def test_probes_and_documentation_answer(catalogue: Catalogue) -> None:
    for path in ("/health", "/ready", "/swagger/", "/openapi.json"):
        assert (await catalogue.http.get(path)).status_code == 200, path
