"""Slugs, product details, and the format of cache entries."""

from datetime import UTC, datetime

import pytest
from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money
from product_service.domain.categories import CategoryId
from product_service.domain.details import ProductDetails, Seller, Stock
from product_service.domain.products import Product, Rating, slug
from product_service.repository.cache import decode, encode

CUP = Product(
    id=ProductId(7),
    seller_id=UserId(2),
    category_id=CategoryId(3),
    name="Café Crème",
    description="Porcelain, 80 ml",
    price=Money(1290, "USD"),
    images=("https://example.com/cup.jpg",),
    created_at=datetime(2025, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    updated_at=datetime(2025, 2, 3, 4, 5, 6, tzinfo=UTC),
    group_id=ProductId(6),
    options={"size": "M"},
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Espresso cup", "espresso-cup-7"),
        ("Café Crème", "cafe-creme-7"),
        ("  50% off! (new)  ", "50-off-new-7"),
        ("Straße Łódź Smørrebrød", "strasse-lodz-smorrebrod-7"),
        ("ÆGIR Œuvre Þór", "aegir-oeuvre-thor-7"),
        ("咖啡", "7"),
        ("x" * 200, "x" * 80 + "-7"),
        ("y" * 79 + " z", "y" * 79 + "-7"),
    ],
)
def test_a_slug_is_the_ascii_name_and_the_id(name: str, expected: str) -> None:
    assert slug(name, ProductId(7)) == expected


def test_degraded_names_exactly_the_missing_parts() -> None:
    seller, stock, rating = Seller(UserId(2), "Ann"), Stock(5), Rating(4.5, 2)

    assert ProductDetails(CUP, seller, stock, rating).degraded == []
    assert ProductDetails(CUP, None, stock, None).degraded == ["seller", "rating"]
    assert ProductDetails(CUP, seller, None, rating).degraded == ["stock"]
    assert ProductDetails(CUP, seller, stock, rating, variants=None).degraded == ["variants"]


def test_a_stock_of_zero_is_not_a_missing_part() -> None:
    assert ProductDetails(CUP, Seller(UserId(2), ""), Stock(0), Rating(0.0, 0)).degraded == []


def test_a_decoded_cache_entry_equals_the_encoded_product() -> None:
    assert decode(encode(CUP)) == CUP


def test_the_format_of_cache_entries_is_unchanged() -> None:
    """If this test has to change, raise the cache's _FORMAT: the previous release reads the same Redis."""
    assert encode(CUP) == (
        '{"id":7,"seller_id":2,"category_id":3,"name":"Caf\\u00e9 Cr\\u00e8me","description":"Porcelain, 80 ml",'
        '"price":{"amount":1290,"currency":"USD"},"images":["https://example.com/cup.jpg"],'
        '"created_at":"2025-01-02T03:04:05.000678+00:00","updated_at":"2025-02-03T04:05:06+00:00",'
        '"group_id":6,"options":{"size":"M"}}'
    )
