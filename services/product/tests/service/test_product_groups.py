"""Variants are separate products that share a group and differ in their options."""

import asyncio
import random
from typing import Any

import httpx
import pytest
from chassis.http.authentication import Role
from product_harness import ADMIN, OTHER_SELLER, Catalogue
from product_service.domain.products import MAX_VARIANTS


async def add(catalogue: Catalogue, group: int | None, options: dict[str, str], **fields: object) -> httpx.Response:
    body = await catalogue.product_body(group_id=group, options=options, **fields)
    return await catalogue.http.post("/api/v1/products", json=body, headers=catalogue.seller)


async def revise(catalogue: Catalogue, product: dict[str, Any], **fields: object) -> httpx.Response:
    body = await catalogue.product_body(category_id=product["category_id"], **fields)
    return await catalogue.http.put(f"/api/v1/products/{product['id']}", json=body, headers=catalogue.seller)


async def list_variants(catalogue: Catalogue, product: int) -> list[int]:
    return [variant["id"] for variant in (await catalogue.get_details(product))["variants"]]


async def test_variants_list_each_other(catalogue: Catalogue) -> None:
    small = await catalogue.add_product(options={"size": "S"})
    medium = (await add(catalogue, small["id"], {"size": "M"}, amount=1490)).json()["data"]
    large = (await add(catalogue, small["id"], {"size": "L"})).json()["data"]
    await catalogue.wait_until_consumed()

    assert (medium["group_id"], medium["options"]) == (small["id"], {"size": "M"})
    page = await catalogue.get_details(small["id"])
    assert page["product"]["group_id"] == small["id"]
    assert page["variants"] == [
        {**variant, "in_stock": False, "rating": {"average": 0, "count": 0}} for variant in (medium, large)
    ]
    assert await list_variants(catalogue, medium["id"]) == [small["id"], large["id"]]


async def test_a_variant_has_its_own_price(catalogue: Catalogue) -> None:
    small = await catalogue.add_product(amount=1000)
    medium = (await add(catalogue, small["id"], {"size": "M"}, amount=1490)).json()["data"]

    assert [await catalogue.displayed_price(product["id"]) for product in (small, medium)] == [1000, 1490]


async def test_a_group_survives_the_deletion_of_a_variant(catalogue: Catalogue) -> None:
    first = await catalogue.add_product()
    second = (await add(catalogue, first["id"], {"size": "M"})).json()["data"]

    await catalogue.http.delete(f"/api/v1/products/{first['id']}", headers=catalogue.seller)
    third = await add(catalogue, first["id"], {"size": "L"})

    assert third.status_code == 201
    assert await list_variants(catalogue, second["id"]) == [third.json()["data"]["id"]]
    assert (await add(catalogue, first["id"], {})).status_code == 201


async def test_a_revision_keeps_group_and_options_that_it_leaves_out(catalogue: Catalogue) -> None:
    first = await catalogue.add_product(options={"size": "S"})
    second = (await add(catalogue, first["id"], {"size": "M"})).json()["data"]

    await revise(catalogue, second, name="Renamed")
    page = await catalogue.get_details(second["id"])
    assert (page["product"]["group_id"], page["product"]["options"]) == (first["id"], {"size": "M"})

    assert (await revise(catalogue, second, options={"size": "XL"})).json()["data"]["group_id"] == first["id"]
    removed = (await revise(catalogue, second, group_id=None)).json()["data"]
    assert (removed["group_id"], removed["options"]) == (None, {"size": "XL"})
    assert await list_variants(catalogue, first["id"]) == []


async def test_an_existing_product_can_join_or_start_a_group(catalogue: Catalogue) -> None:
    first, second = await catalogue.add_product(), await catalogue.add_product()

    assert (await revise(catalogue, first, group_id=first["id"], options={"size": "S"})).status_code == 200
    joined = await revise(catalogue, second, group_id=first["id"], options={"size": "M"})

    assert joined.json()["data"]["group_id"] == first["id"]
    assert await list_variants(catalogue, first["id"]) == [second["id"]]


async def test_variants_have_different_options(catalogue: Catalogue) -> None:
    first = await catalogue.add_product(options={"size": "S", "color": "red"})
    same = await add(catalogue, first["id"], {"color": "red", "size": "S"})
    assert (same.status_code, same.json()["code"]) == (409, "variant_exists")

    other = (await add(catalogue, first["id"], {"color": "red", "size": "M"})).json()["data"]
    revised = await revise(catalogue, other, options={"size": "S", "color": "red"})
    assert (revised.status_code, revised.json()["code"]) == (409, "variant_exists")


