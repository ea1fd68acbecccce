"""An order: what it costs, and the states it goes through. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from chassis.kernel import money
from chassis.kernel.ids import OrderId, ProductId, UserId
from chassis.kernel.money import Money

from order_service.domain.errors import MixedCurrencies, NotCancellable, TotalTooLarge, UnknownProducts


class OrderStatus(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"

    def may_become(self, status: "OrderStatus") -> bool:
        return status in _NEXT[self]


_NEXT: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.CONFIRMED, OrderStatus.CANCELLED}),
    OrderStatus.CONFIRMED: frozenset({OrderStatus.PROCESSING, OrderStatus.CANCELLED}),
    OrderStatus.PROCESSING: frozenset({OrderStatus.SHIPPED}),
    OrderStatus.SHIPPED: frozenset({OrderStatus.DELIVERED}),
    OrderStatus.DELIVERED: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
}


class CancelReason(StrEnum):
    BUYER = "buyer"
    EXPIRED = "expired"
    ADMIN = "admin"
    OUT_OF_STOCK = "out_of_stock"


@dataclass(frozen=True, slots=True)
class Line:
    """So many units of a product, as the buyer wants them."""

    product_id: ProductId
    quantity: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A product as its seller offers it now."""

    product_id: ProductId
    name: str
    price: Money


@dataclass(frozen=True, slots=True)
class Item:
    """A line of an order, at the name and price it was ordered for."""

    product_id: ProductId
    name: str
    quantity: int
    unit_price: Money

    @property
    def total(self) -> Money:
        return self.unit_price * self.quantity


@dataclass(frozen=True, slots=True)
class Order:
    """Pending until it is paid, at the latest at `expires_at`."""

    id: OrderId
    buyer_id: UserId
    items: tuple[Item, ...]
    total: Money
    created_at: datetime
    expires_at: datetime
    status: OrderStatus = OrderStatus.PENDING
    cancel_reason: CancelReason | None = None

    @classmethod
    def place(
        cls,
        order_id: OrderId,
        buyer_id: UserId,
        lines: Sequence[Line],
        offers: Mapping[ProductId, Offer],
        at: datetime,
        expires_at: datetime,
    ) -> "Order":
        """A new order of merged lines. Raises UnknownProducts, MixedCurrencies, TotalTooLarge."""
        unknown = [line.product_id for line in lines if line.product_id not in offers]
        if unknown:
            raise UnknownProducts(unknown)
        chosen = [(offers[line.product_id], line.quantity) for line in lines]
        items = tuple(Item(offer.product_id, offer.name, quantity, offer.price) for offer, quantity in chosen)
        return cls(order_id, buyer_id, items, _total(items), at, expires_at)

    def cancelled(self, reason: CancelReason) -> "Order":
        """One that is cancelled already stays as it is, with its first reason. Raises NotCancellable."""
        if self.status is OrderStatus.CANCELLED:
            return self
        if not self.status.may_become(OrderStatus.CANCELLED):
            raise NotCancellable(self.id, self.status)
        return replace(self, status=OrderStatus.CANCELLED, cancel_reason=reason)


def merged(lines: Sequence[Line]) -> list[Line]:
    """One line per product, in product order."""
    quantities: dict[ProductId, int] = {}
    for line in lines:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    return [Line(product_id, quantities[product_id]) for product_id in sorted(quantities)]


def _total(items: Sequence[Item]) -> Money:
    currencies = sorted({item.unit_price.currency for item in items})
    if len(currencies) > 1:
        raise MixedCurrencies(currencies)
    try:
        return money.total(item.total for item in items)
    except ValueError:
        raise TotalTooLarge from None
