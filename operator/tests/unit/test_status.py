from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from platform_operator.api.conditions import Condition, ConditionReason
from platform_operator.api.kinds import CHILD_KINDS, Kind, ObjectId, PlatformKey
from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.cache.observed import Children, ObservedObject, Platform
from platform_operator.errors import ApiError, InvalidSpecError, RenderError, UnexpectedError
from platform_operator.invariants.scrape_results import ForwardedHeaders, ScrapeResult, ServiceMetrics
from platform_operator.plan.comparison import Change, ChangeReason
from platform_operator.plan.dependencies import Waiting
from platform_operator.plan.field_fights import FieldFight
from platform_operator.plan.fleet import Target
from platform_operator.plan.inventory import DesiredObject
from platform_operator.plan.planner import Plan
from platform_operator.plan.readiness import Blocker, Refusal
from platform_operator.status.backups import BackupReport
from platform_operator.status.conditions import PROGRESS_DEADLINE, PassResult
from platform_operator.status.events import EVENT_INTERVAL, changed_conditions, repair_event, transition_event
from platform_operator.status.platform_status import MAX_MESSAGE_LENGTH, Snapshot, Status, describe

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLATFORM = Platform(PlatformKey("shop", "shop"), "uid-1", 1, 7, False, {}, {})
CONVERGED = Plan((), (), 0, ())
TARGET = Target("1.0", "charts")
WAITING = Plan((), (), 3, (Blocker(ObjectId("StatefulSet", "shop-order-db"), 1, "has 0 of 1 pods ready"),))
FAILED = Plan((), (), 3, (Blocker(ObjectId("Job", "shop-order-migrate-1"), 2, "BackoffLimitExceeded", failed=True),))


INVARIANTS = ("NothingOversold", "NoDoubleCharge", "InvariantsHold", "EventsDelivered", "ProxiesTrusted")


def status(
    result: PassResult,
    platform: Platform = PLATFORM,
    spec: dict[str, Any] | None = None,
    now: datetime = NOW,
    scraped: dict[str, ScrapeResult] | None = None,
    blocked_for: timedelta = timedelta(),
) -> Status:
    snapshot = Snapshot(platform, parse(spec or {}), {}, scraped or {}, now)
    blockers = result.plan.blockers if result.plan else ()
    return describe(snapshot, replace(result, target=TARGET, blocked_for={one.id: blocked_for for one in blockers}))


def every_condition(made: Status) -> dict[str, tuple[str, str]]:
    return {condition["type"]: (condition["status"], condition["reason"]) for condition in made["conditions"]}


def conditions(made: Status) -> dict[str, tuple[str, str]]:
    return {
        type_: found
        for type_, found in every_condition(made).items()
        if type_ not in (*INVARIANTS, "MailConfigured", "FieldFight", "Upgraded")
    }


def scraped(**violations: int) -> dict[str, ScrapeResult]:
    """A result of every source: so many rows break the invariant `ledger_balances` of a service, none if it is not
    named."""
    services = {
        name: ServiceMetrics({"ledger_balances": violations.get(name, 0)}, checked=NOW.timestamp(), lag=0.0)
        for name in WITH_DATABASE
    }
    gateway = ServiceMetrics(forwarded=ForwardedHeaders(1000, 0))
    metrics = {**services, "gateway": gateway, "rabbitmq": ServiceMetrics(dead_letters={"order.dead": 0})}
    return {source: ScrapeResult(NOW.timestamp(), one) for source, one in metrics.items()}


def message(made: Status, type_: str) -> str:
    return str(next(condition["message"] for condition in made["conditions"] if condition["type"] == type_))


def refusal(kind: str, code: int, text: str) -> PassResult:
    return PassResult(WAITING, (Refusal(ObjectId(kind, "shop-order-db"), ApiError(code, "Invalid", text)),))


def test_a_converged_platform_is_ready() -> None:
    assert conditions(status(PassResult(CONVERGED))) == {
        "Ready": ("True", "AllReady"),
        "Progressing": ("False", "Stable"),
        "Degraded": ("False", "Healthy"),
    }