async def test_a_group_has_one_seller(catalogue: Catalogue) -> None:
    mine = await catalogue.add_product()
    other = catalogue.issuer.bearer(OTHER_SELLER, Role.SELLER)
    body = await catalogue.product_body(group_id=mine["id"], options={"size": "M"})

    responses = [
        await catalogue.http.post("/api/v1/products", json=body, headers=other),
        await catalogue.http.post("/api/v1/products", json=body, headers=catalogue.issuer.bearer(ADMIN, Role.ADMIN)),
    ]
    theirs = (await catalogue.http.post("/api/v1/products", json=await catalogue.product_body(), headers=other)).json()[
        "data"
    ]
    responses.append(await revise(catalogue, mine, group_id=theirs["id"]))

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(422, "unknown_group")] * 3
    assert (await catalogue.get_details(mine["id"]))["product"]["group_id"] is None


async def test_a_group_has_the_id_of_the_product_that_started_it(catalogue: Catalogue) -> None:
    first = await catalogue.add_product()
    second = (await add(catalogue, first["id"], {"size": "M"})).json()["data"]
    gone = await catalogue.add_product()
    await catalogue.http.delete(f"/api/v1/products/{gone['id']}", headers=catalogue.seller)

    for group in (second["id"], gone["id"], 987654321):
        response = await add(catalogue, group, {"size": "L"})
        assert (response.status_code, response.json()["code"]) == (422, "unknown_group")


async def fill_group(catalogue: Catalogue, first: dict[str, Any], members: int) -> None:
    """Adds members to the group of this product up to this number, directly in the database."""
    await catalogue.execute("UPDATE products SET group_id = id WHERE id = $1", first["id"])
    await catalogue.execute(
        "INSERT INTO products (seller_id, category_id, name, description, price_amount, price_currency, images,"
        " group_id, options, created_at, updated_at)"
        " SELECT seller_id, category_id, name, description, price_amount, price_currency, images, id,"
        " jsonb_build_object('n', n::text), created_at, updated_at"
        " FROM products, generate_series(2, $2) AS n WHERE id = $1",
        first["id"],
        members,
    )


async def test_a_full_group_refuses_new_variants_but_allows_revisions(catalogue: Catalogue) -> None:
    first, other = await catalogue.add_product(), await catalogue.add_product()
    await fill_group(catalogue, first, MAX_VARIANTS)

    responses = [await add(catalogue, first["id"], {"n": "new"}), await revise(catalogue, other, group_id=first["id"])]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [
        (409, "too_many_variants")
    ] * 2
    assert (await revise(catalogue, first, group_id=first["id"], options={"n": "old"})).status_code == 200
    assert (await revise(catalogue, first, group_id=None)).status_code == 200
    assert (await add(catalogue, first["id"], {"n": "new"})).status_code == 201


async def test_the_last_place_in_a_group_is_taken_once(catalogue: Catalogue) -> None:
    first = await catalogue.add_product()
    await fill_group(catalogue, first, MAX_VARIANTS - 1)

    responses = await asyncio.gather(*(add(catalogue, first["id"], {"new": str(n)}) for n in range(8)))

    assert sorted(response.status_code for response in responses) == [201] + [409] * 7
    assert len(await list_variants(catalogue, first["id"])) == MAX_VARIANTS - 1


async def test_details_show_a_hundred_variants_at_most(catalogue: Catalogue) -> None:
    first = await catalogue.add_product()
    await fill_group(catalogue, first, MAX_VARIANTS + 50)

    assert len(await list_variants(catalogue, first["id"])) == MAX_VARIANTS


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
async def test_an_invalid_field_of_a_variant_is_reported(catalogue: Catalogue, field: str, value: object) -> None:
    body = {**await catalogue.product_body(), field: value}

    response = await catalogue.http.post("/api/v1/products", json=body, headers=catalogue.seller)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.json()["errors"][0]["field"].split(".")[0] == field


async def test_the_longest_options_are_stored(catalogue: Catalogue) -> None:
    options = {f"{n}" + "ü" * 49: "\U0001f642" * 100 for n in range(10)}
    first = await catalogue.add_product(options=options)

    repeated = await add(catalogue, first["id"], options)
    assert (repeated.status_code, repeated.json()["code"]) == (409, "variant_exists")
    assert (await catalogue.get_details(first["id"]))["product"]["options"] == options


@pytest.mark.parametrize("seed", range(10))
async def test_concurrent_changes_of_groups_keep_variants_different(catalogue: Catalogue, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    products = [await catalogue.add_product() for _ in range(4)]
    ids = [product["id"] for product in products]

    revisions = [
        revise(
            catalogue, chance.choice(products), group_id=chance.choice(ids), options={"n": str(chance.randint(1, 3))}
        )
        for _ in range(12)
    ]
    additions = [add(catalogue, ids[0], {"n": "new"}) for _ in range(3)]
    responses = await asyncio.gather(*revisions, *additions)

    outcomes = {(response.status_code, response.json().get("code")) for response in responses}
    assert outcomes <= {(200, None), (201, None), (409, "variant_exists"), (422, "unknown_group")}
    assert sum(response.status_code == 201 for response in responses) <= 1
    rows = await catalogue.rows(
        "SELECT group_id, options FROM products WHERE group_id = ANY($1) AND deleted_at IS NULL", ids
    )
    assert len(set(rows)) == len(rows)
