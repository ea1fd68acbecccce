"""Business invariants: the metrics that services export, the rows and the conditions made from them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from enum import StrEnum

import pytest

from platform_operator.api.conditions import Condition, ConditionReason, InvariantState
from platform_operator.api.kinds import PlatformKey
from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.invariants.conditions import INVARIANT_CONDITIONS, invariant_conditions
from platform_operator.invariants.rows import MAX_LAG, MIN_REQUESTS, Row, invariant_rows
from platform_operator.invariants.scrape_results import (
    MAX_NAMES,
    STALE_AFTER,
    UNKNOWN_AFTER,
    ForwardedHeaders,
    ScrapeResult,
    ServiceMetrics,
    next_result,
    parse_metrics,
    sources,
)

SHOP = PlatformKey("market", "shop")
NOW = 1_700_000_000.0
ALL = (*WITH_DATABASE, "gateway", "rabbitmq")
GOOD = ServiceMetrics({"ledger_balances": 0}, checked=NOW, lag=0.0)
CONSUMED = ServiceMetrics(dead_letters={"order.dead": 0})
BELIEVED = ServiceMetrics(forwarded=ForwardedHeaders(1000, 0))
IGNORED = ServiceMetrics(forwarded=ForwardedHeaders(1000, 990))
BROKEN = ServiceMetrics({"ledger_balances": 3}, checked=NOW, lag=0.0)


def scraped(**by_source: ServiceMetrics | ConditionReason) -> dict[str, ScrapeResult]:
    """A result of every source: fine unless given otherwise; a reason stands for a failure for so long that rows are
    stale."""
    results: Mapping[str, ServiceMetrics | ConditionReason] = (
        dict.fromkeys(WITH_DATABASE, GOOD) | {"gateway": BELIEVED, "rabbitmq": CONSUMED} | by_source
    )
    return {
        source: ScrapeResult(NOW - STALE_AFTER, None, one)
        if isinstance(one, ConditionReason)
        else ScrapeResult(NOW, one)
        for source, one in results.items()
    }


def summed_up(rows: list[Row]) -> dict[str, Condition]:
    return {condition.type: condition for condition in invariant_conditions(rows, SHOP)}


def conditions(
    results: dict[str, ScrapeResult], stored: list[Row] | None = None
) -> dict[str, tuple[bool | None, StrEnum]]:
    made = summed_up(invariant_rows(stored or [], results, ALL, NOW))
    return {type_: (condition.status, condition.reason) for type_, condition in made.items()}


HOLDING: dict[str, tuple[bool | None, StrEnum]] = dict.fromkeys(
    ("NothingOversold", "NoDoubleCharge", "InvariantsHold", "EventsDelivered", "ProxiesTrusted"),
    (True, ConditionReason.ALL_HOLD),
)
CONDITION_OF = dict.fromkeys(WITH_DATABASE, "InvariantsHold") | {
    "inventory": "NothingOversold",
    "payment": "NoDoubleCharge",
}

# Metrics.

EXPOSITION = """
# HELP business_invariant_violations Rows that break an invariant of this service
# TYPE business_invariant_violations gauge
business_invariant_violations{invariant="stock_is_the_sum_of_its_movements"} 0.0
business_invariant_violations{invariant="nothing_oversold"} 2.0
# HELP business_invariants_checked_timestamp_seconds When the invariants were last checked
# TYPE business_invariants_checked_timestamp_seconds gauge
business_invariants_checked_timestamp_seconds 1.7e+09
# TYPE outbox_lag_seconds gauge
outbox_lag_seconds 0.25
# TYPE http_server_request_duration_seconds histogram
http_server_request_duration_seconds_bucket{le="0.005",route="/products/{id}"} 17.0
"""


def test_metrics_are_parsed_from_a_services_exposition() -> None:
    assert parse_metrics(EXPOSITION) == ServiceMetrics(
        {"stock_is_the_sum_of_its_movements": 0, "nothing_oversold": 2}, checked=1.7e9, lag=0.25
    )


def test_dead_letters_are_parsed_from_the_brokers_exposition_over_all_virtual_hosts() -> None:
    text = """
