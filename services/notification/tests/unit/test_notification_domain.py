"""What becomes of a message after a try, and what of other people's words goes into one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notification_service.domain.delivery import (
    ACCEPTED,
    Outcome,
    Patience,
    Result,
    Tries,
    Verdict,
    away,
    hopeless,
    judge,
)
from notification_service.domain.notifications import Channel, Kind, Reason, Status, Template
from notification_service.domain.preferences import Preferences
from notification_service.domain.text import one_line, salutation

AT = datetime(2026, 11, 22, tzinfo=UTC)
PATIENCE = Patience(5, timedelta(seconds=10), timedelta(minutes=5), timedelta(days=3))
TRANSIENT = Outcome(Result.TRANSIENT, "smtp_451")
PERMANENT = Outcome(Result.PERMANENT, "smtp_550")
UNKNOWN = Outcome(Result.UNKNOWN, "connection_lost")


def verdict(outcome: Outcome, begun: int, unknown: int = 0) -> Verdict:
    return judge(outcome, Tries(begun, unknown), PATIENCE, AT, lambda: 1.0)


def test_each_outcome_has_its_consequence() -> None:
    assert verdict(ACCEPTED, 1) == Verdict(Status.SENT)
    assert verdict(PERMANENT, 1) == Verdict(Status.FAILED, "smtp_550")
    assert verdict(TRANSIENT, 1) == Verdict(Status.PENDING, None, AT + timedelta(seconds=10))
    assert verdict(TRANSIENT, 4) == Verdict(Status.PENDING, None, AT + timedelta(seconds=80))
    assert verdict(TRANSIENT, 5) == Verdict(Status.FAILED, "smtp_451")
    assert verdict(UNKNOWN, 1, unknown=1).status is Status.PENDING
    assert verdict(UNKNOWN, 2, unknown=2) == Verdict(Status.FAILED, Reason.OUTCOME_UNKNOWN)
    assert verdict(ACCEPTED, 2, unknown=1) == Verdict(Status.SENT)


def test_a_carrier_that_is_away_costs_a_message_no_try() -> None:
    patience = Patience(12, timedelta(seconds=15), timedelta(hours=1), timedelta(days=3))

    def judged(outcome: Outcome, begun: int, excused: int) -> Verdict:
        return judge(outcome, Tries(begun, 0, excused), patience, AT, lambda: 1.0)

    assert hopeless(Tries(12, 0, 12), timedelta(hours=4), patience) is None
    assert judged(away("connection"), 12, 12) == Verdict(Status.PENDING, None, AT + timedelta(hours=1))
    assert judged(away("connection"), 40, 29).status is Status.PENDING
    assert judged(TRANSIENT, 40, 29).status is Status.PENDING
    assert judged(TRANSIENT, 41, 29) == Verdict(Status.FAILED, "smtp_451")
    assert hopeless(Tries(80, 0, 80), timedelta(days=3, seconds=1), patience) == Verdict(Status.FAILED, Reason.TOO_OLD)


def test_what_a_dead_process_left_behind_counts() -> None:
    assert hopeless(Tries(1, 1), timedelta(), PATIENCE) is None
    assert hopeless(Tries(2, 2), timedelta(), PATIENCE) == Verdict(Status.FAILED, Reason.OUTCOME_UNKNOWN)
    assert hopeless(Tries(0, 0), timedelta(days=3, seconds=1), PATIENCE) == Verdict(Status.FAILED, Reason.TOO_OLD)


@given(begun=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_a_pause_is_bounded_and_spread(begun: int, jitter: float) -> None:
    pause = PATIENCE.pause(begun, jitter)

    assert timedelta(seconds=5) <= pause <= timedelta(minutes=5)
    assert PATIENCE.pause(begun, 0) <= pause <= PATIENCE.pause(begun, 1)


@given(age=st.timedeltas(timedelta(), timedelta(days=365)), jitter=st.floats(0, 1))
def test_a_neighbour_is_asked_again_soon_and_not_too_often(age: timedelta, jitter: float) -> None:
    assert timedelta(seconds=0.25) <= PATIENCE.wait(age, jitter) <= timedelta(minutes=1)


@given(st.lists(st.sampled_from([TRANSIENT, UNKNOWN, None]), max_size=30))
def test_whatever_happens_a_message_is_out_at_most_twice(story: list[Outcome | None]) -> None:
    """None is a process that dies with the message in its carrier's hands."""
    begun = unknown = 0
    for outcome in story:
        if hopeless(Tries(begun, unknown), timedelta(), PATIENCE):
            break
        begun, unknown = begun + 1, unknown + (outcome is not TRANSIENT)
        if outcome and judge(outcome, Tries(begun, unknown), PATIENCE, AT, lambda: 0).status is not Status.PENDING:
            break

    assert unknown <= 2


def test_what_protects_an_account_cannot_be_switched_off() -> None:
    off = Preferences({(kind, channel): False for kind in Kind for channel in Channel})

    assert off.wants(Kind.SECURITY, Channel.EMAIL)
    assert not off.wants(Kind.ORDER_UPDATES, Channel.EMAIL)
    assert {template for template in Template if template.kind is Kind.SECURITY} == {
        Template.WELCOME,
        Template.EMAIL_VERIFICATION,
        Template.PASSWORD_RESET,
    }


def test_text_messages_are_off_until_somebody_asks_for_them() -> None:
    nobody_chose = Preferences({})

    assert [kind for kind in Kind if nobody_chose.wants(kind, Channel.SMS)] == []
    assert all(nobody_chose.wants(kind, Channel.EMAIL) for kind in Kind)


@pytest.mark.parametrize("name", ["Anna", "Anna-Lena Müller", "O'Neill", "李雷", "José María", "Dr. Who"])
def test_a_name_is_greeted(name: str) -> None:
    assert salutation(name) == name


@pytest.mark.parametrize(
    "name",
    ["Win at evil.example", "http://evil", "HTTPS://EVIL", "www.evil", "a@evil", "<b>", "x" * 61, "", "\u202e", "a/b"],
)
def test_an_advertisement_is_no_name(name: str) -> None:
    assert salutation(name) == ""


@given(st.text(max_size=500))
def test_a_line_is_one_line_of_bounded_length(text: str) -> None:
    line = one_line(text)

    assert len(line) <= 200
    assert len(line.splitlines()) <= 1
    assert line == line.strip()
    assert line.isprintable() or " " in line or "\xa0" not in line
    assert one_line(line) == line
