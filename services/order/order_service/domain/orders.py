"""An order: what it costs, and the states it goes through. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from chassis.types import money
from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import Money

from order_service.domain.addresses import Address
from order_service.domain.charges import Tariff
from order_service.domain.errors import (
    AlreadyShipped,
    IllegalTransition,
    MixedCurrencies,
    NotCancellable,
    NotItsPrice,
    TotalTooLarge,
    UnknownProducts,
)


class OrderStatus(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"

    def may_become(self, status: "OrderStatus") -> bool:
        return status in _NEXT[self]

    @property
    def following(self) -> tuple["OrderStatus", ...]:
        return _NEXT[self]

    @property
    def is_final(self) -> bool:
        return not _NEXT[self]


_NEXT: Mapping[OrderStatus, tuple[OrderStatus, ...]] = {
    OrderStatus.PENDING: (OrderStatus.CONFIRMED, OrderStatus.CANCELLED),
    OrderStatus.CONFIRMED: (OrderStatus.PROCESSING, OrderStatus.CANCELLED),
    OrderStatus.PROCESSING: (OrderStatus.SHIPPED,),
    OrderStatus.SHIPPED: (OrderStatus.DELIVERED,),
    OrderStatus.DELIVERED: (),
    OrderStatus.CANCELLED: (),
}
PAID = frozenset({OrderStatus.CONFIRMED, OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.DELIVERED})
FINAL = frozenset(status for status in OrderStatus if status.is_final)


class CancelReason(StrEnum):
    BUYER = "buyer"
    EXPIRED = "expired"
    ADMIN = "admin"
    OUT_OF_STOCK = "out_of_stock"


class Actor(StrEnum):
    """Who moved an order on."""

    BUYER = "buyer"
    ADMIN = "admin"
    SYSTEM = "system"


_CANNOT_GO_ON = frozenset({(OrderStatus.PROCESSING, CancelReason.OUT_OF_STOCK)})
"""Nobody cancels what is being packed, except that there is nothing to pack."""
_CANCELLED_BY: Mapping[CancelReason, Actor] = {
    CancelReason.BUYER: Actor.BUYER,
    CancelReason.EXPIRED: Actor.SYSTEM,
    CancelReason.ADMIN: Actor.ADMIN,
    CancelReason.OUT_OF_STOCK: Actor.SYSTEM,
}


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
    seller_id: UserId


@dataclass(frozen=True, slots=True)
class Item:
    """A line of an order, at the name and price it was ordered for."""

    product_id: ProductId
    name: str
    quantity: int
    unit_price: Money
    seller_id: UserId

    @property
    def total(self) -> Money:
        return self.unit_price * self.quantity


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an order's history: what it became, when, and through whom."""

    status: OrderStatus
    at: datetime
    by: Actor


@dataclass(frozen=True, slots=True)
class Parcel:
    """How a shipped order travels, as far as is known."""

    carrier: str | None = None
    tracking_number: str | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """Captured by the provider; the id is the payment service's, opaque to us."""

    id: str
    amount: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class Refund:
    """Given back by the provider; the ids are the payment service's."""

    id: str
    payment_id: str
    amount: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class Settlement:
    """What was paid for an order, and what of it was given back."""

    paid: Money
    refunded: Money


