"""Who may join which group of variants."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money
from product_service.domain.categories import CategoryId
from product_service.domain.errors import UnknownGroup
from product_service.domain.products import Product
from product_service.service.products import founder_of

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


def test_the_first_to_be_joined_begins_the_group() -> None:
    assert founder_of(SHIRT.id, [SHIRT], SELLER) == SHIRT.id


def test_a_group_that_there_is_is_joined() -> None:
    assert founder_of(SHIRT.id, [HEAD, MEMBER], SELLER) is None


def test_a_group_outlives_the_product_it_is_named_for() -> None:
    assert founder_of(SHIRT.id, [MEMBER], SELLER) is None
    assert founder_of(SHIRT.id, [replace(SHIRT, group_id=None), MEMBER], SELLER) is None


@pytest.mark.parametrize(
    "group",
    [
        [],
        [replace(SHIRT, seller_id=OTHER)],
        [HEAD, replace(MEMBER, seller_id=OTHER)],
        [replace(SHIRT, group_id=ProductId(9))],
    ],
    ids=["nothing", "somebody else's", "in part somebody else's", "in another group"],
)
def test_what_is_no_group_of_the_seller_is_not_joined(group: list[Product]) -> None:
    with pytest.raises(UnknownGroup):
        founder_of(SHIRT.id, group, SELLER)
