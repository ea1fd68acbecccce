"""Whatever is done at once, ratings and counts are what reviews and votes add up to. Each race is run twenty times, seeds in the names."""

import asyncio
import random
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
from review_harness import Shop, a_product

SEEDS = range(20)


async def at_once(chance: random.Random, doing: list[Awaitable[httpx.Response]]) -> list[int]:
    chance.shuffle(doing)
    return sorted(answer.status_code for answer in await asyncio.gather(*doing))


@pytest.mark.parametrize("seed", SEEDS)
async def test_ten_posts_of_one_buyer_at_once_are_one_review(shop: Shop, seed: int) -> None:
    chance, product = random.Random(seed), a_product()

    statuses = await at_once(chance, [shop.post(product, 10, rating=chance.randint(1, 5)) for _ in range(10)])

    assert statuses == [201] + [409] * 9
    assert len(await shop.listed(product)) == 1
    assert (await shop.told_until(product, revision=1))[-1].count == 1


@pytest.mark.parametrize("seed", SEEDS)
async def test_reviews_of_twenty_buyers_at_once_are_all_told_of_in_turn(shop: Shop, seed: int) -> None:
    chance, product = random.Random(seed), a_product()
    stars = {author: chance.randint(1, 5) for author in range(10, 30)}

    statuses = await at_once(chance, [shop.post(product, author, rating) for author, rating in stars.items()])

    assert statuses == [201] * 20
    assert await shop.distribution(product) == [list(stars.values()).count(rating) for rating in range(1, 6)]
    told = await shop.told_until(product, revision=20)
    while len(told) < 20:  # the broker keeps no order between messages of several batches
        told = await shop.told_until(product, revision=min(set(range(1, 21)) - {news.revision for news in told}))
    assert [news.revision for news in told] == list(range(1, 21))
    assert [news.count for news in told] == list(range(1, 21))
    assert told[-1].stars == sum(stars.values())


@pytest.mark.parametrize("seed", SEEDS)
async def test_votes_at_once_are_each_counted_once(shop: Shop, seed: int) -> None:
    chance, product = random.Random(seed), a_product()
    review = await shop.review(product, author=10)
    voters = range(11, 19)
    await shop.vote(review["id"], 11)

    statuses = await at_once(
        chance,
        [
            *(shop.vote(review["id"], voter) for voter in voters for _ in range(2)),
            *(shop.unvote(review["id"], 99) for _ in range(3)),
        ],
    )

    assert statuses == [200] * 16 + [204] * 3
    assert [review["helpful_count"] for review in await shop.listed(product)] == [8]


@pytest.mark.parametrize("seed", SEEDS)
async def test_everything_at_once_keeps_the_books(shop: Shop, seed: int) -> None:
    """The fixture looks at every invariant afterwards; here what the shop was told last is compared as well."""
    chance = random.Random(seed)
    products = [a_product(), a_product()]
    reviews = [await shop.review(product, author) for product in products for author in range(10, 14)]

    statuses = await at_once(chance, [a_write(shop, chance, products, reviews) for _ in range(40)])

    assert set(statuses) <= {200, 201, 204, 403, 404, 409}
    for product in products:
        async with shop.connection() as connection:
            last = await connection.fetchrow("SELECT revision, count, sum FROM ratings WHERE product_id = $1", product)
        told = {news.revision: news for news in await shop.told_until(product, last["revision"])}
        assert (told[last["revision"]].count, told[last["revision"]].stars) == (last["count"], last["sum"])


def a_write(
    shop: Shop, chance: random.Random, products: list[int], reviews: list[dict[str, Any]]
) -> Awaitable[httpx.Response]:
    review, rating, user = chance.choice(reviews), chance.randint(1, 5), chance.randint(10, 20)
    match chance.randrange(7):
        case 0:
            return shop.post(chance.choice(products), user, rating)
        case 1 | 2:
            return shop.put(review["id"], review["author_id"], rating)
        case 3:
            return shop.moderate(review["id"], chance.choice(["approved", "pending", "rejected"]))
        case 4:
            return shop.vote(review["id"], user)
        case 5:
            return shop.unvote(review["id"], user)
        case _:
            return shop.delete(review["id"], review["author_id"])
