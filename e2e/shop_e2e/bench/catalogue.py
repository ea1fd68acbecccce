"""What every shop of the benchmark sells: the same products, in the same categories, at the same prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from devtools.catalogue import SUBCATEGORIES, SeedProduct, seed_data

BASE_PRODUCTS = 90
"""The products that are created through a shop's own API. A larger catalogue is copies of them, row by row."""
PLENTY = 1_000_000
"""The stock of a product that never sells out."""
RACE_STOCK = 5
_SEED = 13
_PAGES = 4
_DISTANCE = 7919
"""A prime: the numbers of consecutive requests are spread over the catalogue by its multiples."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    products: Sequence[SeedProduct]
    race_products: int
    """How many products with a stock of RACE_STOCK there are, named `Race product <number>`; each is for one race."""

    @property
    def departments(self) -> list[str]:
        return list(dict.fromkeys(product.subcategory.department for product in self.products))

    @property
    def words(self) -> list[str]:
        """Words that a customer would search for: the last one of each product's name, once."""
        return sorted({product.name.split()[-1] for product in self.products})


def base_catalogue(races: int, products: int = BASE_PRODUCTS) -> Catalogue:
    """Returns the catalogue, always the same one."""
    # The year's end has no effect on the products.
    made = seed_data(_SEED, products, customers=1, orders=0, until=datetime(2026, 1, 1, tzinfo=UTC)).products
    return Catalogue(made, races)


def page_of(number: int, products: int) -> int:
    """Returns the page of 20 that the `number`-th request for a list asks for: one of the first four that are full."""
    return number % min(_PAGES, products // 20) + 1


def spread(number: int, products: int) -> int:
    """Returns the place of the product that the `number`-th request is about, in a catalogue of so many."""
    return number * _DISTANCE % products


def race_name(number: int) -> str:
    return f"Race product {number}"


def copies_for(size: int, created: int) -> int:
    """Returns how many copies of each of the `created` products make a catalogue of about `size` with them."""
    return max(size // created - 1, 0)


assert len(SUBCATEGORIES) <= BASE_PRODUCTS, "every category has a product"
