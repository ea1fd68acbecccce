"""Variants: products of their own, tied by a group, told apart by their options."""

import asyncio
import random
from typing import Any

import httpx
import pytest
from chassis.http.authentication import Role
from product_harness import ADMIN, OTHER_SELLER, Shop
from product_service.domain.products import MAX_VARIANTS


async def add(shop: Shop, group: int | None, options: dict[str, str], **fields: object) -> httpx.Response:
    body = await shop.body(group_id=group, options=options, **fields)
    return await shop.http.post("/api/v1/products", json=body, headers=shop.seller)


async def revise(shop: Shop, product: dict[str, Any], **fields: object) -> httpx.Response:
    body = await shop.body(category_id=product["category_id"], **fields)
    return await shop.http.put(f"/api/v1/products/{product['id']}", json=body, headers=shop.seller)


async def siblings(shop: Shop, product: int) -> list[int]:
    return [variant["id"] for variant in (await shop.details(product))["variants"]]


async def test_variants_list_each_other(shop: Shop) -> None:
    small = await shop.product(options={"size": "S"})
    medium = (await add(shop, small["id"], {"size": "M"}, amount=1490)).json()["data"]
    large = (await add(shop, small["id"], {"size": "L"})).json()["data"]
    await shop.settled()

    assert (medium["group_id"], medium["options"]) == (small["id"], {"size": "M"})
    page = await shop.details(small["id"])
    assert page["product"]["group_id"] == small["id"]
    assert page["variants"] == [
        {**variant, "in_stock": False, "rating": {"average": 0, "count": 0}} for variant in (medium, large)
    ]
    assert await siblings(shop, medium["id"]) == [small["id"], large["id"]]


async def test_a_variant_is_ordered_by_its_own_price(shop: Shop) -> None:
    small = await shop.product(amount=1000)
    medium = (await add(shop, small["id"], {"size": "M"}, amount=1490)).json()["data"]

    assert [await shop.shown_price(product["id"]) for product in (small, medium)] == [1000, 1490]


async def test_a_deleted_variant_leaves_the_group_which_stays(shop: Shop) -> None:
    first = await shop.product()
    second = (await add(shop, first["id"], {"size": "M"})).json()["data"]

    await shop.http.delete(f"/api/v1/products/{first['id']}", headers=shop.seller)
    third = await add(shop, first["id"], {"size": "L"})

    assert third.status_code == 201
    assert await siblings(shop, second["id"]) == [third.json()["data"]["id"]]
    assert (await add(shop, first["id"], {})).status_code == 201


async def test_what_a_revision_does_not_say_of_variants_stays(shop: Shop) -> None:
    first = await shop.product(options={"size": "S"})
    second = (await add(shop, first["id"], {"size": "M"})).json()["data"]

    await revise(shop, second, name="Renamed")
    page = await shop.details(second["id"])
    assert (page["product"]["group_id"], page["product"]["options"]) == (first["id"], {"size": "M"})

    assert (await revise(shop, second, options={"size": "XL"})).json()["data"]["group_id"] == first["id"]
    parted = (await revise(shop, second, group_id=None)).json()["data"]
    assert (parted["group_id"], parted["options"]) == (None, {"size": "XL"})
    assert await siblings(shop, first["id"]) == []


async def test_a_product_joins_a_group_later_or_begins_one(shop: Shop) -> None:
    first, second = await shop.product(), await shop.product()

    assert (await revise(shop, first, group_id=first["id"], options={"size": "S"})).status_code == 200
    joined = await revise(shop, second, group_id=first["id"], options={"size": "M"})

    assert joined.json()["data"]["group_id"] == first["id"]
    assert await siblings(shop, first["id"]) == [second["id"]]


async def test_variants_differ(shop: Shop) -> None:
    first = await shop.product(options={"size": "S", "color": "red"})
    same = await add(shop, first["id"], {"color": "red", "size": "S"})
    assert (same.status_code, same.json()["code"]) == (409, "variant_exists")

    other = (await add(shop, first["id"], {"color": "red", "size": "M"})).json()["data"]
    revised = await revise(shop, other, options={"size": "S", "color": "red"})
    assert (revised.status_code, revised.json()["code"]) == (409, "variant_exists")


async def test_a_group_is_of_one_seller(shop: Shop) -> None:
    mine = await shop.product()
    other = shop.issuer.bearer(OTHER_SELLER, Role.SELLER)
    body = await shop.body(group_id=mine["id"], options={"size": "M"})

    answers = [
        await shop.http.post("/api/v1/products", json=body, headers=other),
        await shop.http.post("/api/v1/products", json=body, headers=shop.issuer.bearer(ADMIN, Role.ADMIN)),
    ]
    theirs = (await shop.http.post("/api/v1/products", json=await shop.body(), headers=other)).json()["data"]
    answers.append(await revise(shop, mine, group_id=theirs["id"]))

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, "unknown_group")] * 3
    assert (await shop.details(mine["id"]))["product"]["group_id"] is None


