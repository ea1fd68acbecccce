"""Categories over HTTP."""

import asyncio

import pytest
from chassis.http.authentication import Role
from product_harness import ADMIN, CUSTOMER, SELLER, Catalogue


async def test_a_category_is_added_renamed_and_deleted(catalogue: Catalogue) -> None:
    added = await catalogue.http.post("/api/v1/categories", json={"name": " Tea "}, headers=catalogue.admin)
    category = added.json()["data"]
    assert (added.status_code, category["name"]) == (201, "Tea")

    path = f"/api/v1/categories/{category['id']}"
    renamed = await catalogue.http.put(path, json={"name": "Teas"}, headers=catalogue.admin)
    assert (renamed.status_code, renamed.json()["data"]) == (200, {**category, "name": "Teas"})

    assert (await catalogue.http.delete(path, headers=catalogue.admin)).status_code == 204
    deleted = await catalogue.http.delete(path, headers=catalogue.admin)
    assert (deleted.status_code, deleted.json()["code"]) == (404, "unknown_category")


async def test_categories_are_listed_by_name(catalogue: Catalogue) -> None:
    for name in ("Zithers", "accordions", "Banjos"):
        await catalogue.add_category(name)

    names, total = list[str](), 1
    while len(names) < total:
        page = len(names) // 100 + 1
        listed = (await catalogue.http.get(f"/api/v1/categories?limit=100&page={page}")).json()
        assert (listed["page"], listed["limit"], len(listed["data"])) == (
            page,
            100,
            min(100, listed["total"] - len(names)),
        )
        names, total = names + [category["name"] for category in listed["data"]], listed["total"]

    assert [name for name in names if name in ("Zithers", "accordions", "Banjos")] == [
        "accordions",
        "Banjos",
        "Zithers",
    ]


async def test_a_category_name_is_unique_regardless_of_case(catalogue: Catalogue) -> None:
    responses = await asyncio.gather(
        *(
            catalogue.http.post("/api/v1/categories", json={"name": name}, headers=catalogue.admin)
            for name in ("Cups", "cups", "CUPS", " Cups ") * 3
        )
    )

    assert sorted(response.status_code for response in responses) == [201] + [409] * 11
    assert {response.json().get("code") for response in responses if response.status_code == 409} == {"category_exists"}


async def test_a_category_cannot_take_the_name_of_another(catalogue: Catalogue) -> None:
    await catalogue.add_category("Saucers")
    mine = await catalogue.add_category()

    response = await catalogue.http.put(f"/api/v1/categories/{mine}", json={"name": "saucers"}, headers=catalogue.admin)

    assert (response.status_code, response.json()["code"]) == (409, "category_exists")


async def test_a_category_with_products_cannot_be_deleted(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()
    path = f"/api/v1/categories/{product['category_id']}"

    refused = await catalogue.http.delete(path, headers=catalogue.admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "category_in_use")

    assert (
        await catalogue.http.delete(f"/api/v1/products/{product['id']}", headers=catalogue.seller)
    ).status_code == 204
    assert (await catalogue.http.delete(path, headers=catalogue.admin)).status_code == 204


async def test_a_category_is_not_deleted_while_a_product_is_added(catalogue: Catalogue) -> None:
    for _ in range(10):
        category = await catalogue.add_category()
        body = await catalogue.product_body(category_id=category)
        added, removed = await asyncio.gather(
            catalogue.http.post("/api/v1/products", json=body, headers=catalogue.seller),
            catalogue.http.delete(f"/api/v1/categories/{category}", headers=catalogue.admin),
        )
        assert (added.status_code, removed.status_code) in [(201, 409), (422, 204)]


@pytest.mark.parametrize(("user", "role"), [(CUSTOMER, Role.CUSTOMER), (SELLER, Role.SELLER)])
async def test_only_an_admin_changes_categories(catalogue: Catalogue, user: int, role: Role) -> None:
    category, headers = await catalogue.add_category(), catalogue.issuer.bearer(user, role)

    responses = [
        await catalogue.http.post("/api/v1/categories", json={"name": "Mine"}, headers=headers),
        await catalogue.http.put(f"/api/v1/categories/{category}", json={"name": "Mine"}, headers=headers),
        await catalogue.http.delete(f"/api/v1/categories/{category}", headers=headers),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(403, "forbidden")] * 3


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_an_unknown_category_is_not_found(catalogue: Catalogue, method: str) -> None:
    headers = catalogue.issuer.bearer(ADMIN, Role.ADMIN)
    body = {"name": "Nothing"} if method == "PUT" else None

    response = await catalogue.http.request(method, "/api/v1/categories/987654321", json=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (404, "unknown_category")
