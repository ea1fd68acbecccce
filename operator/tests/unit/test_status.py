from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from platform_operator.api.kinds import Key, ObjectId
from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.cache.observed import Observed, Platform
from platform_operator.errors import ApiError, InvalidSpecError, RenderError
from platform_operator.invariants.conditions import Figures, Heard
from platform_operator.plan.planner import Children, Obstacle, Plan, Refusal
from platform_operator.status.describe import PATIENCE, Outcome, Status, describe, event, news

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLATFORM = Platform(Key("shop", "shop"), "uid-1", 1, 7, False, {}, {})
SETTLED = Plan((), (), 0, ())
WAITING = Plan((), (), 3, (Obstacle(ObjectId("StatefulSet", "shop-order-db"), 1, "has 0 of 1 pods ready"),))
FAILED = Plan((), (), 3, (Obstacle(ObjectId("Job", "shop-order-migrate-1"), 2, "BackoffLimitExceeded", failed=True),))


BUSINESS = ("NothingOversold", "NobodyChargedTwice", "BooksAgree", "EventsFlow")


def status(
    outcome: Outcome,
    platform: Platform = PLATFORM,
    spec: dict[str, Any] | None = None,
    now: datetime = NOW,
    heard: dict[str, Heard] | None = None,
    waited: timedelta = timedelta(),
) -> Status:
    return describe(platform, parse(spec or {}), "1.0", outcome, {}, heard or {}, now, waited)


def every_condition(made: Status) -> dict[str, tuple[str, str]]:
    return {condition["type"]: (condition["status"], condition["reason"]) for condition in made["conditions"]}


def conditions(made: Status) -> dict[str, tuple[str, str]]:
    return {type_: found for type_, found in every_condition(made).items() if type_ not in BUSINESS}


def heard(**violations: int) -> dict[str, Heard]:
    """Every source has said something: rows that break the invariant `books_balance` of some, none of the others."""
    services = {
        name: Figures({"books_balance": violations.get(name, 0)}, checked=NOW.timestamp(), lag=0.0)
        for name in WITH_DATABASE
    }
    said = {**services, "rabbitmq": Figures(dead={"order.dead": 0})}
    return {source: Heard(NOW.timestamp(), figures) for source, figures in said.items()}


def message(made: Status, type_: str) -> str:
    return str(next(condition["message"] for condition in made["conditions"] if condition["type"] == type_))


def refusal(kind: str, code: int, text: str) -> Outcome:
    return Outcome(WAITING, (Refusal(ObjectId(kind, "shop-order-db"), ApiError(code, "Invalid", text)),))


def test_a_settled_platform_is_ready() -> None:
    assert conditions(status(Outcome(SETTLED))) == {
        "Ready": ("True", "AllReady"),
        "Progressing": ("False", "Stable"),
        "Degraded": ("False", "Healthy"),
    }


def test_a_waiting_platform_says_what_it_waits_for() -> None:
    made = status(Outcome(WAITING))
    assert conditions(made)["Ready"] == ("False", "WaitingForStores")
    assert conditions(made)["Progressing"] == ("True", "WaitingForStores")
    assert "StatefulSet shop-order-db, which has 0 of 1 pods ready" in message(made, "Ready")


def test_a_failed_migration_names_the_job_and_the_commands() -> None:
    made = status(Outcome(FAILED))
    assert conditions(made)["Degraded"] == ("True", "MigrationFailed")
    assert "kubectl -n shop logs job/shop-order-migrate-1" in message(made, "Degraded")
    assert "kubectl -n shop delete job shop-order-migrate-1" in message(made, "Degraded")


@pytest.mark.parametrize(
    ("outcome", "reason", "advice"),
    [
        (Outcome(error=InvalidSpecError("spec.x: no")), "InvalidSpec", "spec.x: no"),
        (Outcome(error=RenderError("chart says no")), "RenderFailed", "chart says no"),
        (Outcome(error=ApiError(403, "Forbidden", "cannot delete jobs")), "Refused", "Give it the right"),
        (refusal("ServiceMonitor", 404, "not found"), "Refused", "Install the add-on"),
        (refusal("Deployment", 403, "exceeded quota"), "Refused", "Raise the quota of namespace shop"),
        (refusal("StatefulSet", 422, "Forbidden: updates to statefulset spec"), "ImmutableField", "--cascade=orphan"),
        (refusal("Deployment", 422, "spec.x: Invalid value"), "Refused", "Correct what the message names"),
    ],
)
def test_every_failure_says_what_to_do(outcome: Outcome, reason: str, advice: str) -> None:
    made = status(outcome)
    assert conditions(made)["Degraded"] == ("True", reason)
    assert conditions(made)["Ready"] == ("False", reason)
    assert advice in message(made, "Degraded")


