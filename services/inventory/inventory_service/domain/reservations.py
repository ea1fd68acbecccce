"""The reservation of stock for an order. Pure.

The events of an order may arrive in any order and more than once. The final state depends only on which of them
arrived: a cancelled order holds no stock, a confirmed order that is not cancelled has its stock sold, any other order
holds its stock until the reservation expires.

A reservation does not expire by its time alone: once that is over, the order service says what its order needs.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chassis.types.ids import OrderId

_NEXT_CHECK = timedelta(seconds=30)
"""How long after an order's expiry, or after the last answer, the order service is asked about it again."""


class ReservationStatus(StrEnum):
    PENDING = "pending"
    """The order's units are reserved."""
    COMMITTED = "committed"
    """The order's units are sold: they are no longer on hand."""
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Reservation:
    order_id: OrderId
    status: ReservationStatus
    held_until: datetime
    is_cancelled: bool = False
    """True if the order itself is cancelled, not only its stock released: then nothing is reserved for it again."""

    @property
    def holds_stock(self) -> bool:
        return self.status is ReservationStatus.PENDING

    @property
    def is_committed_or_cancelled(self) -> bool:
        """True if a placed or a confirmed order, or a call to reserve, changes nothing any more."""
        return self.is_cancelled or self.status is ReservationStatus.COMMITTED


class OrderState(StrEnum):
    """What the order service knows of the order of a reservation."""

    UNKNOWN = "unknown"
    """It is not stored, and will not be: its placement was stopped."""
    OPEN = "open"
    """It may still be paid, or its payment is in process."""
    PAID = "paid"
    """Its event is late or lost."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class OrderStanding:
    """The state of an order, and for an open one when it expires."""

    state: OrderState
    expires_at: datetime | None = None


def extended_until(order: OrderStanding, at: datetime) -> datetime:
    """Returns until when the overdue reservation of an open order is kept."""
    return max(order.expires_at or at, at) + _NEXT_CHECK
