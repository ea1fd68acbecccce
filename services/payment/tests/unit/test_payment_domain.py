"""The state machine of payments, and the steps that bring a payment in line with its intent."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.types.ids import OrderId, UserId
from chassis.types.money import Money
from hypothesis import given
from hypothesis import strategies as st
from payment_service.domain.errors import NotCancellable, NotRefundable, RefundExceedsCaptured
from payment_service.domain.failures import Failure, FailureCode
from payment_service.domain.intents import Intent, IntentState, NextAction, Step, failure_of, next_step
from payment_service.domain.payment_methods import PaymentMethod
from payment_service.domain.payments import Payment, PaymentId, PaymentStatus, refund_retry_delay
from payment_service.service.sweeper import retry_delay

NOW = datetime(2025, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
PRICE = Money(1000, "USD")
CARD = PaymentMethod("pm_card_visa")
DECLINED = Failure(FailureCode.CARD_DECLINED, "insufficient_funds")
NEW = Payment(PaymentId(UUID(int=1)), OrderId(UUID(int=2)), UserId(3), PRICE, "simulated", NOW, NOW, intent_id="pi_1")
PROCESSING = replace(NEW.processing(NOW), method=CARD)


def intent(state: IntentState, **values: object) -> Intent:
    received = PRICE if state is IntentState.SUCCEEDED else None
    return replace(Intent("pi_1", state, received), **values)  # type: ignore[arg-type]  # any field of an Intent


@pytest.mark.parametrize(
    ("status", "successors"),
    [
        (PaymentStatus.PENDING, {PaymentStatus.PROCESSING, PaymentStatus.COMPLETED, PaymentStatus.FAILED}),
        (PaymentStatus.PROCESSING, {PaymentStatus.COMPLETED, PaymentStatus.FAILED}),
        (PaymentStatus.COMPLETED, {PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}),
        (PaymentStatus.PARTIALLY_REFUNDED, {PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}),
        (PaymentStatus.REFUNDED, set()),
        (PaymentStatus.FAILED, set()),
    ],
)
def test_the_state_machine_has_exactly_these_transitions(status: PaymentStatus, successors: set[PaymentStatus]) -> None:
    assert {other for other in PaymentStatus if status.may_become(other)} == successors


def test_a_completed_payment_has_captured_its_amount_and_has_no_method() -> None:
    paid = PROCESSING.completed(LATER)

    assert (paid.status, paid.captured, paid.method, paid.updated_at) == (PaymentStatus.COMPLETED, 1000, None, LATER)


def test_a_failed_payment_never_changes() -> None:
    failed = NEW.failed(DECLINED, NOW)

    for transition in (failed.completed, failed.processing):
        with pytest.raises(ValueError, match="is failed and cannot become"):
            transition(LATER)
    with pytest.raises(NotCancellable):
        failed.closing(DECLINED, LATER)


def test_the_first_failure_stays() -> None:
    closing = NEW.closing(DECLINED, NOW)

    assert closing.closing(Failure(FailureCode.ORDER_CANCELLED), LATER) is closing
    assert closing.failed(Failure(FailureCode.CANCELLED), LATER).failure == DECLINED
    assert (closing.is_closing, closing.is_confirmable) == (True, False)


def test_a_closing_payment_is_completed_if_its_amount_was_captured() -> None:
    paid = NEW.closing(Failure(FailureCode.ORDER_CANCELLED), NOW).completed(LATER)

    assert (paid.status, paid.failure, paid.captured) == (PaymentStatus.COMPLETED, None, 1000)


@given(st.lists(st.tuples(st.integers(-5, 700), st.booleans()), max_size=20))
def test_refunds_never_exceed_what_was_captured(attempts: list[tuple[int, bool]]) -> None:
    payment = NEW.completed(NOW)
    refunded = 0
    for amount, succeeds in attempts:
        try:
            payment = payment.with_refund(amount, NOW)
        except RefundExceedsCaptured as refusal:
            assert amount < 1 or amount > 1000 - refunded
            assert refusal.refundable == 1000 - refunded  # noqa: PT017 - in a loop
            continue
        payment = payment.refund_succeeded(amount, NOW) if succeeds else payment.refund_failed(amount, NOW)
        refunded += amount if succeeds else 0
    assert (payment.refunded, payment.refunding) == (refunded, 0)
    expected = {0: PaymentStatus.COMPLETED, 1000: PaymentStatus.REFUNDED}
    assert payment.status is expected.get(refunded, PaymentStatus.PARTIALLY_REFUNDED)


def test_a_pending_refund_reduces_the_refundable_amount() -> None:
    payment = NEW.completed(NOW).with_refund(600, NOW)

    assert payment.refundable == 400
    with pytest.raises(RefundExceedsCaptured, match="400 minor units"):
        payment.with_refund(401, NOW)


def test_a_payment_that_was_not_captured_is_not_refundable() -> None:
    with pytest.raises(NotRefundable, match="pending"):
        NEW.with_refund(1, NOW)


CLOSING = PROCESSING.closing(DECLINED, NOW)


@pytest.mark.parametrize(
    ("payment", "observed", "expected"),
    [
        (NEW, intent(IntentState.AWAITING_CONFIRMATION), Step.WAIT),
        (NEW, intent(IntentState.AWAITING_CONFIRMATION, failure=DECLINED), Step.WAIT),
        (NEW, intent(IntentState.REQUIRES_ACTION), Step.WAIT),
        (NEW, intent(IntentState.PROCESSING), Step.RECORD_PROCESSING),
        (NEW, intent(IntentState.SUCCEEDED), Step.COMPLETE),
        (NEW, intent(IntentState.CANCELED), Step.FAIL),
        (PROCESSING, intent(IntentState.AWAITING_CONFIRMATION), Step.CONFIRM),
        (PROCESSING, intent(IntentState.AWAITING_CONFIRMATION, failure=DECLINED), Step.CLOSE),
        (PROCESSING, intent(IntentState.REQUIRES_ACTION), Step.WAIT),
        (PROCESSING, intent(IntentState.PROCESSING), Step.WAIT),
        (PROCESSING, intent(IntentState.SUCCEEDED), Step.COMPLETE),
        (PROCESSING, intent(IntentState.CANCELED), Step.FAIL),
        (CLOSING, intent(IntentState.AWAITING_CONFIRMATION), Step.CANCEL_INTENT),
        (CLOSING, intent(IntentState.REQUIRES_ACTION), Step.CANCEL_INTENT),
        (CLOSING, intent(IntentState.PROCESSING), Step.CANCEL_INTENT),
        (CLOSING, intent(IntentState.SUCCEEDED), Step.COMPLETE),
        (CLOSING, intent(IntentState.CANCELED), Step.FAIL),
        (PROCESSING, intent(IntentState.SUCCEEDED, received=Money(999, "USD")), Step.REJECT_CAPTURE),
        (PROCESSING, intent(IntentState.SUCCEEDED, received=Money(1000, "EUR")), Step.REJECT_CAPTURE),
    ],
    ids=str,
)
def test_the_intent_decides_the_next_step(payment: Payment, observed: Intent, expected: Step) -> None:
    assert next_step(payment, observed) is expected


def test_a_payment_fails_with_its_first_failure() -> None:
    other = Failure(FailureCode.AUTHENTICATION_FAILED)

    assert failure_of(CLOSING, intent(IntentState.CANCELED, failure=other)) == DECLINED
    assert failure_of(PROCESSING, intent(IntentState.CANCELED, failure=other)) == other
    assert failure_of(PROCESSING, intent(IntentState.CANCELED)) == Failure(FailureCode.CANCELLED, "by_provider")


def test_secrets_are_not_in_the_repr() -> None:
    secret = Intent(
        "pi_1", IntentState.REQUIRES_ACTION, None, None, "the_secret", NextAction("redirect", "https://the_secret")
    )

    assert "the_secret" not in repr(secret) + repr(PROCESSING)
    assert "pm_card_visa" not in repr(PROCESSING)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_retry_delays_grow_up_to_a_limit(attempts: int, jitter: float) -> None:
    assert timedelta(seconds=1) <= retry_delay(attempts, jitter) <= timedelta(minutes=5)
    assert retry_delay(attempts, jitter) <= retry_delay(attempts + 1, jitter)


def test_refund_retry_delays_grow_up_to_a_day() -> None:
    assert [refund_retry_delay(refused) for refused in (0, 1, 2, 100)] == [
        timedelta(minutes=5),
        timedelta(minutes=10),
        timedelta(minutes=20),
        timedelta(days=1),
    ]
