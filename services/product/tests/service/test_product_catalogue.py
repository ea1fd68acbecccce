"""What callers of the products may rely on, over HTTP and gRPC."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.http.authentication import Role
from product_harness import ADMIN, CUSTOMER, OTHER_SELLER, SELLER, Shop
from shopapi.product.v1.product_pb2 import GetPricesRequest, GetSellerRequest


async def listed(shop: Shop, **query: object) -> list[int]:
    answer = await shop.http.get("/api/v1/products", params={"limit": 100, **query})  # type: ignore[dict-item]  # any plain value
    assert answer.status_code == 200, answer.text
    return [product["id"] for product in answer.json()["data"]]


async def test_a_new_product_is_shown_as_it_was_said(shop: Shop) -> None:
    images = ["https://example.com/a.jpg", "http://example.com/b.jpg?x=1&y=ü"]
    category = await shop.category()

    product = await shop.product(name=" Café Crème ", category_id=category, images=images)

    created_at = datetime.fromisoformat(product.pop("created_at"))
    assert created_at.utcoffset() == timedelta(0)
    assert datetime.fromisoformat(product.pop("updated_at")) == created_at
    assert product == {
        "id": product["id"],
        "name": "Café Crème",
        "slug": f"cafe-creme-{product['id']}",
        "description": "80 ml",
        "price": {"amount": 1290, "currency": "USD"},
        "category_id": category,
        "seller_id": SELLER,
        "images": images,
        "group_id": None,
        "options": {},
    }


async def test_a_revision_replaces_everything(shop: Shop) -> None:
    product = await shop.product(images=["https://example.com/a.jpg"])
    body = {"name": "Saucer", "price": {"amount": 5, "currency": "EUR"}, "category_id": await shop.category()}

    answer = await shop.http.put(f"/api/v1/products/{product['id']}", json=body, headers=shop.seller)

    revised = answer.json()["data"]
    assert answer.status_code == 200
    assert {name: revised[name] for name in body} == body
    assert (revised["description"], revised["images"], revised["seller_id"]) == ("", [], SELLER)
    assert revised["created_at"] == product["created_at"]
    assert revised["updated_at"] > product["updated_at"]


async def test_a_deleted_product_is_gone_from_every_answer(shop: Shop) -> None:
    product = await shop.product()
    path, body = f"/api/v1/products/{product['id']}", await shop.body(category_id=product["category_id"])
    await shop.details(product["id"])

    assert (await shop.http.delete(path, headers=shop.seller)).status_code == 204

    answers = [
        await shop.http.get(path),
        await shop.http.put(path, json=body, headers=shop.seller),
        await shop.http.delete(path, headers=shop.seller),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "unknown_product")] * 3
    assert await listed(shop, category=product["category_id"]) == []
    assert not (await call(shop.rpc.GetPrices, GetPricesRequest(product_ids=[product["id"]]))).products
    with pytest.raises(NeighbourRefused) as refusal:
        await call(shop.rpc.GetSeller, GetSellerRequest(product_id=product["id"]))
    assert refusal.value.code == "unknown_product"


@pytest.mark.parametrize(
    ("user", "role", "status", "code"),
    [
        (OTHER_SELLER, Role.SELLER, 403, "not_the_seller"),
        (SELLER, Role.CUSTOMER, 403, "forbidden"),
        (ADMIN, Role.ADMIN, 200, None),
        (SELLER, Role.SELLER, 200, None),
    ],
)
async def test_only_the_seller_or_an_admin_changes_a_product(
    shop: Shop, user: int, role: Role, status: int, code: str | None
) -> None:
    product = await shop.product()
    path, headers = f"/api/v1/products/{product['id']}", shop.issuer.bearer(user, role)
    body = await shop.body(category_id=product["category_id"])

    revised = await shop.http.put(path, json=body, headers=headers)
    assert (revised.status_code, revised.json().get("code")) == (status, code)
    if status == 200:
        assert revised.json()["data"]["seller_id"] == SELLER

    deleted = await shop.http.delete(path, headers=headers)
    assert deleted.status_code == (204 if status == 200 else status)


async def test_a_customer_sells_nothing(shop: Shop) -> None:
    headers = shop.issuer.bearer(CUSTOMER, Role.CUSTOMER)

    answer = await shop.http.post("/api/v1/products", json=await shop.body(), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_product_needs_a_category_that_exists(shop: Shop) -> None:
    product, body = await shop.product(), await shop.body(category_id=987654321)

    answers = [
        await shop.http.post("/api/v1/products", json=body, headers=shop.seller),
        await shop.http.put(f"/api/v1/products/{product['id']}", json=body, headers=shop.seller),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, "unknown_category")] * 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_unknown_product_is_not_found(shop: Shop, method: str) -> None:
    body = await shop.body() if method == "PUT" else None

    answer = await shop.http.request(method, f"/api/v1/products/{2**63 - 1}", json=body, headers=shop.seller)

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_product")


@pytest.fixture(scope="module")
async def drinks(running_service: Shop) -> dict[str, Any]:
    """A category of four products; the two that cost the same were made one after the other."""
    category = await running_service.category("Drinks to be found")
    prices = {"beta": 200, "Alpha": 100, "Gamma 100%": 300, "delta_1": 200}
    made = [
        await running_service.product(category_id=category, name=name, amount=amount, description=f"about {name}")
        for name, amount in prices.items()
    ]
    return {"category": category, **{product["name"]: product["id"] for product in made}}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["delta_1", "Gamma 100%", "Alpha", "beta"]),
        ({"sort": "newest"}, ["delta_1", "Gamma 100%", "Alpha", "beta"]),
        ({"sort": "price"}, ["Alpha", "beta", "delta_1", "Gamma 100%"]),
        ({"sort": "-price"}, ["Gamma 100%", "delta_1", "beta", "Alpha"]),
        ({"sort": "name"}, ["Alpha", "beta", "delta_1", "Gamma 100%"]),
        ({"min_price": 200}, ["delta_1", "Gamma 100%", "beta"]),
        ({"max_price": 200, "sort": "price"}, ["Alpha", "beta", "delta_1"]),
        ({"min_price": 101, "max_price": 299}, ["delta_1", "beta"]),
        ({"min_price": 300, "max_price": 100}, []),
        ({"q": "ALPHA"}, ["Alpha"]),
        ({"q": "about g"}, ["Gamma 100%"]),
        ({"q": "100%"}, ["Gamma 100%"]),
        ({"q": "%"}, ["Gamma 100%"]),
        ({"q": "_"}, ["delta_1"]),
        ({"q": "/"}, []),
        ({"q": "\\"}, []),
        ({"q": "'; DROP TABLE products; --"}, []),
        (
            {"q": "", "min_price": "", "max_price": "", "sort": "", "in_stock": "", "facets": "", "cursor": ""},
            ["delta_1", "Gamma 100%", "Alpha", "beta"],
        ),
    ],
)
async def test_products_are_found_and_sorted(
    shop: Shop, drinks: dict[str, Any], query: dict[str, object], expected: list[str]
) -> None:
    assert await listed(shop, category=drinks["category"], **query) == [drinks[name] for name in expected]


async def test_pages_follow_each_other_without_overlap(shop: Shop, drinks: dict[str, Any]) -> None:
    seen = []
    for page in (1, 2, 3):
        query = {"category": drinks["category"], "sort": "price", "page": page, "limit": 2}
        answer = (await shop.http.get("/api/v1/products", params=query)).json()
        assert (answer["page"], answer["limit"], answer["total"]) == (page, 2, 4)
        seen += [product["name"] for product in answer["data"]]

    assert seen == ["Alpha", "beta", "delta_1", "Gamma 100%"]


async def test_a_category_that_does_not_exist_has_no_products(shop: Shop) -> None:
    assert await listed(shop, category=987654321) == []


async def test_prices_of_many_products_come_in_one_call(shop: Shop) -> None:
    cup, saucer = await shop.product(amount=1290), await shop.product(name="Saucer", amount=390)
    asked = [cup["id"], saucer["id"], cup["id"], 2**63 - 1, 0, -1, *range(10**6, 10**6 + 50_000)]

    answer = await call(shop.rpc.GetPrices, GetPricesRequest(product_ids=asked))

    told = {p.product_id: (p.name, p.price.amount, p.price.currency, p.seller_id) for p in answer.products}
    assert told == {
        cup["id"]: ("Espresso cup", 1290, "USD", SELLER),
        saucer["id"]: ("Saucer", 390, "USD", SELLER),
    }
    assert len(answer.products) == 2
    assert not (await call(shop.rpc.GetPrices, GetPricesRequest())).products


async def test_the_seller_of_a_product_is_told(shop: Shop) -> None:
    product = await shop.product()

    answer = await call(shop.rpc.GetSeller, GetSellerRequest(product_id=product["id"]))

    assert (answer.product_id, answer.seller_id) == (product["id"], SELLER)
