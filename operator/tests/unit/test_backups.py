"""Backups against an API server that is a dictionary, with the real chart: what is made, followed and reported."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from platform_backup.errors import BackupError

from platform_operator.api.backups import PLATFORM_BACKUP, BackupReason
from platform_operator.api.kinds import CHILD_LABELS, EVENT, FIELD_MANAGER, Kind, Manifest, ObjectKey, PlatformKey
from platform_operator.api.restore_marks import ANNOTATION_RESTORE
from platform_operator.api.spec import MAX_NAME_LENGTH, parse
from platform_operator.backups.controller import RUNNING_INTERVAL, BackupController
from platform_operator.backups.jobs import BackupJobs
from platform_operator.backups.objects import (
    BACKUP_LABELS,
    CHILD_KINDS,
    CRON_JOB,
    JOB,
    schedule_release,
    schedule_values,
)
from platform_operator.backups.status import size_text
from platform_operator.backups.store import BackupStore, backup_key, schedule_key
from platform_operator.cache.observed import observe_platform
from platform_operator.cache.store import Cache
from platform_operator.errors import NAMESPACE_TERMINATING, ApiError, RenderError, RenderTimeoutError
from platform_operator.render.helm import Helm
from platform_operator.render.values import ChartValues, Installation
from platform_operator.status.backups import BackupReport
from platform_operator.status.recorder import EventRecorder
from platform_operator.workqueue import Requeue

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SHOP = PlatformKey("shop", "market")
KINDS = {kind.kind: kind for kind in (*CHILD_KINDS, PLATFORM_BACKUP)}
BUCKET: Manifest = {
    "s3": {"bucket": "backups", "endpoint": "https://minio.example.com:9000", "secretRef": {"name": "bucket"}}
}
KEY: Manifest = {"name": "backup-key"}
POLICY: Manifest = {"schedule": "0 4 * * *", "destination": BUCKET, "encryptionKeySecretRef": KEY}
ARCHIVE: Manifest = {"id": "20260101T1155-a1b2c3", "cut": "2026-01-01T11:55:00.125+00:00", "bytes": 12_900_000}


class FakeApiServer:
    """An API server with server-side apply, as far as backups need it."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.pods: dict[str, list[Manifest]] = {}
        """The pods of each Job, by its UID."""
        self.events_about: dict[str, list[Manifest]] = {}
        """The Events about each Job, by its UID."""
        self.writes: list[str] = []
        self.events: list[Manifest] = []
        self.refused: dict[str, ApiError] = {}
        self.loses_answers = False
        self.not_found: set[str] = set()
        """Names of the objects whose deletion is answered with 404, although they exist."""
        self.version = 0

    @contextmanager
    def losing_answers(self) -> Iterator[None]:
        """Answers no creation, although each takes effect. What is done in the context has to report that."""
        self.loses_answers = True
        with pytest.raises(ApiError):
            yield
        self.loses_answers = False

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return copy.deepcopy(self.objects.get((kind.kind, namespace, name)))

    async def list(
        self, kind: Kind, namespace: str, selector: str = "", limit: int = 0, fields: str = ""
    ) -> tuple[list[Manifest], int]:
        if kind is EVENT:
            uid = fields.removeprefix("involvedObject.uid=")
            return copy.deepcopy(self.events_about.get(uid, [])), self.version
        uid = selector.removeprefix("batch.kubernetes.io/controller-uid=")
        return copy.deepcopy(self.pods.get(uid, [])), self.version

    def refuse_pods(self, job: str) -> None:
        """Reports by Events that a quota refuses the pods of a Job, each with a name of its own."""
        for second in range(2):
            text = f'Error creating: pods "{job}-ab1c{second}" is forbidden: exceeded quota: tenant'
            self.add_event(job, f"2026-01-01T12:00:0{second}Z", "FailedCreate", text)

    def add_event(self, job: str, time: str, reason: str, message: str) -> None:
        """Adds an Event of the controller of Jobs about a Job."""
        event = {"metadata": {"creationTimestamp": time}, "reason": reason, "message": message}
        uid = self.objects[JOB.kind, "shop", job]["metadata"]["uid"]
        self.events_about.setdefault(uid, []).append(event)

    def set_pods(self, job: str, *pods: Manifest) -> None:
        self.pods[self.objects[JOB.kind, "shop", job]["metadata"]["uid"]] = [*pods]

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        if kind is EVENT:
            return self._create_event(manifest)
        if (kind.kind, namespace, manifest["metadata"]["name"]) in self.objects:
            raise ApiError(409, "AlreadyExists", "it exists already")
        stored = await self.apply(kind, namespace, manifest)
        if self.loses_answers:
            raise ApiError(0, "Unreachable", "no answer")
        return stored

    def _create_event(self, manifest: Manifest) -> Manifest:
        if any(one["metadata"]["name"] == manifest["metadata"]["name"] for one in self.events):
            raise ApiError(409, "AlreadyExists", "it exists already")
        self.events.append(manifest)
        return manifest

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, subresource: str = "", manager: str = FIELD_MANAGER
    ) -> Manifest:
        name = manifest["metadata"]["name"]
        self.writes.append(f"{kind.kind} {name} {subresource}".strip())
        if kind.kind in self.refused:
            raise self.refused[kind.kind]
        place = kind.kind, namespace, name
        self.version += 1
        stored = self.objects.setdefault(place, {"metadata": {"uid": f"u{self.version}", "generation": 1}})
        if subresource:
            stored["status"] = copy.deepcopy(manifest["status"])
        else:
            kept = {name: stored["metadata"][name] for name in ("uid", "generation")}
            stored.update(copy.deepcopy(manifest))
            fields: Manifest = {"f:metadata": {}, "f:spec": {}}
            managed = [{"manager": manager, "operation": "Apply", "fieldsV1": fields}]
            stored["metadata"] = {**manifest["metadata"], **kept, "managedFields": managed}
        stored["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(stored)

    async def overwrite(self, kind: Kind, namespace: str, name: str, fields: Manifest) -> None:
        self.writes.append(f"overwrite {kind.kind} {name}")
        stored = self.objects[kind.kind, namespace, name]
        assert stored["metadata"]["uid"] == fields["metadata"]["uid"]
        self.version += 1
        annotations = stored["metadata"].get("annotations", {}) | fields["metadata"]["annotations"]
        stored["metadata"] |= {"annotations": annotations, "resourceVersion": str(self.version)}
        stored["spec"] = stored["spec"] | fields["spec"]

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        self.writes.append(f"delete {kind.kind} {name}")
        if name in self.not_found:
            return False
        assert self.objects[kind.kind, namespace, name]["metadata"]["uid"] == uid
        del self.objects[kind.kind, namespace, name]
        return True


class RememberingHelm(Helm):
    """The real Helm, which runs once for equal values in all tests."""

    outputs: ClassVar[dict[str, list[Manifest]]] = {}

    async def template(self, chart: Path, key: PlatformKey, values: ChartValues) -> list[Manifest]:
        content = json.dumps([key, values])
        if content not in self.outputs:
            self.outputs[content] = await super().template(chart, key, values)
        return copy.deepcopy(self.outputs[content])


class FakeCluster:
    """A shop, its backups, and the operator that keeps them."""

    def __init__(self, charts: Path, helm: str) -> None:
        self.server, self.now = FakeApiServer(), NOW
        self.shops = Cache()
        self.chart, self.helm = charts / "backup", helm
        self.restart()

    def restart(self) -> None:
        self.queued: set[ObjectKey] = set()
        self.reported: list[PlatformKey] = []
        self.store = BackupStore(self.queued.add)
        self.recorder = EventRecorder(cast(Any, self.server), "operator-0")
        self.controller = BackupController(
            BackupJobs(cast(Any, self.server), self.store, RememberingHelm(executable=self.helm), self.chart),
            self.shops, Installation("1.2", "registry.example.com", pull_secrets=("pull",)), lambda: self.now,
            self.reported.append, self.recorder,
        )  # fmt: skip

    def shop(self, status: Manifest | None = None, **spec: Any) -> None:
        self.server.version += 1
        metadata = {"name": SHOP.name, "namespace": SHOP.namespace, "uid": "shop-uid", "generation": 1}
        metadata["resourceVersion"] = str(self.server.version)
        self.shops.store_platform(observe_platform({"metadata": metadata, "spec": spec, "status": status or {}}))

    def backup(self, name: str = "now", **spec: Any) -> None:
        self.server.version += 1
        metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "generation": 1}
        metadata["resourceVersion"] = str(self.server.version)
        created = {"kind": PLATFORM_BACKUP.kind, "metadata": metadata, "spec": {"platform": "market"} | spec}
        self.server.objects[PLATFORM_BACKUP.kind, "shop", name] = created

    async def reconcile(self, name: str = "now") -> Requeue:
        """Makes one pass over a PlatformBackup, with the store as the watches would fill it, and sends its Events."""
        self.see()
        try:
            return await self.controller.reconcile(backup_key("shop", name))
        finally:
            await self.recorder.flush()

    async def reconcile_schedule(self) -> BackupReport:
        self.see()
        await self.controller.reconcile(schedule_key(SHOP))
        return self.controller.reports[SHOP]

    def see(self) -> None:
        self.server.writes.clear()
        for (kind, _, _), stored in list(self.server.objects.items()):
            self.store.change(KINDS[kind], "MODIFIED", {"kind": kind} | copy.deepcopy(stored))

    def status(self, name: str = "now") -> Manifest:
        status: Manifest = self.server.objects[PLATFORM_BACKUP.kind, "shop", name]["status"]
        return status

    def complete(self, name: str = "now") -> tuple[str, str, str]:
        (condition,) = self.status(name)["conditions"]
        return condition["status"], condition["reason"], condition["message"]

    def events(self) -> list[tuple[str, str]]:
        """Returns the types and reasons of the Events."""
        return [(one["type"], one["reason"]) for one in self.server.events]

    def job(self, name: str = "backup-now") -> Manifest:
        return self.server.objects[JOB.kind, "shop", name]

    def end(self, name: str, outcome: str, report: Manifest | str, at: datetime = NOW) -> None:
        """Ends a Job, after its pod has reported."""
        self.report(name, report)
        self.server.version += 1
        job = self.job(name)
        time = at.isoformat()
        job["metadata"]["resourceVersion"] = str(self.server.version)
        job["status"] = {
            "startTime": (at - timedelta(seconds=72)).isoformat(),
            "conditions": [{"type": outcome, "status": "True", "lastTransitionTime": time, "message": "BackoffLimit"}],
        }

    def report(self, name: str, report: Manifest | str) -> None:
        text = report if isinstance(report, str) else json.dumps(report)
        end = {"terminated": {"exitCode": 0, "finishedAt": NOW.isoformat(), "message": text}}
        pod = {"metadata": {"name": name}, "status": {"phase": "Failed", "containerStatuses": [{"state": end}]}}
        self.server.set_pods(name, pod)

    def scheduled_job(self, name: str, command: str = "create") -> None:
        """Starts a Job as the controller of the CronJob does."""
        suffix = "" if command == "create" else f"-{command}"
        cron_job = self.server.objects[CRON_JOB.kind, "shop", f"market-backup{suffix}"]
        template = copy.deepcopy(cron_job["spec"]["jobTemplate"])
        owner = {"kind": CRON_JOB.kind, "uid": cron_job["metadata"]["uid"]}
        self.server.version += 1
        metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "ownerReferences": [owner]}
        metadata |= {"resourceVersion": str(self.server.version), "labels": template["metadata"]["labels"]}
        metadata["annotations"] = template["metadata"].get("annotations", {})
        self.server.objects[JOB.kind, "shop", name] = {"metadata": metadata, "spec": template["spec"]}


