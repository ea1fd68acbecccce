"""An erased account says nothing any more; its stars count on, and everybody's votes still add up."""

import asyncio
import random

import pytest
from chassis_testing.broker import publish_raw, take_message
from review_harness import Shop, a_product, a_user, away


async def test_words_and_votes_of_an_erased_account_are_gone_and_its_stars_stay(shop: Shop) -> None:
    product, author, other = a_product(), a_user(), a_user()
    theirs = await shop.review(product, author, rating=2, title="Mine", text="I live at 1 Main Street")
    others = await shop.review(product, other, rating=4, title="Fine")
    await shop.vote(others["id"], author)
    await shop.vote(theirs["id"], other)
    await shop.moderate(theirs["id"], "pending", "names an address")
    await shop.moderate(theirs["id"], "approved")

    await shop.erase(author)

    left = {review["id"]: review for review in await shop.listed(product)}
    assert (left[theirs["id"]]["title"], left[theirs["id"]]["text"], left[theirs["id"]]["rating"]) == (None, None, 2)
    assert left[theirs["id"]]["author_name"] == "Deleted user"
    assert [left[theirs["id"]]["helpful_count"], left[others["id"]]["helpful_count"]] == [1, 0]
    assert left[others["id"]]["title"] == "Fine"
    assert await shop.distribution(product) == [0, 1, 0, 1, 0]


async def test_an_erasure_that_comes_again_changes_nothing(shop: Shop) -> None:
    product, author, voter = a_product(), a_user(), a_user()
    review = await shop.review(product, author, text="mine")
    await shop.vote(review["id"], voter)

    sent = await shop.erase(voter, author)
    await shop.deliver([*sent, *reversed(sent)])
    await shop.erase(author, voter)

    [left] = await shop.listed(product)
    assert (left["text"], left["helpful_count"]) == (None, 0)


async def test_a_token_that_outlives_its_account_writes_nothing(shop: Shop) -> None:
    product, author = a_product(), a_user()
    review, others = await shop.review(product, author, text="mine"), await shop.review(product, a_user())
    await shop.erase(author)

    answers = [
        await shop.post(a_product(), author, text="mine again"),
        await shop.put(review["id"], author, rating=1),
        await shop.vote(others["id"], author),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "account_erased")] * 3
    assert (await shop.delete(review["id"], author)).status_code == 204


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_written_while_an_account_is_erased_outlives_it(shop: Shop, seed: int) -> None:
    """The fixture finds words and votes of erased accounts."""
    chance, author, other = random.Random(seed), a_user(), a_user()
    products = [a_product() for _ in range(4)]
    review = await shop.review(products[0], author, text="mine")
    others = await shop.review(products[1], other)
    doing = [
        shop.erase(author),
        *(shop.post(product, author, text="mine") for product in products[1:]),
        *(shop.put(review["id"], author, rating=3) for _ in range(2)),
        *(shop.vote(others["id"], author) for _ in range(2)),
        *(shop.vote(review["id"], voter) for voter in (other, a_user())),
    ]
    chance.shuffle(doing)

    answers = await asyncio.gather(*doing)

    statuses = {answer.status_code for answer in answers if hasattr(answer, "status_code")}
    assert statuses <= {200, 201, 403}


async def test_names_are_asked_for_once_a_minute(shop: Shop) -> None:
    product, author = a_product(), a_user()
    await shop.review(product, author)
    asked = shop.users.asked

    names = [review["author_name"] for _ in range(3) for review in await shop.listed(product)]

    assert names == [f"User {author}"] * 3
    assert shop.users.asked == asked


async def test_reviews_are_read_without_names_while_users_are_away(shop: Shop) -> None:
    product, known, unknown = a_product(), a_user(), a_user()
    await shop.review(product, known)
    shop.users.before = away
    await shop.review(product, unknown)

    answer = await shop.http.get(f"/api/v1/products/{product}/reviews")

    assert answer.status_code == 200
    assert answer.json()["degraded"] == ["authors"]
    assert [review["author_name"] for review in answer.json()["data"]] == [None, f"User {known}"]


async def test_an_author_whom_nobody_knows_has_no_name(shop: Shop) -> None:
    product = a_product()
    await shop.review(product, author=500_000)

    answer = await shop.http.get(f"/api/v1/products/{product}/reviews")

    assert (answer.json()["data"][0]["author_name"], answer.json()["degraded"]) == (None, [])


async def test_answers_tell_nothing_of_people_but_their_name(shop: Shop) -> None:
    product = a_product()
    await shop.review(product, author=10)

    assert set((await shop.listed(product))[0]) == {
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


async def test_a_message_nobody_can_read_goes_to_the_dead_letters(shop: Shop) -> None:
    await publish_raw(shop.broker_url, "ecommerce.events", "user.erased.v1", b"{}")

    assert await take_message(shop.broker_url, "review.dead") == b"{}"