def test_a_waiting_platform_says_what_it_waits_for() -> None:
    made = status(PassResult(WAITING))
    assert conditions(made)["Ready"] == ("False", "WaitingForStores")
    assert conditions(made)["Progressing"] == ("True", "WaitingForStores")
    assert "Waiting for StatefulSet shop-order-db: has 0 of 1 pods ready." in message(made, "Ready")


def test_a_failed_migration_names_the_job_and_the_commands() -> None:
    made = status(PassResult(FAILED))
    assert conditions(made)["Degraded"] == ("True", "MigrationFailed")
    assert "kubectl -n shop logs job/shop-order-migrate-1" in message(made, "Degraded")
    assert "kubectl -n shop delete job shop-order-migrate-1" in message(made, "Degraded")


@pytest.mark.parametrize(
    ("result", "reason", "advice"),
    [
        (PassResult(error=InvalidSpecError("spec.x: no")), "InvalidSpec", "spec.x: no"),
        (PassResult(error=RenderError("the chart refuses")), "RenderFailed", "the chart refuses"),
        (PassResult(error=UnexpectedError("KeyError: 'x'")), "InternalError", "KeyError: 'x'. This is a fault"),
        (PassResult(error=ApiError(403, "Forbidden", "cannot delete jobs")), "Refused", "Grant the operator the right"),
        (refusal("Cluster", 404, "not found"), "Refused", "CloudNativePG is not installed: The API server refused"),
        (refusal("Deployment", 403, "exceeded quota"), "Refused", "Raise the quota of namespace shop"),
        (refusal("StatefulSet", 422, "Forbidden: updates to statefulset spec"), "ImmutableField", "--cascade=orphan"),
        (
            refusal("Deployment", 422, "spec.x: Invalid value"),
            "Refused",
            "Correct the field of the spec that the message names",
        ),
    ],
)
def test_every_failure_says_what_to_do(result: PassResult, reason: str, advice: str) -> None:
    made = status(result)
    assert conditions(made)["Degraded"] == ("True", reason)
    assert conditions(made)["Ready"] == ("False", reason)
    assert advice in message(made, "Degraded")


@pytest.mark.parametrize("kind", [kind for kind in CHILD_KINDS.values() if kind.add_on], ids=lambda kind: kind.kind)
def test_a_missing_add_on_is_named_with_the_command_that_installs_it(kind: Kind) -> None:
    text = message(status(refusal(kind.kind, 404, "not found")), "Degraded")
    assert kind.add_on is not None
    assert text.startswith(f"{kind.add_on.name} is not installed: The API server refused {kind.kind} shop-order-db")
    assert text.endswith(f"nstall it: {kind.add_on.install}")
    assert kind.add_on.install.startswith("kubectl apply --server-side -f https://")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("Cluster", ()),  # the provider of a store never changes
        ("RabbitmqCluster", ()),
        ("HTTPRoute", ("ingress.gateway",)),
        ("ServiceMonitor", ("monitoring.serviceMonitors", "monitoring.alerts")),
        ("PrometheusRule", ("monitoring.serviceMonitors", "monitoring.alerts")),
    ],
)
def test_a_spec_can_do_without_an_add_on_only_if_its_fields_may_change(kind: str, fields: tuple[str, ...]) -> None:
    text = message(status(refusal(kind, 404, "not found")), "Degraded")
    assert all(field in text for field in fields)
    assert ("spec" in text) == bool(fields)


def test_a_wave_blocked_beyond_the_deadline_makes_the_platform_degraded() -> None:
    assert conditions(status(PassResult(WAITING), blocked_for=PROGRESS_DEADLINE))["Degraded"] == (
        "True",
        "ProgressDeadlineExceeded",
    )
    made = status(PassResult(WAITING), blocked_for=PROGRESS_DEADLINE - timedelta(seconds=1))
    assert conditions(made)["Degraded"] == ("False", "Healthy")


@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment"])
def test_a_stuck_statefulset_names_the_pod_to_delete(kind: str) -> None:
    stuck = Plan((), (), 1, (Blocker(ObjectId(kind, "shop-order-db"), 1, "is replacing its pods", pods=1),))
    text = message(status(PassResult(stuck), blocked_for=PROGRESS_DEADLINE), "Degraded")
    assert ("kubectl -n shop delete pod shop-order-db-0" in text) == (kind == "StatefulSet")


