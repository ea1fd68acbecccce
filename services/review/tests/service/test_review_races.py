"""Concurrent writes keep ratings and vote counts correct. Each race runs twenty times; the seed is in its name."""

import asyncio
import random
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
from review_harness import RunningReviewService, new_product

SEEDS = range(20)


async def run_concurrently(chance: random.Random, calls: list[Awaitable[httpx.Response]]) -> list[int]:
    """Runs the calls at the same time, started in random order. Returns the sorted statuses."""
    chance.shuffle(calls)
    return sorted(response.status_code for response in await asyncio.gather(*calls))


@pytest.mark.parametrize("seed", SEEDS)
async def test_ten_concurrent_posts_of_one_buyer_create_one_review(service: RunningReviewService, seed: int) -> None:
    chance, product = random.Random(seed), new_product()

    statuses = await run_concurrently(
        chance, [service.post(product, 10, rating=chance.randint(1, 5)) for _ in range(10)]
    )

    assert statuses == [201] + [409] * 9
    assert len(await service.listed(product)) == 1
    assert (await service.rating_events(product, revision=1))[-1].count == 1


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_reviews_of_twenty_buyers_are_all_published_in_order(
    service: RunningReviewService, seed: int
) -> None:
    chance, product = random.Random(seed), new_product()
    stars = {author: chance.randint(1, 5) for author in range(10, 30)}

    statuses = await run_concurrently(
        chance, [service.post(product, author, rating) for author, rating in stars.items()]
    )

    assert statuses == [201] * 20
    assert await service.distribution(product) == [list(stars.values()).count(rating) for rating in range(1, 6)]
    events = await service.rating_events(product, revision=20)
    while len(events) < 20:  # the broker keeps no order between messages of several batches
        missing = set(range(1, 21)) - {event.revision for event in events}
        events = await service.rating_events(product, revision=min(missing))
    assert [event.revision for event in events] == list(range(1, 21))
    assert [event.count for event in events] == list(range(1, 21))
    assert events[-1].stars == sum(stars.values())


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_votes_are_each_counted_once(service: RunningReviewService, seed: int) -> None:
    chance, product = random.Random(seed), new_product()
    review = await service.review(product, author=10)
    voters = range(11, 19)
    await service.vote(review["id"], 11)

    statuses = await run_concurrently(
        chance,
        [
            *(service.vote(review["id"], voter) for voter in voters for _ in range(2)),
            *(service.unvote(review["id"], 99) for _ in range(3)),
        ],
    )

    assert statuses == [200] * 16 + [204] * 3
    assert [review["helpful_count"] for review in await service.listed(product)] == [8]


@pytest.mark.parametrize("seed", SEEDS)
async def test_invariants_hold_after_concurrent_writes_of_every_kind(service: RunningReviewService, seed: int) -> None:
    """The fixture checks every invariant afterwards; this also compares the last published rating."""
    chance = random.Random(seed)
    products = [new_product(), new_product()]
    reviews = [await service.review(product, author) for product in products for author in range(10, 14)]

    statuses = await run_concurrently(chance, [random_write(service, chance, products, reviews) for _ in range(40)])

    assert set(statuses) <= {200, 201, 204, 403, 404, 409}
    for product in products:
        async with service.connection() as connection:
            last = await connection.fetchrow("SELECT revision, count, sum FROM ratings WHERE product_id = $1", product)
        events = {event.revision: event for event in await service.rating_events(product, last["revision"])}
        assert (events[last["revision"]].count, events[last["revision"]].stars) == (last["count"], last["sum"])


def random_write(
    service: RunningReviewService, chance: random.Random, products: list[int], reviews: list[dict[str, Any]]
) -> Awaitable[httpx.Response]:
    review, rating, user = chance.choice(reviews), chance.randint(1, 5), chance.randint(10, 20)
    match chance.randrange(7):
        case 0:
            return service.post(chance.choice(products), user, rating)
        case 1 | 2:
            return service.put(review["id"], review["author_id"], rating)
        case 3:
            return service.moderate(review["id"], chance.choice(["approved", "pending", "rejected"]))
        case 4:
            return service.vote(review["id"], user)
        case 5:
            return service.unvote(review["id"], user)
        case _:
            return service.delete(review["id"], review["author_id"])
