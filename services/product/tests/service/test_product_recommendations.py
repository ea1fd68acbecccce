"""Recommendations: bought together first, then popular in the category, then popular; never an empty list."""

import random
from collections import Counter
from typing import Any

import pytest
from chassis.types.ids import uuid7
from product_harness import PARTS, Catalogue, another_process, unavailable
from shopapi.events.v1.events_pb2 import OrderConfirmed, OrderLine


async def recommend(catalogue: Catalogue, product_id: int, limit: int = 10) -> list[tuple[int, str]]:
    response = await catalogue.http.get(f"/api/v1/products/{product_id}/recommendations", params={"limit": limit})
    assert response.status_code == 200, response.text
    return [(product["id"], product["reason"]) for product in response.json()["data"]]


def order(product_ids: list[int]) -> OrderConfirmed:
    return OrderConfirmed(order_id=str(uuid7()), lines=[OrderLine(product_id=i, quantity=1) for i in product_ids])


@pytest.mark.parametrize("seed", range(5))
async def test_recommendations_match_the_counts_of_all_orders(catalogue: Catalogue, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    categories = [await catalogue.add_category() for _ in range(3)]
    categories_by_id: dict[int, int] = {}
    for _ in range(15):
        category = chance.choice(categories)
        categories_by_id[(await catalogue.add_product(category_id=category))["id"]] = category
    ids = list(categories_by_id)
    orders = [chance.sample(ids, chance.randint(1, 4)) for _ in range(25)]
    await catalogue.deliver_events(*map(order, orders))
    deleted = chance.sample(ids, 2)
    for product_id in deleted:
        await catalogue.http.delete(f"/api/v1/products/{product_id}", headers=catalogue.seller)
    everything = await catalogue.rows("SELECT id, orders_count FROM products WHERE deleted_at IS NULL")

    for product_id in set(ids) - set(deleted):
        pairs = Counter(other for bought in orders if product_id in bought for other in bought)
        bought_with = sorted(set(pairs) - {product_id, *deleted}, key=lambda other: (-pairs[other], other))
        popular = [i for i, _ in sorted(everything, key=lambda row: (-row[1], -row[0])) if i != product_id]
        in_category = [i for i in popular if categories_by_id.get(i) == categories_by_id[product_id]]
        reasons: dict[int, str] = {}
        for found, reason in (
            (bought_with, "bought_together"),
            (in_category, "popular_in_category"),
            (popular, "popular"),
        ):
            for i in found:
                reasons.setdefault(i, reason)

        assert await recommend(catalogue, product_id, limit=12) == list(reasons.items())[:12]
        assert await recommend(catalogue, product_id, limit=1) == list(reasons.items())[:1]


async def test_a_recommendation_has_the_fields_of_a_listed_product(catalogue: Catalogue) -> None:
    product, other = await catalogue.add_product(), await catalogue.add_product()
    await catalogue.deliver_events(order([product["id"], other["id"]]))

    response = await catalogue.http.get(f"/api/v1/products/{product['id']}/recommendations", params={"limit": 1})

    rating = {"average": 0.0, "count": 0}
    expected: dict[str, Any] = {**other, "in_stock": False, "rating": rating, "reason": "bought_together"}
    assert response.json()["data"] == [expected]


async def test_recommendations_need_no_neighbour_and_no_cache(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()
    whole = await recommend(catalogue, product["id"])
    assert whole

    catalogue.neighbours.faults.update(dict.fromkeys(PARTS, unavailable))
    unreachable = dict.fromkeys(("user_grpc", "inventory_grpc", "review_grpc"), "127.0.0.1:1")
    async with another_process(catalogue, redis_url="redis://127.0.0.1:1/0", **unreachable) as isolated:
        assert await recommend(isolated, product["id"]) == whole


async def test_an_unknown_product_has_no_recommendations(catalogue: Catalogue) -> None:
    response = await catalogue.http.get(f"/api/v1/products/{2**63 - 1}/recommendations")

    assert (response.status_code, response.json()["code"]) == (404, "unknown_product")


@pytest.mark.parametrize("limit", [0, 51, "x", 10**30])
async def test_an_invalid_number_of_recommendations_is_reported(catalogue: Catalogue, limit: object) -> None:
    response = await catalogue.http.get(f"/api/v1/products/1/recommendations?limit={limit}")

    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "limit")