@pytest.fixture
def cluster(charts: Path, helm: str) -> FakeCluster:
    cluster = FakeCluster(charts, helm)
    cluster.shop(backup=POLICY)
    return cluster


def container(spec: Manifest) -> Manifest:
    (only,) = spec["template"]["spec"]["containers"]
    return dict(only)


def environment(spec: Manifest) -> Manifest:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container(spec)["env"]}


# One backup.


async def test_a_backup_is_a_job_of_the_chart_that_is_deleted_with_it(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    job = cluster.job()
    assert container(job["spec"])["args"] == ["create"]
    assert container(job["spec"])["image"] == "registry.example.com/ecommerce/backup:1.2"
    assert environment(job["spec"])["BACKUP_SHOP"] == "shop/market"
    assert environment(job["spec"])["BACKUP_DESTINATION"] == "s3://backups"
    assert environment(job["spec"])["BACKUP_KEY"]["secretKeyRef"]["name"] == "backup-key"
    assert int(environment(job["spec"])["BACKUP_KEEP"]) > 100_000, "a backup that a person takes deletes no other"
    policies = [one for one in cluster.server.objects.values() if one["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    for one in (job, *policies):
        (owner,) = one["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == (PLATFORM_BACKUP.kind, "uid-now")
        assert BACKUP_LABELS.items() <= one["metadata"]["labels"].items(), "else no watch sees it"
        assert not CHILD_LABELS.items() <= one["metadata"]["labels"].items(), "else the shop would prune it"
    assert cluster.status()["phase"] == "Running"


async def test_a_whole_backup_is_reported_with_its_id_size_and_cut(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.end("backup-now", "Complete", ARCHIVE)
    assert (await cluster.reconcile()).delay is None
    status = cluster.status()
    assert status["phase"] == "Succeeded"
    assert status["targetDigest"]
    assert (status["backupId"], status["size"], status["sizeBytes"]) == (ARCHIVE["id"], "12.3 MiB", 12_900_000)
    assert (status["cutTime"], status["durationSeconds"]) == ("2026-01-01T11:55:00Z", 72)
    assert cluster.complete()[:2] == ("True", "Succeeded")
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_a_failed_backup_has_the_reason_and_the_advice_of_the_command(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    failure = {"reason": "DestinationRefused", "message": "the bucket refuses the access key: correct its Secret"}
    cluster.report("backup-now", failure)
    await cluster.reconcile()
    assert cluster.complete()[:2] == ("Unknown", "Retrying")
    assert "correct its Secret" in cluster.complete()[2]
    cluster.end("backup-now", "Failed", failure)
    await cluster.reconcile()
    assert cluster.complete() == ("False", "DestinationRefused", failure["message"])
    assert (cluster.status()["phase"], "backupId" in cluster.status()) == ("Failed", False)


@pytest.mark.parametrize("report", ["", "[]", "no JSON", '{"reason": ["x"]}', '{"reason": "Invented", "message": 1}'])
async def test_a_job_that_says_nothing_known_has_failed_all_the_same(cluster: FakeCluster, report: str) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.end("backup-now", "Failed", report)
    await cluster.reconcile()
    assert cluster.complete()[:2] == ("False", "JobFailed")


KILLED: Manifest = {
    "phase": "Failed",
    "containerStatuses": [
        {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T12:00:05Z"}}}
    ],
}
EVICTED: Manifest = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (KILLED, "Pod last ended without a report: exit code 137 (OOMKilled)."),
        (EVICTED, "Pod last ended without a report: Evicted: The node was low on resource: memory."),
    ],
)
async def test_a_pod_that_was_killed_is_reported_while_the_job_runs_and_when_it_has_failed(
    cluster: FakeCluster, status: Manifest, end: str
) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.report("backup-now", {"reason": "DatabaseFailed", "message": "the first attempt met a restart"})
    (first,) = cluster.server.pods.values()
    last = {"metadata": {"name": "last", "creationTimestamp": "2026-01-01T12:00:04Z"}, "status": status}
    cluster.server.set_pods("backup-now", *first, last)
    await cluster.reconcile()
    assert cluster.complete() == ("Unknown", "Retrying", f"An attempt has failed, and Kubernetes starts another: {end}")
    cluster.end("backup-now", "Failed", "")
    cluster.server.set_pods("backup-now", *first, last)
    await cluster.reconcile()
    assert cluster.complete() == ("False", "JobFailed", f"BackoffLimit. {end}")


async def test_a_job_whose_pods_were_deleted_says_so(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.end("backup-now", "Failed", "")
    cluster.server.set_pods("backup-now")
    await cluster.reconcile()
    assert cluster.complete() == ("False", "JobFailed", "BackoffLimit. No pod of it is left.")


async def test_a_pod_that_cannot_start_is_explained(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "backup-key" not found'}
    statuses = [{"name": "backup", "state": {"waiting": waiting}}]
    pod = {
        "metadata": {"name": "p", "creationTimestamp": NOW.isoformat()},
        "status": {"phase": "Pending", "containerStatuses": statuses},
    }
    cluster.server.set_pods("backup-now", pod)
    await cluster.reconcile()
    assert cluster.complete() == (
        "Unknown", "PodNotStarted", 'CreateContainerConfigError: secret "backup-key" not found',
    )  # fmt: skip


async def test_a_job_whose_pods_a_quota_refuses_says_so(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.server.refuse_pods("backup-now")
    await cluster.reconcile()
    assert cluster.complete() == ("Unknown", "PodNotStarted", refusal_of("backup-now"))
    cluster.server.writes.clear()
    await cluster.reconcile()
    assert cluster.server.writes == [], "each refused pod has another name"


@pytest.mark.parametrize("time", ["2026-01-01T12:00:01Z", "2026-01-01T12:00:05Z"])
async def test_a_job_whose_pod_was_created_after_a_refusal_and_is_gone_is_not_said_to_be_refused(
    cluster: FakeCluster, time: str
) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.server.refuse_pods("backup-now")
    cluster.server.add_event("backup-now", time, "SuccessfulCreate", "Created pod: backup-now-ab1c2")
    await cluster.reconcile()
    assert cluster.complete() == ("Unknown", "Running", "A pod backs up the shop.")


def refusal_of(job: str) -> str:
    return f'FailedCreate: Error creating: pods "{job}-…" is forbidden: exceeded quota: tenant'


async def test_a_closed_shop_is_backed_up(charts: Path, helm: str) -> None:
    """It is the last backup of a shop that moves: nothing is ordered after it."""
    cluster = FakeCluster(charts, helm)
    cluster.shop(closed=True, backup=POLICY)
    cluster.backup()
    await cluster.reconcile()
    assert cluster.job()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (None, "PlatformMissing"),
        ({"hibernated": True, "backup": POLICY}, "Hibernated"),
        ({}, "NoDestination"),
        ({"mode": "Observe", "backup": POLICY}, "Observed"),
        ({"hibernated": "perhaps", "backup": POLICY}, "PlatformInvalid"),
    ],
)
async def test_a_backup_waits_for_what_it_needs(charts: Path, helm: str, spec: Manifest | None, reason: str) -> None:
    cluster = FakeCluster(charts, helm)
    if spec is not None:
        cluster.shop(**spec)
    cluster.backup()
    assert (await cluster.reconcile()).delay is not None
    assert (cluster.status()["phase"], *cluster.complete()[:2]) == ("Pending", "Unknown", reason)
    cluster.shop(backup=POLICY)
    await cluster.reconcile()
    assert cluster.job()


@pytest.mark.parametrize(
    ("mark", "reason", "event", "text"),
    [
        ("Restoring", "Restoring", "Normal", "its databases are being replaced: wait until it is open"),
        ("Failed", "RestoreFailed", "Warning", "do what the message of that PlatformRestore says"),
        ("Failed/inconsistent", "RestoreFailed", "Warning", "do what the message of that PlatformRestore says"),
    ],
)
async def test_a_shop_that_a_restore_has_closed_is_not_backed_up(
    cluster: FakeCluster, mark: str, reason: str, event: str, text: str
) -> None:
    annotations = {ANNOTATION_RESTORE: f"now/uid-now/{mark}"}
    cluster.shops.platforms[SHOP] = replace(cluster.shops.platforms[SHOP], annotations=annotations)
    cluster.backup()
    assert (await cluster.reconcile()).delay is not None
    assert (cluster.status()["phase"], *cluster.complete()[:2]) == ("Pending", "Unknown", reason)
    assert (text in cluster.complete()[2], cluster.events()) == (True, [(event, reason)])


async def test_a_deleted_shop_is_not_backed_up(cluster: FakeCluster) -> None:
    shop = cluster.shops.platforms[SHOP]
    cluster.shops.platforms[SHOP] = replace(shop, deleting=True)
    cluster.backup()
    await cluster.reconcile()
    assert cluster.complete()[:2] == ("Unknown", "PlatformMissing")
    assert (JOB.kind, "shop", "backup-now") not in cluster.server.objects


async def test_a_backup_whose_chart_is_not_rendered_in_time_is_rendered_again(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def time_out(*_: object) -> list[Manifest]:
        raise RenderTimeoutError("helm did not answer within 30 s")

    with monkeypatch.context() as patched:
        patched.setattr(RememberingHelm, "template", time_out)
        cluster.backup()
        assert (await cluster.reconcile()).delay is not None
        assert (cluster.status()["phase"], *cluster.complete()[:2]) == ("Pending", "Unknown", "RenderTimedOut")
    await cluster.reconcile()
    assert cluster.status()["phase"] == "Running"


async def test_a_backup_waits_for_values_that_the_chart_accepts(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> list[Manifest]:
        raise RenderError("Helm refuses the values: userIds is wrong")

    monkeypatch.setattr(RememberingHelm, "template", refuse)
    cluster.backup()
    assert (await cluster.reconcile()).delay is not None
    assert cluster.complete()[:2] == ("Unknown", "RenderFailed")
    monkeypatch.undo()
    await cluster.reconcile()
    assert cluster.complete()[:2] == ("Unknown", "Running")


async def test_a_backup_can_have_a_destination_of_its_own(cluster: FakeCluster) -> None:
    cluster.backup(destination={"volume": {"claimName": "disk"}}, encryptionKeySecretRef={"name": "own-key"})
    await cluster.reconcile()
    variables = environment(cluster.job()["spec"])
    assert variables["BACKUP_DESTINATION"] == "file:///backups"
    assert variables["BACKUP_KEY"]["secretKeyRef"]["name"] == "own-key"
    volumes = cluster.job()["spec"]["template"]["spec"]["volumes"]
    assert {"name": "backups", "persistentVolumeClaim": {"claimName": "disk"}} in volumes


async def test_a_job_is_made_once_whatever_answer_was_lost(cluster: FakeCluster) -> None:
    cluster.backup()
    with cluster.server.losing_answers():
        await cluster.reconcile()
    await cluster.reconcile()
    assert cluster.status()["phase"] == "Running"
    jobs = [one for one in cluster.server.objects if one[0] == JOB.kind]
    assert len(jobs) == 1


async def test_the_job_of_another_is_left_alone(cluster: FakeCluster) -> None:
    cluster.backup()
    cluster.server.objects[JOB.kind, "shop", "backup-now"] = {
        "kind": JOB.kind,
        "metadata": {"name": "backup-now", "namespace": "shop", "uid": "other", "resourceVersion": "1"},
        "spec": {"template": {"spec": {"containers": [{"name": "other"}]}}},
    }
    await cluster.reconcile()
    assert cluster.complete()[:2] == ("Unknown", "NameTaken")


async def test_a_job_that_was_deleted_is_not_started_again(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    await cluster.reconcile()
    gone = cluster.server.objects.pop((JOB.kind, "shop", "backup-now"))
    cluster.store.change(JOB, "DELETED", gone)
    assert backup_key("shop", "now") in cluster.queued
    await cluster.reconcile()
    assert cluster.complete()[:2] == ("False", "JobLost")
    assert "how it ended is not known: list the backups" in cluster.complete()[2]
    assert cluster.status()["completionTime"], "the plugin waits for it"
    assert (JOB.kind, "shop", "backup-now") not in cluster.server.objects


async def test_a_refused_job_is_tried_again(cluster: FakeCluster) -> None:
    cluster.backup()
    cluster.server.refused[JOB.kind] = ApiError(403, "Forbidden", "exceeded quota: tenant")
    assert (await cluster.reconcile()).delay is not None
    assert cluster.complete()[:2] == ("Unknown", "Refused")
    assert "exceeded quota" in cluster.complete()[2]
    assert "Raise the quota or correct the admission policy" in cluster.complete()[2]


BROKEN_WEBHOOK = ApiError(500, "InternalError", 'failed calling webhook "jobs.example.com": connection refused')


async def test_a_job_that_the_api_server_fails_to_create_is_reported_and_tried_again(cluster: FakeCluster) -> None:
    cluster.backup()
    cluster.server.refused[JOB.kind] = BROKEN_WEBHOOK
    assert (await cluster.reconcile()).delay == RUNNING_INTERVAL
    assert cluster.complete()[:2] == ("Unknown", "Refused")
    assert (
        cluster.complete()[2] == f"The API server did not create the Job: {BROKEN_WEBHOOK}. The operator tries again."
    )
    del cluster.server.refused[JOB.kind]
    await cluster.reconcile()
    assert cluster.complete()[1] == "Running"


@pytest.mark.parametrize("error", [ApiError(429, "TooManyRequests", "busy", 7.0), ApiError(409, "Conflict", "changed")])
async def test_a_job_that_the_api_server_puts_off_is_left_to_the_work_queue(
    cluster: FakeCluster, error: ApiError
) -> None:
    """It waits as long as the API server asks for, and repeats a conflict at once."""
    cluster.backup()
    cluster.server.refused[JOB.kind] = error
    with pytest.raises(ApiError, match=str(error)):
        await cluster.reconcile()


async def test_a_backup_in_a_namespace_that_is_being_deleted_says_so(cluster: FakeCluster) -> None:
    cluster.shop(backup=POLICY)
    cluster.backup()
    cluster.server.refused[JOB.kind] = ApiError(403, NAMESPACE_TERMINATING, "because it is being terminated")
    await cluster.reconcile()
    assert cluster.complete() == ("Unknown", "Refused", "The namespace is being deleted: nothing is created in it.")


async def test_the_backup_of_a_shop_of_another_operator_is_left_to_it(cluster: FakeCluster) -> None:
    cluster.shop(operatorClassName="staging", backup=POLICY)
    cluster.backup()
    assert (await cluster.reconcile()).delay is None
    assert cluster.server.writes == []


async def test_a_backup_says_by_events_when_it_begins_fails_an_attempt_and_ends(cluster: FakeCluster) -> None:
    cluster.shop(hibernated=True, backup=POLICY)
    cluster.backup()
    for _ in range(3):
        await cluster.reconcile()
    cluster.shop(backup=POLICY)
    for _ in range(3):
        await cluster.reconcile()
    cluster.report("backup-now", {"reason": "DatabaseFailed", "message": "order does not answer"})
    for _ in range(3):
        await cluster.reconcile()
    cluster.end("backup-now", "Complete", ARCHIVE)
    for _ in range(3):
        await cluster.reconcile()
    assert cluster.events() == [
        ("Warning", "Hibernated"), ("Normal", "Running"), ("Warning", "Retrying"), ("Normal", "Succeeded"),
    ]  # fmt: skip
    last = cluster.server.events[-1]
    assert last["message"] == f"Backup {ARCHIVE['id']} is complete."
    assert last["involvedObject"] == {
        "apiVersion": PLATFORM_BACKUP.api_version, "kind": "PlatformBackup", "namespace": "shop", "name": "now",
        "uid": "uid-now",
    }  # fmt: skip


async def test_a_failed_backup_says_by_an_event_why(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.end("backup-now", "Failed", {"reason": "DestinationFull", "message": "keep fewer backups"})
    await cluster.reconcile()
    assert cluster.events()[-1] == ("Warning", "DestinationFull")
    assert cluster.server.events[-1]["message"] == "keep fewer backups"


# The schedule of a shop.


async def test_a_schedule_is_two_cron_jobs_of_the_chart(cluster: FakeCluster) -> None:
    retention = {"count": 14, "days": 30}
    policy = {"verifySchedule": "0 6 * * 0", "verifyStorage": "3Gi", "timeZone": "Europe/Berlin"}
    cluster.shop(backup=POLICY | policy | {"retention": retention})
    await cluster.reconcile_schedule()
    make = cluster.server.objects[CRON_JOB.kind, "shop", "market-backup"]
    verify = cluster.server.objects[CRON_JOB.kind, "shop", "market-backup-verify"]
    assert [one["spec"]["schedule"] for one in (make, verify)] == ["0 4 * * *", "0 6 * * 0"]
    assert [one["spec"]["timeZone"] for one in (make, verify)] == ["Europe/Berlin"] * 2
    assert [container(one["spec"]["jobTemplate"]["spec"])["args"] for one in (make, verify)] == [["create"], ["verify"]]
    volumes = verify["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "scratch", "emptyDir": {"sizeLimit": "3Gi"}} in volumes
    variables = environment(make["spec"]["jobTemplate"]["spec"])
    assert (variables["BACKUP_KEEP"], variables["BACKUP_KEEP_DAYS"]) == ("14", "30")
    assert make["metadata"]["ownerReferences"][0]["uid"] == "shop-uid"
    await cluster.reconcile_schedule()
    assert cluster.server.writes == []


async def test_the_cron_jobs_of_the_longest_name_of_a_shop_are_allowed(charts: Path, helm: str) -> None:
    name, spec = "s" * MAX_NAME_LENGTH, parse({"backup": POLICY | {"verifySchedule": "@weekly"}})
    assert spec.backup is not None
    metadata = {"namespace": "shop", "name": name, "uid": "u", "resourceVersion": "1", "generation": 1}
    shop = observe_platform({"metadata": metadata})
    values = schedule_values(shop, spec, spec.backup, Installation("1.2"), closed_by_restore=False)
    release = PlatformKey("shop", schedule_release(name))
    rendered = await Helm(executable=helm).template(charts / "backup", release, values)
    names = [one["metadata"]["name"] for one in rendered if one["kind"] == CRON_JOB.kind]
    assert len(names) == 2
    assert max(map(len, names)) <= 52, "the API server refuses longer ones: the names of their Jobs have 11 more"


async def test_what_a_schedule_no_longer_needs_is_deleted(cluster: FakeCluster) -> None:
    cluster.shop(backup=POLICY | {"verifySchedule": "@weekly"})
    await cluster.reconcile_schedule()
    cluster.backup()
    await cluster.reconcile()
    cluster.shop(backup=POLICY, networkPolicies={"enabled": False})
    await cluster.reconcile_schedule()
    kinds = sorted(one[0] for one in cluster.server.objects if one[2].startswith("market-backup"))
    assert kinds == ["CronJob"]
    cluster.shop()
    report = await cluster.reconcile_schedule()
    assert [one for one in cluster.server.objects if one[2].startswith("market-backup")] == []
    assert report == BackupReport()
    assert cluster.job(), "the backup that a person has started goes on"


async def test_a_schedule_that_a_deletion_did_not_find_is_deleted_later(cluster: FakeCluster) -> None:
    cluster.shop(backup=POLICY)
    await cluster.reconcile_schedule()
    cluster.shop()
    cluster.server.not_found = {"market-backup"}
    await cluster.reconcile_schedule()
    cluster.server.not_found = set()
    assert (await cluster.controller.reconcile(schedule_key(SHOP))).delay is None
    assert [one for one in cluster.server.objects if one[2].startswith("market-backup")] == []


async def test_a_schedule_that_is_not_deleted_yet_is_looked_at_again(cluster: FakeCluster) -> None:
    cluster.shop(backup=POLICY)
    await cluster.reconcile_schedule()
    cluster.shop()
    cluster.server.not_found = {"market-backup"}
    cluster.see()
    assert (await cluster.controller.reconcile(schedule_key(SHOP))).delay is not None


async def test_a_changed_cron_job_is_restored(cluster: FakeCluster) -> None:
    await cluster.reconcile_schedule()
    stored = cluster.server.objects[CRON_JOB.kind, "shop", "market-backup"]
    cluster.server.version += 1
    stored["metadata"] |= {"managedFields": [], "resourceVersion": str(cluster.server.version)}
    await cluster.reconcile_schedule()
    assert cluster.server.writes == ["CronJob market-backup"]


async def test_an_observed_shop_gets_no_schedule_and_a_hibernated_one_a_suspended_one(cluster: FakeCluster) -> None:
    cluster.shop(mode="Observe", backup=POLICY)
    await cluster.reconcile_schedule()
    assert cluster.server.writes == []
    cluster.shop(hibernated=True, backup=POLICY)
    await cluster.reconcile_schedule()
    assert cluster.server.objects[CRON_JOB.kind, "shop", "market-backup"]["spec"]["suspend"] is True


async def test_external_databases_are_reached_by_their_secrets_and_ports(cluster: FakeCluster) -> None:
    names = ("user", "product", "inventory", "order", "payment", "notification", "review")
    external: Manifest = {name: {"secretRef": {"name": f"{name}-outside"}} for name in names}
    external["order"] |= {"port": 6432, "runtimeSecretRef": {"name": "order-role"}}
    cluster.shop(backup=POLICY, databases={"provider": "external", "external": external})
    await cluster.reconcile_schedule()
    cron_job = cluster.server.objects[CRON_JOB.kind, "shop", "market-backup"]
    pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    secrets = {one["name"]: one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
    assert (secrets["order-db"], secrets["order-db-runtime"]) == ("order-outside", "order-role")
    policy = cluster.server.objects["NetworkPolicy", "shop", "market-backup"]
    assert [one["port"] for rule in policy["spec"]["egress"] for one in rule["ports"]] == [53, 53, 5432, 6432, 9000]


def backed_up(report: BackupReport) -> tuple[bool | None, str]:
    assert report.condition is not None
    return report.condition.status, report.condition.reason


async def test_the_last_backup_and_its_verification_are_reported(cluster: FakeCluster) -> None:
    cluster.shop(backup=POLICY | {"verifySchedule": "@weekly"})
    assert backed_up(await cluster.reconcile_schedule()) == (False, "NoBackupYet")
    cluster.scheduled_job("first")
    cluster.end("first", "Complete", ARCHIVE)
    cluster.scheduled_job("check", "verify")
    cluster.end("check", "Complete", ARCHIVE, NOW + timedelta(hours=1))
    cluster.reported.clear()
    report = await cluster.reconcile_schedule()
    assert cluster.reported == [SHOP], "the reconciler writes the status"
    assert backed_up(report) == (True, "BackedUp")
    assert report.row["lastSuccessful"] == {
        "backupId": ARCHIVE["id"], "cutTime": "2026-01-01T11:55:00Z", "sizeBytes": 12_900_000,
        "name": "first", "completionTime": "2026-01-01T12:00:00Z",
    }  # fmt: skip
    assert report.row["lastVerified"]["completionTime"] == "2026-01-01T13:00:00Z"
    assert "lastVerifiedRestore" not in report.row, "an earlier release only reads the files"


async def test_a_backup_that_a_verification_has_restored_is_reported(cluster: FakeCluster) -> None:
    cluster.shop(backup=POLICY | {"verifySchedule": "@weekly"})
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.end("first", "Complete", ARCHIVE)
    restored = ARCHIVE | {"invariants": {"order": 12, "payment": 14}}
    cluster.scheduled_job("check", "verify")
    cluster.end("check", "Complete", restored, NOW + timedelta(hours=1))
    report = await cluster.reconcile_schedule()
    assert report.row["lastVerifiedRestore"] == "2026-01-01T11:55:00Z"
    assert report.condition is not None
    assert "found restorable is of 2026-01-01T11:55:00Z" in report.condition.message
    broken = {"reason": "InvariantBroken", "message": "one_live_payment_per_order of payment (1 row)"}
    cluster.scheduled_job("again", "verify")
    cluster.end("again", "Failed", broken, NOW + timedelta(hours=2))
    report = await cluster.reconcile_schedule()
    assert backed_up(report) == (False, "VerificationFailed")
    assert report.row["lastVerificationFailure"]["reason"] == "InvariantBroken"
    assert report.row["lastVerifiedRestore"] == "2026-01-01T11:55:00Z", "that backup is still good"
    older = restored | {"cut": "2025-12-25T11:55:00.000+00:00"}
    cluster.scheduled_job("older", "verify")
    cluster.end("older", "Complete", older, NOW + timedelta(hours=3))
    assert (await cluster.reconcile_schedule()).row["lastVerifiedRestore"] == "2026-01-01T11:55:00Z"


async def test_a_failed_backup_or_verification_is_reported_until_one_succeeds(cluster: FakeCluster) -> None:
    cluster.shop(backup=POLICY | {"verifySchedule": "@weekly"})
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.end("first", "Complete", ARCHIVE)
    cluster.scheduled_job("second")
    cluster.end("second", "Failed", {"reason": "DestinationFull", "message": "no room"}, NOW + timedelta(hours=1))
    report = await cluster.reconcile_schedule()
    assert backed_up(report) == (False, "BackupFailed")
    assert report.condition is not None
    assert "DestinationFull: no room" in report.condition.message
    assert ARCHIVE["id"] in report.condition.message, "it says which backup can be restored"
    cluster.scheduled_job("third")
    cluster.end("third", "Complete", ARCHIVE, NOW + timedelta(hours=2))
    assert backed_up(await cluster.reconcile_schedule()) == (True, "BackedUp")
    cluster.scheduled_job("check", "verify")
    cluster.end("check", "Failed", {"reason": "BackupDamaged", "message": "changed"}, NOW + timedelta(hours=3))
    assert backed_up(await cluster.reconcile_schedule()) == (False, "VerificationFailed")


def waiting_pod(message: str, created: datetime = NOW) -> Manifest:
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    metadata = {"name": "p", "creationTimestamp": created.isoformat()}
    return {"metadata": metadata, "status": {"phase": "Pending", "conditions": [unschedulable]}}


@pytest.mark.parametrize(("mode", "is_ended"), [("Manage", True), ("Observe", False)])
async def test_a_job_of_the_schedule_that_cannot_start_for_an_hour_is_ended_as_failed(
    cluster: FakeCluster, mode: str, is_ended: bool
) -> None:
    """Its CronJob starts no other until then, also if its spec was corrected."""
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.job("first")["status"] = {"startTime": NOW.isoformat()}
    cluster.server.set_pods("first", waiting_pod("no volume nope"))
    cluster.shop(backup=POLICY, mode=mode)
    cluster.now += timedelta(minutes=59)
    before = await cluster.reconcile_schedule()
    assert cluster.server.writes == []
    cluster.now += timedelta(minutes=1)
    assert (await cluster.reconcile_schedule()).condition == before.condition
    assert cluster.server.writes == (["overwrite Job first"] if is_ended else [])
    assert (cluster.job("first")["spec"]["activeDeadlineSeconds"] == 1) == is_ended


async def test_a_pod_of_a_second_attempt_has_an_hour_of_its_own_to_start(cluster: FakeCluster) -> None:
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.job("first")["status"] = {"startTime": NOW.isoformat()}
    cluster.report("first", {"reason": "DestinationUnavailable", "message": "the bucket does not answer"})
    (failed,) = cluster.server.pods["uid-first"]
    cluster.now += timedelta(hours=2)
    second = waiting_pod("no node has room", cluster.now - timedelta(seconds=10))
    cluster.server.set_pods("first", failed, second)
    report = await cluster.reconcile_schedule()
    assert report.condition is not None
    assert "The pod of Job first cannot start: Unschedulable: no node has room. " in report.condition.message
    assert cluster.server.writes == []
    cluster.now += timedelta(minutes=59, seconds=50)
    await cluster.reconcile_schedule()
    assert cluster.server.writes == ["overwrite Job first"]


async def test_a_job_of_the_schedule_whose_pods_are_refused_for_an_hour_is_ended_as_failed(
    cluster: FakeCluster,
) -> None:
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.job("first")["status"] = {"startTime": NOW.isoformat()}
    cluster.server.refuse_pods("first")
    cluster.now += timedelta(minutes=59)
    report = await cluster.reconcile_schedule()
    assert report.condition is not None
    assert f"The pod of Job first cannot start: {refusal_of('first')}. " in report.condition.message
    assert cluster.server.writes == []
    cluster.now += timedelta(minutes=1)
    await cluster.reconcile_schedule()
    assert cluster.server.writes == ["overwrite Job first"]


@pytest.mark.parametrize("counted", [{"failed": 1}, {"uncountedTerminatedPods": {"failed": ["uid-of-a-pod"]}}])
async def test_a_job_of_the_schedule_whose_pod_was_evicted_after_an_hour_is_not_ended_when_the_next_is_refused(
    cluster: FakeCluster, counted: Manifest
) -> None:
    """A quota may have no room for the next pod until the evicted one is gone."""
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.job("first")["status"] = {"startTime": NOW.isoformat(), **counted}
    cluster.server.refuse_pods("first")
    cluster.now += timedelta(hours=2)
    report = await cluster.reconcile_schedule()
    assert report.condition is not None
    assert refusal_of("first") in report.condition.message
    assert cluster.server.writes == []


async def test_a_job_that_was_ended_says_why_its_pod_could_not_start(cluster: FakeCluster) -> None:
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.job("first")["status"] = {"startTime": NOW.isoformat()}
    cluster.server.set_pods("first", waiting_pod("no volume nope"))
    cluster.now += timedelta(hours=1)
    await cluster.reconcile_schedule()
    cluster.end("first", "Failed", "", cluster.now)
    cluster.server.set_pods("first")
    report = await cluster.reconcile_schedule()
    assert backed_up(report) == (False, "BackupFailed")
    assert report.condition is not None
    assert "first, has failed with JobFailed: Its pod could not start: Unschedulable: no volume nope" in (
        report.condition.message
    )


async def test_a_job_that_the_api_server_does_not_let_end_is_reported_all_the_same(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise ApiError(403, "Forbidden", "a policy forbids it")

    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.job("first")["status"] = {"startTime": NOW.isoformat()}
    cluster.server.set_pods("first", waiting_pod("no volume nope"))
    cluster.now += timedelta(hours=1)
    monkeypatch.setattr(cluster.server, "overwrite", refuse)
    condition = (await cluster.reconcile_schedule()).condition
    assert condition is not None
    assert "The pod of Job first cannot start" in condition.message


async def test_a_job_of_the_schedule_that_cannot_start_is_reported_until_it_is_gone(cluster: FakeCluster) -> None:
    before = (await cluster.reconcile_schedule()).condition
    cluster.scheduled_job("first")
    cluster.server.set_pods("first", waiting_pod("no volume nope"))
    condition = (await cluster.reconcile_schedule()).condition
    assert condition is not None
    assert "The pod of Job first cannot start: Unschedulable: no volume nope. " in condition.message
    assert condition.message.endswith("kubectl -n shop delete job first")
    del cluster.server.objects[JOB.kind, "shop", "first"]
    cluster.restart()
    assert (await cluster.reconcile_schedule()).condition == before


async def test_a_backup_that_is_too_old_is_none(cluster: FakeCluster) -> None:
    cluster.shop(backup=POLICY | {"maxAgeHours": 30})
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.end("first", "Complete", ARCHIVE)
    await cluster.reconcile_schedule()
    cluster.now += timedelta(hours=30)
    assert backed_up(await cluster.reconcile_schedule()) == (False, "BackupTooOld")
    cluster.shop(hibernated=True, backup=POLICY | {"maxAgeHours": 30})
    assert backed_up(await cluster.reconcile_schedule()) == (True, "BackedUp"), "nothing has changed since"


async def test_the_report_outlives_the_jobs_and_the_operator(cluster: FakeCluster) -> None:
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.end("first", "Complete", ARCHIVE)
    report = await cluster.reconcile_schedule()
    del cluster.server.objects[JOB.kind, "shop", "first"]
    cluster.restart()
    cluster.shop(status={"backup": dict(report.row)}, backup=POLICY)
    assert await cluster.reconcile_schedule() == report


async def test_a_backup_that_a_person_takes_counts_in_the_destination_of_the_shop(cluster: FakeCluster) -> None:
    cluster.backup("elsewhere", destination={"volume": {"claimName": "disk"}}, encryptionKeySecretRef=KEY)
    await cluster.reconcile("elsewhere")
    cluster.end("backup-elsewhere", "Complete", ARCHIVE)
    await cluster.reconcile("elsewhere")
    assert backed_up(await cluster.reconcile_schedule()) == (False, "NoBackupYet")
    cluster.backup()
    await cluster.reconcile()
    cluster.end("backup-now", "Complete", ARCHIVE)
    cluster.queued.clear()
    await cluster.reconcile()
    assert schedule_key(SHOP) in cluster.queued
    report = await cluster.reconcile_schedule()
    assert (backed_up(report), report.row["lastSuccessful"]["name"]) == ((True, "BackedUp"), "now")


async def test_a_job_of_another_command_does_not_stop_the_report(cluster: FakeCluster) -> None:
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.end("first", "Complete", ARCHIVE)
    cluster.scheduled_job("restore")
    cluster.job("restore")["spec"]["template"]["spec"]["containers"][0]["args"] = ["restore"]
    cluster.end("restore", "Complete", ARCHIVE, NOW + timedelta(hours=1))
    report = await cluster.reconcile_schedule()
    assert (backed_up(report), report.row["lastSuccessful"]["name"]) == ((True, "BackedUp"), "first")


async def test_objects_of_a_helm_release_are_left_alone(cluster: FakeCluster) -> None:
    foreign: Manifest = {"namespace": "shop", "uid": "helm", "resourceVersion": "1", "generation": 1}
    foreign["managedFields"] = [{"manager": "helm", "operation": "Update"}]
    policy: Manifest = {"kind": "NetworkPolicy", "metadata": foreign | {"name": "backup-now"}, "spec": {"egress": []}}
    cluster.server.objects["NetworkPolicy", "shop", "backup-now"] = copy.deepcopy(policy)
    cron_job = copy.deepcopy(policy) | {"kind": CRON_JOB.kind}
    cron_job["metadata"]["name"] = "market-backup"
    cluster.server.objects[CRON_JOB.kind, "shop", "market-backup"] = copy.deepcopy(cron_job)
    cluster.backup()
    await cluster.reconcile()
    assert (cluster.status()["phase"], *cluster.complete()[:2]) == ("Pending", "Unknown", "NameTaken")
    assert "NetworkPolicy backup-now belongs to helm" in cluster.complete()[2]
    report = await cluster.reconcile_schedule()
    assert backed_up(report) == (False, "BackupsNotScheduled")
    assert report.condition is not None
    assert "CronJob market-backup belongs to helm" in report.condition.message
    assert cluster.server.objects["NetworkPolicy", "shop", "backup-now"] == policy
    assert cluster.server.objects[CRON_JOB.kind, "shop", "market-backup"] == cron_job


async def test_an_object_that_has_lost_its_owner_is_still_the_operators(cluster: FakeCluster) -> None:
    await cluster.reconcile_schedule()
    stored = cluster.server.objects[CRON_JOB.kind, "shop", "market-backup"]
    cluster.server.version += 1
    stored["metadata"] |= {"ownerReferences": [], "resourceVersion": str(cluster.server.version)}
    cluster.restart()
    assert backed_up(await cluster.reconcile_schedule()) == (False, "NoBackupYet")
    stored = cluster.server.objects[CRON_JOB.kind, "shop", "market-backup"]
    assert stored["metadata"]["ownerReferences"][0]["uid"] == "shop-uid"


async def test_no_two_backups_need_the_same_object(cluster: FakeCluster) -> None:
    for name in ("a", "a-databases"):
        cluster.backup(name)
        await cluster.reconcile(name)
        assert cluster.status(name)["phase"] == "Running"


async def test_the_policies_of_a_backup_are_deleted_once_it_has_ended(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    assert cluster.job()["spec"]["ttlSecondsAfterFinished"] == 604_800
    cluster.end("backup-now", "Complete", ARCHIVE)
    await cluster.reconcile()
    assert [one for one in cluster.server.objects if one[0] == "NetworkPolicy"] == []
    assert cluster.job(), "people read the logs of its pods"
    assert len(cluster.controller.jobs._applied) == 0, "else each backup would leave memory in use"


async def test_policies_that_a_deletion_did_not_find_are_deleted_later(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.end("backup-now", "Complete", ARCHIVE)
    cluster.server.not_found = {"backup-now.databases"}
    for _ in range(2):
        assert (await cluster.reconcile()).delay is not None
    cluster.server.not_found = set()
    await cluster.controller.reconcile(backup_key("shop", "now"))
    assert [one for one in cluster.server.objects if one[0] == "NetworkPolicy"] == []
    assert (await cluster.controller.reconcile(backup_key("shop", "now"))).delay is None


async def test_policies_that_a_killed_operator_left_are_deleted(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.server.objects[PLATFORM_BACKUP.kind, "shop", "now"]["status"] = {"phase": "Succeeded"}
    cluster.restart()
    await cluster.reconcile()
    assert [one for one in cluster.server.objects if one[0] == "NetworkPolicy"] == []


async def test_a_conflict_without_a_job_is_not_taken_for_the_job_of_another(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def conflict(*_: object) -> Manifest:
        raise ApiError(409, "Conflict", "the quota was changed by another request")

    monkeypatch.setattr(cluster.server, "create", conflict)
    cluster.backup()
    with pytest.raises(ApiError, match="the quota was changed"):
        await cluster.reconcile()


@pytest.mark.parametrize(
    "change",
    [{"destination": {"volume": {"claimName": "disk"}}}, {"encryptionKeySecretRef": {"name": "another-key"}}],
)
async def test_backups_into_a_former_destination_or_with_a_former_key_do_not_count(
    cluster: FakeCluster, change: Manifest
) -> None:
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.end("first", "Complete", ARCHIVE)
    cluster.scheduled_job("second")
    cluster.backup()
    await cluster.reconcile()
    cluster.end("backup-now", "Complete", ARCHIVE)
    await cluster.reconcile()
    before = await cluster.reconcile_schedule()
    assert backed_up(before) == (True, "BackedUp")
    cluster.shop(backup=POLICY | change)
    assert backed_up(await cluster.reconcile_schedule()) == (False, "NoBackupYet")
    cluster.end("second", "Complete", ARCHIVE, NOW + timedelta(hours=1))
    assert backed_up(await cluster.reconcile_schedule()) == (False, "NoBackupYet"), "it was started before the change"
    cluster.restart()
    cluster.shop(status={"backup": dict(before.row)}, backup=POLICY | change)
    assert backed_up(await cluster.reconcile_schedule()) == (False, "NoBackupYet"), "nor what the status says"


async def test_another_secret_with_the_credentials_of_the_bucket_changes_nothing(cluster: FakeCluster) -> None:
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.end("first", "Complete", ARCHIVE)
    await cluster.reconcile_schedule()
    bucket = {"s3": BUCKET["s3"] | {"secretRef": {"name": "rotated"}}}
    cluster.shop(backup=POLICY | {"destination": bucket})
    assert backed_up(await cluster.reconcile_schedule()) == (True, "BackedUp")


async def test_the_backups_of_a_former_shop_of_the_same_name_do_not_count(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.end("backup-now", "Complete", ARCHIVE)
    await cluster.reconcile()
    assert backed_up(await cluster.reconcile_schedule()) == (True, "BackedUp")
    cluster.shops.platforms[SHOP] = replace(cluster.shops.platforms[SHOP], uid="another-uid")
    for place in [one for one in cluster.server.objects if one[2].startswith("market-backup")]:
        del cluster.server.objects[place]  # by the garbage collector
    cluster.restart()
    assert backed_up(await cluster.reconcile_schedule()) == (False, "NoBackupYet")


@pytest.mark.parametrize(
    ("pause", "advice"),
    [({"mode": "Observe"}, "set spec.mode to Manage"), ({"hibernated": True}, "set spec.hibernated to false")],
)
async def test_no_backup_is_promised_that_is_not_scheduled(cluster: FakeCluster, pause: Manifest, advice: str) -> None:
    cluster.shop(backup=POLICY, **pause)
    report = await cluster.reconcile_schedule()
    assert report.condition is not None
    assert advice in report.condition.message
    assert "One begins" not in report.condition.message


async def test_a_backup_that_could_not_delete_older_ones_says_so(cluster: FakeCluster) -> None:
    await cluster.reconcile_schedule()
    cluster.scheduled_job("first")
    cluster.end("first", "Complete", ARCHIVE | {"pruneFailed": "DestinationRefused: no right to delete"})
    report = await cluster.reconcile_schedule()
    assert report.condition is not None
    assert backed_up(report) == (True, "BackedUp")
    assert "were not deleted: DestinationRefused: no right to delete" in report.condition.message
    assert "no right to delete" in report.row["lastSuccessful"]["message"]


async def test_a_report_that_cannot_be_read_is_not_taken_for_one(cluster: FakeCluster) -> None:
    cluster.backup()
    await cluster.reconcile()
    cluster.end("backup-now", "Complete", '{"id": "20260101T1155-a1b2c3", "deleted": ["2025')
    await cluster.reconcile()
    assert cluster.complete()[:2] == ("True", "Succeeded")
    assert "cannot be read: list the backups" in cluster.complete()[2]


@pytest.mark.parametrize("error", [ApiError(422, "Invalid", "spec.schedule: Invalid value"), BROKEN_WEBHOOK])
async def test_a_schedule_that_is_not_accepted_is_reported(cluster: FakeCluster, error: ApiError) -> None:
    cluster.server.refused[CRON_JOB.kind] = error
    report = await cluster.reconcile_schedule()
    assert backed_up(report) == (False, "BackupsNotScheduled")
    assert report.condition is not None
    assert str(error) in report.condition.message


def test_every_failure_of_the_command_is_a_reason() -> None:
    assert failure_reasons(BackupError) <= {str(one) for one in BackupReason}


def failure_reasons(base: type[BackupError]) -> set[str]:
    """Returns the reasons of all failures below this one."""
    return {reason for one in base.__subclasses__() for reason in (one.reason, *failure_reasons(one))}


def test_sizes_are_written_for_people() -> None:
    assert [size_text(one) for one in (0, 1023, 1024, 5 << 40, 5 << 50)] == [
        "0 B", "1023 B", "1.0 KiB", "5.0 TiB", "5120.0 TiB",
    ]  # fmt: skip
