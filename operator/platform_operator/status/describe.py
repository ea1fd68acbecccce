"""What is true of a platform, said in its status, in Events and in metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from platform_operator.api.conditions import Finding, Reason
from platform_operator.api.kinds import PLATFORM, Manifest, ObjectId
from platform_operator.api.spec import SERVICES, WITH_DATABASE, Spec
from platform_operator.cache.observed import Platform, Workload
from platform_operator.errors import ApiError, OperatorError, RenderError
from platform_operator.invariants import conditions as invariants
from platform_operator.invariants.conditions import PROMISES, Heard
from platform_operator.plan.planner import Children, Obstacle, Plan, Refusal, floor, is_ready, state_of
from platform_operator.render.values import PROFILES, url

PATIENCE = timedelta(minutes=5)
"""How long a wave may be waited for before the platform counts as degraded."""

Status = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How one pass went. No plan: it did not get as far as one."""

    plan: Plan | None = None
    refusals: tuple[Refusal, ...] = ()
    error: OperatorError | None = None


def describe(
    platform: Platform,
    spec: Spec | None,
    version: str,
    outcome: Outcome,
    observed: Children,
    heard: Mapping[str, Heard],
    now: datetime,
    waited: timedelta,
    ailment: str = "",
) -> Status:
    """The whole status. Equal to the stored one when nothing has changed: times move only with what they date.

    `waited` is how long the wave has been that is waited for, `ailment` what the pods of the part say that `ailing` names.
    """
    paused = spec is not None and spec.paused
    books = _books(platform, spec, heard, now)
    services = [_service(platform.key.name, name, observed) for name in SERVICES]
    trouble = _trouble(platform, outcome, waited, ailment)
    findings = (
        _ready(outcome, trouble, sum(service["ready"] for service in services), paused),
        _progressing(outcome, trouble, paused),
        trouble or Finding("Degraded", False, Reason.HEALTHY, "Nothing has failed."),
        *invariants.findings(books, platform.key),
    )
    return {
        "observedGeneration": platform.generation,
        **_as_specified(platform, spec, version, observed),
        "servicesReady": f"{sum(service['ready'] for service in services)}/{len(services)}",
        "conditions": _conditions(platform, outcome, findings, now),
        "services": services,
        "invariants": books,
    }


def _books(platform: Platform, spec: Spec | None, heard: Mapping[str, Heard], now: datetime) -> list[invariants.Row]:
    stored = platform.status.get("invariants", ())
    asked = invariants.sources(spec) if spec else dict.fromkeys(row["service"] for row in stored)
    return invariants.rows(stored, heard, asked, now.timestamp())


def _as_specified(platform: Platform, spec: Spec | None, version: str, observed: Children) -> Status:
    """What follows from the spec. While that cannot be understood it stays what it was."""
    if spec is None:
        kept = ("version", "storeProfile", "url", "databases")
        return {name: platform.status[name] for name in kept if name in platform.status}
    made = "storeProfile" in platform.status or any(identity.kind == "StatefulSet" for identity in observed)
    return {
        "version": spec.version or version,
        "url": url(platform.key, spec.ingress),
        "databases": [_database(platform.key.name, name, spec, observed) for name in WITH_DATABASE],
        **({"storeProfile": store_profile(platform, spec)} if made else {}),
    }


def store_profile(platform: Platform, spec: Spec) -> str:
    """The profile that the stores were made with, or are to be made with: the first one under which there were any."""
    known = platform.status.get("storeProfile")
    return known if known in PROFILES else spec.profile


# --- conditions -------------------------------------------------------------------------------------------------------


def _ready(outcome: Outcome, trouble: Finding | None, ready: int, paused: bool) -> Finding:
    if outcome.plan is not None and outcome.plan.settled:
        return Finding("Ready", True, Reason.ALL_READY, "Every part of the shop is as the spec wants it, and serves.")
    if trouble:
        return Finding("Ready", False, trouble.reason, trouble.message)
    if paused:
        return Finding("Ready", False, Reason.PAUSED, _PAUSED)
    reason, message = _wait(outcome)
    return Finding("Ready", False, reason, f"{ready} of {len(SERVICES)} services are ready. {message}")


def _progressing(outcome: Outcome, trouble: Finding | None, paused: bool) -> Finding:
    if paused:
        return Finding("Progressing", False, Reason.PAUSED, _PAUSED)
    if trouble and trouble.reason is not Reason.TAKES_TOO_LONG:
        return Finding("Progressing", False, trouble.reason, "Stopped until what Degraded tells of is resolved.")
    if outcome.plan is not None and outcome.plan.settled:
        return Finding("Progressing", False, Reason.STABLE, "Nothing is left to do.")
    return Finding("Progressing", True, *_wait(outcome))


_PAUSED = "spec.paused is true: nothing is changed or repaired. Set it to false to go on."

_WAVES = {
    1: Reason.WAITING_FOR_STORES,
    2: Reason.MIGRATING,
    3: Reason.WAITING_FOR_SERVICES,
    4: Reason.WAITING_FOR_GATEWAY,
}


