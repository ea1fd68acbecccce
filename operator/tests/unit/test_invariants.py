"""From the figures that services export to what a platform's status says of its business."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

from platform_operator.api.conditions import Finding, Reason
from platform_operator.api.kinds import Key
from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.invariants.conditions import (
    LONGEST_LAG,
    PATIENCE,
    PROMISES,
    Figures,
    Heard,
    Row,
    State,
    findings,
    hear,
    read_figures,
    rows,
    sources,
)

SHOP = Key("market", "shop")
NOW = 1_700_000_000.0
ALL = (*WITH_DATABASE, "rabbitmq")
GOOD = Figures({"books_balance": 0}, checked=NOW, lag=0.0)
DIGESTED = Figures(dead={"order.dead": 0})
BROKEN_BOOKS = Figures({"books_balance": 3}, checked=NOW, lag=0.0)


def saying(**figures: Figures | Reason) -> dict[str, Heard]:
    """Every source, good unless said otherwise; a Reason is a silence that has outlasted all patience."""
    said: Mapping[str, Figures | Reason] = dict.fromkeys(WITH_DATABASE, GOOD) | {"rabbitmq": DIGESTED} | figures
    return {
        source: Heard(NOW - PATIENCE, None, one) if isinstance(one, Reason) else Heard(NOW, one)
        for source, one in said.items()
    }


def told(found: list[Row]) -> dict[str, Finding]:
    return {finding.type: finding for finding in findings(found, SHOP)}


def conditions(heard: dict[str, Heard], stored: list[Row] | None = None) -> dict[str, tuple[bool | None, Reason]]:
    made = told(rows(stored or [], heard, ALL, NOW))
    return {type_: (finding.status, finding.reason) for type_, finding in made.items()}


KEPT: dict[str, tuple[bool | None, Reason]] = dict.fromkeys(
    ("NothingOversold", "NobodyChargedTwice", "BooksAgree", "EventsFlow"), (True, Reason.ALL_HOLD)
)
CONDITION_OF = dict.fromkeys(WITH_DATABASE, "BooksAgree") | {
    "inventory": "NothingOversold",
    "payment": "NobodyChargedTwice",
}

# What services export.

EXPOSITION = """
# HELP business_invariant_violations Rows that break an invariant of this service's books
# TYPE business_invariant_violations gauge
business_invariant_violations{invariant="stock_is_the_sum_of_its_movements"} 0.0
business_invariant_violations{invariant="nothing_oversold"} 2.0
# HELP business_invariants_checked_timestamp_seconds When the invariants were last looked at
# TYPE business_invariants_checked_timestamp_seconds gauge
business_invariants_checked_timestamp_seconds 1.7e+09
# TYPE outbox_lag_seconds gauge
outbox_lag_seconds 0.25
# TYPE http_server_request_duration_seconds histogram
http_server_request_duration_seconds_bucket{le="0.005",route="/products/{id}"} 17.0
"""


def test_figures_are_read_from_a_services_exposition() -> None:
    assert read_figures(EXPOSITION) == Figures(
        {"stock_is_the_sum_of_its_movements": 0, "nothing_oversold": 2}, checked=1.7e9, lag=0.25
    )


def test_dead_letters_are_read_from_the_brokers_exposition_over_all_virtual_hosts() -> None:
    text = """
