"""Decides which databases had a schema, and which completed migrations run again to see whether they still have it.

A migration knows from the ConfigMap `<platform>-databases` that its database was migrated before, and leaves an empty
one as it is (docs/adr/0047). Pure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from platform_operator.api.conditions import TIME_FORMAT
from platform_operator.api.kinds import (
    ANNOTATION_WAVE,
    CHILD_LABELS,
    GROUP,
    LABEL_COMPONENT,
    LABEL_INSTANCE,
    LABEL_NAME,
    PLATFORM,
    STORE_KINDS,
    Manifest,
    ObjectId,
    PlatformKey,
    owner_reference,
)
from platform_operator.api.spec import WITH_DATABASE
from platform_operator.cache.observed import (
    UNKNOWN_TIME,
    Children,
    JobProgress,
    ObservedObject,
    Platform,
    Workload,
    state_of,
)
from platform_operator.digests import digest
from platform_operator.plan.inventory import DesiredObject

ANNOTATION_ACCEPT_DATA_LOSS = f"{GROUP}/accept-data-loss"
"""Allows to begin with an empty database. Its value has the ids of the losses, separated by commas."""

CHECK_AFTER = timedelta(minutes=1)
"""How long no pod of a service is ready until its migration runs again."""

_DATABASES = "databases"
"""The component of the ConfigMap."""

MigrationTimes = Mapping[str, str]
"""When each database was migrated, by service; without those that were not, and those whose loss is accepted."""


def loss_id(service: str, migrated_at: str) -> str:
    """Returns the id of the loss of what a database has had since a migration: it allows no later loss."""
    return f"{service}-db@{migrated_at}"


def migration_times(platform: Platform, observed: Children) -> MigrationTimes:
    """Returns the recorded times; of other databases, when the last migration completed, unless one runs or failed."""
    accepted = platform.annotations.get(ANNOTATION_ACCEPT_DATA_LOSS, "").replace(" ", "").split(",")
    times = recorded_times(platform)
    for service in WITH_DATABASE:
        if service not in times and (completed := _completed_at(platform.key, service, observed)):
            times[service] = completed
    return MappingProxyType({name: time for name, time in times.items() if loss_id(name, time) not in accepted})


def recorded_times(platform: Platform) -> dict[str, str]:
    """Returns the times that the last pass has recorded in the status."""
    rows = platform.status.get("databases", ())
    return {row["name"].removesuffix("-db"): row["migratedAt"] for row in rows if "migratedAt" in row}


def databases_id(key: PlatformKey) -> ObjectId:
    return ObjectId("ConfigMap", f"{key.name}-{_DATABASES}")


def databases_object(platform: Platform, times: MigrationTimes) -> DesiredObject:
    """Returns the ConfigMap from which the migrations know that their databases had a schema."""
    key = platform.key
    labels = {**CHILD_LABELS, LABEL_NAME: _DATABASES, LABEL_INSTANCE: key.name, LABEL_COMPONENT: _DATABASES}
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": databases_id(key).name,
            "namespace": key.namespace,
            "labels": labels,
            "annotations": {ANNOTATION_WAVE: "0"},
            "ownerReferences": [owner_reference(PLATFORM, key.name, platform.uid)],
        },
        "data": dict(times),
    }
    return DesiredObject(databases_id(key), 0, digest(manifest), json.dumps(manifest))


def migrations_to_run(
    platform: Platform, observed: Children, not_ready_since: Mapping[ObjectId, datetime], now: datetime
) -> list[ObservedObject]:
    """Returns the Jobs to run again, because their answer is out of date.

    These are the last migration of a service of which no pod has been ready for a while, since it was ready: its
    database may have lost its schema and the service's role. And migrations that refused an empty database which has
    been accepted in a pass before.
    """
    key = platform.key
    return [
        *(job for service in WITH_DATABASE for job in _outdated(key, service, observed, not_ready_since, now)),
        *_accepted(key, observed, recorded_times(platform)),
    ]


def _outdated(
    key: PlatformKey, service: str, observed: Children, not_ready_since: Mapping[ObjectId, datetime], now: datetime
) -> Iterator[ObservedObject]:
    deployment = ObjectId("Deployment", f"{key.name}-{service}")
    workload, since = state_of(deployment, observed), not_ready_since.get(deployment)
    is_away = isinstance(workload, Workload) and workload.total > 0 and workload.ready == 0
    databases = [state_of(ObjectId(kind, f"{deployment.name}-db"), observed) for kind in STORE_KINDS]
    is_reachable = all(one.ready > 0 for one in databases if isinstance(one, Workload))
    if since is None or now - since < CHECK_AFTER or not (is_away and is_reachable):
        return
    jobs = list(_jobs(key, service, observed))
    if jobs and all(progress.complete for _, progress in jobs):
        job, progress = max(jobs, key=lambda one: one[1].completed_at)
        if progress.completed_at < since:
            yield job


def _accepted(key: PlatformKey, observed: Children, recorded: Collection[str]) -> Iterator[ObservedObject]:
    for service in WITH_DATABASE:
        if service not in recorded:
            yield from (job for job, progress in _jobs(key, service, observed) if progress.data_lost)


def _completed_at(key: PlatformKey, service: str, observed: Children) -> str:
    """Returns when the last migration completed; empty if one runs or has failed, or none says when it did."""
    jobs = [progress for _, progress in _jobs(key, service, observed)]
    if not jobs or not all(progress.complete for progress in jobs):
        return ""
    last = max(progress.completed_at for progress in jobs)
    return "" if last == UNKNOWN_TIME else last.strftime(TIME_FORMAT)


def _jobs(key: PlatformKey, service: str, observed: Children) -> Iterator[tuple[ObservedObject, JobProgress]]:
    prefix = f"{key.name}-{service}-migrate-"
    for identity, seen in observed.items():
        if identity.kind == "Job" and identity.name.startswith(prefix) and isinstance(seen.state, JobProgress):
            yield seen, seen.state