def _wait(outcome: Outcome) -> tuple[Reason, str]:
    if outcome.error is not None:
        return Reason.INTERRUPTED, f"The API server did not carry a request out: {outcome.error}. It is tried again."
    plan = outcome.plan
    if plan is None or plan.waits_for is None:
        return Reason.APPLYING, "Objects are being applied."
    first = [obstacle for obstacle in plan.obstacles if obstacle.wave == plan.waits_for]
    return _WAVES.get(plan.waits_for, Reason.APPLYING), f"Waiting for {_enumerate(first)}."


def _enumerate(obstacles: Sequence[Obstacle]) -> str:
    return "; ".join(f"{obstacle.id}, which {obstacle.text}" for obstacle in obstacles)


def ailing(outcome: Outcome, waited: timedelta) -> Obstacle | None:
    """The part because of which the platform is degraded, if it is one that runs pods."""
    if outcome.error is not None or outcome.refusals or outcome.plan is None:
        return None
    failed = [obstacle for obstacle in outcome.plan.obstacles if obstacle.failed]
    if failed:
        return failed[0]
    if not outcome.plan.obstacles or waited < PATIENCE:
        return None
    return min(outcome.plan.obstacles, key=lambda one: one.wave)


def _trouble(platform: Platform, outcome: Outcome, waited: timedelta, ailment: str) -> Finding | None:
    if outcome.error is not None:
        return _given_up(outcome.error)
    if outcome.refusals:
        return _refused(outcome.refusals[0], platform)
    obstacle = ailing(outcome, waited)
    if obstacle is None:
        return None
    said = f" Its pod says {ailment}." if ailment else ""
    return _failed(obstacle, platform, said) if obstacle.failed else _stuck(obstacle, platform, said)


def _given_up(error: OperatorError) -> Finding | None:
    """None: the API server may well answer the next time."""
    if isinstance(error, ApiError):
        text = f"The API server refuses the operator: {error}. Give it the right, or make room, as the message says."
        return None if error.transient else Finding("Degraded", True, Reason.REFUSED, text)
    reason = Reason.RENDER_FAILED if isinstance(error, RenderError) else Reason.INVALID_SPEC
    return Finding("Degraded", True, reason, str(error))


def _refused(refusal: Refusal, platform: Platform) -> Finding:
    text = f"The API server refuses {refusal.id}: {refusal.error}."
    if refusal.error.status == 404:
        return Finding(
            "Degraded", True, Reason.REFUSED, f"{text} Install the add-on that serves it, or switch it off in the spec."
        )
    if refusal.error.status == 403:
        return Finding("Degraded", True, Reason.REFUSED, f"{text} Raise the quota of namespace {platform.key.namespace}, "
                       "or give the operator the right.")  # fmt: skip
    if refusal.id.kind == "StatefulSet" and "Forbidden" in str(refusal.error):
        return Finding("Degraded", True, Reason.IMMUTABLE_FIELD, f"The volumes of {refusal.id} cannot be changed in place. "
                       f"Grow each of its PersistentVolumeClaims with kubectl -n {platform.key.namespace} edit pvc -l "
                       f"app.kubernetes.io/instance={platform.key.name}, then kubectl -n {platform.key.namespace} delete "
                       f"statefulset {refusal.id.name} --cascade=orphan; or undo the change of storage in the spec.")  # fmt: skip
    return Finding("Degraded", True, Reason.REFUSED, f"{text} Correct what the message names in the spec.")


def _failed(obstacle: Obstacle, platform: Platform, said: str) -> Finding:
    namespace, name = platform.key.namespace, obstacle.id.name
    if obstacle.id.kind == "Job":
        return Finding("Degraded", True, Reason.MIGRATION_FAILED, f"Job {name} failed: {obstacle.text}.{said} Read "
                       f"kubectl -n {namespace} logs job/{name}; to try again: kubectl -n {namespace} delete job {name}")  # fmt: skip
    return Finding("Degraded", True, Reason.ROLLOUT_FAILED, f"{obstacle.id} does not come up: {obstacle.text}{said} Read "
                   f"kubectl -n {namespace} describe {obstacle.id.kind.lower()} {name} and the logs of its pods.")  # fmt: skip


def _stuck(obstacle: Obstacle, platform: Platform, said: str) -> Finding:
    return Finding("Degraded", True, Reason.TAKES_TOO_LONG, f"{obstacle.id} {obstacle.text} after more than "
                   f"{PATIENCE.seconds // 60} minutes.{said} Read kubectl -n {platform.key.namespace} describe "
                   f"{obstacle.id.kind.lower()} {obstacle.id.name} and describe its pods.{_unstick(obstacle, platform)}")  # fmt: skip


def _unstick(obstacle: Obstacle, platform: Platform) -> str:
    """A StatefulSet awaits the pod that it has before it makes a corrected one, and the operator may delete no pods."""
    if obstacle.id.kind != "StatefulSet":
        return ""
    return (
        " If the spec is to blame, correct it and let the pod be made again: "
        f"kubectl -n {platform.key.namespace} delete pod {obstacle.id.name}-0"
    )


