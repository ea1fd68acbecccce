"""What an order holds of the stock. Pure.

Its events may come in any order and more than once; where they end depends only on which came: a cancelled order holds nothing,
one that is confirmed and not cancelled has taken its stock, any other holds it until its time is over.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.types.ids import OrderId


class ReservationStatus(StrEnum):
    PENDING = "pending"
    """Its stock is set aside."""
    COMMITTED = "committed"
    """Its stock has left the shelf."""
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Reservation:
    order_id: OrderId
    status: ReservationStatus
    held_until: datetime
    is_cancelled: bool = False
    """The order itself is cancelled, and not just its hold given back: nothing can reserve for it again."""

    @property
    def holds_stock(self) -> bool:
        return self.status is ReservationStatus.PENDING

    @property
    def is_settled(self) -> bool:
        """Neither a placed nor a confirmed order, nor a call to reserve, has anything left to do."""
        return self.is_cancelled or self.status is ReservationStatus.COMMITTED