def test_a_blocked_object_keeps_its_time_until_it_is_ready() -> None:
    first = status(PassResult(WAITING))
    since = "2026-01-02T03:04:05Z"
    assert first["blocked"] == [
        {
            "kind": "StatefulSet",
            "name": "shop-order-db",
            "state": "NotReady",
            "message": "has 0 of 1 pods ready",
            "since": since,
        }
    ]
    later, known = NOW + timedelta(hours=1), replace(PLATFORM, status=first)
    assert status(PassResult(WAITING), known, now=later)["blocked"] == first["blocked"]
    assert status(PassResult(error=ApiError(500, "", "down")), known, now=later)["blocked"] == first["blocked"]
    assert [row["since"] for row in status(PassResult(FAILED), known, now=later)["blocked"]] == ["2026-01-02T04:04:05Z"]
    assert status(PassResult(CONVERGED), known, now=later)["blocked"] == []


def test_what_waits_and_what_was_refused_is_shown_for_each_object() -> None:
    waiting = Waiting(ObjectId("Deployment", "shop-order"), 3, ObjectId("StatefulSet", "shop-order-db"))
    made = status(replace(refusal("StatefulSet", 422, "Forbidden: no"), plan=replace(WAITING, waiting=(waiting,))))
    assert {f"{row['kind']} {row['name']}": row["message"] for row in made["blocked"]} == {
        "Deployment shop-order": "waits for StatefulSet shop-order-db",
        "StatefulSet shop-order-db": "was refused: Forbidden: no",
    }


def test_the_time_in_which_an_object_waited_for_another_is_not_its_own() -> None:
    service = ObjectId("Deployment", "shop-order")
    waiting = replace(WAITING, waiting=(Waiting(service, 3, ObjectId("StatefulSet", "shop-order-db")),))
    stored = replace(PLATFORM, status=status(PassResult(waiting)))
    applied = PassResult(Plan((), (), 0, (Blocker(service, 3, "has 0 of 1 pods ready"),)))
    (row,) = status(applied, stored, now=NOW + timedelta(hours=1))["blocked"]
    assert row["since"] == "2026-01-02T04:04:05Z"


def test_the_advice_for_a_volume_that_cannot_grow_has_nothing_that_is_refused() -> None:
    made = status(refusal("StatefulSet", 422, "Forbidden: updates to statefulset spec"))
    assert conditions(made)["Degraded"] == ("True", "ImmutableField")
    assert "revert" not in message(made, "Degraded")  # a smaller size is refused by the CRD


def test_no_pod_that_does_not_exist_is_to_be_deleted() -> None:
    made = status(PassResult(WAITING), blocked_for=PROGRESS_DEADLINE)
    assert conditions(made)["Degraded"] == ("True", "ProgressDeadlineExceeded")
    assert "delete pod" not in message(made, "Degraded")


FIGHT = FieldFight(ObjectId("Deployment", "shop-order"), "argocd", "spec.replicas", NOW, repairs=9)


def test_a_field_fight_names_the_object_the_field_and_the_other_writer() -> None:
    made = status(PassResult(CONVERGED, fights=(FIGHT,)))
    assert every_condition(made)["FieldFight"] == ("True", "TakenAgain")
    assert "Deployment shop-order: field spec.replicas is taken by argocd again" in message(made, "FieldFight")
    assert conditions(made)["Ready"] == ("True", "AllReady")
    (event,) = [one for one in changed_conditions(PLATFORM, made) if one["type"] == "FieldFight"]
    assert transition_event(PLATFORM, event, "operator-1", NOW)["type"] == "Warning"


def test_a_field_fight_stands_until_its_end_is_known() -> None:
    assert "FieldFight" not in every_condition(status(PassResult(CONVERGED)))
    fought = replace(PLATFORM, status=status(PassResult(CONVERGED, fights=(FIGHT,))))
    assert status(PassResult(CONVERGED, fights=None), fought)["conditions"][-1] == fought.status["conditions"][-1]
    assert every_condition(status(PassResult(CONVERGED), fought))["FieldFight"] == ("False", "NoFieldFight")


def test_the_messages_of_the_status_are_bounded() -> None:
    made = status(PassResult(error=ApiError(403, "Forbidden", "x" * 1_000_000)))
    assert max(len(one["message"]) for one in made["conditions"]) == MAX_MESSAGE_LENGTH


