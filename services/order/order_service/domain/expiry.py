"""The expiry of unpaid orders: when an order may still be paid, and what its payment means for it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from order_service.domain.orders import Order, Payment, Refund

_MIN_DELAY, _MAX_DELAY = timedelta(seconds=5), timedelta(minutes=5)


class PaymentState(StrEnum):
    """What the payment service knows of the payment of an order."""

    NONE = "none"
    IN_PROCESS = "in_process"
    """The provider may capture, or its answer is not known."""
    CAPTURED = "captured"


@dataclass(frozen=True, slots=True)
class OrderPayment:
    """The state of an order's payment, and the payment if it is captured, with its refunds.

    `is_closed` says whether the payment service knows that nothing may be captured for the order; None for no answer.
    """

    state: PaymentState
    captured: Payment | None = None
    refunds: Sequence[Refund] = ()
    is_closed: bool | None = None


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """An order is payable until `margin` before its expiry, and may be cancelled from `margin` after it on.

    A payment that is begun or confirmed while its order is payable is therefore known to the payment service when that
    is asked. An order waits for a payment in process for at most `wait` and `margin` after its expiry.
    """

    margin: timedelta
    wait: timedelta

    def last_expiry(self, at: datetime) -> datetime:
        """Returns the latest expiry of the orders that payment is asked about at a time."""
        return at - self.margin

    def next_check(self, order: Order, at: datetime) -> datetime | None:
        """Returns when to ask again about an order that waits for a payment; None if it waits no more.

        The delay grows with the time that it has waited.
        """
        waited = at - order.expires_at
        if waited >= self.wait + self.margin:
            return None
        return at + min(max(waited / 4, _MIN_DELAY), _MAX_DELAY)
