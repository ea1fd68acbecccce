"""A cart: what somebody may order later. It holds products and quantities; names and prices are the catalogue's, always. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NewType
from uuid import UUID

from chassis.types.ids import ProductId
from chassis.types.money import Money

from order_service.domain.orders import Line, Offer

CartId = NewType("CartId", UUID)
CartToken = NewType("CartToken", str)
"""What a guest proves their cart with: 256 random bits in base64url, kept as a hash alone."""

MAX_LINES = 100
MAX_QUANTITY = 1_000_000
GUEST_CART_KEPT = timedelta(days=30)
"""How long a guest's cart is kept that nobody touches."""


@dataclass(frozen=True, slots=True)
class CartLine:
    """A line as the shop would sell it now. Without an offer the product is not for sale; `available` is None where inventory
    did not answer.
    """

    product_id: ProductId
    quantity: int
    offer: Offer | None
    available: bool | None

    @property
    def name(self) -> str | None:
        return None if self.offer is None else self.offer.name

    @property
    def unit_price(self) -> Money | None:
        return None if self.offer is None else self.offer.price

    @property
    def total(self) -> Money | None:
        """None also for more than an amount of money can be."""
        try:
            return None if self.offer is None else self.offer.price * self.quantity
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Cart:
    """`cart_token` is set when it is a guest's first look at a new cart."""

    lines: tuple[CartLine, ...]
    cart_token: CartToken | None = None

    @property
    def totals(self) -> tuple[Money, ...]:
        """One per currency; a sum that is more than an amount of money can be is left out."""
        sums: dict[str, int] = {}
        for line in self.lines:
            if line.offer is not None:
                price = line.offer.price
                sums[price.currency] = sums.get(price.currency, 0) + price.amount * line.quantity
        return tuple(found for currency in sorted(sums) if (found := _money(sums[currency], currency)) is not None)


def priced(
    lines: Sequence[Line], offers: Mapping[ProductId, Offer], stock: Mapping[ProductId, int] | None
) -> tuple[CartLine, ...]:
    """Lines as the shop would sell them now; `stock` is None where nobody knows it."""

    def available(line: Line) -> bool | None:
        if line.product_id not in offers:
            return False
        return None if stock is None else stock.get(line.product_id, 0) >= line.quantity

    return tuple(
        CartLine(line.product_id, line.quantity, offers.get(line.product_id), available(line)) for line in lines
    )


def fitting(held: Sequence[Line], coming: Sequence[Line]) -> list[Line]:
    """What of a guest's cart goes into a user's: quantities add, and of new products as many as there is room for, first come first."""
    known = {line.product_id for line in held}
    added = [line for line in coming if line.product_id in known]
    new = [line for line in coming if line.product_id not in known]
    return added + new[: max(0, MAX_LINES - len(known))]


def covers(held: Sequence[Line], wanted: Sequence[Line]) -> bool:
    """Whether all that is wanted is still in a cart."""
    quantities = {line.product_id: line.quantity for line in held}
    return all(quantities.get(line.product_id, 0) >= line.quantity for line in wanted)


def _money(amount: int, currency: str) -> Money | None:
    try:
        return Money(amount, currency)
    except ValueError:
        return None
