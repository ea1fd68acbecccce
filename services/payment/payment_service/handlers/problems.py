"""The problems that this service's errors are reported as, over HTTP and gRPC alike."""

from collections.abc import Mapping
from typing import Any

from chassis.http.problems import openapi_problem
from chassis.types.problem import Problem, ProblemTable

from payment_service.domain import errors


def _payment_id(error: errors.PaymentExists) -> Mapping[str, object]:
    return {"payment_id": str(error.payment_id)}


def _declined(error: errors.PaymentDeclined) -> Mapping[str, object]:
    return {"payment_id": str(error.payment_id), "reason": error.reason}


def _reason(
    error: errors.PaymentMethodRefused | errors.PaymentRefused | errors.RefundRefused,
) -> Mapping[str, object]:
    return {"reason": error.reason}


def _order_status(error: errors.OrderNotPayable) -> Mapping[str, object]:
    return {"order_status": error.status}


def _refundable(error: errors.RefundExceedsCaptured) -> Mapping[str, object]:
    return {"refundable": error.refundable}


PROBLEMS: ProblemTable = {
    errors.InvalidSignature: Problem(400, "invalid_signature"),
    errors.MalformedWebhook: Problem(400, "malformed_webhook"),
    errors.PaymentDeclined: Problem(402, "card_declined", members=_declined),
    errors.AccountErased: Problem(403, "account_erased"),
    errors.UnknownOrder: Problem(404, "unknown_order"),
    errors.UnknownPayment: Problem(404, "unknown_payment"),
    errors.UnknownPaymentMethod: Problem(404, "unknown_payment_method"),
    errors.WebhooksNotConfigured: Problem(404, "webhooks_not_configured"),
    errors.OrderNotPayable: Problem(409, "order_not_payable", members=_order_status),
    errors.TotalNotChargeable: Problem(409, "total_not_chargeable"),
    errors.PaymentExists: Problem(409, "payment_exists", members=_payment_id),
    errors.PaymentInProgress: Problem(409, "payment_in_progress"),
    errors.PaymentRefused: Problem(409, "payment_refused", members=_reason),
    errors.WrongAmountCaptured: Problem(409, "wrong_amount"),
    errors.NotConfirmable: Problem(409, "not_confirmable"),
    errors.NotCancellable: Problem(409, "not_cancellable"),
    errors.NotRefundable: Problem(409, "not_refundable"),
    errors.RefundExceedsCaptured: Problem(409, "refund_exceeds_captured", members=_refundable),
    errors.RefundRefused: Problem(409, "refund_refused", members=_reason),
    errors.TooManyPaymentMethods: Problem(409, "too_many_payment_methods"),
    errors.RefundNotPossible: Problem(422, "amount_not_chargeable"),
    errors.PaymentMethodRequired: Problem(422, "payment_method_required"),
    errors.PaymentMethodRefused: Problem(422, "invalid_payment_method", members=_reason),
    errors.ProviderUnavailable: Problem(503, "provider_unavailable", {"Retry-After": "1"}),
    errors.ProviderRefused: Problem(503, "provider_unavailable", {"Retry-After": "1"}),
}

UNAVAILABLE = (
    503,
    "a service or the payment provider is unavailable; repeat the request with the same Idempotency-Key",
)


def problem_responses(*problems: tuple[int, str]) -> dict[int | str, dict[str, Any]]:
    """Returns the OpenAPI responses for problems, given as status and description. Every route has 4XX beside them."""
    return {status: openapi_problem(description) for status, description in problems}
