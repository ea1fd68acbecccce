"""Orders: their state machine, their history, and what was paid and refunded for them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chassis.types import money
from chassis.types.ids import OrderId, UserId
from chassis.types.money import Money

from order_service.domain.addresses import Address
from order_service.domain.errors import (
    AlreadyPaid,
    AlreadyShipped,
    IllegalTransition,
    NotCancellable,
    NotShipped,
    OrderRefunded,
    TotalChanged,
    WrongAmountPaid,
)
from order_service.domain.items import Item
from order_service.domain.pricing import PricingRules, price_order


class OrderStatus(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"

    def can_become(self, status: "OrderStatus") -> bool:
        return status in _NEXT_STATUSES[self]

    @property
    def next_statuses(self) -> tuple["OrderStatus", ...]:
        return _NEXT_STATUSES[self]

    @property
    def is_final(self) -> bool:
        return not _NEXT_STATUSES[self]


_NEXT_STATUSES: Mapping[OrderStatus, tuple[OrderStatus, ...]] = {
    OrderStatus.PENDING: (OrderStatus.CONFIRMED, OrderStatus.CANCELLED),
    OrderStatus.CONFIRMED: (OrderStatus.PROCESSING, OrderStatus.CANCELLED),
    OrderStatus.PROCESSING: (OrderStatus.SHIPPED, OrderStatus.CANCELLED),
    OrderStatus.SHIPPED: (OrderStatus.DELIVERED,),
    OrderStatus.DELIVERED: (),
    OrderStatus.CANCELLED: (),
}
PAID_STATUSES = frozenset({OrderStatus.CONFIRMED, OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.DELIVERED})
FINAL_STATUSES = frozenset(status for status in OrderStatus if status.is_final)


class CancelReason(StrEnum):
    BUYER = "buyer"
    EXPIRED = "expired"
    ADMIN = "admin"
    OUT_OF_STOCK = "out_of_stock"


class Actor(StrEnum):
    """The party that changed an order's status."""

    BUYER = "buyer"
    ADMIN = "admin"
    SYSTEM = "system"


_CANCELLING_UNTIL_SHIPPED = frozenset({CancelReason.ADMIN, CancelReason.OUT_OF_STOCK})
"""The reasons that cancel an order in processing, too: it is being packed, which the shop can stop, the buyer not."""
_FULFILMENT = frozenset({OrderStatus.PROCESSING, OrderStatus.SHIPPED})
"""The statuses in which the shop works for its money: an order that was refunded does not reach them."""
_CANCELLING_ACTORS: Mapping[CancelReason, Actor] = {
    CancelReason.BUYER: Actor.BUYER,
    CancelReason.EXPIRED: Actor.SYSTEM,
    CancelReason.ADMIN: Actor.ADMIN,
    CancelReason.OUT_OF_STOCK: Actor.SYSTEM,
}


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One entry of an order's history: the status it reached, when, and through which actor."""

    status: OrderStatus
    at: datetime
    by: Actor


@dataclass(frozen=True, slots=True)
class Shipment:
    """How a shipped order travels, as far as it is known."""

    carrier: str | None = None
    tracking_number: str | None = None


@dataclass(frozen=True, slots=True)
class FormerShipment:
    """What was recorded of a shipment until it was corrected."""

    carrier: str | None
    tracking_number: str | None
    replaced_at: datetime


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment that the provider captured; the id is the payment service's and opaque to this service."""

    id: str
    amount: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund that the provider made; the ids are the payment service's."""

    id: str
    payment_id: str
    amount: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class ManualPayment:
    """A payment of an order's total that the provider does not know of, such as a bank transfer.

    `reason` is what the admin `recorded_by` wrote about it.
    """

    amount: Money
    reason: str
    recorded_by: UserId
    at: datetime


@dataclass(frozen=True, slots=True)
class PaymentSummary:
    """The sum of what was paid for an order, manually too, and of what was refunded."""

    paid: Money
    refunded: Money

    @property
    def is_refunded(self) -> bool:
        """Returns whether nothing is left of what was paid."""
        return 0 < self.paid.amount <= self.refunded.amount


