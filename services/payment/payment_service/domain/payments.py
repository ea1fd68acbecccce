"""A payment and its refunds: what may become of them. Pure.

    pending → processing → completed → partially_refunded → refunded
    pending | processing → failed

A payment fails only once its intent at the provider is dead: one that has a failure and is still open is *closing*, and nothing can
be captured behind the back of a failed payment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from chassis.types.ids import OrderId, UserId
from chassis.types.money import Money

from payment_service.domain.errors import NotCancellable, NotRefundable, RefundExceedsCaptured

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
        return status in _NEXT[self]

    @property
    def is_open(self) -> bool:
        """Whether the provider may still capture."""
        return self in (PaymentStatus.PENDING, PaymentStatus.PROCESSING)


_NEXT: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    PaymentStatus.PENDING: frozenset({PaymentStatus.PROCESSING, PaymentStatus.COMPLETED, PaymentStatus.FAILED}),
    PaymentStatus.PROCESSING: frozenset({PaymentStatus.COMPLETED, PaymentStatus.FAILED}),
    PaymentStatus.COMPLETED: frozenset({PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}),
    PaymentStatus.PARTIALLY_REFUNDED: frozenset({PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}),
    PaymentStatus.REFUNDED: frozenset(),
    PaymentStatus.FAILED: frozenset(),
}


class FailureCode(StrEnum):
    CARD_DECLINED = "card_declined"
    AUTHENTICATION_FAILED = "authentication_failed"
    INVALID_PAYMENT_METHOD = "invalid_payment_method"
    REFUSED_BY_PROVIDER = "refused_by_provider"
    CANCELLED = "cancelled"
    ORDER_CANCELLED = "order_cancelled"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a payment failed. `reason` is the provider's finer code, such as insufficient_funds."""

    code: FailureCode
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """What is charged, by the provider's reference; `customer` where it is saved with one."""

    ref: str = field(repr=False)
    customer: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Payment:
    """`amount` is what the order costs. Of it `captured` was taken, `refunded` given back, `refunding` is on its way back."""

    id: PaymentId
    order_id: OrderId
    buyer_id: UserId
    amount: Money
    provider: str
    created_at: datetime
    updated_at: datetime
    status: PaymentStatus = PaymentStatus.PENDING
    intent_id: str | None = None
    method: Method | None = None
    failure: Failure | None = None
    captured: int = 0
    refunded: int = 0
    refunding: int = 0

    @property
    def is_open(self) -> bool:
        return self.status.is_open

    @property
    def is_closing(self) -> bool:
        return self.is_open and self.failure is not None

    @property
    def is_confirmable(self) -> bool:
        return self.status is PaymentStatus.PENDING and self.failure is None

    @property
    def refundable(self) -> int:
        return self.captured - self.refunded - self.refunding

    def with_intent(self, intent_id: str, at: datetime) -> "Payment":
        return replace(self, intent_id=intent_id, updated_at=at)

    def confirmed(self, method: Method, at: datetime) -> "Payment":
        """From here on the provider may charge `method`."""
        return replace(self._become(PaymentStatus.PROCESSING, at), method=method)

    def processing(self, at: datetime) -> "Payment":
        return self._become(PaymentStatus.PROCESSING, at)

    def closing(self, failure: Failure, at: datetime) -> "Payment":
        """It shall fail; the first reason stays. Raises NotCancellable for one that is settled."""
        if not self.is_open:
            raise NotCancellable(self.id, self.status)
        return self if self.failure is not None else replace(self, failure=failure, updated_at=at)

    def failed(self, failure: Failure, at: datetime) -> "Payment":
        """The method is forgotten with it: nobody needs it any more."""
        return replace(self._become(PaymentStatus.FAILED, at), failure=self.failure or failure, method=None)

    def completed(self, at: datetime) -> "Payment":
        """Money that was captured counts, even where somebody wanted the payment closed meanwhile."""
        settled = self._become(PaymentStatus.COMPLETED, at)
        return replace(settled, captured=self.amount.amount, failure=None, method=None)

    def with_refund(self, amount: int, at: datetime) -> "Payment":
        """Sets `amount` aside for a refund. Raises NotRefundable, RefundExceedsCaptured."""
        if self.captured == 0:
            raise NotRefundable(self.id, self.status)
        if not 0 < amount <= self.refundable:
            raise RefundExceedsCaptured(self.id, amount, self.refundable)
        return replace(self, refunding=self.refunding + amount, updated_at=at)

    def refund_succeeded(self, amount: int, at: datetime) -> "Payment":
        refunded = self.refunded + amount
        whole = PaymentStatus.REFUNDED if refunded == self.captured else PaymentStatus.PARTIALLY_REFUNDED
        return replace(self._become(whole, at), refunded=refunded, refunding=self.refunding - amount)

    def refund_failed(self, amount: int, at: datetime) -> "Payment":
        return replace(self, refunding=self.refunding - amount, updated_at=at)

    def _become(self, status: PaymentStatus, at: datetime) -> "Payment":
        if not self.status.may_become(status):
            raise ValueError(f"payment {self.id} is {self.status} and cannot become {status}")
        return replace(self, status=status, updated_at=at)


class RefundStatus(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Refund:
    """`requested_by` is the admin who wanted it; None where an order's cancellation did, or other hands made it at the provider."""

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

    def succeeded(self, at: datetime) -> "Refund":
        return replace(self, status=RefundStatus.SUCCEEDED, settled_at=at)

    def failed(self, reason: str | None, at: datetime) -> "Refund":
        return replace(self, status=RefundStatus.FAILED, failure_reason=reason, settled_at=at)