# TYPE rabbitmq_detailed_queue_messages_ready gauge
rabbitmq_detailed_queue_messages_ready{vhost="/",queue="order.dead"} 4
# TYPE rabbitmq_detailed_queue_messages gauge
rabbitmq_detailed_queue_messages{vhost="/",queue="order.dead"} 4
rabbitmq_detailed_queue_messages{vhost="/",queue="order"} 9
rabbitmq_detailed_queue_messages{vhost="/",queue="payment.dead"} 0
"""
    assert parse_metrics(text) == ServiceMetrics(dead_letters={"order.dead": 4, "payment.dead": 0})


def test_requests_of_the_kubelet_are_not_counted_among_those_of_a_gateway() -> None:
    text = """
# TYPE http_server_request_duration_seconds histogram
http_server_request_duration_seconds_count{http_route="/ready"} 500.0
http_server_request_duration_seconds_count{http_route="/health"} 250.0
http_server_request_duration_seconds_count{http_route="/products"} 30.0
http_server_request_duration_seconds_count{http_route="/orders"} 12.0
# TYPE forwarded_headers_ignored_total counter
forwarded_headers_ignored_total 40.0
"""
    assert parse_metrics(text) == ServiceMetrics(forwarded=ForwardedHeaders(42, 40))
    assert parse_metrics("forwarded_headers_ignored_total 0.0\n").forwarded == ForwardedHeaders(0, 0)


def test_a_metric_that_is_not_exported_is_not_taken_for_zero() -> None:
    assert parse_metrics("") == ServiceMetrics({}, None, None, None)
    assert parse_metrics("outbox_lag_seconds NaN\n") == ServiceMetrics()
    assert parse_metrics('rabbitmq_detailed_queue_messages{vhost="/",queue="order"} 1\n').dead_letters == {}


@pytest.mark.parametrize("text", ["outbox_lag_seconds much\n", 'business_invariant_violations{invariant="x 1\n'])
def test_a_malformed_exposition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_metrics(text)


def test_a_source_that_exports_more_than_it_may_fills_no_status_and_is_said_to() -> None:
    lines = [f'business_invariant_violations{{invariant="{n:05}{"x" * 60}"}} 1' for n in range(3000)]
    queues = [f'rabbitmq_detailed_queue_messages{{queue="{n:05}{"x" * 60}.dead"}} 1' for n in range(3000)]
    results = {"order": ScrapeResult(NOW, parse_metrics("\n".join([*lines, *queues]) + "\n"))}
    rows = invariant_rows([], results, ["order"], NOW)
    assert len(json.dumps(rows)) < 16_000
    assert [row["name"] for row in rows if row.get("reason") == "LimitExceeded"] == ["all"]
    assert len([row for row in rows if row["state"] == "Broken"]) == MAX_NAMES + 1


@pytest.mark.parametrize("line", ['{invariant="a"} 1e300', '{invariant="a"} -1', f'{{invariant="{"a" * 101}"}} 0'])
def test_a_name_or_count_that_the_status_cannot_hold_is_left_out(line: str) -> None:
    metrics = parse_metrics(f'business_invariant_violations{line}\nbusiness_invariant_violations{{invariant="b"}} 2\n')
    assert (metrics.violations, metrics.cut) == ({"b": 2}, True)


def test_an_external_broker_is_not_scraped() -> None:
    assert sources(parse({})) == ALL
    assert sources(parse({"broker": {"provider": "external", "secretRef": {"name": "x"}}})) == ALL[:-1]


# Results of scrapes.


@pytest.mark.parametrize(
    ("age", "state"), [(UNKNOWN_AFTER - 1, "Holds"), (UNKNOWN_AFTER, "Unknown"), (864e3, "Unknown")]
)
def test_what_was_read_is_unknown_after_three_missed_scrapes(age: float, state: str) -> None:
    (row,) = invariant_rows([], {"gateway": ScrapeResult(NOW - age, BELIEVED)}, ["gateway"], NOW)
    assert row["state"] == state
    assert row.get("reason") == ("Unreachable" if state == "Unknown" else None)


def test_a_failure_is_dated_from_the_first_failed_scrape_and_ends_with_the_next_success() -> None:
    first = next_result(None, None, 10.0)
    assert first == ScrapeResult(10.0, None, ConditionReason.UNREACHABLE)
    assert next_result(first, None, 40.0).since == 10.0
    succeeded = next_result(first, ServiceMetrics(lag=0.0), 70.0)
    assert succeeded.metrics == ServiceMetrics(lag=0.0)
    assert next_result(succeeded, None, 100.0).since == 100.0


@pytest.mark.parametrize(
    ("checked", "pause", "failure"),
    [
        (None, 0, None),
        (NOW, 30, None),
        (NOW - STALE_AFTER, 30, None),
        (NOW - STALE_AFTER - 1, 0, ConditionReason.NOT_CHECKED),
        (NOW - STALE_AFTER - 1, 30, ConditionReason.NOT_CHECKED),
        (NOW - 3000, 600, None),  # a long table, which it checks every ten minutes
        (NOW - 3001, 600, ConditionReason.NOT_CHECKED),
        (0.0, 30, ConditionReason.NOT_CHECKED),
    ],
)
def test_a_service_that_no_longer_checks_has_no_metrics(
    checked: float | None, pause: float, failure: ConditionReason | None
) -> None:
    result = next_result(None, ServiceMetrics({"ledger_balances": 0}, checked=checked, pause=pause), NOW)
    assert (result.metrics is None, None if result.metrics else result.failure) == (failure is not None, failure)


# Conditions.


def test_every_condition_is_true_when_all_invariants_hold() -> None:
    assert conditions(scraped()) == HOLDING


@pytest.mark.parametrize("service", WITH_DATABASE)
def test_a_broken_invariant_makes_only_the_condition_of_its_service_false(service: str) -> None:
    broken = {CONDITION_OF[service]: (False, ConditionReason.INVARIANT_BROKEN)}
    assert conditions(scraped(**{service: BROKEN})) == HOLDING | broken


@pytest.mark.parametrize("service", WITH_DATABASE)
@pytest.mark.parametrize("failure", [ConditionReason.UNREACHABLE, ConditionReason.NOT_CHECKED])
def test_a_service_that_cannot_be_scraped_makes_its_condition_unknown(service: str, failure: ConditionReason) -> None:
    unknown: tuple[bool | None, ConditionReason] = (None, failure)
    expected = HOLDING | {CONDITION_OF[service]: unknown, "EventsDelivered": unknown}
    assert conditions(scraped(**{service: failure})) == expected
    known_before = invariant_rows([], scraped(), ALL, NOW)
    assert conditions(scraped(**{service: failure}), known_before) == expected


def test_broken_outweighs_unknown() -> None:
    results = scraped(user=ConditionReason.UNREACHABLE, order=BROKEN)
    assert conditions(results)["InvariantsHold"] == (False, ConditionReason.INVARIANT_BROKEN)


@pytest.mark.parametrize(
    ("lag", "expected"),
    [
        (0.0, (True, ConditionReason.ALL_HOLD)),
        (MAX_LAG, (True, ConditionReason.ALL_HOLD)),
        (MAX_LAG + 0.1, (False, ConditionReason.EVENTS_DELAYED)),
    ],
)
def test_events_that_wait_too_long_make_only_eventsflow_false(
    lag: float, expected: tuple[bool, ConditionReason]
) -> None:
    assert conditions(scraped(order=ServiceMetrics({"a": 0}, NOW, lag))) == HOLDING | {"EventsDelivered": expected}


def test_dead_letters_make_eventsflow_false() -> None:
    results = scraped(rabbitmq=ServiceMetrics(dead_letters={"order.dead": 2, "payment.dead": 0, "review.dead": 1}))
    assert conditions(results) == HOLDING | {"EventsDelivered": (False, ConditionReason.DEAD_LETTERS)}
    message = summed_up(invariant_rows([], results, ALL, NOW))["EventsDelivered"].message
    assert "order.dead holds 2, review.dead holds 1" in message


def test_a_broker_that_cannot_be_scraped_makes_only_eventsflow_unknown() -> None:
    assert conditions(scraped(rabbitmq=ConditionReason.UNREACHABLE)) == HOLDING | {
        "EventsDelivered": (None, ConditionReason.UNREACHABLE)
    }


@pytest.mark.parametrize("service", ["inventory", "payment"])
def test_missing_invariants_of_stock_and_payments_are_unknown(service: str) -> None:
    without = scraped(**{service: ServiceMetrics(lag=0.0)})
    assert conditions(without) == HOLDING | {CONDITION_OF[service]: (None, ConditionReason.NOT_EXPORTED)}


def test_a_service_without_invariants_breaks_none() -> None:
    assert conditions(scraped(user=ServiceMetrics(lag=0.0), notification=ServiceMetrics())) == HOLDING
    without_invariants = dict.fromkeys(
        (name for name in WITH_DATABASE if CONDITION_OF[name] == "InvariantsHold"), ServiceMetrics()
    )
    assert conditions(scraped(**without_invariants))["InvariantsHold"] == (None, ConditionReason.NOT_EXPORTED)


def test_every_service_belongs_to_exactly_one_condition() -> None:
    assert len({one.type for one in INVARIANT_CONDITIONS}) == len(INVARIANT_CONDITIONS)
    assert sorted(service for one in INVARIANT_CONDITIONS for service in one.services) == sorted(
        (*WITH_DATABASE, "gateway")
    )


@pytest.mark.parametrize(
    "stored", [[], invariant_rows([], scraped(), ALL, NOW), invariant_rows([], scraped(order=BROKEN), ALL, NOW)]
)
def test_every_combination_of_metrics_gives_all_conditions_with_advice(stored: list[Row]) -> None:
    possible: tuple[ServiceMetrics | ConditionReason, ...] = (
        GOOD,
        BROKEN,
        ServiceMetrics(),
        ServiceMetrics(lag=99.0),
        ConditionReason.UNREACHABLE,
        ConditionReason.NOT_CHECKED,
    )
    for inventory, payment, order in itertools.product(possible, repeat=3):
        rows = invariant_rows(stored, scraped(inventory=inventory, payment=payment, order=order), ALL, NOW)
        assert len({(row["service"], row["name"]) for row in rows}) == len(rows), (
            "the keys of the list in status are unique"
        )
        made = summed_up(rows)
        assert made.keys() == HOLDING.keys()
        for condition in made.values():
            assert (condition.status is True) == (condition.reason is ConditionReason.ALL_HOLD)
            assert (
                condition.status is True
                or "kubectl -n market" in condition.message
                or "spec.version" in condition.message
            )
        for service, one in (("inventory", inventory), ("payment", payment), ("order", order)):
            if one is BROKEN:
                assert made[CONDITION_OF[service]].status is False
                assert f"{service}'s ledger_balances: 3 rows break it" in made[CONDITION_OF[service]].message


def test_a_broken_invariant_says_where_to_find_the_rows() -> None:
    message = summed_up(invariant_rows([], scraped(payment=BROKEN), ALL, NOW))["NoDoubleCharge"].message
    assert "kubectl -n market logs deployment/shop-payment | grep ledger_balances" in message


def test_ignored_headers_of_most_requests_say_which_field_to_set() -> None:
    assert conditions(scraped(gateway=IGNORED)) == HOLDING | {
        "ProxiesTrusted": (False, ConditionReason.UNTRUSTED_PROXY)
    }
    message = summed_up(invariant_rows([], scraped(gateway=IGNORED), ALL, NOW))["ProxiesTrusted"].message
    for field in ("spec.ingress.proxyNamespaces", "spec.settings.gateway.trustedProxies"):
        assert field in message


@pytest.mark.parametrize(
    ("requests", "ignored", "trusted"),
    [
        (1000, 500, True),  # clients that send the headers themselves do not change the condition
        (1000, 501, False),
        (MIN_REQUESTS, MIN_REQUESTS, False),
        (MIN_REQUESTS - 1, MIN_REQUESTS - 1, True),
        (0, 0, True),
    ],
)
def test_the_share_of_ignored_headers_decides(requests: int, ignored: int, trusted: bool) -> None:
    gateway = ServiceMetrics(forwarded=ForwardedHeaders(requests, ignored))
    assert conditions(scraped(gateway=gateway))["ProxiesTrusted"][0] is trusted


def test_a_gateway_pod_that_has_just_started_does_not_change_what_the_others_reported() -> None:
    started = scraped(gateway=ServiceMetrics(forwarded=ForwardedHeaders(0, 0)))
    for known in (IGNORED, BELIEVED):
        stored = invariant_rows([], scraped(gateway=known), ALL, NOW)
        assert invariant_rows(stored, started, ALL, NOW) == stored


def test_a_gateway_that_cannot_be_scraped_makes_only_its_condition_unknown() -> None:
    unknown = HOLDING | {"ProxiesTrusted": (None, ConditionReason.UNREACHABLE)}
    assert conditions(scraped(gateway=ConditionReason.UNREACHABLE)) == unknown
    older = HOLDING | {"ProxiesTrusted": (None, ConditionReason.NOT_EXPORTED)}
    assert conditions(scraped(gateway=ServiceMetrics())) == older


# Rows of the status.


def test_rows_do_not_change_while_the_facts_do_not() -> None:
    stored = invariant_rows([], scraped(order=ServiceMetrics({"a": 1}, NOW, 61.0)), ALL, NOW)
    later = {
        name: ScrapeResult(NOW + 900, one.metrics)
        for name, one in scraped(order=ServiceMetrics({"a": 1}, NOW + 890, 950.0)).items()
    }
    assert invariant_rows(stored, later, ALL, NOW + 900) == stored


def test_stored_rows_stand_after_a_restart_and_a_short_outage() -> None:
    stored = invariant_rows([], scraped(order=BROKEN), ALL, NOW)
    failing = {source: ScrapeResult(NOW - UNKNOWN_AFTER + 1, None, ConditionReason.UNREACHABLE) for source in ALL}
    assert invariant_rows(stored, {}, ALL, NOW) == stored
    assert invariant_rows(stored, failing, ALL, NOW) == stored
    unknown = invariant_rows(stored, failing, ALL, NOW + 1)
    assert {row["state"] for row in unknown} == {InvariantState.UNKNOWN}
    assert [(row["service"], row["name"]) for row in unknown] == [(row["service"], row["name"]) for row in stored]
    assert invariant_rows(unknown, failing, ALL, NOW + 99) == unknown


def test_a_service_that_is_scraped_again_replaces_unknown_rows_at_once() -> None:
    unknown = invariant_rows([], scraped(order=ConditionReason.UNREACHABLE), ALL, NOW)
    assert invariant_rows(unknown, scraped(), ALL, NOW) == invariant_rows([], scraped(), ALL, NOW)


def test_before_the_first_scrape_each_source_has_an_unknown_row() -> None:
    unread = invariant_rows([], {}, ALL, NOW)
    assert [(row["service"], row["state"], row["reason"]) for row in unread] == [
        (source, "Unknown", "NotScraped") for source in ALL
    ]
    results = {name: one for name, one in scraped().items() if name != "review"}
    assert conditions(results)["EventsDelivered"] == (None, ConditionReason.NOT_SCRAPED)
    assert conditions(results)["InvariantsHold"] == (None, ConditionReason.NOT_SCRAPED)
    assert conditions(results)["NothingOversold"] == (True, ConditionReason.ALL_HOLD)


def test_rows_of_a_source_that_is_no_longer_scraped_are_removed() -> None:
    stored = invariant_rows([], scraped(), ALL, NOW)
    assert not [row for row in invariant_rows(stored, {}, ALL[:-1], NOW) if row["service"] == "rabbitmq"]


def test_rows_stored_by_another_version_of_the_operator_are_accepted() -> None:
    stored: list[Row] = [
        {"service": "order", "name": "ledger_balances", "state": "Broken", "reason": "OfTheFuture", "message": "m"},
        {"service": "payment", "name": "ledger_balances", "state": "Unknown"},
    ]
    made = conditions({}, stored)
    assert (made["InvariantsHold"][0], made["NoDoubleCharge"][0]) == (False, None)
