"""Helpful votes: one a user, none for oneself, and always counted."""

import pytest
from review_harness import Shop, a_product


async def test_a_vote_is_counted_once(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10)

    answers = [await shop.vote(review["id"], user) for user in (11, 11, 12)]

    assert [(answer.status_code, answer.json()["data"]["helpful_count"]) for answer in answers] == [
        (200, 1),
        (200, 1),
        (200, 2),
    ]
    assert [review["helpful_count"] for review in await shop.listed(product)] == [2]


async def test_a_vote_can_be_taken_back_once(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10)
    await shop.vote(review["id"], 11)
    await shop.vote(review["id"], 12)

    answers = [await shop.unvote(review["id"], user) for user in (11, 11, 13)]

    assert [answer.status_code for answer in answers] == [204] * 3
    assert [review["helpful_count"] for review in await shop.listed(product)] == [1]


async def test_nobody_votes_for_their_own(shop: Shop) -> None:
    review = await shop.review(a_product(), author=10)

    answer = await shop.vote(review["id"], 10)

    assert (answer.status_code, answer.json()["code"]) == (403, "own_review")


@pytest.mark.parametrize("status", ["rejected", "pending"])
async def test_what_is_hidden_gets_no_votes(shop: Shop, status: str) -> None:
    review = await shop.review(a_product(), author=10)
    await shop.vote(review["id"], 11)
    await shop.moderate(review["id"], status)

    answer = await shop.vote(review["id"], 12)

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_review")
    assert (await shop.unvote(review["id"], 11)).status_code == 204


async def test_voting_needs_a_token_and_a_review(shop: Shop) -> None:
    review = await shop.review(a_product(), author=10)
    path = f"/api/v1/reviews/{review['id']}/helpful"

    unknown = [await shop.http.post(path), await shop.http.delete(path)]
    missing = [await shop.vote(2**63 - 1, 11), await shop.unvote(2**63 - 1, 11)]
    absurd = [await shop.vote(0, 11), await shop.unvote(2**63, 11)]

    assert [answer.status_code for answer in unknown] == [401] * 2
    assert [(answer.status_code, answer.json()["code"]) for answer in missing] == [(404, "unknown_review")] * 2
    assert [answer.status_code for answer in absurd] == [422] * 2


async def test_votes_do_not_change_when_a_review_was_written(shop: Shop) -> None:
    product = a_product()
    review = await shop.review(product, author=10)

    voted = (await shop.vote(review["id"], 11)).json()["data"]

    assert voted == {**review, "helpful_count": 1}


async def test_a_removed_review_takes_its_votes_with_it(shop: Shop) -> None:
    review = await shop.review(a_product(), author=10)
    await shop.vote(review["id"], 11)

    assert (await shop.delete(review["id"], author=10)).status_code == 204

    async with shop.connection() as connection:
        votes = await connection.fetchval("SELECT count(*) FROM helpful_votes WHERE review_id = $1", review["id"])
    assert votes == 0