def test_patience_ends() -> None:
    assert conditions(status(Outcome(WAITING), waited=PATIENCE))["Degraded"] == ("True", "TakesTooLong")
    made = status(Outcome(WAITING), waited=PATIENCE - timedelta(seconds=1))
    assert conditions(made)["Degraded"] == ("False", "Healthy")


@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment"])
def test_of_a_store_that_is_stuck_the_pod_to_delete_is_named_since_no_correction_replaces_it(kind: str) -> None:
    stuck = Plan((), (), 1, (Obstacle(ObjectId(kind, "shop-order-db"), 1, "is replacing its pods"),))
    said = message(status(Outcome(stuck), waited=PATIENCE), "Degraded")
    assert ("kubectl -n shop delete pod shop-order-db-0" in said) == (kind == "StatefulSet")


def test_a_paused_platform_says_so() -> None:
    made = status(Outcome(None), spec={"paused": True})
    assert conditions(made)["Ready"] == ("False", "Paused")
    assert conditions(status(Outcome(SETTLED), spec={"paused": True})) == {
        "Ready": ("True", "AllReady"),
        "Progressing": ("False", "Paused"),
        "Degraded": ("False", "Healthy"),
    }


def test_an_unchanged_platform_has_an_unchanged_status() -> None:
    stored = status(Outcome(SETTLED))
    assert status(Outcome(SETTLED), replace(PLATFORM, status=stored), now=NOW + timedelta(hours=1)) == stored


def test_times_move_only_with_the_status_they_date() -> None:
    stored = status(Outcome(WAITING))
    later = status(Outcome(FAILED), replace(PLATFORM, status=stored), now=NOW + timedelta(hours=1))
    times = {condition["type"]: condition["lastTransitionTime"] for condition in later["conditions"]}
    assert {type_: time for type_, time in times.items() if type_ not in BUSINESS} == {
        "Ready": "2026-01-02T03:04:05Z",
        "Progressing": "2026-01-02T04:04:05Z",
        "Degraded": "2026-01-02T04:04:05Z",
    }


def test_every_condition_tells_the_generation_it_speaks_of() -> None:
    made = status(Outcome(SETTLED))
    assert made["observedGeneration"] == 7
    assert {condition["observedGeneration"] for condition in made["conditions"]} == {7}


@pytest.mark.parametrize(
    ("ingress", "url"),
    [
        ({}, "http://shop-gateway.shop.svc:8080"),
        ({"enabled": True, "host": "a.example"}, "http://a.example"),
        ({"enabled": True, "host": "a.example", "tls": {"secretName": "t"}}, "https://a.example"),
    ],
)
def test_the_url_is_where_the_shop_answers(ingress: dict[str, Any], url: str) -> None:
    assert status(Outcome(SETTLED), spec={"ingress": ingress})["url"] == url


def test_events_tell_of_transitions_only() -> None:
    first = status(Outcome(WAITING))
    assert [condition["type"] for condition in news(PLATFORM, first)] == ["Progressing"]
    ready = status(Outcome(SETTLED), replace(PLATFORM, status=first))
    assert [condition["type"] for condition in news(replace(PLATFORM, status=first), ready)] == ["Ready"]
    assert [*news(replace(PLATFORM, status=ready), ready)] == []


def test_a_failure_is_a_warning() -> None:
    failed = [condition for condition in news(PLATFORM, status(Outcome(FAILED))) if condition["type"] == "Degraded"]
    assert event(PLATFORM, failed[0], "operator-1", NOW)["type"] == "Warning"


def test_an_event_is_named_once_for_each_transition() -> None:
    def name(platform: Platform = PLATFORM, seconds: int = 0, **moved: str) -> str:
        condition = status(Outcome(FAILED))["conditions"][2] | moved
        return str(event(platform, condition, "operator-1", NOW + timedelta(seconds=seconds))["metadata"]["name"])

    assert name(seconds=9) == name()
    others = [
        name(replace(PLATFORM, generation=8)),
        name(lastTransitionTime="2026-01-02T03:04:06Z"),
        name(reason="Refused"),
        name(status="False"),
    ]
    assert len({name(), *others}) == 5


def test_the_stores_profile_is_the_platforms_first_one() -> None:
    def first(observed: Children) -> Status:
        return describe(PLATFORM, parse({"profile": "large"}), "1.0", Outcome(WAITING), observed, {}, NOW, timedelta())

    store = ObjectId("StatefulSet", "shop-order-db")
    assert "storeProfile" not in first({}), "nothing was made with it yet"
    assert first({store: Observed(store, "u", 1, "", "", False, None)})["storeProfile"] == "large"
    known = replace(PLATFORM, status={"storeProfile": "small"})
    assert status(Outcome(SETTLED), known, spec={"profile": "large"})["storeProfile"] == "small"


