"""Each user votes once for a review, authors never for their own, and every vote counts."""

import pytest
from review_harness import RunningReviewService, new_product


async def test_a_vote_is_counted_once(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10)

    responses = [await service.vote(review["id"], user) for user in (11, 11, 12)]

    assert [(response.status_code, response.json()["data"]["helpful_count"]) for response in responses] == [
        (200, 1),
        (200, 1),
        (200, 2),
    ]
    assert [review["helpful_count"] for review in await service.listed(product)] == [2]


async def test_a_vote_can_be_taken_back_once(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10)
    await service.vote(review["id"], 11)
    await service.vote(review["id"], 12)

    responses = [await service.unvote(review["id"], user) for user in (11, 11, 13)]

    assert [response.status_code for response in responses] == [204] * 3
    assert [review["helpful_count"] for review in await service.listed(product)] == [1]


async def test_an_author_cannot_vote_for_their_own_review(service: RunningReviewService) -> None:
    review = await service.review(new_product(), author=10)

    response = await service.vote(review["id"], 10)

    assert (response.status_code, response.json()["code"]) == (403, "own_review")


@pytest.mark.parametrize("status", ["rejected", "pending"])
async def test_a_hidden_review_gets_no_votes(service: RunningReviewService, status: str) -> None:
    review = await service.review(new_product(), author=10)
    await service.vote(review["id"], 11)
    await service.moderate(review["id"], status)

    response = await service.vote(review["id"], 12)

    assert (response.status_code, response.json()["code"]) == (404, "unknown_review")
    assert (await service.unvote(review["id"], 11)).status_code == 204


async def test_voting_needs_a_token_and_a_review(service: RunningReviewService) -> None:
    review = await service.review(new_product(), author=10)
    path = f"/api/v1/reviews/{review['id']}/helpful"

    anonymous = [await service.http.post(path), await service.http.delete(path)]
    missing = [await service.vote(2**63 - 1, 11), await service.unvote(2**63 - 1, 11)]
    impossible = [await service.vote(0, 11), await service.unvote(2**63, 11)]

    assert [(response.status_code, response.json()["code"]) for response in anonymous] == [(401, "unauthenticated")] * 2
    assert [(response.status_code, response.json()["code"]) for response in missing] == [(404, "unknown_review")] * 2
    assert [(response.status_code, response.json()["code"]) for response in impossible] == [(422, "invalid_field")] * 2


async def test_a_vote_does_not_change_the_times_of_a_review(service: RunningReviewService) -> None:
    product = new_product()
    review = await service.review(product, author=10)

    voted = (await service.vote(review["id"], 11)).json()["data"]

    assert voted == {**review, "helpful_count": 1}


async def test_removing_a_review_removes_its_votes(service: RunningReviewService) -> None:
    review = await service.review(new_product(), author=10)
    await service.vote(review["id"], 11)

    assert (await service.delete(review["id"], author=10)).status_code == 204

    async with service.connection() as connection:
        votes = await connection.fetchval("SELECT count(*) FROM helpful_votes WHERE review_id = $1", review["id"])
    assert votes == 0
