"""What callers of the categories may rely on."""

import asyncio

import pytest
from chassis.http.authentication import Role
from product_harness import ADMIN, CUSTOMER, SELLER, Shop


async def test_a_category_is_made_renamed_and_removed(shop: Shop) -> None:
    made = await shop.http.post("/api/v1/categories", json={"name": " Tea "}, headers=shop.admin)
    category = made.json()["data"]
    assert (made.status_code, category["name"]) == (201, "Tea")

    path = f"/api/v1/categories/{category['id']}"
    renamed = await shop.http.put(path, json={"name": "Teas"}, headers=shop.admin)
    assert (renamed.status_code, renamed.json()["data"]) == (200, {**category, "name": "Teas"})

    assert (await shop.http.delete(path, headers=shop.admin)).status_code == 204
    assert (await shop.http.delete(path, headers=shop.admin)).json()["code"] == "unknown_category"


async def test_categories_are_listed_by_name(shop: Shop) -> None:
    for name in ("Zithers", "accordions", "Banjos"):
        await shop.category(name)

    names, total = list[str](), 1
    while len(names) < total:
        page = len(names) // 100 + 1
        listed = (await shop.http.get(f"/api/v1/categories?limit=100&page={page}")).json()
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


async def test_a_name_is_taken_once_whatever_its_case(shop: Shop) -> None:
    answers = await asyncio.gather(
        *(
            shop.http.post("/api/v1/categories", json={"name": name}, headers=shop.admin)
            for name in ("Cups", "cups", "CUPS", " Cups ") * 3
        )
    )

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 11
    assert {answer.json().get("code") for answer in answers if answer.status_code == 409} == {"category_exists"}


async def test_a_category_cannot_take_the_name_of_another(shop: Shop) -> None:
    await shop.category("Saucers")
    mine = await shop.category()

    answer = await shop.http.put(f"/api/v1/categories/{mine}", json={"name": "saucers"}, headers=shop.admin)

    assert (answer.status_code, answer.json()["code"]) == (409, "category_exists")


async def test_a_category_with_products_stays(shop: Shop) -> None:
    product = await shop.product()
    path = f"/api/v1/categories/{product['category_id']}"

    refused = await shop.http.delete(path, headers=shop.admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "category_in_use")

    assert (await shop.http.delete(f"/api/v1/products/{product['id']}", headers=shop.seller)).status_code == 204
    assert (await shop.http.delete(path, headers=shop.admin)).status_code == 204


async def test_a_category_is_never_lost_under_a_product_that_is_added_meanwhile(shop: Shop) -> None:
    for _ in range(10):
        category = await shop.category()
        body = await shop.body(category_id=category)
        added, removed = await asyncio.gather(
            shop.http.post("/api/v1/products", json=body, headers=shop.seller),
            shop.http.delete(f"/api/v1/categories/{category}", headers=shop.admin),
        )
        assert (added.status_code, removed.status_code) in [(201, 409), (422, 204)]


@pytest.mark.parametrize(("user", "role"), [(CUSTOMER, Role.CUSTOMER), (SELLER, Role.SELLER)])
async def test_only_an_admin_changes_categories(shop: Shop, user: int, role: Role) -> None:
    category, headers = await shop.category(), shop.issuer.bearer(user, role)

    answers = [
        await shop.http.post("/api/v1/categories", json={"name": "Mine"}, headers=headers),
        await shop.http.put(f"/api/v1/categories/{category}", json={"name": "Mine"}, headers=headers),
        await shop.http.delete(f"/api/v1/categories/{category}", headers=headers),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "forbidden")] * 3


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_an_unknown_category_is_not_found(shop: Shop, method: str) -> None:
    headers = shop.issuer.bearer(ADMIN, Role.ADMIN)
    body = {"name": "Nothing"} if method == "PUT" else None

    answer = await shop.http.request(method, "/api/v1/categories/987654321", json=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_category")
