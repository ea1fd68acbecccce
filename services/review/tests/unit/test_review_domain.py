"""The arithmetic of ratings, without a server."""

import random

import pytest
from review_service.domain.reviews import Rating, rating_difference


@pytest.mark.parametrize(
    ("rating", "average"),
    [(Rating(), 0.0), (Rating(1, 5), 5.0), (Rating(3, 13), 4.33), (Rating(3, 14), 4.67), (Rating(2, 9), 4.5)],
)
def test_an_average_has_two_decimals_at_most(rating: Rating, average: float) -> None:
    assert rating.average == average


def test_a_changed_review_adds_the_difference_of_its_stars() -> None:
    assert rating_difference(None, 4) == Rating(1, 4)
    assert rating_difference(4, 1) == Rating(0, -3)
    assert rating_difference(4, 4) == Rating(0, 0)
    assert rating_difference(4, None) == Rating(-1, -4)


def test_differences_always_add_up_to_the_rating() -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    stars: dict[int, int] = {}
    count = total = 0

    for _ in range(2_000):
        author, after = chance.randrange(20), chance.choice([None, 1, 2, 3, 4, 5])
        added = rating_difference(stars.pop(author, None), after)
        count, total = count + added.count, total + added.sum
        if after is not None:
            stars[author] = after
        assert (count, total) == (len(stars), sum(stars.values())), f"seed {seed}"
