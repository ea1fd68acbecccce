"""The errors of this service: those of its use cases, and those of calls to the payment provider."""

from uuid import UUID

from chassis.types.charges import NotChargeable

from payment_service.domain.failures import Failure


class PaymentError(Exception):
    """The root of this service's errors."""


class UnknownOrder(PaymentError):
    """There is no such order, or it is another user's: the caller must not learn which."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"you have no order {order_id}")


class UnknownPayment(PaymentError):
    """There is no such payment, or it is another user's."""

    def __init__(self, payment_id: UUID) -> None:
        super().__init__(f"you have no payment {payment_id}")


class NoPaymentOfOrder(UnknownPayment):
    """The order has no payment yet, or it is another user's."""

    def __init__(self, order_id: UUID) -> None:
        PaymentError.__init__(self, f"you have no payment of order {order_id}: begin one at POST /payments")


class UnknownPaymentMethod(PaymentError):
    """There is no such saved payment method, or it is another user's."""

    def __init__(self, method_id: UUID) -> None:
        super().__init__(f"you have no saved payment method {method_id}")


class OrderNotPayable(PaymentError):
    """The order is paid, cancelled, or was not paid in time."""

    def __init__(self, order_id: UUID, status: str) -> None:
        super().__init__(f"order {order_id} is {status} and cannot be paid now: place a new one")
        self.status = status


class TotalNotChargeable(PaymentError):
    """The provider cannot charge what the order costs: the order service took the order under other rules."""

    def __init__(self, order_id: UUID, reason: NotChargeable) -> None:
        super().__init__(f"order {order_id} cannot be paid: {reason}")


class PaymentExists(PaymentError):
    """The order has a live payment already."""

    def __init__(self, order_id: UUID, payment_id: UUID) -> None:
        super().__init__(
            f"order {order_id} has payment {payment_id} already: continue that payment, or cancel it first"
        )
        self.payment_id = payment_id


class PaymentInProgress(PaymentError):
    """The payment is being confirmed with another method."""

    def __init__(self, payment_id: UUID) -> None:
        super().__init__(
            f"payment {payment_id} is being confirmed with another method: wait for it, or cancel it first"
        )


class PaymentMethodRequired(PaymentError):
    """The payment has no payment method yet."""

    def __init__(self, payment_id: UUID) -> None:
        super().__init__(f"payment {payment_id} has no payment method yet: send payment_method or payment_method_id")


class PaymentDeclined(PaymentError):
    """The card was not charged."""

    def __init__(self, payment_id: UUID, failure: Failure) -> None:
        super().__init__(
            f"payment {payment_id} was declined ({failure.reason or failure.code}): pay with another method"
        )
        self.payment_id = payment_id
        self.reason = failure.reason or str(failure.code)


class PaymentMethodRefused(PaymentError):
    """The provider knows no such payment method, or it cannot be used here."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(
            f"the provider does not accept this payment method ({reason or 'unknown'}): "
            "use another one, in a new payment"
        )
        self.reason = reason


class PaymentRefused(PaymentError):
    """The provider does not accept this payment with any method."""

    def __init__(self, payment_id: UUID, reason: str | None) -> None:
        super().__init__(f"the provider refused payment {payment_id} ({reason or 'it gave no reason'})")
        self.reason = reason


class WrongAmountCaptured(PaymentError):
    """The provider captured another amount than the order costs."""

    def __init__(self, payment_id: UUID) -> None:
        super().__init__(
            f"payment {payment_id} has failed: the provider charged another amount, which is refunded; begin a new one"
        )


class NotConfirmable(PaymentError):
    """The payment was closed before it was confirmed."""

    def __init__(self, payment_id: UUID, failure: str) -> None:
        super().__init__(f"payment {payment_id} has failed ({failure}) and cannot be confirmed: begin a new one")


class NotCancellable(PaymentError):
    """The money was captured."""

    def __init__(self, payment_id: UUID, status: str) -> None:
        super().__init__(f"payment {payment_id} is {status}: only one that is not paid yet can be cancelled")


class NotRefundable(PaymentError):
    """Nothing was captured."""

    def __init__(self, payment_id: UUID, status: str) -> None:
        super().__init__(f"payment {payment_id} is {status}: only what was captured can be refunded")


class RefundExceedsCaptured(PaymentError):
    """The refund is larger than what is left of the captured amount."""

    def __init__(self, payment_id: UUID, amount: int, refundable: int) -> None:
        super().__init__(f"of payment {payment_id} {refundable} minor units can be refunded, not {amount}")
        self.refundable = refundable


class RefundNotPossible(PaymentError):
    """The provider cannot represent the amount to refund."""

    def __init__(self, payment_id: UUID, reason: NotChargeable) -> None:
        super().__init__(f"of payment {payment_id} this amount cannot be refunded: {reason}")


class RefundRefused(PaymentError):
    """The provider does not pay this refund."""

    def __init__(self, refund_id: UUID, reason: str | None) -> None:
        super().__init__(f"the provider refused refund {refund_id} ({reason or 'it gave no reason'})")
        self.reason = reason


class TooManyPaymentMethods(PaymentError):
    """The user has saved as many payment methods as one user may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"you have {limit} saved payment methods already: delete one first")


class AccountErased(PaymentError):
    """The account was erased: nothing is saved or charged for it.

    Its last access token may be valid for some minutes.
    """

    def __init__(self) -> None:
        super().__init__("this account was erased: register again to pay")


class InvalidSignature(PaymentError):
    """The webhook was not signed by the provider, or too long ago."""


class MalformedWebhook(PaymentError):
    """The webhook is signed, but is not an event."""


class WebhooksNotConfigured(PaymentError):
    """There is no secret that could verify a webhook."""


class ProviderError(Exception):
    """The root of the errors that a call to the provider raises."""


class ProviderUnavailable(ProviderError):
    """The outcome of the call is unknown: the provider answered late, not at all, or without saying what it did.

    The call may be repeated under its key.
    """


class ProviderRefused(ProviderError):
    """The provider understood the call, and did nothing."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason or str(failure.code))
        self.failure = failure


class CardDeclined(ProviderRefused):
    """The bank that issued the card refused the charge."""


class InvalidPaymentMethod(ProviderRefused):
    """There is no such payment method, or not for this customer."""