@pytest.mark.parametrize("spec", [{"mode": "Observe"}, {"paused": True}, {"mode": "Manage", "paused": True}])
def test_an_observed_platform_says_so(spec: dict[str, Any]) -> None:
    made = status(PassResult(None), spec=spec)
    assert conditions(made)["Ready"] == ("False", "Observing")
    assert made["mode"] == "Observe"
    assert conditions(status(PassResult(CONVERGED), spec=spec)) == {
        "Ready": ("True", "AllReady"),
        "Progressing": ("False", "Observing"),
        "Degraded": ("False", "Healthy"),
    }


def test_an_unchanged_platform_has_an_unchanged_status() -> None:
    stored = status(PassResult(CONVERGED))
    assert status(PassResult(CONVERGED), replace(PLATFORM, status=stored), now=NOW + timedelta(hours=1)) == stored


def test_times_move_only_with_the_status_they_date() -> None:
    stored = status(PassResult(WAITING))
    later = status(PassResult(FAILED), replace(PLATFORM, status=stored), now=NOW + timedelta(hours=1))
    times = {condition["type"]: condition["lastTransitionTime"] for condition in later["conditions"]}
    assert {
        type_: time for type_, time in times.items() if type_ not in (*INVARIANTS, "MailConfigured", "Upgraded")
    } == {
        "Ready": "2026-01-02T03:04:05Z",
        "Progressing": "2026-01-02T04:04:05Z",
        "Degraded": "2026-01-02T04:04:05Z",
    }


def test_every_condition_has_the_observed_generation() -> None:
    made = status(PassResult(CONVERGED))
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
def test_the_url_follows_the_ingress(ingress: dict[str, Any], url: str) -> None:
    assert status(PassResult(CONVERGED), spec={"ingress": ingress})["url"] == url


def test_only_transitions_are_reported() -> None:
    first = status(PassResult(WAITING))
    assert [condition["type"] for condition in changed_conditions(PLATFORM, first)] == ["Progressing"]
    ready = status(PassResult(CONVERGED), replace(PLATFORM, status=first))
    assert [condition["type"] for condition in changed_conditions(replace(PLATFORM, status=first), ready)] == ["Ready"]
    assert [*changed_conditions(replace(PLATFORM, status=ready), ready)] == []


def test_a_failure_is_a_warning() -> None:
    failed = [
        condition
        for condition in changed_conditions(PLATFORM, status(PassResult(FAILED)))
        if condition["type"] == "Degraded"
    ]
    assert transition_event(PLATFORM, failed[0], "operator-1", NOW)["type"] == "Warning"


def test_an_event_is_named_once_for_each_transition() -> None:
    def name(platform: Platform = PLATFORM, seconds: int = 0, **moved: str) -> str:
        condition = status(PassResult(FAILED))["conditions"][2] | moved
        return str(
            transition_event(platform, condition, "operator-1", NOW + timedelta(seconds=seconds))["metadata"]["name"]
        )

    assert name(seconds=9) == name()
    others = [
        name(replace(PLATFORM, generation=8)),
        name(lastTransitionTime="2026-01-02T03:04:06Z"),
        name(reason="Refused"),
        name(status="False"),
    ]
    assert len({name(), *others}) == 5


def test_the_store_profile_is_the_platforms_first_profile() -> None:
    def first(observed: Children) -> Status:
        snapshot = Snapshot(PLATFORM, parse({"profile": "large"}), observed, {}, NOW)
        return describe(snapshot, PassResult(WAITING))

    store = ObjectId("StatefulSet", "shop-order-db")
    assert "storeProfile" not in first({}), "no store has been made with it yet"
    assert first({store: ObservedObject(store, "u", 1, "", "", False, None)})["storeProfile"] == "large"
    known = replace(PLATFORM, status={"storeProfile": "small"})
    assert status(PassResult(CONVERGED), known, spec={"profile": "large"})["storeProfile"] == "small"


