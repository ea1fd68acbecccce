"""Reports a pass over a platform: the status, metrics, and Events of transitions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from platform_operator import metrics
from platform_operator.api.kinds import EVENT, LABEL_COMPONENT, LABEL_INSTANCE, PLATFORM, POD, ObjectId, PlatformKey
from platform_operator.api.spec import Spec
from platform_operator.cache.observed import Platform, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.invariants.scrape_results import ScrapeResult
from platform_operator.plan.comparison import Change
from platform_operator.plan.field_fights import FieldFights
from platform_operator.plan.job_retries import JobRetries
from platform_operator.plan.planner import Plan
from platform_operator.render.store_images import StoreImages
from platform_operator.status.backups import BackupReport
from platform_operator.status.blocked import blocked_for, blocked_since
from platform_operator.status.causes import MAX_EVENTS, WARNINGS, with_causes
from platform_operator.status.conditions import PassResult, degraded_part
from platform_operator.status.diagnosis import diagnose
from platform_operator.status.events import changed_conditions, mode_changed
from platform_operator.status.platform_status import Snapshot, describe, status_manifest, stored_blocked
from platform_operator.status.recorder import EventRecorder

logger = logging.getLogger(__name__)

MAX_DIAGNOSED_PODS = 20
"""Pods of a part that are listed. More of them fail for the same reason, or are not the part's."""


@dataclass
class Reporter:
    """Reports the passes over the platforms of an installation."""

    client: KubernetesClient
    cache: Cache
    recorder: EventRecorder
    store_images: StoreImages
    scrape_results: Callable[[PlatformKey], Mapping[str, ScrapeResult]]
    """The newest scrape results of a platform's services."""
    backup_reports: Mapping[PlatformKey, BackupReport]
    """What the status of each platform says about its backups, as far as that is known."""
    fights: FieldFights
    job_retries: JobRetries
    now: Callable[[], datetime]

    async def report(self, platform: Platform, spec: Spec | None, result: PassResult) -> None:
        """Writes the status and emits an Event for each transition. An unchanged status is not written again.

        Raises ApiError.
        """
        key, now = platform.key, self.now()
        result = replace(result, plan=await self._explain(platform, result.plan))
        if result.plan is not None:
            result = replace(result, plan=self.job_retries.with_failures(key, result.plan))
        result = replace(result, blocked_for=blocked_for(stored_blocked(platform), now))
        result = replace(result, fights=self.fights.opponents(key, now))
        result = replace(result, diagnosis=await self._diagnose(key, result))
        latest = self.cache.platforms.get(key, platform)
        platform = replace(platform, finalizers=latest.finalizers, status=latest.status)
        snapshot = Snapshot(
            platform,
            spec,
            self.cache.children(key),
            self.scrape_results(key),
            now,
            self.store_images,
            self.backup_reports.get(key),
        )
        status = describe(snapshot, result)
        metrics.export_platform(key, status)
        if status == platform.status:
            return
        answer = await self.client.apply(PLATFORM, key.namespace, status_manifest(platform, status), "status")
        self.cache.store_platform(observe_platform(answer))
        if mode_changed(platform.status, status):
            self.recorder.emit_mode(platform, status["mode"], now)
        for condition in changed_conditions(platform, status):
            logger.info(condition["message"], extra={"platform": str(key), "reason": condition["reason"]})
            self.recorder.emit_transition(platform, condition, now)

    def report_change(self, platform: Platform, change: Change) -> None:
        """Logs and counts an applied object with the reason, and emits an Event if it was repaired."""
        kind, reason = change.object.id.kind, change.reason.value
        details = {"platform": str(platform.key), "reason": reason, "manager": change.manager, "field": change.field}
        logger.info("%s", change, extra=details)
        metrics.APPLIES.labels(kind, reason).inc()
        if change.is_repair:
            metrics.REPAIRS.labels(kind, reason).inc()
            self.fights.record(platform.key, change, self.now())
            self.recorder.emit_repair(platform, change, self.now())

    async def _explain(self, platform: Platform, plan: Plan | None) -> Plan | None:
        """Adds the causes that Events report to what the plan waits for. Events are not watched, but listed."""
        if plan is None or not plan.blockers:
            return plan
        namespace = platform.key.namespace
        try:
            events, _ = await self.client.list(EVENT, namespace, limit=MAX_EVENTS, fields=WARNINGS)
        except ApiError as error:
            logger.warning("cannot list Events: %s", error, extra={"platform": str(platform.key)})
            return plan
        return with_causes(plan, events, blocked_since(stored_blocked(platform)), self.now())

    async def _diagnose(self, key: PlatformKey, result: PassResult) -> str:
        """Returns what the pods of the degraded part report. Pods are not watched: those of such a part are listed."""
        part = degraded_part(result)
        if part is None:
            return ""
        try:
            pods, _ = await self.client.list(POD, key.namespace, _pod_selector(key, part.id), MAX_DIAGNOSED_PODS)
        except ApiError as error:
            logger.warning("cannot list pods: %s", error, extra={"platform": str(key)})
            return ""
        return diagnose(pods)


def _pod_selector(key: PlatformKey, part: ObjectId) -> str:
    if part.kind == "Job":
        return f"batch.kubernetes.io/job-name={part.name}"
    return f"{LABEL_INSTANCE}={key.name},{LABEL_COMPONENT}={part.name.removeprefix(f'{key.name}-')}"
