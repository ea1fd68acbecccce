"""A product's rating always is what its reviews add up to, whatever happens at once."""

import asyncio
import random

from chassis_testing.waiting import eventually
from review_harness import Shop, a_product, broken

THEIR_REVIEW = """
INSERT INTO reviews (product_id, author_id, rating, created_at, updated_at) VALUES ($1, 99, 1, now(), now())
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_nobody_s_opinion_is_zero(shop: Shop) -> None:
    assert await shop.rating(a_product()) == (0.0, 0)


async def test_a_rating_follows_its_reviews(shop: Shop) -> None:
    product = a_product()
    first = await shop.review(product, author=10, rating=5)
    await shop.review(product, author=11, rating=4)
    await shop.review(product, author=12, rating=4)
    assert await shop.rating(product) == (4.33, 3)

    await shop.put(first["id"], author=10, rating=1)
    assert await shop.rating(product) == (3.0, 3)

    await shop.delete(first["id"], author=10)
    assert await shop.rating(product) == (4.0, 2)


async def test_twenty_first_reviews_at_once_are_all_counted(shop: Shop) -> None:
    product = a_product()

    answers = await asyncio.gather(*(shop.post(product, author, rating=author % 5 + 1) for author in range(10, 30)))

    assert [answer.status_code for answer in answers] == [201] * 20
    assert await shop.rating(product) == (3.0, 20)
    assert await broken(shop.books) == {}


async def test_two_first_reviews_are_both_counted(shop: Shop) -> None:
    product = a_product()
    async with shop.connection() as other, shop.connection() as observer:
        async with other.transaction():
            await other.execute(THEIR_REVIEW, product)
            await other.execute("INSERT INTO ratings (product_id, count, sum, stars_1) VALUES ($1, 1, 1, 1)", product)
            mine = asyncio.create_task(shop.post(product, author=10, rating=5))

            async def mine_waits() -> bool:
                return bool(await observer.fetchval(WAITING))

            await eventually(mine_waits)
        assert (await mine).status_code == 201

    assert await shop.rating(product) == (3.0, 2)
    assert await broken(shop.books) == {}


async def test_a_rating_agrees_with_its_reviews_after_any_writes_at_once(shop: Shop) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    products = [a_product(), a_product()]
    reviews = [await shop.review(product, author) for product in products for author in range(10, 14)]

    async def write() -> int:
        review, rating = chance.choice(reviews), chance.randint(1, 5)
        author = review["author_id"]
        match chance.choice(["add", "replace", "replace", "remove"]):
            case "add":
                return (await shop.post(chance.choice(products), chance.randint(10, 20), rating)).status_code
            case "replace":
                return (await shop.put(review["id"], author, rating)).status_code
            case _:
                return (await shop.delete(review["id"], author)).status_code

    for _ in range(5):
        statuses = await asyncio.gather(*(write() for _ in range(20)))
        assert set(statuses) <= {200, 201, 204, 404, 409}, f"seed {seed}"
        assert await broken(shop.books) == {}, f"seed {seed}"
