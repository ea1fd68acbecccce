"""What may become of a payment, and what brings it and its intent together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.types.ids import OrderId, UserId
from chassis.types.money import Money
from hypothesis import given
from hypothesis import strategies as st
from payment_service.domain.errors import NotCancellable, NotRefundable, RefundExceedsCaptured
from payment_service.domain.intents import Intent, IntentState, NextAction, Step, next_step, why_failed
from payment_service.domain.pacing import pause, pause_of_refunds
from payment_service.domain.payments import Failure, FailureCode, Method, Payment, PaymentId, PaymentStatus

NOW = datetime(2025, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
PRICE = Money(1000, "USD")
CARD = Method("pm_card_visa")
DECLINED = Failure(FailureCode.CARD_DECLINED, "insufficient_funds")
NEW = Payment(PaymentId(UUID(int=1)), OrderId(UUID(int=2)), UserId(3), PRICE, "simulated", NOW, NOW, intent_id="pi_1")


def intent(state: IntentState, **values: object) -> Intent:
    received = PRICE if state is IntentState.SUCCEEDED else None
    return replace(Intent("pi_1", state, received), **values)  # type: ignore[arg-type]  # of a test's choice


@pytest.mark.parametrize(
    ("status", "following"),
    [
        (PaymentStatus.PENDING, {PaymentStatus.PROCESSING, PaymentStatus.COMPLETED, PaymentStatus.FAILED}),
        (PaymentStatus.PROCESSING, {PaymentStatus.COMPLETED, PaymentStatus.FAILED}),
        (PaymentStatus.COMPLETED, {PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}),
        (PaymentStatus.PARTIALLY_REFUNDED, {PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}),
        (PaymentStatus.REFUNDED, set()),
        (PaymentStatus.FAILED, set()),
    ],
)
def test_the_state_machine_is_the_designs(status: PaymentStatus, following: set[PaymentStatus]) -> None:
    assert {other for other in PaymentStatus if status.may_become(other)} == following


def test_a_completed_payment_has_captured_its_amount_and_forgets_the_method() -> None:
    paid = NEW.confirmed(CARD, NOW).completed(LATER)

    assert (paid.status, paid.captured, paid.method, paid.updated_at) == (PaymentStatus.COMPLETED, 1000, None, LATER)


def test_a_payment_goes_nowhere_from_where_it_ends() -> None:
    failed = NEW.failed(DECLINED, NOW)

    for move in (failed.completed, failed.processing):
        with pytest.raises(ValueError, match="is failed and cannot become"):
            move(LATER)
    with pytest.raises(NotCancellable):
        failed.closing(DECLINED, LATER)


def test_the_first_reason_for_a_failure_stays() -> None:
    closing = NEW.closing(DECLINED, NOW)

    assert closing.closing(Failure(FailureCode.ORDER_CANCELLED), LATER) is closing
    assert closing.failed(Failure(FailureCode.CANCELLED), LATER).failure == DECLINED
    assert (closing.is_closing, closing.is_confirmable) == (True, False)


def test_money_that_came_counts_though_the_payment_was_closing() -> None:
    paid = NEW.closing(Failure(FailureCode.ORDER_CANCELLED), NOW).completed(LATER)

    assert (paid.status, paid.failure, paid.captured) == (PaymentStatus.COMPLETED, None, 1000)


@given(st.lists(st.tuples(st.integers(-5, 700), st.booleans()), max_size=20))
def test_refunds_never_exceed_what_was_captured(wanted: list[tuple[int, bool]]) -> None:
    payment = NEW.completed(NOW)
    given_back = 0
    for amount, succeeds in wanted:
        try:
            payment = payment.with_refund(amount, NOW)
        except RefundExceedsCaptured as refusal:
            assert amount < 1 or amount > 1000 - given_back
            assert refusal.refundable == 1000 - given_back  # noqa: PT017 - in a loop of many
            continue
        payment = payment.refund_succeeded(amount, NOW) if succeeds else payment.refund_failed(amount, NOW)
        given_back += amount if succeeds else 0
    assert (payment.refunded, payment.refunding) == (given_back, 0)
    expected = {0: PaymentStatus.COMPLETED, 1000: PaymentStatus.REFUNDED}
    assert payment.status is expected.get(given_back, PaymentStatus.PARTIALLY_REFUNDED)


def test_what_is_on_its_way_back_counts_as_gone() -> None:
    payment = NEW.completed(NOW).with_refund(600, NOW)

    assert payment.refundable == 400
    with pytest.raises(RefundExceedsCaptured, match="400 minor units"):
        payment.with_refund(401, NOW)


def test_nothing_goes_back_that_never_came() -> None:
    with pytest.raises(NotRefundable, match="pending"):
        NEW.with_refund(1, NOW)


PROCESSING = NEW.confirmed(CARD, NOW)
CLOSING = PROCESSING.closing(DECLINED, NOW)


@pytest.mark.parametrize(
    ("payment", "seen", "expected"),
    [
        (NEW, intent(IntentState.AWAITING), Step.WAIT),
        (NEW, intent(IntentState.AWAITING, failure=DECLINED), Step.WAIT),
        (NEW, intent(IntentState.ACTION), Step.WAIT),
        (NEW, intent(IntentState.PROCESSING), Step.PROCESS),
        (NEW, intent(IntentState.SUCCEEDED), Step.COMPLETE),
        (NEW, intent(IntentState.CANCELED), Step.FAIL),
        (PROCESSING, intent(IntentState.AWAITING), Step.CONFIRM),
        (PROCESSING, intent(IntentState.AWAITING, failure=DECLINED), Step.CLOSE),
        (PROCESSING, intent(IntentState.ACTION), Step.WAIT),
        (PROCESSING, intent(IntentState.PROCESSING), Step.WAIT),
        (PROCESSING, intent(IntentState.SUCCEEDED), Step.COMPLETE),
        (PROCESSING, intent(IntentState.CANCELED), Step.FAIL),
        (CLOSING, intent(IntentState.AWAITING), Step.CANCEL),
        (CLOSING, intent(IntentState.ACTION), Step.CANCEL),
        (CLOSING, intent(IntentState.PROCESSING), Step.CANCEL),
        (CLOSING, intent(IntentState.SUCCEEDED), Step.COMPLETE),
        (CLOSING, intent(IntentState.CANCELED), Step.FAIL),
        (PROCESSING, intent(IntentState.SUCCEEDED, received=Money(999, "USD")), Step.INVESTIGATE),
        (PROCESSING, intent(IntentState.SUCCEEDED, received=Money(1000, "EUR")), Step.INVESTIGATE),
    ],
    ids=str,
)
def test_the_provider_decides_what_comes_next(payment: Payment, seen: Intent, expected: Step) -> None:
    assert next_step(payment, seen) is expected


def test_why_a_payment_failed_is_what_was_known_first() -> None:
    other = Failure(FailureCode.AUTHENTICATION_FAILED)

    assert why_failed(CLOSING, intent(IntentState.CANCELED, failure=other)) == DECLINED
    assert why_failed(PROCESSING, intent(IntentState.CANCELED, failure=other)) == other
    assert why_failed(PROCESSING, intent(IntentState.CANCELED)) == Failure(FailureCode.CANCELLED, "by_provider")


def test_secrets_do_not_show_in_what_is_printed() -> None:
    secret = Intent("pi_1", IntentState.ACTION, None, None, "the_secret", NextAction("redirect", "https://the_secret"))

    assert "the_secret" not in repr(secret) + repr(PROCESSING)
    assert "pm_card_visa" not in repr(PROCESSING)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_pauses_grow_and_end(attempts: int, chance: float) -> None:
    assert timedelta(seconds=1) <= pause(attempts, chance) <= timedelta(minutes=5)
    assert pause(attempts, chance) <= pause(attempts + 1, chance)


def test_a_refund_is_tried_again_ever_more_rarely() -> None:
    assert [pause_of_refunds(refused) for refused in (0, 1, 2, 100)] == [
        timedelta(minutes=5),
        timedelta(minutes=10),
        timedelta(minutes=20),
        timedelta(days=1),
    ]
