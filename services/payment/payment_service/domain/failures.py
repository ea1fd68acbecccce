"""The reasons for which a payment fails."""

from dataclasses import dataclass
from enum import StrEnum


class FailureCode(StrEnum):
    CARD_DECLINED = "card_declined"
    AUTHENTICATION_FAILED = "authentication_failed"
    INVALID_PAYMENT_METHOD = "invalid_payment_method"
    REFUSED_BY_PROVIDER = "refused_by_provider"
    CANCELLED = "cancelled"
    ORDER_CANCELLED = "order_cancelled"
    WRONG_AMOUNT = "wrong_amount"
    """The provider captured another amount than the order costs; it is refunded."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason for which a payment failed. `reason` is the provider's finer code, such as insufficient_funds."""

    code: FailureCode
    reason: str | None = None
