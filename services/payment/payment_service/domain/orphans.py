"""Orphaned payments: captured for an order that the order service does not know. Pure.

Its database was restored to an earlier state, and the order is lost with all its events.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chassis.types.ids import OrderId

from payment_service.domain.payments import PaymentId

COMPARED_FOR = timedelta(days=90)
"""The time after its beginning for which a payment is compared, as long as order compares its orders."""
RECHECK_DELAY = timedelta(minutes=15)
"""The time after which the order service is asked about an orphaned payment again."""


class OrphanStep(StrEnum):
    """What follows from an answer about a payment's order."""

    NONE = "none"
    FOUND = "found"
    """The order is not known, for the first time: the payment is held for a person."""
    HELD = "held"
    """It is still not known."""
    RECOVERED = "recovered"
    """The order is known again, or nothing is left of the payment."""
    REFUNDED = "refunded"
    """It was not known for so long that all that is left is refunded."""


@dataclass(frozen=True, slots=True)
class ComparedPayment:
    """A payment that is compared, in the order of its beginning."""

    created_at: datetime
    id: PaymentId
    order_id: OrderId


def next_step(
    found_at: datetime | None,
    now: datetime,
    refund_after: timedelta | None,
    *,
    is_order_known: bool,
    is_refundable: bool,
) -> OrphanStep:
    """Returns what follows from an explicit answer of the order service; without one, nothing does.

    `found_at` is when it first did not know the order. Without `refund_after`, a person decides.
    """
    if is_order_known or not is_refundable:
        return OrphanStep.NONE if found_at is None else OrphanStep.RECOVERED
    if found_at is None:
        return OrphanStep.FOUND
    if refund_after is None or now - found_at < refund_after:
        return OrphanStep.HELD
    return OrphanStep.REFUNDED
