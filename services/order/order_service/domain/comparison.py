"""The comparison of orders with their payments: in what they may differ after an event was lost for good. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chassis.types.ids import OrderId

from order_service.domain.expiry import OrderPayment, PaymentState
from order_service.domain.orders import PAID_STATUSES, OrderStatus

COMPARED_FOR = timedelta(days=90)
"""The time after its placement for which an order is compared: a buyer may reclaim a payment, and be refunded, late."""
RECHECK_DELAY = timedelta(minutes=15)
"""The time after which a difference is checked again: until then its event may be on its way."""


class Difference(StrEnum):
    """What order and payment service do not both know."""

    UNKNOWN_PAYMENT = "unknown_payment"
    """The total was captured, which is not recorded here: `payment.completed` is lost."""
    UNKNOWN_REFUND = "unknown_refund"
    """A refund succeeded, which is not recorded here: `payment.refunded` is lost."""
    UNKNOWN_CLOSURE = "unknown_closure"
    """The payment service does not know that the order was cancelled or paid manually: the event of that is lost."""
    NOT_CAPTURED = "not_captured"
    """The payment service knows no payment of an order that is paid: no use case repairs that."""


@dataclass(frozen=True, slots=True)
class PaymentRecord:
    """What is recorded here of an order and its payments; `payments` and `refunds` are ids of the payment service."""

    order_id: OrderId
    status: OrderStatus
    is_paid_manually: bool
    payments: frozenset[str]
    refunds: frozenset[str]


@dataclass(frozen=True, slots=True)
class Position:
    """The order after which the next batch begins, by its placement and id."""

    placed_at: datetime
    order_id: OrderId


def differences(record: PaymentRecord, payment: OrderPayment) -> frozenset[Difference]:
    """Returns in what an order that is not pending and its payment differ."""
    is_closed = record.status is OrderStatus.CANCELLED or record.is_paid_manually
    is_paid = record.status in PAID_STATUSES and not record.is_paid_manually
    found = {
        Difference.UNKNOWN_PAYMENT: payment.captured is not None and payment.captured.id not in record.payments,
        Difference.UNKNOWN_REFUND: any(refund.id not in record.refunds for refund in payment.refunds),
        Difference.UNKNOWN_CLOSURE: is_closed and payment.is_closed is False,
        Difference.NOT_CAPTURED: payment.state is PaymentState.NONE and (is_paid or bool(record.payments)),
    }
    return frozenset(difference for difference, is_found in found.items() if is_found)
