"""Only approved reviews are shown and counted, before and after every change of a review."""

import random

import pytest
from chassis.http.authentication import Role
from review_harness import ADMIN, SELLER, RunningReviewService, new_product


@pytest.mark.parametrize("status", ["rejected", "pending"])
async def test_a_hidden_review_is_neither_shown_nor_counted(service: RunningReviewService, status: str) -> None:
    product = new_product()
    hidden, shown = (
        await service.review(product, author=10, rating=1),
        await service.review(product, author=11, rating=5),
    )

    response = await service.moderate(hidden["id"], status, "insults")

    assert response.status_code == 200
    assert (response.json()["data"]["status"], response.json()["data"]["moderation_reason"]) == (status, "insults")
    assert [review["id"] for review in await service.listed(product)] == [shown["id"]]
    assert await service.rating(product) == (5.0, 1)
    assert await service.distribution(product) == [0, 0, 0, 0, 1]


async def test_an_approved_review_is_shown_again_without_a_reason(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10, rating=2)
    await service.moderate(review["id"], "rejected", "insults")

    response = await service.moderate(review["id"], "approved", "a mistake")

    assert response.json()["data"] == review
    assert await service.listed(product) == [review]
    assert await service.rating(product) == (2.0, 1)


async def test_repeated_moderation_counts_once(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10)

    for status in ("rejected", "pending", "rejected", "approved", "approved"):
        await service.moderate(review["id"], status)

    assert await service.rating(product) == (5.0, 1)
    events = await service.rating_events(product, revision=3)
    assert [(event.count, event.stars) for event in events] == [(1, 5), (0, 0), (1, 5)]


async def test_a_revised_rejected_review_is_pending_again(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10, text="!!!")
    await service.moderate(review["id"], "rejected", "insults")

    revised = await service.put(review["id"], author=10, rating=4)

    assert revised.json()["data"]["status"] == "pending"
    assert await service.listed(product) == []
    assert await service.rating(product) == (0.0, 0)


async def test_a_revised_shown_review_stays_shown(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10, rating=1)

    await service.put(review["id"], author=10, rating=4)

    assert await service.distribution(product) == [0, 0, 0, 1, 0]


async def test_removing_a_hidden_review_does_not_change_the_rating(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10, rating=1)
    await service.review(product, author=11, rating=5)
    await service.moderate(review["id"], "rejected")

    assert (await service.delete(review["id"], author=10)).status_code == 204

    assert await service.rating(product) == (5.0, 1)


@pytest.mark.parametrize("status", ["rejected", "pending"])
async def test_a_hidden_review_is_not_shown_again_by_removing_it_and_writing_it_again(
    service: RunningReviewService, status: str
) -> None:
    product = new_product()
    review = await service.review(product, author=10, title="!", text="!!!")
    await service.moderate(review["id"], status, "insults")

    removed = [await service.delete(review["id"], author=10) for _ in range(2)]
    again = await service.post(product, author=10, title="!", text="!!!")

    assert [response.status_code for response in removed] == [204, 204]
    assert (again.status_code, again.json()["code"]) == (409, "already_reviewed")
    revised = (await service.put(review["id"], author=10, rating=4)).json()["data"]
    assert (revised["status"], revised["title"], revised["text"]) == ("pending", None, None)
    assert await service.listed(product) == []
    assert await service.rating(product) == (0.0, 0)


async def test_a_hidden_review_that_its_author_removes_has_no_text_and_is_not_listed_for_admins(
    service: RunningReviewService,
) -> None:
    review = await service.review(new_product(), author=10, title="!", text="!!!")
    await service.moderate(review["id"], "rejected", "insults")
    assert review["id"] in await service.listed_by_status("rejected")

    await service.delete(review["id"], author=10)

    async with service.connection() as connection:
        content = await connection.fetchrow("SELECT title, text FROM reviews WHERE id = $1", review["id"])
    assert tuple(content) == (None, None)
    assert review["id"] not in await service.listed_by_status("rejected") + await service.listed_by_status("pending")
    response = await service.moderate(review["id"], "approved")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_review")
    await service.put(review["id"], author=10, rating=4)
    assert review["id"] in await service.listed_by_status("pending")