def test_what_follows_from_a_spec_stays_while_the_spec_is_invalid() -> None:
    spec = {
        "version": "2.0",
        "ingress": {"enabled": True, "host": "a.example"},
        "broker": {"provider": "external", "external": {"secretRef": {"name": "broker"}}},
    }
    stored = status(Outcome(SETTLED), spec=spec, heard=heard())
    platform, invalid = replace(PLATFORM, status=stored), Outcome(error=InvalidSpecError("spec.x: no"))
    made = describe(platform, None, "1.0", invalid, {}, {}, NOW, timedelta())
    for name in ("version", "url", "databases", "invariants"):
        assert made[name] == stored[name]
    describe(PLATFORM, None, "1.0", invalid, {}, {}, NOW, timedelta())


def test_an_api_server_that_may_answer_the_next_time_is_no_failure_of_the_shop() -> None:
    made = status(Outcome(error=ApiError(500, "InternalError", "failed calling webhook")))
    assert conditions(made) == {
        "Ready": ("False", "Interrupted"),
        "Progressing": ("True", "Interrupted"),
        "Degraded": ("False", "Healthy"),
    }
    assert "failed calling webhook" in message(made, "Ready")


@pytest.mark.parametrize("outcome", [Outcome(SETTLED), Outcome(error=RenderError("no"))], ids=["ready", "degraded"])
def test_an_api_server_that_does_not_answer_once_makes_no_shop_unready_and_heals_none(outcome: Outcome) -> None:
    before, away = status(outcome), Outcome(error=ApiError(0, "Unreachable", "no answer"))
    parts = {type_: conditions(before)[type_] for type_ in ("Ready", "Degraded")}

    same = status(away, replace(PLATFORM, status=before))
    changed = status(away, replace(PLATFORM, status=before, generation=PLATFORM.generation + 1))

    assert conditions(same) == {**parts, "Progressing": ("True", "Interrupted")}
    assert conditions(changed)["Ready"] == ("False", "Interrupted")


def test_business_truth_is_told_and_does_not_decide_whether_a_shop_is_ready() -> None:
    made = status(Outcome(SETTLED), heard=heard(inventory=2))
    assert every_condition(made) == {
        "Ready": ("True", "AllReady"),
        "Progressing": ("False", "Stable"),
        "Degraded": ("False", "Healthy"),
        "NothingOversold": ("False", "InvariantBroken"),
        "NobodyChargedTwice": ("True", "AllHold"),
        "BooksAgree": ("True", "AllHold"),
        "EventsFlow": ("True", "AllHold"),
    }
    broken = [row for row in made["invariants"] if row["state"] == "Broken"]
    assert [(row["service"], row["name"], row["violations"]) for row in broken] == [("inventory", "books_balance", 2)]


def test_of_a_new_shop_nobody_knows_anything_and_nobody_is_told_so() -> None:
    made = status(Outcome(WAITING))
    assert {every_condition(made)[type_] for type_ in BUSINESS} == {("Unknown", "NotReadYet")}
    kept = status(Outcome(WAITING), replace(PLATFORM, status=made), heard=heard())
    assert {every_condition(kept)[type_] for type_ in BUSINESS} == {("True", "AllHold")}
    told = [*news(PLATFORM, made), *news(replace(PLATFORM, status=made), kept)]
    assert not [condition for condition in told if condition["type"] in BUSINESS]


def test_the_same_truth_later_is_the_same_status() -> None:
    stored = status(Outcome(SETTLED), heard=heard(order=1))
    later = status(
        Outcome(SETTLED), replace(PLATFORM, status=stored), now=NOW + timedelta(minutes=2), heard=heard(order=1)
    )
    assert later == stored


def test_an_operator_that_has_just_started_says_what_was_said_before() -> None:
    stored = status(Outcome(SETTLED), heard=heard(order=1))
    assert status(Outcome(SETTLED), replace(PLATFORM, status=stored), now=NOW + timedelta(days=1)) == stored


def test_a_broken_promise_is_a_warning_and_its_mending_is_told_too() -> None:
    kept = replace(PLATFORM, status=status(Outcome(SETTLED), heard=heard()))
    wrong = status(Outcome(SETTLED), kept, heard=heard(payment=1, order=1))
    broken, told = replace(PLATFORM, status=wrong), [*news(kept, wrong)]
    assert [condition["type"] for condition in told] == ["NobodyChargedTwice", "BooksAgree"]
    assert {event(PLATFORM, condition, "operator-1", NOW)["type"] for condition in told} == {"Warning"}
    assert [*news(broken, status(Outcome(SETTLED), broken, heard=heard(payment=5, order=1)))] == [], "no transition"
    mended = [*news(broken, status(Outcome(SETTLED), broken, heard=heard()))]
    assert [condition["type"] for condition in mended] == ["NobodyChargedTwice", "BooksAgree"]
    assert {event(PLATFORM, condition, "operator-1", NOW)["type"] for condition in mended} == {"Normal"}
