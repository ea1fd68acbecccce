"""Causes: which Events say why an object is not ready."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from platform_operator.api.kinds import ObjectId
from platform_operator.plan.planner import Plan
from platform_operator.plan.readiness import Blocker
from platform_operator.status.causes import MAX_LENGTH, MAX_SKEW, with_causes

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STORE, JOB, SERVICE, BROKER = (
    ObjectId("StatefulSet", "shop-order-db"),
    ObjectId("Job", "shop-order-migrate-1a2b3c4d"),
    ObjectId("Deployment", "shop-order"),
    ObjectId("RabbitmqCluster", "shop-rabbitmq"),
)


def event(
    kind: str, name: str, reason: str = "FailedCreate", message: str = "why", at: datetime = NOW
) -> dict[str, Any]:
    involved = {"kind": kind, "name": name}
    return {
        "metadata": {},
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "eventTime": at.isoformat(),
    }


def explained(*events: dict[str, Any], identity: ObjectId = STORE, lacks_pods: bool = True) -> Blocker:
    waiting = Blocker(identity, 1, "is not ready", lacks_pods=lacks_pods)
    (blocker,) = with_causes(Plan((), (), 0, (waiting,)), events, {}, NOW).blockers
    return blocker


@pytest.mark.parametrize(
    ("identity", "kind", "name"),
    [
        (STORE, "StatefulSet", "shop-order-db"),
        (STORE, "Pod", "shop-order-db-0"),
        (STORE, "PersistentVolumeClaim", "data-shop-order-db-0"),
        (BROKER, "StatefulSet", "shop-rabbitmq-server"),
        (BROKER, "Pod", "shop-rabbitmq-server-2"),
        (BROKER, "PersistentVolumeClaim", "persistence-shop-rabbitmq-server-2"),
        (JOB, "Job", "shop-order-migrate-1a2b3c4d"),
        (JOB, "Pod", "shop-order-migrate-1a2b3c4d-x7k2p"),
        (SERVICE, "Deployment", "shop-order"),
        (SERVICE, "ReplicaSet", "shop-order-6d4cf56db6"),
        (SERVICE, "Pod", "shop-order-6d4cf56db6-x7k2p"),
    ],
)
def test_a_cause_travels_from_what_was_made_for_an_object_to_the_object(
    identity: ObjectId, kind: str, name: str
) -> None:
    assert explained(event(kind, name), identity=identity).message == "is not ready (FailedCreate: why)"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Pod", "shop-order-db-0"),
        ("ReplicaSet", "shop-order-db-6d4cf56db6"),
        ("Deployment", "shop-orders"),
        ("Service", "shop-order"),
    ],
)
def test_the_cause_of_another_object_is_not_taken(kind: str, name: str) -> None:
    assert explained(event(kind, name), identity=SERVICE).message == "is not ready"


def test_only_refused_pods_are_a_failure() -> None:
    assert explained(event("StatefulSet", STORE.name)).failed
    pending = explained(event("PersistentVolumeClaim", "data-shop-order-db-0", "ProvisioningFailed", "no class"))
    assert (pending.message, pending.failed) == ("is not ready (ProvisioningFailed: no class)", False)


def test_a_symptom_an_old_event_and_a_refusal_that_is_over_are_no_causes() -> None:
    assert explained(event("Pod", "shop-order-db-0", "Unhealthy")).message == "is not ready"
    old = event("StatefulSet", STORE.name, at=NOW - MAX_SKEW - timedelta(seconds=1))
    assert explained(old).message == "is not ready"
    assert explained(event("StatefulSet", STORE.name), lacks_pods=False).message == "is not ready"


def test_the_newest_cause_counts_in_stable_and_bounded_words() -> None:
    newer = event("Job", JOB.name, message=f'Error creating: pods "{JOB.name}-x7k2p" is forbidden' + "x" * 999)
    older = event("Job", JOB.name, message="older", at=NOW - timedelta(seconds=1))
    text = explained(older, newer, identity=JOB).message
    assert text.startswith(f'is not ready (FailedCreate: Error creating: pods "{JOB.name}-…" is forbidden')
    assert len(text) < MAX_LENGTH + 50


def test_an_object_that_has_been_waiting_keeps_its_older_cause() -> None:
    waiting = Blocker(STORE, 1, "is not ready", lacks_pods=True)
    plan, older = Plan((), (), 0, (waiting,)), NOW - timedelta(minutes=20)
    (blocker,) = with_causes(plan, [event("StatefulSet", STORE.name, at=older)], {STORE: older}, NOW).blockers
    assert blocker.failed
