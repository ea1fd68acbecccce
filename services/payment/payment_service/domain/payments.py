"""Payments and refunds, and their state machines. Pure.

    pending → processing → completed → partially_refunded → refunded
    pending | processing → failed

A failed payment has captured nothing, except one of which the provider captured a wrong amount: that is refunded.

A payment that has a failure but is still open is *closing*. It becomes failed only after its intent at the provider
was cancelled, so that the provider can never capture a failed payment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from chassis.types.ids import OrderId, UserId
from chassis.types.money import Money

from payment_service.domain.errors import NotCancellable, NotRefundable, RefundExceedsCaptured
from payment_service.domain.failures import Failure, FailureCode
from payment_service.domain.payment_methods import PaymentMethod

PaymentId = NewType("PaymentId", UUID)
RefundId = NewType("RefundId", UUID)


class PaymentStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"

    def may_become(self, status: "PaymentStatus") -> bool:
        """Returns whether the state machine has this transition."""
        return status in _TRANSITIONS[self]

    @property
    def is_open(self) -> bool:
        """Returns whether the provider may still capture."""
        return self in (PaymentStatus.PENDING, PaymentStatus.PROCESSING)


_TRANSITIONS: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    PaymentStatus.PENDING: frozenset({PaymentStatus.PROCESSING, PaymentStatus.COMPLETED, PaymentStatus.FAILED}),
    PaymentStatus.PROCESSING: frozenset({PaymentStatus.COMPLETED, PaymentStatus.FAILED}),
    PaymentStatus.COMPLETED: frozenset({PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}),
    PaymentStatus.PARTIALLY_REFUNDED: frozenset({PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}),
    PaymentStatus.REFUNDED: frozenset(),
    PaymentStatus.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Payment:
    """The payment of an order. All amounts are minor units of `amount`, which is what the order costs.

    `captured` was charged; of it, `refunded` was paid back, and `refunding` is set aside for pending refunds. After
    `pay_until` its order is no longer payable.
    """

    id: PaymentId
    order_id: OrderId
    buyer_id: UserId
    amount: Money
    provider: str
    created_at: datetime
    updated_at: datetime
    status: PaymentStatus = PaymentStatus.PENDING
    intent_id: str | None = None
    method: PaymentMethod | None = None
    failure: Failure | None = None
    captured: int = 0
    refunded: int = 0
    refunding: int = 0
    pay_until: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.status.is_open

    @property
    def is_closing(self) -> bool:
        """Returns whether it has a failure, but its intent may still be alive at the provider."""
        return self.is_open and self.failure is not None

    @property
    def is_confirmable(self) -> bool:
        return self.status is PaymentStatus.PENDING and self.failure is None

    @property
    def is_wrongly_captured(self) -> bool:
        """Returns whether a wrong amount was captured, all of which must be refunded."""
        return self.status is PaymentStatus.FAILED and self.captured > 0

    @property
    def refundable(self) -> int:
        """Returns what can still be refunded, in minor units."""
        return self.captured - self.refunded - self.refunding

    def processing(self, at: datetime) -> "Payment":
        return self._become(PaymentStatus.PROCESSING, at)

    def closing(self, failure: Failure, at: datetime) -> "Payment":
        """Records why it is to fail; the first failure stays. Raises NotCancellable if it is not open any more."""
        if not self.is_open:
            raise NotCancellable(self.id, self.status)
        return self if self.failure is not None else replace(self, failure=failure, updated_at=at)

    def failed(self, failure: Failure, at: datetime) -> "Payment":
        """Fails the payment, with the failure that was recorded first.

        The method is not needed any more and is removed.
        """
        return replace(self._become(PaymentStatus.FAILED, at), failure=self.failure or failure, method=None)

    def completed(self, at: datetime) -> "Payment":
        """Records that its amount was captured. That counts even if the payment was closing: its failure is removed."""
        completed = self._become(PaymentStatus.COMPLETED, at)
        return replace(completed, captured=self.amount.amount, failure=None, method=None)

    def captured_wrongly(self, received: int, at: datetime) -> "Payment":
        """Fails the payment because another amount was captured: `received` minor units, all of which is refundable."""
        failed = self._become(PaymentStatus.FAILED, at)
        return replace(failed, captured=received, failure=Failure(FailureCode.WRONG_AMOUNT), method=None)

    def with_refund(self, amount: int, at: datetime) -> "Payment":
        """Sets `amount` minor units aside for a refund. Raises NotRefundable, RefundExceedsCaptured."""
        if self.captured == 0:
            raise NotRefundable(self.id, self.status)
        if not 0 < amount <= self.refundable:
            raise RefundExceedsCaptured(self.id, amount, self.refundable)
        return replace(self, refunding=self.refunding + amount, updated_at=at)

    def refund_succeeded(self, amount: int, at: datetime) -> "Payment":
        refunded = self.refunded + amount
        if self.is_wrongly_captured:
            return replace(self, refunded=refunded, refunding=self.refunding - amount, updated_at=at)
        status = PaymentStatus.REFUNDED if refunded == self.captured else PaymentStatus.PARTIALLY_REFUNDED
        return replace(self._become(status, at), refunded=refunded, refunding=self.refunding - amount)

    def refund_corrected(self, amount: int, actual: int, at: datetime) -> "Payment":
        """Sets aside what the provider refunds, `actual`, instead of `amount`. Raises RefundExceedsCaptured."""
        return self.refund_failed(amount, at).with_refund(actual, at)

    def refund_failed(self, amount: int, at: datetime) -> "Payment":
        return replace(self, refunding=self.refunding - amount, updated_at=at)

    def _become(self, status: PaymentStatus, at: datetime) -> "Payment":
        if not self.status.may_become(status):
            raise ValueError(f"payment {self.id} is {self.status} and cannot become {status}")
        return replace(self, status=status, updated_at=at)


@dataclass(frozen=True, slots=True)
class PaymentQuery:
    """The payments to list; a field that is None does not restrict them. `provider_ref` is the provider's own id."""

    buyer_id: UserId | None = None
    order_id: OrderId | None = None
    status: PaymentStatus | None = None
    provider_ref: str | None = None
    begun_from: datetime | None = None
    begun_before: datetime | None = None


class RefundStatus(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund of a payment, or of a part of it.

    `requested_by` is the admin who requested it; None if the order was cancelled, or if it was made at the provider.
    """

    id: RefundId
    payment_id: PaymentId
    amount: Money
    created_at: datetime
    reason: str | None = None
    requested_by: UserId | None = None
    status: RefundStatus = RefundStatus.PENDING
    provider_ref: str | None = None
    failure_reason: str | None = None
    settled_at: datetime | None = None

    def corrected(self, amount: Money) -> "Refund":
        """Takes over the amount that the provider refunds."""
        return replace(self, amount=amount)

    def succeeded(self, at: datetime) -> "Refund":
        return replace(self, status=RefundStatus.SUCCEEDED, settled_at=at)

    def failed(self, reason: str | None, at: datetime) -> "Refund":
        return replace(self, status=RefundStatus.FAILED, failure_reason=reason, settled_at=at)


def refund_retry_delay(refused: int) -> timedelta:
    """Returns how long to wait before a refund that the provider refused is tried again: from five minutes up to a day.

    `refused` is how many refunds of the payment it had refused before.
    """
    return min(timedelta(minutes=5 * 2.0 ** min(refused, 20)), timedelta(days=1))
