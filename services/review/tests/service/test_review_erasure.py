"""Erasing an account deletes its texts and votes; its stars still count, and vote counts stay correct."""

import asyncio
import random

import pytest
from chassis_testing.broker import publish_raw, take_message
from review_harness import RunningReviewService, new_product, new_user, unavailable


async def test_texts_and_votes_of_an_erased_account_are_deleted_and_its_stars_stay(
    service: RunningReviewService,
) -> None:
    product, author, other = new_product(), new_user(), new_user()
    review = await service.review(product, author, rating=2, title="Mine", text="I live at 1 Main Street")
    others = await service.review(product, other, rating=4, title="Fine")
    await service.vote(others["id"], author)
    await service.vote(review["id"], other)
    await service.moderate(review["id"], "pending", "names an address")
    await service.moderate(review["id"], "approved")

    await service.erase(author)

    listed = {one["id"]: one for one in await service.listed(product)}
    redacted = listed[review["id"]]
    assert (redacted["title"], redacted["text"], redacted["rating"]) == (None, None, 2)
    assert redacted["author_name"] == "Deleted user"
    assert [redacted["helpful_count"], listed[others["id"]]["helpful_count"]] == [1, 0]
    assert listed[others["id"]]["title"] == "Fine"
    assert await service.distribution(product) == [0, 1, 0, 1, 0]


async def test_a_repeated_erasure_changes_nothing(service: RunningReviewService) -> None:
    product, author, voter = new_product(), new_user(), new_user()
    review = await service.review(product, author, text="mine")
    await service.vote(review["id"], voter)

    sent = await service.erase(voter, author)
    await service.deliver([*sent, *reversed(sent)])
    await service.erase(author, voter)

    [redacted] = await service.listed(product)
    assert (redacted["text"], redacted["helpful_count"]) == (None, 0)


async def test_a_valid_token_of_an_erased_account_can_write_nothing(service: RunningReviewService) -> None:
    product, author = new_product(), new_user()
    review, others = await service.review(product, author, text="mine"), await service.review(product, new_user())
    await service.erase(author)

    responses = [
        await service.post(new_product(), author, text="mine again"),
        await service.put(review["id"], author, rating=1),
        await service.vote(others["id"], author),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(403, "account_erased")] * 3
    assert (await service.delete(review["id"], author)).status_code == 204


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_written_during_an_erasure_remains(service: RunningReviewService, seed: int) -> None:
    """The fixture finds texts and votes of erased accounts."""
    chance, author, other = random.Random(seed), new_user(), new_user()
    products = [new_product() for _ in range(4)]
    review = await service.review(products[0], author, text="mine")
    others = await service.review(products[1], other)
    calls = [
        service.erase(author),
        *(service.post(product, author, text="mine") for product in products[1:]),
        *(service.put(review["id"], author, rating=3) for _ in range(2)),
        *(service.vote(others["id"], author) for _ in range(2)),
        *(service.vote(review["id"], voter) for voter in (other, new_user())),
    ]
    chance.shuffle(calls)

    responses = await asyncio.gather(*calls)

    statuses = {response.status_code for response in responses if hasattr(response, "status_code")}
    assert statuses <= {200, 201, 403}


async def test_names_are_cached(service: RunningReviewService) -> None:
    product, author = new_product(), new_user()
    await service.review(product, author)
    calls = service.users.calls

    names = [review["author_name"] for _ in range(3) for review in await service.listed(product)]

    assert names == [f"User {author}"] * 3
    assert service.users.calls == calls


async def test_the_names_of_a_whole_page_are_read_with_one_call(service: RunningReviewService) -> None:
    product, authors = new_product(), [new_user() for _ in range(30)]
    async with service.connection() as connection:
        await connection.executemany(
            "INSERT INTO reviews (product_id, author_id, rating, created_at, updated_at) "
            "VALUES ($1, $2, 5, now(), now())",
            [(product, author) for author in authors],
        )
        await connection.execute(
            "INSERT INTO ratings (product_id, count, sum, stars_1, stars_2, stars_3, stars_4, stars_5, revision) "
            "VALUES ($1, 30, 150, 0, 0, 0, 0, 30, 1)",
            product,
        )
    calls = service.users.calls

    response = await service.http.get(f"/api/v1/products/{product}/reviews?limit=100")

    names = {review["author_name"] for review in response.json()["data"]}
    assert names == {f"User {author}" for author in authors}
    assert service.users.calls == calls + 1


async def test_reviews_are_listed_without_names_while_the_user_service_is_unavailable(
    service: RunningReviewService,
) -> None:
    product, known, unknown = new_product(), new_user(), new_user()
    await service.review(product, known)
    service.users.before = unavailable
    await service.review(product, unknown)

    response = await service.http.get(f"/api/v1/products/{product}/reviews")

    assert response.status_code == 200
    assert response.json()["degraded"] == ["authors"]
    assert [review["author_name"] for review in response.json()["data"]] == [None, f"User {known}"]


async def test_an_author_who_does_not_exist_has_no_name(service: RunningReviewService) -> None:
    product = new_product()
    await service.review(product, author=500_000)

    response = await service.http.get(f"/api/v1/products/{product}/reviews")

    assert (response.json()["data"][0]["author_name"], response.json()["degraded"]) == (None, [])


async def test_responses_contain_nothing_about_authors_but_id_and_name(service: RunningReviewService) -> None:
    product = new_product()
    await service.review(product, author=10)

    assert set((await service.listed(product))[0]) == {
        "id",
        "product_id",
        "author_id",
        "author_name",
        "rating",
        "title",
        "text",
        "status",
        "moderation_reason",
        "helpful_count",
        "created_at",
        "updated_at",
    }


async def test_a_malformed_message_goes_to_the_dead_letter_queue(service: RunningReviewService) -> None:
    await publish_raw(service.broker_url, "ecommerce.events", "user.erased.v1", b"{}")

    assert await take_message(service.broker_url, "review.dead") == b"{}"
