"""What orders and carts are made of: lines, the sellers' offers, and ordered items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money

from order_service.domain.errors import UnknownProducts


@dataclass(frozen=True, slots=True)
class Line:
    """A product and the quantity that the buyer requests, without a price."""

    product_id: ProductId
    quantity: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A product at the name and price for which its seller offers it now."""

    product_id: ProductId
    name: str
    price: Money
    seller_id: UserId


@dataclass(frozen=True, slots=True)
class Item:
    """A line of an order, at the name and price for which it was ordered."""

    product_id: ProductId
    name: str
    quantity: int
    unit_price: Money
    seller_id: UserId

    @property
    def total(self) -> Money:
        return self.unit_price * self.quantity


def merge_lines(lines: Sequence[Line]) -> list[Line]:
    """Returns one line per product, in the order of product ids, with the quantities added up."""
    quantities: dict[ProductId, int] = {}
    for line in lines:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    return [Line(product_id, quantities[product_id]) for product_id in sorted(quantities)]


def price_items(lines: Sequence[Line], offers: Mapping[ProductId, Offer]) -> tuple[Item, ...]:
    """Returns the lines as items at the offered prices. Raises UnknownProducts if a line has no offer."""
    unknown = [line.product_id for line in lines if line.product_id not in offers]
    if unknown:
        raise UnknownProducts(unknown)
    return tuple(_item(offers[line.product_id], line.quantity) for line in lines)


def _item(offer: Offer, quantity: int) -> Item:
    return Item(offer.product_id, offer.name, quantity, offer.price, offer.seller_id)
