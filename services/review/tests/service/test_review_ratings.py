"""A product's rating always is what its reviews add up to, also after concurrent writes."""

import asyncio
import random

from chassis.grpc.client import call
from chassis_testing.waiting import eventually
from review_harness import RunningReviewService, new_product, unavailable, violations
from shopapi.review.v1 import review_pb2

CONCURRENT_REVIEW = """
INSERT INTO reviews (product_id, author_id, rating, created_at, updated_at) VALUES ($1, 99, 1, now(), now())
"""
BLOCKED_STATEMENTS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def test_a_product_without_reviews_has_a_rating_of_zero(service: RunningReviewService) -> None:
    assert await service.rating(new_product()) == (0.0, 0)


async def test_a_rating_follows_its_reviews(service: RunningReviewService) -> None:
    product = new_product()
    first = await service.review(product, author=10, rating=5)
    await service.review(product, author=11, rating=4)
    await service.review(product, author=12, rating=4)
    assert await service.rating(product) == (4.33, 3)

    await service.put(first["id"], author=10, rating=1)
    assert await service.rating(product) == (3.0, 3)

    await service.delete(first["id"], author=10)
    assert await service.rating(product) == (4.0, 2)


async def test_many_ratings_are_read_in_one_call(service: RunningReviewService) -> None:
    one, other, none = new_product(), new_product(), new_product()
    await service.review(one, author=10, rating=5)
    await service.review(one, author=11, rating=4)
    await service.review(other, author=10, rating=1)

    request = review_pb2.GetAvgRatingsRequest(product_ids=[one, none, other, one])
    response = await call(service.rpc.GetAvgRatings, request)

    ratings = {rating.product_id: (rating.average, rating.count) for rating in response.ratings}
    assert ratings == {one: (4.5, 2), other: (1.0, 1), none: (0.0, 0)}
    assert len(response.ratings) == 3


async def test_changes_of_reviews_and_ratings_are_counted(service: RunningReviewService) -> None:
    async def count() -> int:
        return (await call(service.rpc.GetChangeCount, review_pb2.GetChangeCountRequest())).count

    product = new_product()
    counts = [await count()]
    review = await service.review(product, author=10, rating=5)
    counts.append(await count())
    await service.vote(review["id"], user=11)
    counts.append(await count())
    await service.delete(review["id"], author=10)
    counts.append(await count())
    assert counts == sorted(set(counts))


async def test_a_list_of_reviews_is_not_confirmed_because_names_of_authors_are_kept(
    service: RunningReviewService,
) -> None:
    response = await service.http.get(f"/api/v1/products/{new_product()}/reviews")
    assert response.headers["cache-control"] == "max-age=0"


async def test_a_rating_is_confirmed_if_its_product_was_found_alone(service: RunningReviewService) -> None:
    path = f"/api/v1/products/{new_product()}/rating"
    assert "cache-control" not in (await service.http.get(path)).headers
    service.products.before = unavailable
    response = await service.http.get(path)
    assert (response.status_code, response.headers["cache-control"]) == (200, "max-age=0")


async def test_two_concurrent_first_reviews_are_both_counted(service: RunningReviewService) -> None:
    product = new_product()
    async with service.connection() as other, service.connection() as observer:
        async with other.transaction():
            await other.execute(CONCURRENT_REVIEW, product)
            await other.execute("INSERT INTO ratings (product_id, count, sum, stars_1) VALUES ($1, 1, 1, 1)", product)
            own_review = asyncio.create_task(service.post(product, author=10, rating=5))

            async def own_review_is_blocked() -> bool:
                return bool(await observer.fetchval(BLOCKED_STATEMENTS))

            await eventually(own_review_is_blocked)
        assert (await own_review).status_code == 201

    assert await service.rating(product) == (3.0, 2)
    assert await violations(service.database) == {}


async def test_a_rating_is_correct_after_concurrent_writes(service: RunningReviewService) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    products = [new_product(), new_product()]
    reviews = [await service.review(product, author) for product in products for author in range(10, 14)]

    async def write() -> int:
        review, rating = chance.choice(reviews), chance.randint(1, 5)
        author = review["author_id"]
        match chance.choice(["add", "replace", "replace", "remove"]):
            case "add":
                return (await service.post(chance.choice(products), chance.randint(10, 20), rating)).status_code
            case "replace":
                return (await service.put(review["id"], author, rating)).status_code
            case _:
                return (await service.delete(review["id"], author)).status_code

    for _ in range(5):
        statuses = await asyncio.gather(*(write() for _ in range(20)))
        assert set(statuses) <= {200, 201, 204, 404, 409}, f"seed {seed}"
        assert await violations(service.database) == {}, f"seed {seed}"
