"""Shopping carts. A cart holds products and quantities; names and prices always come from the catalogue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NewType
from uuid import UUID

from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money

from order_service.domain.items import Line, Offer

CartId = NewType("CartId", UUID)
CartToken = NewType("CartToken", str)
"""The secret that gives a guest access to a cart: 256 random bits in base64url, stored only as a hash."""

MAX_LINES = 100
MAX_QUANTITY = 1_000_000
GUEST_CART_LIFETIME = timedelta(days=30)
"""How long a guest's cart is kept after its last use."""


@dataclass(frozen=True, slots=True)
class CartOwner:
    """The owner of a cart: a logged-in buyer, or a guest, who has a cart token once they have a cart."""

    buyer_id: UserId | None
    token: CartToken | None = None


@dataclass(frozen=True, slots=True)
class CartLine:
    """A line of a cart as the shop would sell it now.

    A product without an offer is not for sale; `available` is None if inventory did not answer.
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
        """The price of the line; None if it has no offer, or if the total is larger than Money can hold."""
        try:
            return None if self.offer is None else self.offer.price * self.quantity
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Cart:
    """A cart as the shop would sell it now. `cart_token` is set only when a guest's cart has just been created."""

    lines: tuple[CartLine, ...]
    cart_token: CartToken | None = None

    @property
    def totals(self) -> tuple[Money, ...]:
        """One total per currency; a total that is larger than Money can hold is left out."""
        amounts: dict[str, int] = {}
        for line in self.lines:
            if line.offer is not None:
                price = line.offer.price
                amounts[price.currency] = amounts.get(price.currency, 0) + price.amount * line.quantity
        totals = (_money(amounts[currency], currency) for currency in sorted(amounts))
        return tuple(total for total in totals if total is not None)


def price_lines(
    lines: Sequence[Line], offers: Mapping[ProductId, Offer], stock: Mapping[ProductId, int] | None
) -> tuple[CartLine, ...]:
    """Returns the lines as the shop would sell them now; `stock` is None if it is unknown."""

    def is_available(line: Line) -> bool | None:
        if line.product_id not in offers:
            return False
        return None if stock is None else stock.get(line.product_id, 0) >= line.quantity

    return tuple(
        CartLine(line.product_id, line.quantity, offers.get(line.product_id), is_available(line)) for line in lines
    )


def select_lines_to_merge(buyers_lines: Sequence[Line], guests_lines: Sequence[Line]) -> list[Line]:
    """Returns the lines of a guest's cart that fit into the buyer's cart.

    All lines of products that the buyer's cart already holds fit, since their quantities are added up; of the other
    lines the first ones, up to MAX_LINES.
    """
    held = {line.product_id for line in buyers_lines}
    known = [line for line in guests_lines if line.product_id in held]
    new = [line for line in guests_lines if line.product_id not in held]
    return known + new[: max(0, MAX_LINES - len(held))]


def _money(amount: int, currency: str) -> Money | None:
    try:
        return Money(amount, currency)
    except ValueError:
        return None
