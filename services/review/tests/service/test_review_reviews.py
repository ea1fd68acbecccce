"""Writing, revising, removing and listing reviews."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from chassis.http.authentication import Role
from chassis.http.cursors import Cursor, encode_cursor
from chassis.types.ids import ProductId
from chassis_testing.query_plans import assert_page_reads_its_own_rows
from review_harness import ADMIN, NO_BUYERS_FROM, SELLER, UNKNOWN_FROM, RunningReviewService, new_product, unavailable
from review_service.domain.reviews import ReviewPosition, ReviewQuery, ReviewStatus, Sort
from review_service.repository.reviews import ReviewRepository
from sqlalchemy.ext.asyncio import AsyncConnection


async def test_a_review_is_shown_as_it_was_written(service: RunningReviewService) -> None:
    product = new_product()

    review = await service.review(product, author=10, rating=4, title="Warm", text="Keeps the coffee warm")

    listed = (await service.http.get(f"/api/v1/products/{product}/reviews")).json()
    assert listed == {"data": [review], "page": 1, "limit": 10, "total": 1, "next": None, "degraded": []}
    written_at = datetime.fromisoformat(review.pop("created_at"))
    assert written_at.utcoffset() == timedelta(0)
    assert datetime.fromisoformat(review.pop("updated_at")) == written_at
    assert review == {
        "id": review["id"],
        "product_id": product,
        "author_id": 10,
        "author_name": "User 10",
        "rating": 4,
        "title": "Warm",
        "text": "Keeps the coffee warm",
        "status": "approved",
        "moderation_reason": None,
        "helpful_count": 0,
    }


async def test_stars_are_enough(service: RunningReviewService) -> None:
    review = await service.review(new_product(), author=10, rating=1)

    assert (review["title"], review["text"]) == (None, None)


async def test_reviews_are_paged_newest_first(service: RunningReviewService) -> None:
    product = new_product()
    for author in range(10, 15):
        await service.review(product, author)

    pages = [
        (await service.http.get(f"/api/v1/products/{product}/reviews?page={page}&limit=2")).json()
        for page in (1, 2, 3, 4)
    ]

    assert [[review["author_id"] for review in page["data"]] for page in pages] == [[14, 13], [12, 11], [10], []]
    assert [page["total"] for page in pages] == [5] * 4


@pytest.mark.parametrize("sort", list(Sort))
async def test_reviews_are_followed_to_the_last_by_cursor_in_each_order(
    service: RunningReviewService, sort: Sort
) -> None:
    product = new_product()
    for author, rating in zip(range(20, 29), (3, 5, 1, 3, 3, 2, 5, 3, 1), strict=True):
        review = await service.review(product, author, rating)
        for voter in range(author % 3):
            await service.vote(review["id"], 100 + voter)
    listed = [review["id"] for review in await service.listed(product, sort=sort)]
    seen: list[int] = []
    query: str | None = f"sort={sort}&limit=2"
    while query is not None:
        page = (await service.http.get(f"/api/v1/products/{product}/reviews?{query}")).json()
        seen += [review["id"] for review in page["data"]]
        assert (page["total"], page["degraded"]) == (9, [])
        query = page["next"] and f"sort={sort}&limit=2&cursor={page['next']}"
        if page["page"] == 1:  # moves pages by number, and no page by cursor
            await service.delete(seen[0], next(r["author_id"] for r in page["data"] if r["id"] == seen[0]))

    assert seen == listed


async def test_the_cursor_of_another_order_is_refused(service: RunningReviewService) -> None:
    product = new_product()
    for author in (30, 31):
        await service.review(product, author)
    path = f"/api/v1/products/{product}/reviews"
    cursor = (await service.http.get(f"{path}?sort=helpful&limit=1")).json()["next"]

    response = await service.http.get(f"{path}?cursor={cursor}")

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.json()["errors"] == [{"field": "cursor", "message": "send it with sort=helpful, or leave it out"}]


async def test_a_position_outside_of_every_list_is_an_empty_page(service: RunningReviewService) -> None:
    position = ReviewPosition(Sort.RATING_LOW, -(2**62), datetime.now(UTC), 1)
    cursor = encode_cursor(Cursor(2, 5, position))

    response = await service.http.get(f"/api/v1/products/{new_product()}/reviews?sort=rating_low&cursor={cursor}")

    assert (response.status_code, response.json()["data"]) == (200, [])


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (ReviewQuery(ReviewStatus.APPROVED, ProductId(1)), "reviews_by_age"),
        (ReviewQuery(ReviewStatus.APPROVED, ProductId(1), Sort.HELPFUL), "reviews_shown_by_helpful"),
        (ReviewQuery(ReviewStatus.APPROVED, ProductId(1), Sort.RATING_HIGH), "reviews_shown_by_rating"),
        (ReviewQuery(ReviewStatus.APPROVED, ProductId(1), Sort.RATING_LOW), "reviews_shown_by_low_rating"),
        (ReviewQuery(ReviewStatus.APPROVED), "reviews_shown_by_time"),
        (ReviewQuery(ReviewStatus.PENDING), "reviews_hidden"),
    ],
)
async def test_a_page_by_cursor_reads_its_own_rows_alone(
    service: RunningReviewService, query: ReviewQuery, index: str
) -> None:
    async def read(transaction: AsyncConnection) -> None:
        await ReviewRepository(transaction).page(query, 0, 10, ReviewPosition(query.sort, 3, datetime.now(UTC), 7))

    rows = (
        "INSERT INTO reviews (product_id, author_id, rating, created_at, updated_at, status)"
        " SELECT n % 50, 10000000 + n, 1 + n % 5, now() - n * interval '1 s', now(), 'approved'"
        " FROM generate_series(1, 2000) n"
    )
    await assert_page_reads_its_own_rows(service.database_settings, read, index, rows)


async def test_only_buyers_review_a_product(service: RunningReviewService) -> None:
    response = await service.post(new_product(), author=NO_BUYERS_FROM)

    assert (response.status_code, response.json()["code"]) == (403, "not_a_buyer")


async def test_sellers_do_not_review_what_they_sell(service: RunningReviewService) -> None:
    response = await service.post(new_product(), author=SELLER)

    assert (response.status_code, response.json()["code"]) == (403, "own_product")


async def test_an_author_reviews_a_product_once(service: RunningReviewService) -> None:
    product = new_product()
    await service.review(product, author=10)

    response = await service.post(product, author=10)

    assert (response.status_code, response.json()["code"]) == (409, "already_reviewed")


async def test_twenty_concurrent_posts_of_one_author_create_one_review(service: RunningReviewService) -> None:
    product = new_product()

    responses = await asyncio.gather(*(service.post(product, author=10, rating=4) for _ in range(20)))

    assert sorted(response.status_code for response in responses) == [201] + [409] * 19
    assert {response.json()["code"] for response in responses if response.status_code == 409} == {"already_reviewed"}
    assert await service.rating(product) == (4.0, 1)


async def test_an_author_who_removed_a_review_may_write_another(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10, rating=1)
    assert (await service.delete(review["id"], author=10)).status_code == 204

    await service.review(product, author=10, rating=5)

    assert await service.rating(product) == (5.0, 1)


async def test_an_author_replaces_a_review(service: RunningReviewService) -> None:
    review = await service.review(new_product(), author=10, rating=2, title="Cold", text="Too soon")

    response = await service.put(review["id"], author=10, rating=5)

    revised = response.json()["data"]
    assert response.status_code == 200
    assert (revised["rating"], revised["title"], revised["text"]) == (5, None, None)
    assert revised["created_at"] == review["created_at"]
    assert revised["updated_at"] > review["updated_at"]


async def test_only_the_author_changes_a_review(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10, rating=2)

    responses = [
        await service.put(review["id"], author=11, rating=5),
        await service.delete(review["id"], author=11),
        await service.put(review["id"], author=SELLER, rating=5, role=Role.SELLER),
        await service.delete(review["id"], author=SELLER, role=Role.SELLER),
        await service.put(review["id"], author=ADMIN, rating=5, role=Role.ADMIN),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(403, "not_the_author")] * 5
    assert await service.rating(product) == (2.0, 1)


async def test_an_admin_may_remove_a_review(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10)

    assert (await service.delete(review["id"], author=ADMIN, role=Role.ADMIN)).status_code == 204
    assert (await service.http.get(f"/api/v1/products/{product}/reviews")).json()["data"] == []


async def test_an_unknown_review_is_not_found(service: RunningReviewService) -> None:
    responses = [await service.put(2**63 - 1, author=10, rating=5), await service.delete(2**63 - 1, author=10)]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(404, "unknown_review")] * 2


async def test_an_unknown_product_has_no_reviews(service: RunningReviewService) -> None:
    path = f"/api/v1/products/{UNKNOWN_FROM}/reviews"

    responses = [await service.http.get(path), await service.post(UNKNOWN_FROM, author=10)]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(404, "unknown_product")] * 2


async def test_reviews_are_listed_while_the_product_service_is_unavailable(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10)
    service.products.before = unavailable

    response = await service.http.get(f"/api/v1/products/{product}/reviews")

    assert (response.status_code, response.json()["data"]) == (200, [review])


@pytest.mark.parametrize("neighbour", ["products", "orders"])
async def test_a_review_is_refused_while_a_neighbour_is_unavailable(
    service: RunningReviewService, neighbour: str
) -> None:
    product = new_product()
    getattr(service, neighbour).before = unavailable

    response = await service.post(product, author=10)

    assert (response.status_code, response.json()["code"]) == (503, "neighbour_unavailable")
    assert response.headers["Retry-After"] == "1"
    assert await service.rating(product) == (0.0, 0)
