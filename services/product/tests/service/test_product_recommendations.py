"""What is recommended is what was bought together, then what is popular nearby, then what is popular: and never nothing."""

import random
from collections import Counter
from typing import Any

import pytest
from chassis.types.ids import uuid7
from product_harness import PARTS, Shop, another, away
from shopapi.events.v1.events_pb2 import OrderConfirmed, OrderLine


async def recommended(shop: Shop, product_id: int, limit: int = 10) -> list[tuple[int, str]]:
    answer = await shop.http.get(f"/api/v1/products/{product_id}/recommendations", params={"limit": limit})
    assert answer.status_code == 200, answer.text
    return [(product["id"], product["reason"]) for product in answer.json()["data"]]


def order(product_ids: list[int]) -> OrderConfirmed:
    return OrderConfirmed(order_id=str(uuid7()), lines=[OrderLine(product_id=i, quantity=1) for i in product_ids])


@pytest.mark.parametrize("seed", range(5))
async def test_recommendations_are_those_that_counting_all_orders_gives(shop: Shop, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    categories = [await shop.category() for _ in range(3)]
    sold: dict[int, int] = {}
    for _ in range(15):
        category = chance.choice(categories)
        sold[(await shop.product(category_id=category))["id"]] = category
    ids = list(sold)
    orders = [chance.sample(ids, chance.randint(1, 4)) for _ in range(25)]
    await shop.hear(*map(order, orders))
    deleted = chance.sample(ids, 2)
    for product_id in deleted:
        await shop.http.delete(f"/api/v1/products/{product_id}", headers=shop.seller)
    everything = await shop.rows("SELECT id, orders_count FROM products WHERE deleted_at IS NULL")

    for product_id in set(ids) - set(deleted):
        pairs = Counter(other for bought in orders if product_id in bought for other in bought)
        bought_with = sorted(set(pairs) - {product_id, *deleted}, key=lambda other: (-pairs[other], other))
        popular = [i for i, _ in sorted(everything, key=lambda row: (-row[1], -row[0])) if i != product_id]
        nearby = [i for i in popular if sold.get(i) == sold[product_id]]
        reasons: dict[int, str] = {}
        for found, reason in ((bought_with, "bought_together"), (nearby, "popular_in_category"), (popular, "popular")):
            for i in found:
                reasons.setdefault(i, reason)

        assert await recommended(shop, product_id, limit=12) == list(reasons.items())[:12]
        assert await recommended(shop, product_id, limit=1) == list(reasons.items())[:1]


async def test_a_recommendation_is_a_product_as_lists_show_it(shop: Shop) -> None:
    product, other = await shop.product(), await shop.product()
    await shop.hear(order([product["id"], other["id"]]))

    answer = await shop.http.get(f"/api/v1/products/{product['id']}/recommendations", params={"limit": 1})

    rating = {"average": 0.0, "count": 0}
    expected: dict[str, Any] = {**other, "in_stock": False, "rating": rating, "reason": "bought_together"}
    assert answer.json()["data"] == [expected]


async def test_recommendations_need_no_neighbour_and_no_cache(shop: Shop) -> None:
    product = await shop.product()
    whole = await recommended(shop, product["id"])
    assert whole

    shop.neighbours.before.update(dict.fromkeys(PARTS, away))
    nowhere = dict.fromkeys(("user_grpc", "inventory_grpc", "review_grpc"), "127.0.0.1:1")
    async with another(shop, redis_url="redis://127.0.0.1:1/0", **nowhere) as lonely:
        assert await recommended(lonely, product["id"]) == whole


async def test_an_unknown_product_has_no_recommendations(shop: Shop) -> None:
    answer = await shop.http.get(f"/api/v1/products/{2**63 - 1}/recommendations")

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_product")


@pytest.mark.parametrize("limit", [0, 51, "x", 10**30])
async def test_a_bad_number_of_recommendations_is_refused(shop: Shop, limit: object) -> None:
    answer = await shop.http.get(f"/api/v1/products/1/recommendations?limit={limit}")

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "limit")
