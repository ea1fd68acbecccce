"""What readers and writers of reviews may rely on."""

import asyncio
from datetime import datetime, timedelta

import pytest
from chassis.http.authentication import Role
from review_harness import ADMIN, NO_BUYERS_FROM, SELLER, UNKNOWN_FROM, Shop, a_product, away


async def test_a_review_is_shown_as_it_was_written(shop: Shop) -> None:
    product = a_product()

    review = await shop.review(product, author=10, rating=4, title="Warm", text="Keeps the coffee warm")

    listed = (await shop.http.get(f"/api/v1/products/{product}/reviews")).json()
    assert listed == {"data": [review], "page": 1, "limit": 10, "total": 1, "degraded": []}
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


async def test_stars_are_enough(shop: Shop) -> None:
    review = await shop.review(a_product(), author=10, rating=1)

    assert (review["title"], review["text"]) == (None, None)


async def test_reviews_are_paged_newest_first(shop: Shop) -> None:
    product = a_product()
    for author in range(10, 15):
        await shop.review(product, author)

    pages = [
        (await shop.http.get(f"/api/v1/products/{product}/reviews?page={page}&limit=2")).json() for page in (1, 2, 3, 4)
    ]

    assert [[review["author_id"] for review in page["data"]] for page in pages] == [[14, 13], [12, 11], [10], []]
    assert [page["total"] for page in pages] == [5] * 4


async def test_only_buyers_review(shop: Shop) -> None:
    answer = await shop.post(a_product(), author=NO_BUYERS_FROM)

    assert (answer.status_code, answer.json()["code"]) == (403, "not_a_buyer")


async def test_sellers_do_not_review_what_they_sell(shop: Shop) -> None:
    answer = await shop.post(a_product(), author=SELLER)

    assert (answer.status_code, answer.json()["code"]) == (403, "own_product")


async def test_a_product_is_reviewed_once_by_each(shop: Shop) -> None:
    product = a_product()
    await shop.review(product, author=10)

    answer = await shop.post(product, author=10)

    assert (answer.status_code, answer.json()["code"]) == (409, "already_reviewed")


async def test_a_product_is_reviewed_once_even_when_asked_twenty_times_at_once(shop: Shop) -> None:
    product = a_product()

    answers = await asyncio.gather(*(shop.post(product, author=10, rating=4) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"already_reviewed"}
    assert await shop.rating(product) == (4.0, 1)


async def test_who_removed_a_review_may_write_another(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10, rating=1)
    assert (await shop.delete(review["id"], author=10)).status_code == 204

    await shop.review(product, author=10, rating=5)

    assert await shop.rating(product) == (5.0, 1)


async def test_an_author_replaces_a_review(shop: Shop) -> None:
    review = await shop.review(a_product(), author=10, rating=2, title="Cold", text="Too soon")

    answer = await shop.put(review["id"], author=10, rating=5)

    revised = answer.json()["data"]
    assert answer.status_code == 200
    assert (revised["rating"], revised["title"], revised["text"]) == (5, None, None)
    assert revised["created_at"] == review["created_at"]
    assert revised["updated_at"] > review["updated_at"]


async def test_another_s_review_is_left_alone(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10, rating=2)

    answers = [
        await shop.put(review["id"], author=11, rating=5),
        await shop.delete(review["id"], author=11),
        await shop.put(review["id"], author=SELLER, rating=5, role=Role.SELLER),
        await shop.delete(review["id"], author=SELLER, role=Role.SELLER),
        await shop.put(review["id"], author=ADMIN, rating=5, role=Role.ADMIN),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "not_the_author")] * 5
    assert await shop.rating(product) == (2.0, 1)


async def test_an_admin_may_remove_a_review(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10)

    assert (await shop.delete(review["id"], author=ADMIN, role=Role.ADMIN)).status_code == 204
    assert (await shop.http.get(f"/api/v1/products/{product}/reviews")).json()["data"] == []


async def test_an_unknown_review_is_not_found(shop: Shop) -> None:
    answers = [await shop.put(2**63 - 1, author=10, rating=5), await shop.delete(2**63 - 1, author=10)]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "unknown_review")] * 2


async def test_an_unknown_product_has_no_reviews(shop: Shop) -> None:
    path = f"/api/v1/products/{UNKNOWN_FROM}/reviews"

    answers = [await shop.http.get(path), await shop.post(UNKNOWN_FROM, author=10)]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "unknown_product")] * 2


async def test_reviews_are_read_while_the_catalogue_is_away(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10)
    shop.products.before = away

    answer = await shop.http.get(f"/api/v1/products/{product}/reviews")

    assert (answer.status_code, answer.json()["data"]) == (200, [review])


@pytest.mark.parametrize("neighbour", ["products", "orders"])
async def test_no_review_is_taken_unchecked(shop: Shop, neighbour: str) -> None:
    product = a_product()
    getattr(shop, neighbour).before = away

    answer = await shop.post(product, author=10)

    assert (answer.status_code, answer.json()["code"]) == (503, "neighbour_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert await shop.rating(product) == (0.0, 0)
