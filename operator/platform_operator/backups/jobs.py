"""Renders the objects of backups and restores, applies them, and reads what came of their Jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from platform_operator.api.backups import ANNOTATION_START_PROBLEM, PLATFORM_RESTORE, BackupReason
from platform_operator.api.kinds import (
    EVENT,
    POD,
    Manifest,
    ObjectId,
    ObjectKey,
    PlatformKey,
    object_key,
    owner_reference,
)
from platform_operator.apply.applied_objects import AppliedObjects
from platform_operator.apply.ownership import holder
from platform_operator.backups.objects import CHILD_KINDS, JOB, POLICY, children, is_own, named_job
from platform_operator.backups.observed import Backup, Child, observe_child, read_run
from platform_operator.backups.store import BackupStore
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError, NameTakenError
from platform_operator.render.helm import Helm
from platform_operator.render.values import ChartValues
from platform_operator.status.backups import BackupRun
from platform_operator.status.causes import MAX_EVENTS, pod_refusal
from platform_operator.status.diagnosis import diagnose
from platform_operator.workqueue import Requeue

_KINDS = {kind.kind: kind for kind in CHILD_KINDS}


@dataclass(frozen=True)
class JobRefusal:
    """Why a Job was not created. The operator tries again."""

    reason: BackupReason
    """NameTaken or Refused, which are reasons of a restore, too."""
    message: str


def not_created(error: ApiError) -> str:
    """Returns that a request to create a Job has failed, without a full stop. The Job may exist: an answer may be
    lost."""
    return f"The API server did not create the Job: {error}"


@dataclass(frozen=True)
class BlockedPod:
    """A pod of a Job that cannot start, or that the API server refuses to create."""

    problem: str
    since: datetime | None
    """When it was created. If it was not: when its Job was started; None after an earlier pod, which has run since."""


@dataclass
class BackupJobs:
    """The Jobs and CronJobs of backups and restores, and the policies of their pods."""

    client: KubernetesClient
    store: BackupStore
    helm: Helm
    chart: Path
    """charts/backup."""
    _applied: AppliedObjects = field(init=False)
    _runs: dict[str, BackupRun] = field(init=False, default_factory=dict)
    """The results of the Jobs that have ended, by the uid of the Job."""
    _helm_lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    """Held by the only Helm that runs at a time: it needs half as much memory as the operator."""

    def __post_init__(self) -> None:
        self._applied = AppliedObjects(self.client)

    async def start(self, objects: Sequence[Manifest], owner: str) -> JobRefusal | None:
        """Applies the policies, then creates the Job, unless its owner has one of that name. Returns why it could not.

        Raises ApiError if another attempt may succeed.
        """
        try:
            for one in objects:
                if one["kind"] != JOB.kind:
                    await self.apply_if_changed(one)
            for one in objects:
                if one["kind"] == JOB.kind:
                    await self._create(one, owner)
        except NameTakenError as error:
            return JobRefusal(BackupReason.NAME_TAKEN, f"{error}, or create another one of another name.")
        except ApiError as error:
            if error.transient:
                raise
            if error.namespace_terminating:
                text = "The namespace is being deleted: nothing is created in it."
                return JobRefusal(BackupReason.REFUSED, text)
            advice = "Raise the quota or correct the admission policy that it names."
            text = f"The API server refused the Job or a policy of it: {error}. {advice}"
            return JobRefusal(BackupReason.REFUSED, text)
        return None

    async def try_to_start(self, objects: Sequence[Manifest], owner: str) -> JobRefusal | None:
        """Starts a Job as `start` does. Returns also that the API server has failed (ApiError.is_server_failure).

        Raises ApiError if another attempt may succeed.
        """
        try:
            return await self.start(objects, owner)
        except ApiError as error:
            if not error.is_server_failure:
                raise
            return JobRefusal(BackupReason.REFUSED, f"{not_created(error)}. The operator tries again.")

    async def _create(self, job: Manifest, owner: str) -> None:
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        try:
            self.store.store_child(observe_child(await self.client.create(JOB, namespace, job)))
        except ApiError as error:
            stored = await self.client.get(JOB, namespace, name) if error.conflict else None
            if stored is None:
                raise
            if owner not in (child := observe_child(stored)).owners:
                raise NameTakenError(f"The Job {name} belongs to another: delete it") from None
            self.store.store_child(child)  # an answer was lost

    async def clean_up(self, owner: str, retry_after: float) -> Requeue:
        """Deletes the policies of a Job that has ended: the Job itself is deleted after a time. Raises ApiError."""
        own = [one for one in self.store.owned_by(owner) if one.key.id.kind == POLICY.kind]
        are_deleted = all([await self.delete(child) for child in own])
        return Requeue.never() if are_deleted else Requeue.after(retry_after)

    async def render(self, release: PlatformKey, values: ChartValues) -> list[Manifest]:
        """Returns what charts/backup renders. Raises RenderError."""
        async with self._helm_lock:
            return await self.helm.template(self.chart, release, values)

    async def render_job(self, restore: Backup, platform: str, name: str, values: ChartValues) -> list[Manifest]:
        """Returns the Job of this name of a PlatformRestore, and its policies. Raises RenderError."""
        rendered = await self.render(PlatformKey(restore.namespace, name), values)
        owner = owner_reference(PLATFORM_RESTORE, restore.name, restore.uid)
        return children(named_job(rendered, name), restore.namespace, platform, owner)

    def owned_job(self, owner: str, namespace: str, name: str) -> Child | None:
        """Returns the Job of this name, if it is that of the owner."""
        child = self.store.children.get(ObjectKey(namespace, ObjectId(JOB.kind, name)))
        return child if child is not None and child.job is not None and owner in child.owners else None

    async def delete(self, child: Child) -> bool:
        """Deletes an object. Raises ApiError.

        Returns False for one that the API server does not find. It stays in the store until the watch reports its
        deletion: if that answer was wrong, another pass deletes it.
        """
        key = child.key
        if not await self.client.delete(_KINDS[key.id.kind], key.namespace, key.id.name, child.uid):
            return False
        self.store.children.pop(key, None)
        self._applied.forget(key.__eq__)
        return True

    async def end(self, child: Child, problem: str) -> None:
        """Ends a Job whose pod cannot start, as failed. Raises ApiError."""
        key = child.key
        annotations = {ANNOTATION_START_PROBLEM: problem}
        fields = {"metadata": {"uid": child.uid, "annotations": annotations}, "spec": {"activeDeadlineSeconds": 1}}
        await self.client.overwrite(JOB, key.namespace, key.id.name, fields)

    async def apply_if_changed(self, manifest: Manifest) -> None:
        """Applies an object if that would change it. Raises ApiError, and NameTakenError if another has its name."""
        kind = _KINDS[manifest["kind"]]
        known = self.store.children.get(object_key(kind.kind, manifest))
        owners = {one["uid"] for one in manifest["metadata"]["ownerReferences"]}

        async def require_own() -> None:
            if known is None or owners.isdisjoint(known.owners):
                await self._require_own(manifest)

        answer = await self._applied.apply_if_changed(kind, manifest, known, require_own)
        if answer is not None:
            self.store.store_child(observe_child(answer))
        if len(self._applied) > len(self.store.children):  # the garbage collector has deleted some
            self._applied.forget(lambda key: key not in self.store.children)

    async def _require_own(self, manifest: Manifest) -> None:
        """Raises NameTakenError if another object has the name. The store may not have it."""
        kind, metadata = _KINDS[manifest["kind"]], manifest["metadata"]
        stored = await self.client.get(kind, metadata["namespace"], metadata["name"])
        if stored is not None and not is_own(stored, manifest):
            text = f"{kind.kind} {metadata['name']} belongs to {holder(stored) or 'another'}: delete or rename it"
            raise NameTakenError(text)

    async def run(self, child: Child) -> BackupRun | None:
        """Returns the result of a Job; None while it runs. The pods of each are read once."""
        if child.job is None or child.job.ended is None:
            return None
        if child.uid not in self._runs:
            known = {one.uid for one in self.store.children.values()}
            self._runs = {uid: run for uid, run in self._runs.items() if uid in known}
            run = read_run(child.key.id.name, child.job, child.job.ended, await self.pods(child))
            self._runs[child.uid] = replace(run, target=child.target)
        return self._runs[child.uid]

    async def pods(self, child: Child) -> list[Manifest]:
        """Returns the pods of a Job, and not those of an earlier one of its name. Raises ApiError."""
        selector = f"batch.kubernetes.io/controller-uid={child.uid}"
        pods, _ = await self.client.list(POD, child.key.namespace, selector)
        return pods

    async def pod_problem(self, child: Child) -> str:
        """Returns why no pod of a Job has started; empty if one has, or may soon. Raises ApiError."""
        blocked = await self.blocked_pod(child, await self.pods(child))
        return blocked.problem if blocked else ""

    async def blocked_pod(self, child: Child, pods: Sequence[Manifest]) -> BlockedPod | None:
        """Returns the first of the pods of a Job by name that cannot start; None if each has started, or may soon.

        If the API server refuses the pods, such as by a quota, there is none to ask, and Events about the Job say why.
        Raises ApiError.
        """
        if pods:
            return _blocked_pod(pods)
        about_job = f"involvedObject.uid={child.uid}"
        events, _ = await self.client.list(EVENT, child.key.namespace, limit=MAX_EVENTS, fields=about_job)
        refusal = pod_refusal(events)
        if not refusal:
            return None
        since = child.job.started if child.job is not None and not child.job.has_failed_pods else None
        return BlockedPod(refusal, since)


def _blocked_pod(pods: Sequence[Manifest]) -> BlockedPod | None:
    pending = [one for one in pods if one.get("status", {}).get("phase") == "Pending"]
    blocked = [(one, problem) for one in pending if (problem := diagnose([one]))]
    if not blocked:
        return None
    pod, problem = min(blocked, key=lambda one: str(one[0]["metadata"]["name"]))
    return BlockedPod(problem, datetime.fromisoformat(pod["metadata"]["creationTimestamp"]))