@dataclass(frozen=True, slots=True)
class Order:
    """Pending until it is paid, at the latest at `expires_at`. `total` is what the items, shipping and tax come to."""

    id: OrderId
    buyer_id: UserId
    items: tuple[Item, ...]
    shipping: Money
    tax: Money
    total: Money
    created_at: datetime
    expires_at: datetime
    history: tuple[Step, ...]
    shipping_address: Address | None = None
    status: OrderStatus = OrderStatus.PENDING
    cancel_reason: CancelReason | None = None
    shipment: Parcel | None = None
    payment: Settlement | None = None

    @property
    def subtotal(self) -> Money:
        return money.total(item.total for item in self.items)

    @classmethod
    def place(
        cls,
        order_id: OrderId,
        buyer_id: UserId,
        lines: Sequence[Line],
        offers: Mapping[ProductId, Offer],
        at: datetime,
        expires_at: datetime,
        tariff: Tariff = Tariff(),  # noqa: B008 - frozen
        shipping_address: Address | None = None,
    ) -> "Order":
        """A new order of merged lines. Raises UnknownProducts, MixedCurrencies, TotalTooLarge."""
        items = _items(lines, offers)
        country = None if shipping_address is None else shipping_address.country
        shipping, tax, total = _charged(items, tariff, country)
        history = (Step(OrderStatus.PENDING, at, Actor.BUYER),)
        return cls(order_id, buyer_id, items, shipping, tax, total, at, expires_at, history, shipping_address)

    def is_payable(self, at: datetime) -> bool:
        return self.status is OrderStatus.PENDING and at < self.expires_at

    def paid(self, amount: Money, at: datetime) -> "Order":
        """A pending order that is paid is confirmed; any other stays as it is. Raises NotItsPrice."""
        if self.status is not OrderStatus.PENDING:
            return self
        if amount != self.total:
            raise NotItsPrice(self.id, amount, self.total)
        return self._become(OrderStatus.CONFIRMED, Actor.SYSTEM, at)

    def moved(self, status: OrderStatus, at: datetime, parcel: Parcel | None = None) -> "Order":
        """What an admin makes of it; what it is already stays as it is.

        Raises IllegalTransition: what an order costs is paid by its payment alone, so nobody confirms it by hand.
        """
        if status is OrderStatus.CANCELLED:
            return self.cancelled(CancelReason.ADMIN, at)
        if status is self.status:
            return self._again(parcel)
        if status is OrderStatus.CONFIRMED:
            raise self._refusal(status)
        return replace(self._become(status, Actor.ADMIN, at), shipment=self.shipment if parcel is None else parcel)

    def cancelled(self, reason: CancelReason, at: datetime) -> "Order":
        """One that is cancelled already stays as it is, with its first reason. Raises NotCancellable."""
        if self.status is OrderStatus.CANCELLED:
            return self
        if not (self.status.may_become(OrderStatus.CANCELLED) or (self.status, reason) in _CANNOT_GO_ON):
            raise NotCancellable(self.id, self.status)
        return replace(self._step(OrderStatus.CANCELLED, _CANCELLED_BY[reason], at), cancel_reason=reason)

    def _become(self, status: OrderStatus, by: Actor, at: datetime) -> "Order":
        if not self.status.may_become(status):
            raise self._refusal(status)
        return self._step(status, by, at)

    def _step(self, status: OrderStatus, by: Actor, at: datetime) -> "Order":
        return replace(self, status=status, history=(*self.history, Step(status, at, by)))

    def _again(self, parcel: Parcel | None) -> "Order":
        if parcel is not None and parcel != self.shipment:
            raise AlreadyShipped(self.id)
        return self

    def _refusal(self, status: OrderStatus) -> IllegalTransition:
        return IllegalTransition(self.id, self.status, status, self.status.following)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which orders to list; None leaves it open."""

    buyer_id: UserId | None = None
    status: OrderStatus | None = None
    placed_from: datetime | None = None
    placed_before: datetime | None = None


def merged(lines: Sequence[Line]) -> list[Line]:
    """One line per product, in product order."""
    quantities: dict[ProductId, int] = {}
    for line in lines:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    return [Line(product_id, quantities[product_id]) for product_id in sorted(quantities)]


def _items(lines: Sequence[Line], offers: Mapping[ProductId, Offer]) -> tuple[Item, ...]:
    unknown = [line.product_id for line in lines if line.product_id not in offers]
    if unknown:
        raise UnknownProducts(unknown)
    chosen = [(offers[line.product_id], line.quantity) for line in lines]
    return tuple(Item(offer.product_id, offer.name, count, offer.price, offer.seller_id) for offer, count in chosen)


def _charged(items: Sequence[Item], tariff: Tariff, country: str | None) -> tuple[Money, Money, Money]:
    """Shipping, tax, and the total."""
    currencies = sorted({item.unit_price.currency for item in items})
    if len(currencies) > 1:
        raise MixedCurrencies(currencies)
    try:
        subtotal = money.total(item.total for item in items)
        shipping = tariff.shipping.cost(subtotal, country)
        tax = tariff.tax.due(subtotal + shipping, country)
        return shipping, tax, subtotal + shipping + tax
    except ValueError:
        raise TotalTooLarge from None