async def test_a_group_is_named_for_the_product_that_began_it(shop: Shop) -> None:
    first = await shop.product()
    second = (await add(shop, first["id"], {"size": "M"})).json()["data"]
    gone = await shop.product()
    await shop.http.delete(f"/api/v1/products/{gone['id']}", headers=shop.seller)

    for group in (second["id"], gone["id"], 987654321):
        answer = await add(shop, group, {"size": "L"})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_group")


async def grow(shop: Shop, first: dict[str, Any], members: int) -> None:
    """Brings the group of this product to so many members, behind the service's back."""
    await shop.execute("UPDATE products SET group_id = id WHERE id = $1", first["id"])
    await shop.execute(
        "INSERT INTO products (seller_id, category_id, name, description, price_amount, price_currency, images, group_id, options,"
        " created_at, updated_at)"
        " SELECT seller_id, category_id, name, description, price_amount, price_currency, images, id,"
        " jsonb_build_object('n', n::text), created_at, updated_at FROM products, generate_series(2, $2) AS n WHERE id = $1",
        first["id"],
        members,
    )


async def test_a_full_group_takes_no_more_variants_and_lets_its_own_be_revised(shop: Shop) -> None:
    first, other = await shop.product(), await shop.product()
    await grow(shop, first, MAX_VARIANTS)

    answers = [await add(shop, first["id"], {"n": "new"}), await revise(shop, other, group_id=first["id"])]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(409, "too_many_variants")] * 2
    assert (await revise(shop, first, group_id=first["id"], options={"n": "old"})).status_code == 200
    assert (await revise(shop, first, group_id=None)).status_code == 200
    assert (await add(shop, first["id"], {"n": "new"})).status_code == 201


async def test_the_last_place_in_a_group_is_taken_once(shop: Shop) -> None:
    first = await shop.product()
    await grow(shop, first, MAX_VARIANTS - 1)

    answers = await asyncio.gather(*(add(shop, first["id"], {"new": str(n)}) for n in range(8)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert len(await siblings(shop, first["id"])) == MAX_VARIANTS - 1


async def test_a_page_shows_a_hundred_variants_whatever_the_group_has(shop: Shop) -> None:
    first = await shop.product()
    await grow(shop, first, MAX_VARIANTS + 50)

    assert len(await siblings(shop, first["id"])) == MAX_VARIANTS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("group_id", 0),
        ("group_id", -1),
        ("group_id", "1"),
        ("group_id", 2**63),
        ("options", None),
        ("options", []),
        ("options", {"": "M"}),
        ("options", {"size": ""}),
        ("options", {"size": "  "}),
        ("options", {"size": 5}),
        ("options", {"size": None}),
        ("options", {"size": {"a": "b"}}),
        ("options", {"size": "M\x00"}),
        ("options", {"si\x00ze": "M"}),
        ("options", {"x" * 51: "M"}),
        ("options", {"size": "x" * 101}),
        ("options", {str(n): "x" for n in range(11)}),
    ],
    ids=lambda value: ascii(value)[:30],
)
async def test_a_bad_variant_is_named(shop: Shop, field: str, value: object) -> None:
    body = {**await shop.body(), field: value}

    answer = await shop.http.post("/api/v1/products", json=body, headers=shop.seller)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert answer.json()["errors"][0]["field"].split(".")[0] == field


async def test_the_longest_options_are_kept(shop: Shop) -> None:
    options = {f"{n}" + "ü" * 49: "\U0001f642" * 100 for n in range(10)}
    first = await shop.product(options=options)

    assert (await add(shop, first["id"], options)).json()["code"] == "variant_exists"
    assert (await shop.details(first["id"]))["product"]["options"] == options


@pytest.mark.parametrize("seed", range(10))
async def test_groups_joined_from_all_sides_at_once_stay_groups(shop: Shop, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    products = [await shop.product() for _ in range(4)]
    ids = [product["id"] for product in products]

    wishes = [
        revise(shop, chance.choice(products), group_id=chance.choice(ids), options={"n": str(chance.randint(1, 3))})
        for _ in range(12)
    ]
    twins = [add(shop, ids[0], {"n": "new"}) for _ in range(3)]
    answers = await asyncio.gather(*wishes, *twins)

    assert {answer.status_code for answer in answers} <= {200, 201, 409, 422}
    assert sum(answer.status_code == 201 for answer in answers) <= 1
    rows = await shop.rows(
        "SELECT group_id, options FROM products WHERE group_id = ANY($1) AND deleted_at IS NULL", ids
    )
    assert len(set(rows)) == len(rows)
