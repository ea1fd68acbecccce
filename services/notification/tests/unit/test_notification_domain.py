"""The rules of delivery, the preferences, and the sanitizing of text."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notification_service.domain.delivery import (
    ACCEPTED,
    AttemptCounts,
    NextState,
    Outcome,
    RetryPolicy,
    SendResult,
    permanent_failure,
    provider_unavailable,
    state_after_attempt,
)
from notification_service.domain.notifications import Channel, Kind, Reason, Status, Template
from notification_service.domain.preferences import Preferences
from notification_service.domain.text import greeting_name, single_line

AT = datetime(2026, 11, 22, tzinfo=UTC)
POLICY = RetryPolicy(5, timedelta(seconds=10), timedelta(minutes=5), timedelta(days=3))
TRANSIENT = SendResult(Outcome.TRANSIENT, "smtp_451")
PERMANENT = SendResult(Outcome.PERMANENT, "smtp_550")
UNKNOWN = SendResult(Outcome.UNKNOWN, "connection_lost")


def state_after(result: SendResult, begun: int, unknown: int = 0) -> NextState:
    return state_after_attempt(result, AttemptCounts(begun, unknown), POLICY, AT, lambda: 1.0)


def test_each_outcome_leads_to_its_state() -> None:
    assert state_after(ACCEPTED, 1) == NextState(Status.SENT)
    assert state_after(PERMANENT, 1) == NextState(Status.FAILED, "smtp_550")
    assert state_after(TRANSIENT, 1) == NextState(Status.PENDING, None, AT + timedelta(seconds=10))
    assert state_after(TRANSIENT, 4) == NextState(Status.PENDING, None, AT + timedelta(seconds=80))
    assert state_after(TRANSIENT, 5) == NextState(Status.FAILED, "smtp_451")
    assert state_after(UNKNOWN, 1, unknown=1).status is Status.PENDING
    assert state_after(UNKNOWN, 2, unknown=2) == NextState(Status.FAILED, Reason.OUTCOME_UNKNOWN)
    assert state_after(ACCEPTED, 2, unknown=1) == NextState(Status.SENT)


def test_attempts_with_an_unavailable_provider_do_not_count() -> None:
    policy = RetryPolicy(12, timedelta(seconds=15), timedelta(hours=1), timedelta(days=3))
    unavailable = provider_unavailable("connection")
    too_old = timedelta(days=3, seconds=1)

    def state(result: SendResult, begun: int, excused: int) -> NextState:
        return state_after_attempt(result, AttemptCounts(begun, 0, excused), policy, AT, lambda: 1.0)

    assert permanent_failure(AttemptCounts(12, 0, 12), timedelta(hours=4), policy) is None
    assert state(unavailable, 12, 12) == NextState(Status.PENDING, None, AT + timedelta(hours=1))
    assert state(unavailable, 40, 29).status is Status.PENDING
    assert state(TRANSIENT, 40, 29).status is Status.PENDING
    assert state(TRANSIENT, 41, 29) == NextState(Status.FAILED, "smtp_451")
    assert permanent_failure(AttemptCounts(80, 0, 80), too_old, policy) == NextState(Status.FAILED, Reason.TOO_OLD)


def test_attempts_of_a_crashed_process_count() -> None:
    too_old = timedelta(days=3, seconds=1)

    assert permanent_failure(AttemptCounts(1, 1), timedelta(), POLICY) is None
    assert permanent_failure(AttemptCounts(2, 2), timedelta(), POLICY) == NextState(
        Status.FAILED, Reason.OUTCOME_UNKNOWN
    )
    assert permanent_failure(AttemptCounts(0, 0), too_old, POLICY) == NextState(Status.FAILED, Reason.TOO_OLD)


@given(begun=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_a_retry_delay_is_bounded_and_spread(begun: int, jitter: float) -> None:
    delay = POLICY.retry_delay(begun, jitter)

    assert timedelta(seconds=5) <= delay <= timedelta(minutes=5)
    assert POLICY.retry_delay(begun, 0) <= delay <= POLICY.retry_delay(begun, 1)


@given(age=st.timedeltas(timedelta(), timedelta(days=365)), jitter=st.floats(0, 1))
def test_a_deferral_delay_is_bounded(age: timedelta, jitter: float) -> None:
    assert timedelta(seconds=0.25) <= POLICY.deferral_delay(age, jitter) <= timedelta(minutes=1)


@given(st.lists(st.sampled_from([TRANSIENT, UNKNOWN, None]), max_size=30))
def test_a_message_is_sent_at_most_twice_whatever_the_outcomes(results: list[SendResult | None]) -> None:
    """None stands for a process that crashed while it was sending."""
    begun = unknown = 0
    for result in results:
        if permanent_failure(AttemptCounts(begun, unknown), timedelta(), POLICY):
            break
        begun, unknown = begun + 1, unknown + (result is not TRANSIENT)
        if result and state_after(result, begun, unknown).status is not Status.PENDING:
            break

    assert unknown <= 2


def test_security_mails_cannot_be_switched_off() -> None:
    off = Preferences({(kind, channel): False for kind in Kind for channel in Channel})

    assert off.allow(Kind.SECURITY, Channel.EMAIL)
    assert not off.allow(Kind.ORDER_UPDATES, Channel.EMAIL)
    assert {template for template in Template if template.kind is Kind.SECURITY} == {
        Template.WELCOME,
        Template.EMAIL_VERIFICATION,
        Template.PASSWORD_RESET,
        Template.PASSWORD_CHANGED,
        Template.EMAIL_CHANGED,
        Template.EMAIL_REPLACED,
        Template.NEW_DEVICE,
    }


def test_sms_are_off_and_mails_are_on_by_default() -> None:
    defaults = Preferences({})

    assert [kind for kind in Kind if defaults.allow(kind, Channel.SMS)] == []
    assert all(defaults.allow(kind, Channel.EMAIL) for kind in Kind)


@pytest.mark.parametrize("name", ["Anna", "Anna-Lena Müller", "O'Neill", "李雷", "José María", "Dr. Who"])
def test_a_name_is_used_in_the_greeting(name: str) -> None:
    assert greeting_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["Win at evil.example", "http://evil", "HTTPS://EVIL", "www.evil", "a@evil", "<b>", "x" * 61, "", "\u202e", "a/b"],
)
def test_an_advertisement_is_not_used_in_the_greeting(name: str) -> None:
    assert greeting_name(name) == ""


@given(st.text(max_size=500))
def test_a_single_line_has_no_line_end_and_bounded_length(text: str) -> None:
    line = single_line(text)

    assert len(line) <= 200
    assert len(line.splitlines()) <= 1
    assert line == line.strip()
    assert line.isprintable() or " " in line or "\xa0" not in line
    assert single_line(line) == line
