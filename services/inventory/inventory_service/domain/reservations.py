"""The reservation of stock for an order. Pure.

The events of an order may arrive in any order and more than once. The final state depends only on which of them
arrived: a cancelled order holds no stock; a confirmed order that is not cancelled has its units committed, and once it
is shipped they have left; any other order holds its units until the reservation expires.

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
    """The order is not paid; its units are reserved."""
    COMMITTED = "committed"
    """The order is paid and not shipped; its units are committed, and still on hand."""
    FULFILLED = "fulfilled"
    """The order is shipped; its units are no longer on hand."""
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Reservation:
    order_id: OrderId
    status: ReservationStatus
    held_until: datetime
    is_cancelled: bool = False
    """True if the order itself is cancelled, not only its stock released: then nothing is reserved for it again."""
    is_shipped: bool = False
    """True if the order is shipped. Its units leave as soon as the event arrives that says which they are."""

    @property
    def is_reserved(self) -> bool:
        return self.status is ReservationStatus.PENDING

    @property
    def is_committed(self) -> bool:
        return self.status is ReservationStatus.COMMITTED

    @property
    def is_fulfilled(self) -> bool:
        return self.status is ReservationStatus.FULFILLED

    @property
    def is_decided(self) -> bool:
        """True if a placed or a confirmed order, or a call to reserve, changes nothing any more."""
        return self.is_cancelled or self.is_committed or self.is_fulfilled

    @property
    def is_final(self) -> bool:
        """True if a shipped order changes nothing any more."""
        return self.is_cancelled or self.is_fulfilled


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
class StateOfOrder:
    """The state of an order, and for an open one when it expires."""

    state: OrderState
    expires_at: datetime | None = None


def extended_until(order: StateOfOrder, at: datetime) -> datetime:
    """Returns until when the overdue reservation of an open order is kept."""
    return max(order.expires_at or at, at) + _NEXT_CHECK