def test_status_that_follows_from_the_spec_stays_while_the_spec_is_invalid() -> None:
    spec = {
        "version": "2.0",
        "ingress": {"enabled": True, "host": "a.example"},
        "broker": {"provider": "external", "external": {"secretRef": {"name": "broker"}}},
    }
    stored = status(PassResult(CONVERGED), spec=spec, scraped=scraped())
    platform, invalid = replace(PLATFORM, status=stored), PassResult(error=InvalidSpecError("spec.x: no"))
    made = describe(Snapshot(platform, None, {}, {}, NOW), invalid)
    for name in ("version", "url", "databases", "invariants"):
        assert made[name] == stored[name]
    describe(Snapshot(PLATFORM, None, {}, {}, NOW), invalid)


def test_a_transient_error_of_the_api_server_does_not_degrade_a_shop() -> None:
    made = status(PassResult(error=ApiError(500, "InternalError", "failed calling webhook")))
    assert conditions(made) == {
        "Ready": ("False", "RequestFailed"),
        "Progressing": ("True", "RequestFailed"),
        "Degraded": ("False", "Healthy"),
    }
    assert "failed calling webhook" in message(made, "Ready")


@pytest.mark.parametrize(
    "result", [PassResult(CONVERGED), PassResult(error=RenderError("no"))], ids=["ready", "degraded"]
)
def test_an_unanswered_request_leaves_ready_and_degraded_unchanged(result: PassResult) -> None:
    before, unanswered = status(result), PassResult(error=ApiError(0, "Unreachable", "no answer"))
    parts = {type_: conditions(before)[type_] for type_ in ("Ready", "Degraded")}

    same = status(unanswered, replace(PLATFORM, status=before))
    changed = status(unanswered, replace(PLATFORM, status=before, generation=PLATFORM.generation + 1))

    assert conditions(same) == {**parts, "Progressing": ("True", "RequestFailed")}
    assert conditions(changed)["Ready"] == ("False", "RequestFailed")


def test_a_broken_invariant_is_reported_and_leaves_a_shop_ready() -> None:
    made = status(PassResult(CONVERGED), scraped=scraped(inventory=2))
    assert every_condition(made) == {
        "Ready": ("True", "AllReady"),
        "Progressing": ("False", "Stable"),
        "Degraded": ("False", "Healthy"),
        "NothingOversold": ("False", "InvariantBroken"),
        "NoDoubleCharge": ("True", "AllHold"),
        "InvariantsHold": ("True", "AllHold"),
        "EventsDelivered": ("True", "AllHold"),
        "ProxiesTrusted": ("True", "AllHold"),
        "MailConfigured": ("False", "NoMailServer"),
        "Upgraded": ("True", "UpToDate"),
    }
    broken = [row for row in made["invariants"] if row["state"] == "Broken"]
    assert [(row["service"], row["name"], row["violations"]) for row in broken] == [("inventory", "ledger_balances", 2)]


def test_a_shop_without_a_mail_server_says_so_and_one_with_a_server_does_not() -> None:
    without = status(PassResult(CONVERGED))
    assert every_condition(without)["MailConfigured"] == ("False", "NoMailServer")
    assert "spec.notifications.smtp" in message(without, "MailConfigured")
    assert every_condition(without)["Ready"] == ("True", "AllReady")
    smtp = {"host": "smtp.example.com", "from": "shop@example.com"}
    with_server = status(PassResult(CONVERGED), spec={"notifications": {"smtp": smtp}})
    assert every_condition(with_server)["MailConfigured"] == ("True", "MailServerSet")
    snapshot = Snapshot(PLATFORM, None, {}, {}, NOW)
    assert every_condition(describe(snapshot, PassResult()))["MailConfigured"] == ("Unknown", "InvalidSpec")


def test_unknown_invariants_of_a_new_shop_are_not_reported() -> None:
    made = status(PassResult(WAITING))
    assert {every_condition(made)[type_] for type_ in INVARIANTS} == {("Unknown", "NotScraped")}
    known = status(PassResult(WAITING), replace(PLATFORM, status=made), scraped=scraped())
    assert {every_condition(known)[type_] for type_ in INVARIANTS} == {("True", "AllHold")}
    reported = [*changed_conditions(PLATFORM, made), *changed_conditions(replace(PLATFORM, status=made), known)]
    assert not [condition for condition in reported if condition["type"] in INVARIANTS]