async def test_the_author_of_a_review_removed_by_an_admin_may_write_another(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10)
    await service.moderate(review["id"], "rejected")
    await service.delete(review["id"], author=10)

    assert (await service.delete(review["id"], author=ADMIN, role=Role.ADMIN)).status_code == 204

    another = await service.review(product, author=10)
    assert await service.listed(product) == [another]


async def test_admins_list_pending_reviews(service: RunningReviewService) -> None:
    review = await service.review(new_product(), author=10)
    await service.moderate(review["id"], "pending", "look again")

    response = await service.http.get("/api/v1/reviews?status=pending", headers=service.bearer(ADMIN, Role.ADMIN))

    assert response.json()["data"][0]["id"] == review["id"]
    assert {review["status"] for review in response.json()["data"]} == {"pending"}
    assert response.json()["total"] >= 1


@pytest.mark.parametrize(("user", "role"), [(10, Role.CUSTOMER), (SELLER, Role.SELLER)])
async def test_only_admins_moderate(service: RunningReviewService, user: int, role: Role) -> None:
    product = new_product()
    review = await service.review(product, author=10)
    path, headers = f"/api/v1/reviews/{review['id']}/moderation", service.bearer(user, role)

    responses = [
        await service.http.put(path, json={"status": "rejected"}, headers=headers),
        await service.http.get("/api/v1/reviews", headers=headers),
    ]
    anonymous = [await service.http.put(path, json={"status": "rejected"}), await service.http.get("/api/v1/reviews")]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(403, "forbidden")] * 2
    assert [(response.status_code, response.json()["code"]) for response in anonymous] == [(401, "unauthenticated")] * 2
    assert await service.listed(product) == [review]


async def test_an_unknown_review_is_not_moderated(service: RunningReviewService) -> None:
    response = await service.moderate(2**63 - 1, "rejected")

    assert (response.status_code, response.json()["code"]) == (404, "unknown_review")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "deleted"},
        {"status": None},
        {"status": 1},
        {"status": "rejected", "reason": "x" * 501},
        {"status": "rejected", "reason": "\x00"},
        {"status": "rejected", "by": 1},
    ],
    ids=ascii,
)
async def test_a_bad_moderation_request_is_refused(service: RunningReviewService, body: dict[str, object]) -> None:
    review, headers = await service.review(new_product(), author=10), service.bearer(ADMIN, Role.ADMIN)

    response = await service.http.put(f"/api/v1/reviews/{review['id']}/moderation", json=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


async def test_reviews_are_sorted_and_filtered_by_stars(service: RunningReviewService) -> None:
    product, chance = new_product(), random.Random(5)
    reviews = [await service.review(product, author, rating=chance.randint(1, 5)) for author in range(10, 22)]
    for review in reviews[:6]:
        for voter in range(100, 100 + chance.randint(0, 3)):
            await service.vote(review["id"], voter)
    newest_first = (await service.listed(product))[:]

    def sorted_ids(sort: str) -> list[int]:
        keys = {"rating_low": ("rating", 1), "rating_high": ("rating", -1), "helpful": ("helpful_count", -1)}
        name, sign = keys[sort]
        return [review["id"] for review in sorted(newest_first, key=lambda review: sign * review[name])]

    for sort in ("rating_low", "rating_high", "helpful"):
        assert [review["id"] for review in await service.listed(product, sort=sort)] == sorted_ids(sort), sort
    assert [review["id"] for review in newest_first] == [review["id"] for review in reversed(reviews)]
    good = [review for review in newest_first if review["rating"] >= 4]
    assert await service.listed(product, min_rating=4) == good


@pytest.mark.parametrize("query", ["sort=best", "sort=", "min_rating=0", "min_rating=6", "min_rating=x"])
async def test_a_bad_sort_or_filter_is_refused(service: RunningReviewService, query: str) -> None:
    response = await service.http.get(f"/api/v1/products/{new_product()}/reviews?{query}")

    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, query.partition("=")[0])
