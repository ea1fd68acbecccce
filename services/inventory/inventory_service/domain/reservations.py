"""The reservation of stock for an order. Pure.

The events of an order may arrive in any order and more than once. The final state depends only on which of them
arrived: a cancelled order holds no stock, a confirmed order that is not cancelled has its stock sold, any other order
holds its stock until the reservation expires.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.types.ids import OrderId


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