@dataclass(frozen=True, slots=True)
class Order:
    """An order, pending until it is paid, at the latest at `expires_at`.

    `total` is the items, shipping and tax together.
    """

    id: OrderId
    buyer_id: UserId
    items: tuple[Item, ...]
    shipping: Money
    tax: Money
    total: Money
    created_at: datetime
    expires_at: datetime
    history: tuple[StatusChange, ...]
    shipping_address: Address | None = None
    status: OrderStatus = OrderStatus.PENDING
    cancel_reason: CancelReason | None = None
    shipment: Shipment | None = None
    former_shipments: tuple[FormerShipment, ...] = ()
    payment: PaymentSummary | None = None
    manual_payment: ManualPayment | None = None

    @property
    def subtotal(self) -> Money:
        return money.total(item.total for item in self.items)

    @classmethod
    def place(
        cls,
        order_id: OrderId,
        buyer_id: UserId,
        items: tuple[Item, ...],
        rules: PricingRules,
        at: datetime,
        expires_at: datetime,
        shipping_address: Address | None = None,
    ) -> "Order":
        """Returns a new, pending order. Raises what `price_order` raises."""
        country = None if shipping_address is None else shipping_address.country
        price = price_order(items, country, rules)
        history = (StatusChange(OrderStatus.PENDING, at, Actor.BUYER),)
        return cls(
            order_id, buyer_id, items, price.shipping, price.tax, price.total, at, expires_at, history, shipping_address
        )

    def ensure_total(self, expected: Money | None) -> None:
        """Raises TotalChanged unless the order costs what the buyer expects; None stands for no expectation."""
        if expected is not None and expected != self.total:
            raise TotalChanged(expected, self.total)

    def confirm(self, paid: Money, at: datetime) -> "Order":
        """Returns a pending order as confirmed by a payment, any other order unchanged. Raises WrongAmountPaid."""
        if self.status is not OrderStatus.PENDING:
            return self
        if paid != self.total:
            raise WrongAmountPaid(self.id, paid, self.total)
        return self._reach(OrderStatus.CONFIRMED, Actor.SYSTEM, at)

    def pay_manually(self, reason: str, recorded_by: UserId, at: datetime) -> "Order":
        """Returns the order with a manual payment of its total, which confirms a pending order.

        An order whose payments were refunded is paid again, and keeps its status. An order that was paid manually for
        the same reason is returned unchanged. Raises AlreadyPaid; IllegalTransition for a cancelled order.
        """
        if self.manual_payment is not None and self.manual_payment.reason == reason:
            return self
        if self.status is OrderStatus.CANCELLED:
            raise IllegalTransition(self.id, self.status, OrderStatus.CONFIRMED, self.status.next_statuses)
        is_pending = self.status is OrderStatus.PENDING
        if not is_pending and (self.payment is None or not self.payment.is_refunded):
            raise AlreadyPaid(self.id)
        before = self.payment or PaymentSummary(self.total * 0, self.total * 0)
        return replace(
            self._reach(OrderStatus.CONFIRMED, Actor.ADMIN, at) if is_pending else self,
            payment=replace(before, paid=before.paid + self.total),
            manual_payment=ManualPayment(self.total, reason, recorded_by, at),
        )

    def change_status(self, status: OrderStatus, at: datetime, shipment: Shipment | None = None) -> "Order":
        """Returns the order in the status that an admin chose; an order that has it already is returned unchanged.

        Raises IllegalTransition, also for `confirmed`, since only a payment confirms an order; and OrderRefunded.
        """
        if status is OrderStatus.CANCELLED:
            return self.cancel(CancelReason.ADMIN, at)
        if status is self.status:
            self._ensure_same_shipment(shipment)
            return self
        if status is OrderStatus.CONFIRMED or not self.status.can_become(status):
            raise IllegalTransition(self.id, self.status, status, self.status.next_statuses)
        if status in _FULFILMENT and self.payment is not None and self.payment.is_refunded:
            raise OrderRefunded(self.id)
        return replace(self._reach(status, Actor.ADMIN, at), shipment=shipment or self.shipment)

    def correct_shipment(self, shipment: Shipment, at: datetime) -> "Order":
        """Returns a shipped order with another shipment, which keeps the former one. Raises NotShipped."""
        if self.status is not OrderStatus.SHIPPED:
            raise NotShipped(self.id, self.status)
        former = self.shipment or Shipment()
        if shipment == former:
            return self
        replaced = FormerShipment(former.carrier, former.tracking_number, at)
        return replace(self, shipment=shipment, former_shipments=(*self.former_shipments, replaced))

    def cancel(self, reason: CancelReason, at: datetime) -> "Order":
        """Returns the cancelled order; one that is cancelled already keeps its first reason. Raises NotCancellable."""
        if self.status is OrderStatus.CANCELLED:
            return self
        is_packed = self.status is OrderStatus.PROCESSING and reason not in _CANCELLING_UNTIL_SHIPPED
        if is_packed or not self.status.can_become(OrderStatus.CANCELLED):
            raise NotCancellable(self.id, self.status)
        return replace(self._reach(OrderStatus.CANCELLED, _CANCELLING_ACTORS[reason], at), cancel_reason=reason)

    def _reach(self, status: OrderStatus, by: Actor, at: datetime) -> "Order":
        return replace(self, status=status, history=(*self.history, StatusChange(status, at, by)))

    def _ensure_same_shipment(self, shipment: Shipment | None) -> None:
        if shipment is not None and shipment != self.shipment:
            raise AlreadyShipped(self.id)


@dataclass(frozen=True, slots=True)
class PayableOrder:
    """What a payment needs to know of an order."""

    id: OrderId
    buyer_id: UserId
    status: OrderStatus
    total: Money
    expires_at: datetime
    is_buyer_erased: bool

    def is_payable(self, at: datetime, margin: timedelta) -> bool:
        """Returns whether it may be paid: while it is pending, until `margin` before it expires.

        The order of an erased buyer may not.
        """
        return self.status is OrderStatus.PENDING and at < self.expires_at - margin and not self.is_buyer_erased


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """The orders to list; a field that is None does not restrict them."""

    buyer_id: UserId | None = None
    status: OrderStatus | None = None
    placed_from: datetime | None = None
    placed_before: datetime | None = None
