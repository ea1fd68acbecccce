"""Single products and lists of them, over HTTP and gRPC."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.http.authentication import Role
from product_harness import ADMIN, CUSTOMER, OTHER_SELLER, SELLER, Catalogue
from shopapi.product.v1.product_pb2 import GetPricesRequest, GetSellerRequest


async def list_ids(catalogue: Catalogue, **query: object) -> list[int]:
    response = await catalogue.http.get("/api/v1/products", params={"limit": 100, **query})  # type: ignore[dict-item]  # any plain value
    assert response.status_code == 200, response.text
    return [product["id"] for product in response.json()["data"]]


async def test_a_new_product_is_returned_as_entered(catalogue: Catalogue) -> None:
    images = ["https://example.com/a.jpg", "http://example.com/b.jpg?x=1&y=ü"]
    category = await catalogue.add_category()

    product = await catalogue.add_product(name=" Café Crème ", category_id=category, images=images)

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


async def test_a_revision_replaces_everything(catalogue: Catalogue) -> None:
    product = await catalogue.add_product(images=["https://example.com/a.jpg"])
    body = {"name": "Saucer", "price": {"amount": 5, "currency": "EUR"}, "category_id": await catalogue.add_category()}

    response = await catalogue.http.put(f"/api/v1/products/{product['id']}", json=body, headers=catalogue.seller)

    revised = response.json()["data"]
    assert response.status_code == 200
    assert {name: revised[name] for name in body} == body
    assert (revised["description"], revised["images"], revised["seller_id"]) == ("", [], SELLER)
    assert revised["created_at"] == product["created_at"]
    assert revised["updated_at"] > product["updated_at"]


async def test_a_deleted_product_is_gone_from_every_response(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()
    path, body = f"/api/v1/products/{product['id']}", await catalogue.product_body(category_id=product["category_id"])
    await catalogue.get_details(product["id"])

    assert (await catalogue.http.delete(path, headers=catalogue.seller)).status_code == 204

    responses = [
        await catalogue.http.get(path),
        await catalogue.http.put(path, json=body, headers=catalogue.seller),
        await catalogue.http.delete(path, headers=catalogue.seller),
    ]
    assert [(response.status_code, response.json()["code"]) for response in responses] == [(404, "unknown_product")] * 3
    assert await list_ids(catalogue, category=product["category_id"]) == []
    assert not (await call(catalogue.rpc.GetPrices, GetPricesRequest(product_ids=[product["id"]]))).products
    with pytest.raises(NeighbourRefused) as refusal:
        await call(catalogue.rpc.GetSeller, GetSellerRequest(product_id=product["id"]))
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
    catalogue: Catalogue, user: int, role: Role, status: int, code: str | None
) -> None:
    product = await catalogue.add_product()
    path, headers = f"/api/v1/products/{product['id']}", catalogue.issuer.bearer(user, role)
    body = await catalogue.product_body(category_id=product["category_id"])

    revised = await catalogue.http.put(path, json=body, headers=headers)
    assert (revised.status_code, revised.json().get("code")) == (status, code)
    if status == 200:
        assert revised.json()["data"]["seller_id"] == SELLER

    deleted = await catalogue.http.delete(path, headers=headers)
    assert deleted.status_code == (204 if status == 200 else status)


async def test_a_customer_cannot_add_a_product(catalogue: Catalogue) -> None:
    headers = catalogue.issuer.bearer(CUSTOMER, Role.CUSTOMER)

    response = await catalogue.http.post("/api/v1/products", json=await catalogue.product_body(), headers=headers)

    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


async def test_a_product_needs_a_category_that_exists(catalogue: Catalogue) -> None:
    product, body = await catalogue.add_product(), await catalogue.product_body(category_id=987654321)

    responses = [
        await catalogue.http.post("/api/v1/products", json=body, headers=catalogue.seller),
        await catalogue.http.put(f"/api/v1/products/{product['id']}", json=body, headers=catalogue.seller),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [
        (422, "unknown_category")
    ] * 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_unknown_product_is_not_found(catalogue: Catalogue, method: str) -> None:
    body = await catalogue.product_body() if method == "PUT" else None

    response = await catalogue.http.request(
        method, f"/api/v1/products/{2**63 - 1}", json=body, headers=catalogue.seller
    )

    assert (response.status_code, response.json()["code"]) == (404, "unknown_product")


@pytest.fixture(scope="module")
async def drinks(running_service: Catalogue) -> dict[str, Any]:
    """A category of four products; of the two with the same price, beta is the older one."""
    category = await running_service.add_category("Drinks to be found")
    prices = {"beta": 200, "Alpha": 100, "Gamma 100%": 300, "delta_1": 200}
    made = [
        await running_service.add_product(category_id=category, name=name, amount=amount, description=f"about {name}")
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
async def test_lists_are_filtered_and_sorted(
    catalogue: Catalogue, drinks: dict[str, Any], query: dict[str, object], expected: list[str]
) -> None:
    listed = await list_ids(catalogue, category=drinks["category"], currency="USD", **query)

    assert listed == [drinks[name] for name in expected]


async def test_numbered_pages_do_not_overlap(catalogue: Catalogue, drinks: dict[str, Any]) -> None:
    seen = []
    for page in (1, 2, 3):
        query = {"category": drinks["category"], "sort": "price", "currency": "USD", "page": page, "limit": 2}
        response = (await catalogue.http.get("/api/v1/products", params=query)).json()
        assert (response["page"], response["limit"], response["total"]) == (page, 2, 4)
        seen += [product["name"] for product in response["data"]]

    assert seen == ["Alpha", "beta", "delta_1", "Gamma 100%"]


async def test_a_category_that_does_not_exist_has_no_products(catalogue: Catalogue) -> None:
    assert await list_ids(catalogue, category=987654321) == []


async def test_prices_of_many_products_come_in_one_call(catalogue: Catalogue) -> None:
    cup, saucer = await catalogue.add_product(amount=1290), await catalogue.add_product(name="Saucer", amount=390)
    product_ids = [cup["id"], saucer["id"], cup["id"], 2**63 - 1, 0, -1, *range(10**6, 10**6 + 50_000)]

    response = await call(catalogue.rpc.GetPrices, GetPricesRequest(product_ids=product_ids))

    received = {p.product_id: (p.name, p.price.amount, p.price.currency, p.seller_id) for p in response.products}
    assert received == {
        cup["id"]: ("Espresso cup", 1290, "USD", SELLER),
        saucer["id"]: ("Saucer", 390, "USD", SELLER),
    }
    assert len(response.products) == 2
    assert not (await call(catalogue.rpc.GetPrices, GetPricesRequest())).products


async def test_grpc_returns_the_seller_of_a_product(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()

    response = await call(catalogue.rpc.GetSeller, GetSellerRequest(product_id=product["id"]))

    assert (response.product_id, response.seller_id) == (product["id"], SELLER)
