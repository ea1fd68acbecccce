"""Only approved reviews are shown and counted, whatever happens to them."""

import random

import pytest
from chassis.http.authentication import Role
from review_harness import ADMIN, SELLER, Shop, a_product


@pytest.mark.parametrize("status", ["rejected", "pending"])
async def test_a_hidden_review_is_neither_shown_nor_counted(shop: Shop, status: str) -> None:
    product = a_product()
    hidden, shown = await shop.review(product, author=10, rating=1), await shop.review(product, author=11, rating=5)

    answer = await shop.moderate(hidden["id"], status, "insults")

    assert answer.status_code == 200
    assert (answer.json()["data"]["status"], answer.json()["data"]["moderation_reason"]) == (status, "insults")
    assert [review["id"] for review in await shop.listed(product)] == [shown["id"]]
    assert await shop.rating(product) == (5.0, 1)
    assert await shop.distribution(product) == [0, 0, 0, 0, 1]


async def test_an_approved_review_is_back_and_its_reason_gone(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10, rating=2)
    await shop.moderate(review["id"], "rejected", "insults")

    answer = await shop.moderate(review["id"], "approved", "a mistake")

    assert answer.json()["data"] == review
    assert await shop.listed(product) == [review]
    assert await shop.rating(product) == (2.0, 1)


async def test_deciding_twice_counts_once(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10)

    for status in ("rejected", "pending", "rejected", "approved", "approved"):
        await shop.moderate(review["id"], status)

    assert await shop.rating(product) == (5.0, 1)
    told = await shop.told_until(product, revision=3)
    assert [(rating.count, rating.stars) for rating in told] == [(1, 5), (0, 0), (1, 5)]


async def test_a_rejected_review_that_is_revised_waits_for_another_look(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10, text="!!!")
    await shop.moderate(review["id"], "rejected", "insults")

    revised = await shop.put(review["id"], author=10, rating=4)

    assert revised.json()["data"]["status"] == "pending"
    assert await shop.listed(product) == []
    assert await shop.rating(product) == (0.0, 0)


async def test_a_shown_review_that_is_revised_stays_shown(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10, rating=1)

    await shop.put(review["id"], author=10, rating=4)

    assert await shop.distribution(product) == [0, 0, 0, 1, 0]


async def test_removing_a_hidden_review_takes_nothing_from_the_rating(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10, rating=1)
    await shop.review(product, author=11, rating=5)
    await shop.moderate(review["id"], "rejected")

    assert (await shop.delete(review["id"], author=10)).status_code == 204

    assert await shop.rating(product) == (5.0, 1)


@pytest.mark.parametrize("status", ["rejected", "pending"])
async def test_a_hidden_review_is_not_shown_again_by_removing_it_and_writing_it_anew(shop: Shop, status: str) -> None:
    product = a_product()
    review = await shop.review(product, author=10, title="!", text="!!!")
    await shop.moderate(review["id"], status, "insults")

    removed = [await shop.delete(review["id"], author=10) for _ in range(2)]
    anew = await shop.post(product, author=10, title="!", text="!!!")

    assert [answer.status_code for answer in removed] == [204, 204]
    assert (anew.status_code, anew.json()["code"]) == (409, "already_reviewed")
    revised = (await shop.put(review["id"], author=10, rating=4)).json()["data"]
    assert (revised["status"], revised["title"], revised["text"]) == ("pending", None, None)
    assert await shop.listed(product) == []
    assert await shop.rating(product) == (0.0, 0)


async def test_a_hidden_review_that_its_author_removes_has_no_words_and_bothers_no_admin(shop: Shop) -> None:
    review = await shop.review(a_product(), author=10, title="!", text="!!!")
    await shop.moderate(review["id"], "rejected", "insults")
    assert review["id"] in await shop.queued("rejected")

    await shop.delete(review["id"], author=10)

    async with shop.connection() as connection:
        said = await connection.fetchrow("SELECT title, text FROM reviews WHERE id = $1", review["id"])
    assert tuple(said) == (None, None)
    assert review["id"] not in await shop.queued("rejected") + await shop.queued("pending")
    answer = await shop.moderate(review["id"], "approved")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_review")
    await shop.put(review["id"], author=10, rating=4)
    assert review["id"] in await shop.queued("pending")


