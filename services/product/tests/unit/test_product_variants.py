"""The rules for joining a group of variants."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money
from product_service.domain.categories import CategoryId
from product_service.domain.errors import UnknownGroup
from product_service.domain.products import Product
from product_service.service.products import find_new_head

SELLER, OTHER = UserId(7), UserId(8)
SHIRT = Product(
    id=ProductId(1),
    seller_id=SELLER,
    category_id=CategoryId(1),
    name="Shirt",
    description="",
    price=Money(100, "USD"),
    images=(),
    created_at=datetime(2025, 1, 1, tzinfo=UTC),
    updated_at=datetime(2025, 1, 1, tzinfo=UTC),
)
HEAD = replace(SHIRT, group_id=SHIRT.id)
MEMBER = replace(SHIRT, id=ProductId(2), group_id=SHIRT.id)


def test_the_first_product_that_is_joined_becomes_the_head_of_a_group() -> None:
    assert find_new_head(SHIRT.id, [SHIRT], SELLER) == SHIRT.id


def test_joining_an_existing_group_makes_no_new_head() -> None:
    assert find_new_head(SHIRT.id, [HEAD, MEMBER], SELLER) is None


def test_a_group_exists_without_the_product_that_started_it() -> None:
    assert find_new_head(SHIRT.id, [MEMBER], SELLER) is None
    assert find_new_head(SHIRT.id, [replace(SHIRT, group_id=None), MEMBER], SELLER) is None


@pytest.mark.parametrize(
    "group",
    [
        [],
        [replace(SHIRT, seller_id=OTHER)],
        [HEAD, replace(MEMBER, seller_id=OTHER)],
        [replace(SHIRT, group_id=ProductId(9))],
    ],
    ids=["empty", "of another seller", "partly of another seller", "member of another group"],
)
def test_a_group_that_is_not_the_sellers_cannot_be_joined(group: list[Product]) -> None:
    with pytest.raises(UnknownGroup):
        find_new_head(SHIRT.id, group, SELLER)