def _conditions(platform: Platform, outcome: Outcome, findings: Iterable[Finding], now: datetime) -> list[Status]:
    """An API server that did not answer once makes no shop unready, and heals none: of that, what is stored for this spec stays."""
    interrupted = isinstance(outcome.error, ApiError) and outcome.error.transient
    stored = platform.status.get("conditions", ()) if interrupted else ()
    kept = {c["type"]: c for c in stored if c["observedGeneration"] == platform.generation and c["type"] in _OF_PARTS}
    return [kept.get(finding.type) or _dated(finding, platform, now) for finding in findings]


_OF_PARTS = ("Ready", "Degraded")


def _dated(finding: Finding, platform: Platform, now: datetime) -> Status:
    """lastTransitionTime moves with the status and with nothing else, as the API conventions want it."""
    status = "Unknown" if finding.status is None else str(finding.status)
    stored = next((c for c in platform.status.get("conditions", ()) if c["type"] == finding.type), None)
    moved = stored is None or stored["status"] != status
    return {
        "type": finding.type,
        "status": status,
        "observedGeneration": platform.generation,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if moved or not stored
        else stored["lastTransitionTime"],
        "reason": str(finding.reason),
        "message": finding.message,
    }


# --- parts ------------------------------------------------------------------------------------------------------------


def _service(platform: str, name: str, observed: Children) -> Status:
    identity = ObjectId("Deployment", f"{platform}-{name}")
    seen, workload = observed.get(identity), state_of(identity, observed)
    if seen is None or not isinstance(workload, Workload):
        return {"name": name, "ready": False, "replicas": 0, "readyReplicas": 0, "version": ""}
    return {
        "name": name,
        "ready": not seen.deleting and is_ready(workload, floor(identity, workload, observed)),
        "replicas": workload.wanted,
        "readyReplicas": workload.ready,
        "version": seen.image_version,
    }


def _database(platform: str, name: str, spec: Spec, observed: Children) -> Status:
    provider = spec.databases.provider
    workload = state_of(ObjectId("StatefulSet", f"{platform}-{name}-db"), observed)
    ready = is_ready(workload, workload.wanted) if isinstance(workload, Workload) else provider == "external"
    return {"name": f"{name}-db", "provider": provider, "ready": ready}


# --- events -----------------------------------------------------------------------------------------------------------


def status_manifest(platform: Platform, status: Status) -> Manifest:
    return {
        "apiVersion": PLATFORM.api_version,
        "kind": PLATFORM.kind,
        "metadata": {"name": platform.key.name, "uid": platform.uid},  # the uid keeps it from a namesake made meanwhile
        "status": status,
    }


def news(platform: Platform, status: Status) -> Iterable[Mapping[str, Any]]:
    """What people would look for: ready or no more, each stage of progress, every failure and its end; each said once."""
    stored = {c["type"]: c for c in platform.status.get("conditions", ())}
    told: set[str] = set()
    for condition in status["conditions"]:
        if condition["type"] in _PROMISED:
            if _is_news_of_business(condition, stored.get(condition["type"])):
                yield condition
            continue
        known = stored.get(condition["type"], {"status": "False", "reason": ""})
        if condition["reason"] not in told and _is_news(condition, known):
            told.add(condition["reason"])
            yield condition


_PROMISED = frozenset(promise.condition for promise in PROMISES)


def _is_news_of_business(condition: Mapping[str, Any], known: Mapping[str, Any] | None) -> bool:
    """A promise that is broken, kept again, or of which nobody knows any more; not that a new shop keeps all of them."""
    if known is None or known["reason"] == Reason.NOT_READ_YET:
        return bool(condition["status"] == "False")
    return bool(condition["status"] != known["status"])


def _is_news(condition: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Progress that has ended is no news: Ready or Degraded says how."""
    moved = bool(condition["status"] != known["status"])
    if condition["type"] == "Ready" or condition["status"] == "False":
        return moved and condition["type"] != "Progressing"
    return moved or bool(condition["reason"] != known["reason"])


def event(platform: Platform, condition: Mapping[str, Any], identity: str, now: datetime) -> Manifest:
    """Named by what it tells of and when that came to be, so that a repetition is a conflict rather than a second Event."""
    key, told = platform.key, [condition[name] for name in ("type", "status", "reason", "lastTransitionTime")]
    content = "/".join([platform.uid, str(platform.generation), *told])
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{key.name}.{hashlib.sha256(content.encode()).hexdigest()[:16]}",
            "namespace": key.namespace,
        },
        "involvedObject": {
            "apiVersion": PLATFORM.api_version,
            "kind": PLATFORM.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": platform.uid,
        },
        "type": "Warning" if _is_bad(condition) else "Normal",
        "reason": condition["reason"],
        "message": condition["message"][:1024],
        "action": "Reconcile",
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingComponent": "ecommerce-operator",
        "reportingInstance": identity,
    }


def _is_bad(condition: Mapping[str, Any]) -> bool:
    if condition["type"] in _PROMISED:
        return bool(condition["status"] != "True")
    return bool(condition["type"] == "Degraded" and condition["status"] == "True")