async def test_an_admin_who_removes_a_hidden_review_lets_its_author_write_another(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10)
    await shop.moderate(review["id"], "rejected")
    await shop.delete(review["id"], author=10)

    assert (await shop.delete(review["id"], author=ADMIN, role=Role.ADMIN)).status_code == 204

    another = await shop.review(product, author=10)
    assert await shop.listed(product) == [another]


async def test_admins_see_what_waits(shop: Shop) -> None:
    review = await shop.review(a_product(), author=10)
    await shop.moderate(review["id"], "pending", "look again")

    answer = await shop.http.get("/api/v1/reviews?status=pending", headers=shop.bearer(ADMIN, Role.ADMIN))

    assert answer.json()["data"][0]["id"] == review["id"]
    assert {review["status"] for review in answer.json()["data"]} == {"pending"}
    assert answer.json()["total"] >= 1


@pytest.mark.parametrize(("user", "role"), [(10, Role.CUSTOMER), (SELLER, Role.SELLER)])
async def test_only_admins_moderate(shop: Shop, user: int, role: Role) -> None:
    product = a_product()
    review = await shop.review(product, author=10)
    path, headers = f"/api/v1/reviews/{review['id']}/moderation", shop.bearer(user, role)

    answers = [
        await shop.http.put(path, json={"status": "rejected"}, headers=headers),
        await shop.http.get("/api/v1/reviews", headers=headers),
    ]
    unknown = [await shop.http.put(path, json={"status": "rejected"}), await shop.http.get("/api/v1/reviews")]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "forbidden")] * 2
    assert [(answer.status_code, answer.json()["code"]) for answer in unknown] == [(401, "unauthenticated")] * 2
    assert await shop.listed(product) == [review]


async def test_an_unknown_review_is_not_moderated(shop: Shop) -> None:
    answer = await shop.moderate(2**63 - 1, "rejected")

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_review")


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
async def test_a_bad_decision_is_refused(shop: Shop, body: dict[str, object]) -> None:
    review, headers = await shop.review(a_product(), author=10), shop.bearer(ADMIN, Role.ADMIN)

    answer = await shop.http.put(f"/api/v1/reviews/{review['id']}/moderation", json=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_reviews_are_sorted_and_chosen_by_their_stars(shop: Shop) -> None:
    product, chance = a_product(), random.Random(5)
    reviews = [await shop.review(product, author, rating=chance.randint(1, 5)) for author in range(10, 22)]
    for review in reviews[:6]:
        for voter in range(100, 100 + chance.randint(0, 3)):
            await shop.vote(review["id"], voter)
    newest_first = (await shop.listed(product))[:]

    def by(*keys: str) -> list[int]:
        signs = {"rating_low": ("rating", 1), "rating_high": ("rating", -1), "helpful": ("helpful_count", -1)}
        name, sign = signs[keys[0]]
        return [review["id"] for review in sorted(newest_first, key=lambda review: sign * review[name])]

    for sort in ("rating_low", "rating_high", "helpful"):
        assert [review["id"] for review in await shop.listed(product, sort=sort)] == by(sort), sort
    assert [review["id"] for review in newest_first] == [review["id"] for review in reversed(reviews)]
    good = [review for review in newest_first if review["rating"] >= 4]
    assert await shop.listed(product, min_rating=4) == good


@pytest.mark.parametrize("query", ["sort=best", "sort=", "min_rating=0", "min_rating=6", "min_rating=x"])
async def test_a_bad_choice_is_refused(shop: Shop, query: str) -> None:
    answer = await shop.http.get(f"/api/v1/products/{a_product()}/reviews?{query}")

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, query.partition("=")[0])