def test_the_same_metrics_later_give_the_same_status() -> None:
    stored = status(PassResult(CONVERGED), scraped=scraped(order=1))
    later = status(
        PassResult(CONVERGED),
        replace(PLATFORM, status=stored),
        now=NOW + timedelta(minutes=1),
        scraped=scraped(order=1),
    )
    assert later == stored


def test_a_restarted_operator_keeps_the_stored_invariants() -> None:
    stored = status(PassResult(CONVERGED), scraped=scraped(order=1))
    assert status(PassResult(CONVERGED), replace(PLATFORM, status=stored), now=NOW + timedelta(days=1)) == stored


def test_an_invariant_that_breaks_or_holds_again_is_reported() -> None:
    holding = replace(PLATFORM, status=status(PassResult(CONVERGED), scraped=scraped()))
    wrong = status(PassResult(CONVERGED), holding, scraped=scraped(payment=1, order=1))
    broken, reported = replace(PLATFORM, status=wrong), [*changed_conditions(holding, wrong)]
    assert [condition["type"] for condition in reported] == ["NoDoubleCharge", "InvariantsHold"]
    assert {transition_event(PLATFORM, condition, "operator-1", NOW)["type"] for condition in reported} == {"Warning"}
    assert [
        *changed_conditions(broken, status(PassResult(CONVERGED), broken, scraped=scraped(payment=5, order=1)))
    ] == [], "there is no transition"
    restored = [*changed_conditions(broken, status(PassResult(CONVERGED), broken, scraped=scraped()))]
    assert [condition["type"] for condition in restored] == ["NoDoubleCharge", "InvariantsHold"]
    assert {transition_event(PLATFORM, condition, "operator-1", NOW)["type"] for condition in restored} == {"Normal"}


# Repairs.

TAKEN = Change(
    DesiredObject(ObjectId("Deployment", "shop-order"), 3, "digest"),
    ChangeReason.LOST_FIELDS, "kubectl-edit", "spec.replicas",
)  # fmt: skip


def repair(change: Change = TAKEN, now: datetime = NOW) -> dict[str, Any]:
    return repair_event(PLATFORM, change, "operator-1", now)


def test_a_repair_is_reported_with_the_object_the_field_and_its_manager() -> None:
    event = repair()
    assert (event["type"], event["reason"]) == ("Normal", "Repaired")
    assert (
        event["message"] == "Deployment shop-order: field spec.replicas was taken by kubectl-edit and has been restored"
    )
    assert event["involvedObject"]["uid"] == "uid-1"


def test_the_same_repair_is_named_once_in_each_interval_and_another_repair_differs() -> None:
    names = {repair(now=NOW + timedelta(seconds=seconds))["metadata"]["name"] for seconds in range(0, 600, 60)}
    assert len(names) == 1
    later = repair(now=NOW + EVENT_INTERVAL)["metadata"]["name"]
    other = repair(replace(TAKEN, manager="argocd"))["metadata"]["name"]
    assert len({*names, later, other}) == 3


def test_the_message_of_a_repair_is_bounded() -> None:
    assert len(repair(replace(TAKEN, field="x" * 5000))["message"]) == 1024


def test_what_is_known_of_backups_is_in_the_status_and_stands_until_more_is_known() -> None:
    spec = parse({"backup": {"destination": {"volume": {"claimName": "d"}}, "encryptionKeySecretRef": {"name": "k"}}})
    row = {"lastSuccessful": {"backupId": "b"}}
    report = BackupReport(
        row, Condition("BackedUp", True, ConditionReason.BACKED_UP, "The newest successful backup is b.")
    )
    snapshot = Snapshot(PLATFORM, spec, {}, {}, NOW, backup=report)
    made = describe(snapshot, PassResult(CONVERGED))
    assert made["backup"] == row
    assert every_condition(made)["BackedUp"] == ("True", "BackedUp")
    stored = replace(PLATFORM, status=made)
    unknown = describe(replace(snapshot, platform=stored, backup=None), PassResult(CONVERGED))
    assert unknown == made, "an operator that has just started does not know yet"
    without = describe(replace(snapshot, platform=stored, spec=parse({}), backup=None), PassResult(CONVERGED))
    assert "backup" not in without
    assert "BackedUp" not in every_condition(without)