# TYPE rabbitmq_detailed_queue_messages_ready gauge
rabbitmq_detailed_queue_messages_ready{vhost="/",queue="order.dead"} 4
# TYPE rabbitmq_detailed_queue_messages gauge
rabbitmq_detailed_queue_messages{vhost="/",queue="order.dead"} 4
rabbitmq_detailed_queue_messages{vhost="/",queue="order"} 9
rabbitmq_detailed_queue_messages{vhost="/",queue="payment.dead"} 0
"""
    assert read_figures(text) == Figures(dead={"order.dead": 4, "payment.dead": 0})


def test_what_is_not_exported_is_not_taken_for_nought() -> None:
    assert read_figures("") == Figures({}, None, None, None)
    assert read_figures("outbox_lag_seconds NaN\n") == Figures()
    assert read_figures('rabbitmq_detailed_queue_messages{vhost="/",queue="order"} 1\n').dead == {}


@pytest.mark.parametrize("text", ["outbox_lag_seconds much\n", 'business_invariant_violations{invariant="x 1\n'])
def test_what_is_no_exposition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_figures(text)


def test_an_external_broker_is_not_asked() -> None:
    assert sources(parse({})) == ALL
    assert sources(parse({"broker": {"provider": "external", "secretRef": {"name": "x"}}})) == WITH_DATABASE


# What is known of a source.


def test_silence_is_dated_from_its_first_moment_and_ends_with_the_first_word() -> None:
    first = hear(None, None, 10.0)
    assert first == Heard(10.0, None, Reason.UNREACHABLE)
    assert hear(first, None, 40.0).since == 10.0
    spoken = hear(first, Figures(lag=0.0), 70.0)
    assert spoken.figures == Figures(lag=0.0)
    assert hear(spoken, None, 100.0).since == 100.0


@pytest.mark.parametrize(
    ("checked", "pause", "silence"),
    [
        (None, 0, None),
        (NOW, 30, None),
        (NOW - PATIENCE, 30, None),
        (NOW - PATIENCE - 1, 0, Reason.NOT_CHECKED),
        (NOW - PATIENCE - 1, 30, Reason.NOT_CHECKED),
        (NOW - 3000, 600, None),  # long books, which it looks at every ten minutes
        (NOW - 3001, 600, Reason.NOT_CHECKED),
        (0.0, 30, Reason.NOT_CHECKED),
    ],
)
def test_a_service_that_no_longer_looks_says_nothing(
    checked: float | None, pause: float, silence: Reason | None
) -> None:
    heard = hear(None, Figures({"books_balance": 0}, checked=checked, pause=pause), NOW)
    assert (heard.figures is None, None if heard.figures else heard.silence) == (silence is not None, silence)


# Conditions.


def test_a_shop_whose_books_are_in_order_keeps_every_promise() -> None:
    assert conditions(saying()) == KEPT


@pytest.mark.parametrize("service", WITH_DATABASE)
def test_a_broken_invariant_breaks_the_promise_of_its_service_and_no_other(service: str) -> None:
    broken = {CONDITION_OF[service]: (False, Reason.INVARIANT_BROKEN)}
    assert conditions(saying(**{service: BROKEN_BOOKS})) == KEPT | broken


@pytest.mark.parametrize("service", WITH_DATABASE)
@pytest.mark.parametrize("silence", [Reason.UNREACHABLE, Reason.NOT_CHECKED])
def test_of_a_service_that_cannot_be_heard_nobody_knows_rather_than_the_worst(service: str, silence: Reason) -> None:
    unknown: tuple[bool | None, Reason] = (None, silence)
    expected = KEPT | {CONDITION_OF[service]: unknown, "EventsFlow": unknown}
    assert conditions(saying(**{service: silence})) == expected
    known_before = rows([], saying(), ALL, NOW)
    assert conditions(saying(**{service: silence}), known_before) == expected


def test_what_is_known_to_be_broken_outweighs_what_nobody_knows() -> None:
    said = saying(user=Reason.UNREACHABLE, order=BROKEN_BOOKS)
    assert conditions(said)["BooksAgree"] == (False, Reason.INVARIANT_BROKEN)


@pytest.mark.parametrize(
    ("lag", "expected"),
    [
        (0.0, (True, Reason.ALL_HOLD)),
        (LONGEST_LAG, (True, Reason.ALL_HOLD)),
        (LONGEST_LAG + 0.1, (False, Reason.EVENTS_WAIT)),
    ],
)
def test_events_that_wait_too_long_stop_the_flow_and_no_books(lag: float, expected: tuple[bool, Reason]) -> None:
    assert conditions(saying(order=Figures({"a": 0}, NOW, lag))) == KEPT | {"EventsFlow": expected}


def test_dead_letters_stop_the_flow() -> None:
    said = saying(rabbitmq=Figures(dead={"order.dead": 2, "payment.dead": 0, "review.dead": 1}))
    assert conditions(said) == KEPT | {"EventsFlow": (False, Reason.DEAD_LETTERS)}
    message = told(rows([], said, ALL, NOW))["EventsFlow"].message
    assert "order.dead holds 2, review.dead holds 1" in message


def test_a_broker_that_cannot_be_heard_leaves_the_books_alone() -> None:
    assert conditions(saying(rabbitmq=Reason.UNREACHABLE)) == KEPT | {"EventsFlow": (None, Reason.UNREACHABLE)}


@pytest.mark.parametrize("service", ["inventory", "payment"])
def test_stock_and_money_are_not_in_order_for_want_of_figures(service: str) -> None:
    without = saying(**{service: Figures(lag=0.0)})
    assert conditions(without) == KEPT | {CONDITION_OF[service]: (None, Reason.NOT_EXPORTED)}


def test_a_service_that_promises_nothing_breaks_nothing() -> None:
    assert conditions(saying(user=Figures(lag=0.0), notification=Figures())) == KEPT
    silent_ones = dict.fromkeys((name for name in WITH_DATABASE if CONDITION_OF[name] == "BooksAgree"), Figures())
    assert conditions(saying(**silent_ones))["BooksAgree"] == (None, Reason.NOT_EXPORTED)


def test_every_row_belongs_to_a_promise_and_every_promise_has_its_own_condition() -> None:
    assert len({promise.condition for promise in PROMISES}) == len(PROMISES)
    assert sorted(service for promise in PROMISES for service in promise.services) == sorted(WITH_DATABASE)


@pytest.mark.parametrize("stored", [[], rows([], saying(), ALL, NOW), rows([], saying(order=BROKEN_BOOKS), ALL, NOW)])
def test_every_combination_of_what_services_say_gives_four_conditions_with_advice(stored: list[Row]) -> None:
    possible: tuple[Figures | Reason, ...] = (
        GOOD,
        BROKEN_BOOKS,
        Figures(),
        Figures(lag=99.0),
        Reason.UNREACHABLE,
        Reason.NOT_CHECKED,
    )
    for inventory, payment, order in itertools.product(possible, repeat=3):
        found = rows(stored, saying(inventory=inventory, payment=payment, order=order), ALL, NOW)
        assert len({(row["service"], row["name"]) for row in found}) == len(found), "keys of the list in status"
        made = told(found)
        assert made.keys() == KEPT.keys()
        for finding in made.values():
            assert (finding.status is True) == (finding.reason is Reason.ALL_HOLD)
            assert finding.status is True or "kubectl -n market" in finding.message or "spec.version" in finding.message
        for service, one in (("inventory", inventory), ("payment", payment), ("order", order)):
            if one is BROKEN_BOOKS:
                assert made[CONDITION_OF[service]].status is False
                assert f"{service}'s books_balance: 3 rows break it" in made[CONDITION_OF[service]].message


def test_a_broken_promise_says_where_to_read_which_rows() -> None:
    message = told(rows([], saying(payment=BROKEN_BOOKS), ALL, NOW))["NobodyChargedTwice"].message
    assert "kubectl -n market logs deployment/shop-payment | grep books_balance" in message


# Rows of the status.


def test_nothing_in_a_row_moves_while_the_truth_does_not() -> None:
    stored = rows([], saying(order=Figures({"a": 1}, NOW, 61.0)), ALL, NOW)
    later = {
        name: Heard(NOW + 900, said.figures) for name, said in saying(order=Figures({"a": 1}, NOW + 890, 950.0)).items()
    }
    assert rows(stored, later, ALL, NOW + 900) == stored


def test_a_new_operator_and_a_short_silence_leave_what_is_stored() -> None:
    stored = rows([], saying(order=BROKEN_BOOKS), ALL, NOW)
    silent = {source: Heard(NOW - PATIENCE + 1, None, Reason.UNREACHABLE) for source in ALL}
    assert rows(stored, {}, ALL, NOW) == stored
    assert rows(stored, silent, ALL, NOW) == stored
    unknown = rows(stored, silent, ALL, NOW + 1)
    assert {row["state"] for row in unknown} == {State.UNKNOWN}
    assert [(row["service"], row["name"]) for row in unknown] == [(row["service"], row["name"]) for row in stored]
    assert rows(unknown, silent, ALL, NOW + 99) == unknown


def test_a_service_that_is_heard_again_is_believed_at_once() -> None:
    unknown = rows([], saying(order=Reason.UNREACHABLE), ALL, NOW)
    assert rows(unknown, saying(), ALL, NOW) == rows([], saying(), ALL, NOW)


def test_before_anything_is_read_each_source_has_a_row_that_says_so() -> None:
    unread = rows([], {}, ALL, NOW)
    assert [(row["service"], row["state"], row["reason"]) for row in unread] == [
        (source, "Unknown", "NotReadYet") for source in ALL
    ]
    one = {name: said for name, said in saying().items() if name != "review"}
    assert conditions(one)["EventsFlow"] == (None, Reason.NOT_READ_YET)
    assert conditions(one)["BooksAgree"] == (None, Reason.NOT_READ_YET)
    assert conditions(one)["NothingOversold"] == (True, Reason.ALL_HOLD)


def test_rows_of_a_source_that_is_not_asked_any_more_go() -> None:
    stored = rows([], saying(), ALL, NOW)
    assert not [row for row in rows(stored, {}, WITH_DATABASE, NOW) if row["service"] == "rabbitmq"]


def test_rows_that_another_version_of_the_operator_stored_are_understood() -> None:
    stored: list[Row] = [
        {"service": "order", "name": "books_balance", "state": "Broken", "reason": "OfTheFuture", "message": "m"},
        {"service": "payment", "name": "books_balance", "state": "Unknown"},
    ]
    found = conditions({}, stored)
    assert (found["BooksAgree"][0], found["NobodyChargedTwice"][0]) == (False, None)
