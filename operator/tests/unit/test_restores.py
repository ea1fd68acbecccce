"""PlatformRestores against an API server that is a dictionary, with the real chart: each step, and each way to fail."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from platform_backup.errors import BackupError
from test_backups import (
    ARCHIVE,
    NOW,
    POLICY,
    SHOP,
    FakeApiServer,
    RememberingHelm,
    container,
    environment,
    failure_reasons,
    refusal_of,
)

from platform_operator.api.backups import PLATFORM_BACKUP, PLATFORM_RESTORE, BackupPolicy, RestoreReason
from platform_operator.api.kinds import (
    LABEL_PLATFORM,
    PLATFORM,
    VOLUME_CLAIM,
    Kind,
    Manifest,
    ObjectKey,
    PlatformKey,
)
from platform_operator.api.restore_marks import ANNOTATION_RESTORE, restore_mark
from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.backups.jobs import BackupJobs
from platform_operator.backups.objects import BACKUP_LABELS, CHILD_KINDS, CRON_JOB, JOB, policy_target, target_digest
from platform_operator.backups.restore_controller import RestoreController
from platform_operator.backups.restore_retries import retry_pause
from platform_operator.backups.restore_status import check_failure_advice
from platform_operator.backups.store import BackupStore, restore_key, schedule_key
from platform_operator.cache.observed import observe, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.errors import ApiError, RenderError, RenderTimeoutError
from platform_operator.invariants.scrape_results import ScrapeResult, ServiceMetrics
from platform_operator.render.values import Installation
from platform_operator.status.recorder import EventRecorder
from platform_operator.workqueue import Requeue

KINDS = {kind.kind: kind for kind in (*CHILD_KINDS, PLATFORM_BACKUP, PLATFORM_RESTORE)}
DATABASES = [{"name": f"{name}-db", "ready": True, "migratedAt": "2026-01-01T10:00:00Z"} for name in WITH_DATABASE]
RESTORED: Manifest = ARCHIVE | {"resent": {"order": 4, "payment": 3}}
AWAY: Manifest = {"reason": "DestinationUnavailable", "message": "the bucket backups does not answer (503)."}


class FakeServer(FakeApiServer):
    """The API server of a shop's namespace: with the shop itself, and the pods of its services."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: set[str] = set()
        """Names of the Secrets and claims that do not exist."""
        self.backup_pods: list[Manifest] = []
        self.service_pods: list[Manifest] = []
        self.refused_marks = 0
        """How many of the next annotations of the shop are refused."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        if kind.kind in ("Secret", VOLUME_CLAIM.kind):
            return None if name in self.missing else {"metadata": {"name": name}}
        return await super().get(kind, namespace, name)

    async def list(
        self, kind: Kind, namespace: str, selector: str = "", limit: int = 0, fields: str = ""
    ) -> tuple[list[Manifest], int]:
        if selector.startswith("app.kubernetes.io/instance=market,"):
            return copy.deepcopy(self.service_pods), self.version
        if selector == f"{LABEL_PLATFORM}=market,app.kubernetes.io/component=backup":
            return copy.deepcopy(self.backup_pods), self.version
        return await super().list(kind, namespace, selector, limit, fields)

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, subresource: str = "", manager: str = "operator"
    ) -> Manifest:
        if kind is not PLATFORM:
            return await super().apply(kind, namespace, manifest, subresource, manager)
        if self.refused_marks:
            self.refused_marks -= 1
            raise ApiError(503, "Unavailable", "the API server is overloaded")
        stored = self.objects[kind.kind, namespace, manifest["metadata"]["name"]]
        if stored["metadata"]["uid"] != manifest["metadata"]["uid"]:
            raise ApiError(409, "Conflict", "the uid is another")
        await asyncio.sleep(0)
        if stored["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "the object has been modified")
        assert "spec" not in manifest, "only the annotation is the restore's"
        self.version += 1
        self.writes.append(f"annotate {manifest['metadata']['annotations'].get(ANNOTATION_RESTORE, '-')}")
        stored["metadata"] |= {
            "annotations": dict(manifest["metadata"]["annotations"]), "resourceVersion": str(self.version),
        }  # fmt: skip
        return copy.deepcopy(stored)


class FakeCluster:
    """A shop, a backup of it, and the operator that restores. A new process looks at each step."""

    def __init__(self, charts: Path, helm: str) -> None:
        self.server, self.now = FakeServer(), NOW
        self.chart, self.helm = charts / "backup", helm
        self.results: dict[str, ScrapeResult] = {}
        self.finds_backups = True
        """True if the Job that looks for a backup has succeeded when the operator looks at it."""
        self.children: list[Manifest] = []
        """Objects of the shop that its reconciler has made."""
        self.shop()
        self.backup()

    def create(self, kind: Kind, name: str, **content: Any) -> None:
        self.server.version += 1
        metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "generation": 1}
        metadata["resourceVersion"] = str(self.server.version)
        self.server.objects[kind.kind, "shop", name] = {"kind": kind.kind, "metadata": metadata, **content}

    def shop(self, status: Manifest | None = None, **spec: Any) -> None:
        status = {"databases": DATABASES} | (status or {})
        self.create(PLATFORM, SHOP.name, spec={"backup": POLICY} | spec, status=status)

    def backup(self, phase: str = "Succeeded", **spec: Any) -> None:
        status = {"phase": phase} | ({"backupId": ARCHIVE["id"]} if phase == "Succeeded" else {})
        self.create(PLATFORM_BACKUP, "before", spec={"platform": "market"} | spec, status=status)

    def restore(self, name: str = "now", **spec: Any) -> None:
        self.create(PLATFORM_RESTORE, name, spec={"platform": "market"} | (spec or {"backup": "before"}))

    async def reconcile(self, *names: str) -> Requeue:
        """Makes one pass, and another one if the first has begun to look for a backup, which is there."""
        requeue = await self.make_pass(*names)
        found = [one for one in self.jobs_named("check-") if self.finds_backups and "status" not in self.job(one)]
        for name in found:
            self.end("Complete", ARCHIVE, name)
        return await self.make_pass(*names) if found else requeue

    async def make_pass(self, *names: str) -> Requeue:
        """Makes one pass, by workers of a process that has just been started, and sends its Events."""
        self.server.writes.clear()
        self.queued: set[ObjectKey] = set()
        self.woken: list[PlatformKey] = []
        self.store, shops = BackupStore(self.queued.add), Cache()
        for (kind, _, _), stored in list(self.server.objects.items()):
            if kind == PLATFORM.kind:
                shops.store_platform(observe_platform(copy.deepcopy(stored)))
            else:
                self.store.change(KINDS[kind], "MODIFIED", {"kind": kind} | copy.deepcopy(stored))
        recorder = EventRecorder(cast(Any, self.server), "operator-0")
        controller = RestoreController(
            BackupJobs(cast(Any, self.server), self.store, RememberingHelm(executable=self.helm), self.chart),
            shops, Installation("1.2", "registry.example.com"), lambda: self.now, lambda _: self.results,
            self.woken.append, recorder,
        )  # fmt: skip
        for one in self.children:
            shops.store(SHOP, observe(one))
        self.controller = controller
        keys = [restore_key("shop", name) for name in names or ["now"]]
        try:
            results = await asyncio.gather(*map(controller.reconcile, keys), return_exceptions=True)
        finally:
            await recorder.flush()
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return cast(Requeue, results[-1])

    async def delete(self, name: str = "now") -> None:
        """Deletes a PlatformRestore, with its Job, and makes a pass over the shop."""
        del self.server.objects[PLATFORM_RESTORE.kind, "shop", name]
        self.server.objects.pop((JOB.kind, "shop", f"restore-{name}"), None)
        await self.reconcile(name)
        await self.controller.reconcile_shop(SHOP)

    def status(self, name: str = "now") -> Manifest:
        return dict(self.server.objects[PLATFORM_RESTORE.kind, "shop", name].get("status", {}))

    def said(self, name: str = "now") -> tuple[str, str, str, str]:
        status = self.status(name)
        (condition,) = status["conditions"]
        return status["phase"], condition["status"], condition["reason"], condition["message"]

    @property
    def mark(self) -> str | None:
        stored = self.server.objects[PLATFORM.kind, "shop", SHOP.name]
        value: str | None = stored["metadata"].get("annotations", {}).get(ANNOTATION_RESTORE)
        return value

    @property
    def spec(self) -> Manifest:
        """The spec of the shop, as stored."""
        stored: Manifest = self.server.objects[PLATFORM.kind, "shop", SHOP.name]["spec"]
        return stored

    def shop_says(self, reason: str, ready: str = "False") -> None:
        """Writes the conditions that the reconciler of the shop writes."""
        self.server.version += 1
        stored = self.server.objects[PLATFORM.kind, "shop", SHOP.name]
        stored["metadata"]["resourceVersion"] = str(self.server.version)
        condition = {"message": "8 of 8", "lastTransitionTime": NOW.isoformat()}
        stored["status"]["conditions"] = [
            {"type": "Restoring", "status": "True", "reason": reason} | condition,
            {"type": "Ready", "status": ready, "reason": "AllReady"} | condition,
        ]

    def jobs_named(self, prefix: str) -> list[str]:
        return [name for kind, _, name in self.server.objects if kind == JOB.kind and name.startswith(prefix)]

    def job(self, name: str = "restore-now") -> Manifest:
        return self.server.objects[JOB.kind, "shop", name]

    def other_job(self, name: str, command: str) -> None:
        self.create(JOB, name, spec={"template": {"spec": {"containers": [{"args": [command]}]}}})
        self.job(name)["metadata"]["labels"] = {LABEL_PLATFORM: "market"}

    def end(self, outcome: str, report: Manifest | str, name: str = "restore-now") -> None:
        """Ends a Job after its pod has reported."""
        text = report if isinstance(report, str) else json.dumps(report)
        state = {"terminated": {"exitCode": 0, "finishedAt": self.now.isoformat(), "message": text}}
        pod = {"metadata": {"name": name}, "status": {"containerStatuses": [{"state": state}]}}
        self.end_with(outcome, name, pod)

    def end_with(self, outcome: str, name: str, *pods: Manifest, reason: str = "BackoffLimitExceeded") -> None:
        """Ends a Job, of which these pods are left."""
        self.server.set_pods(name, *pods)
        self.server.version += 1
        job = self.job(name)
        job["metadata"]["resourceVersion"] = str(self.server.version)
        ended = {"type": outcome, "status": "True", "message": "BackoffLimit", "reason": reason}
        ended["lastTransitionTime"] = self.now.isoformat()
        job["status"] = {"startTime": NOW.isoformat(), "conditions": [ended]}

    def events(self) -> list[tuple[str, str]]:
        """Returns the types and reasons of the Events."""
        return [(one["type"], one["reason"]) for one in self.server.events]

    async def until_restoring(self, name: str = "now") -> None:
        await self.reconcile(name)
        self.shop_says("Restoring")
        await self.reconcile(name)

    async def until_paused(self, **spec: Any) -> None:
        """Restores until the first attempt has failed, which is retried after a pause."""
        self.restore(**spec)
        await self.until_restoring()
        self.end("Failed", AWAY)
        await self.reconcile()

    def checked(self, **violations: int) -> None:
        self.results = {
            name: ScrapeResult(1.0, ServiceMetrics({"sums_agree": violations.get(name, 0)}, checked=1.0))
            for name in WITH_DATABASE
        }


@pytest.fixture
def cluster(charts: Path, helm: str) -> Iterator[FakeCluster]:
    cluster = FakeCluster(charts, helm)
    yield cluster
    jobs = [name for kind, _, name in cluster.server.objects if kind == JOB.kind and name == "restore-now"]
    assert len(jobs) <= 1


async def test_a_restore_closes_the_shop_restores_once_and_opens_it(cluster: FakeCluster) -> None:
    cluster.restore()
    cluster.server.service_pods = [{"metadata": {"name": "p"}, "status": {"phase": "Running"}}]
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Closing", ("Closing", "Unknown", "Closing"))
    assert cluster.woken == [SHOP], "its reconciler stops the services"
    cluster.shop_says("Restoring")
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Closing", "Unknown", "Closing"), "a pod still writes"
    cluster.server.service_pods = [{"metadata": {"name": "p"}, "status": {"phase": "Succeeded"}}]
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Restoring", "Unknown", "Running")
    await cluster.reconcile()
    assert restore_mark({ANNOTATION_RESTORE: cluster.mark or ""}, {}).closes  # type: ignore[union-attr]
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Opening", ("Opening", "Unknown", "Opening"))
    assert cluster.woken == [SHOP], "its reconciler starts the services"
    cluster.shop_says("Restoring", "True")
    await cluster.reconcile()
    assert cluster.said()[2] == "Opening", "the status of the shop is that of before"
    cluster.shop_says("Reopening", "True")
    cluster.now += timedelta(seconds=83)
    await cluster.reconcile()
    assert cluster.said()[2] == "CheckingInvariants"
    cluster.checked()
    cluster.now += timedelta(seconds=20)
    assert (await cluster.reconcile()).delay is None
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Succeeded", ("Succeeded", "True", "Succeeded"))
    status = cluster.status()
    assert (status["backupId"], status["cutTime"]) == (ARCHIVE["id"], "2026-01-01T11:55:00Z")
    assert (status["resentEvents"], status["closedSeconds"], status["invariants"]) == (7, 83, "all hold")
    assert [one for one in cluster.server.objects if one[0] == "NetworkPolicy"] == []
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_the_job_restores_that_backup_and_belongs_to_the_restore(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    job = cluster.job()
    assert container(job["spec"])["args"] == ["restore", ARCHIVE["id"], "--replace"]
    assert job["spec"]["backoffLimit"] == 0
    assert environment(job["spec"])["BACKUP_SHOP"] == "shop/market"
    assert environment(job["spec"])["BACKUP_DESTINATION"] == "s3://backups"
    policies = [
        one
        for one in cluster.server.objects.values()
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"].startswith("restore-now")
    ]
    assert len(policies) == 2, "the databases admit its pod"
    for one in (job, *policies):
        assert [owner["uid"] for owner in one["metadata"]["ownerReferences"]] == ["uid-now"]
        assert BACKUP_LABELS.items() <= one["metadata"]["labels"].items(), "else no watch sees it"


@pytest.mark.parametrize(
    ("source", "shop", "arguments", "destination", "key"),
    [
        ({}, "shop/market", ["check"], "s3://backups", "backup-key"),
        (
            {"shop": "gone/market", "id": "20260101T115500.000000Z-a1b2c3"}, "gone/market",
            ["check", "20260101T115500.000000Z-a1b2c3"], "s3://backups", "backup-key",
        ),
        (
            {"destination": {"volume": {"claimName": "disk"}}, "encryptionKeySecretRef": {"name": "old-key"}},
            "shop/market", ["check"], "file:///backups", "old-key",
        ),
    ],
)  # fmt: skip
async def test_a_backup_of_any_shop_and_place_is_restored(
    cluster: FakeCluster, source: Manifest, shop: str, arguments: list[str], destination: str, key: str
) -> None:
    cluster.restore(source=source)
    await cluster.until_restoring()
    assert container(cluster.job("check-now")["spec"])["args"] == arguments
    for job in ("check-now", "restore-now"):
        variables = environment(cluster.job(job)["spec"])
        assert (variables["BACKUP_SHOP"], variables["BACKUP_DESTINATION"]) == (shop, destination)
        assert variables["BACKUP_KEY"]["secretKeyRef"]["name"] == key


@pytest.mark.parametrize(("of", "uid", "created"), [({}, "uid-market", True), ({"shop": "gone/market"}, "", False)])
async def test_a_restore_knows_the_age_of_the_shop_whose_backup_it_is(
    cluster: FakeCluster, of: Manifest, uid: str, created: bool
) -> None:
    time = "2026-01-01T09:00:00Z"
    cluster.server.objects[PLATFORM.kind, "shop", SHOP.name]["metadata"]["creationTimestamp"] = time
    cluster.restore(source=of)
    await cluster.until_restoring()
    for job in ("check-now", "restore-now"):
        variables = environment(cluster.job(job)["spec"])
        assert (variables["BACKUP_SHOP_UID"], variables["BACKUP_SHOP_CREATED"]) == (uid, time if created else "")


@pytest.mark.parametrize(("spec", "seconds"), [({}, 21_600), ({"deadlineSeconds": 86_400}, 86_400)])
async def test_the_job_of_a_restore_has_the_deadline_of_the_spec(
    cluster: FakeCluster, spec: Manifest, seconds: int
) -> None:
    cluster.restore(backup="before", **spec)
    await cluster.until_restoring()
    assert cluster.job()["spec"]["activeDeadlineSeconds"] == seconds


async def test_a_backup_with_a_place_of_its_own_is_restored_from_there(cluster: FakeCluster) -> None:
    cluster.backup(destination={"volume": {"claimName": "disk"}}, encryptionKeySecretRef={"name": "own-key"})
    cluster.restore()
    await cluster.until_restoring()
    assert environment(cluster.job()["spec"])["BACKUP_DESTINATION"] == "file:///backups"
    assert environment(cluster.job()["spec"])["BACKUP_KEY"]["secretKeyRef"]["name"] == "own-key"


async def test_the_backup_is_checked_before_the_shop_is_closed(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore(source={"shop": "gone/market", "id": "20260101T115500.000000Z-a1b2c3"})
    for _ in range(2):
        assert (await cluster.reconcile()).delay is not None
        assert (cluster.mark, cluster.said()[:3]) == (None, ("Checking", "Unknown", "CheckingBackup"))
    job = cluster.job("check-now")
    assert container(job["spec"])["args"] == ["check", "20260101T115500.000000Z-a1b2c3"]
    assert environment(job["spec"])["BACKUP_SHOP"] == "gone/market"
    assert [owner["uid"] for owner in job["metadata"]["ownerReferences"]] == ["uid-now"]
    policies = sorted(name for kind, _, name in cluster.server.objects if kind == "NetworkPolicy")
    assert policies == ["check-now", "check-now.databases"], "else its pod could not reach the bucket"
    cluster.end("Complete", ARCHIVE, "check-now")
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0]) == ("now/uid-now/Closing", "Closing")


@pytest.mark.parametrize(
    ("report", "reason"),
    [({"reason": "BackupNotFound", "message": "shop/market has no backup x."}, "BackupNotFound"),
     ({"reason": "WrongKey", "message": "use the Secret with that key"}, "WrongKey"),
     ({"reason": "DestinationRefused", "message": "wrong credentials"}, "DestinationRefused"),
     ({"reason": "DestinationMissing", "message": "create it"}, "DestinationMissing"), ("", "JobFailed")],
)  # fmt: skip
async def test_a_restore_whose_backup_is_not_found_or_not_readable_fails_while_the_shop_serves(
    cluster: FakeCluster, report: Manifest | str, reason: str
) -> None:
    cluster.finds_backups = False
    cluster.restore()
    await cluster.reconcile()
    cluster.end("Failed", report, "check-now")
    assert (await cluster.reconcile()).delay is None
    assert (cluster.mark, cluster.woken, cluster.said()[:3]) == (None, [], ("Failed", "False", reason))
    cause = report["message"].rstrip(".") if isinstance(report, dict) else "BackoffLimit"
    assert cluster.said()[3] == (
        f"{cause}. Nothing was changed, and the shop stays open: correct this and create another PlatformRestore."
    )
    assert ("startTime" in cluster.status(), cluster.jobs_named("restore-")) == (False, [])
    await cluster.reconcile()
    assert [one for one in cluster.server.objects if one[0] == "NetworkPolicy"] == []


async def test_a_bucket_that_does_not_answer_is_tried_again(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore()
    await cluster.reconcile()
    first = cluster.job("check-now")["metadata"]["uid"]
    cluster.now += timedelta(seconds=4)
    cluster.end("Failed", AWAY, "check-now")
    for _ in range(2):
        assert (await cluster.reconcile()).delay is not None
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Checking", "Unknown", "DestinationUnavailable"))
    assert cluster.said()[3] == (
        "the bucket backups does not answer (503). Nothing was changed, and the shop stays open: the check is retried "
        "at 2026-01-01T12:00:14Z, and not after 2026-01-01T18:00:00Z."
    )
    assert (cluster.server.writes, cluster.job("check-now")["metadata"]["uid"]) == ([], first), "its logs are kept"
    cluster.now += timedelta(seconds=10)
    await cluster.reconcile()
    assert cluster.job("check-now")["metadata"]["uid"] != first
    cluster.end("Complete", ARCHIVE, "check-now")
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0]) == ("now/uid-now/Closing", "Closing")


async def test_a_restore_says_each_step_by_one_event(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.spec["hibernated"] = True
    cluster.restore()
    for _ in range(2):
        await cluster.reconcile()
    del cluster.spec["hibernated"]
    for _ in range(2):
        await cluster.reconcile()
    cluster.end("Complete", ARCHIVE, "check-now")
    for _ in range(2):
        await cluster.reconcile()
    cluster.shop_says("Restoring")
    for _ in range(2):
        await cluster.reconcile()
    cluster.end("Complete", RESTORED)
    for _ in range(2):
        await cluster.reconcile()
    cluster.shop_says("Reopening", "True")
    for _ in range(2):
        await cluster.reconcile()
    cluster.checked()
    for _ in range(2):
        await cluster.reconcile()
    assert cluster.events() == [
        ("Warning", "Hibernated"), ("Normal", "CheckingBackup"), ("Normal", "Closing"), ("Normal", "Running"),
        ("Normal", "Opening"), ("Normal", "CheckingInvariants"), ("Normal", "Succeeded"),
    ]  # fmt: skip
    messages = [one["message"] for one in cluster.server.events]
    assert messages[1:4] == [
        "The backup is checked before the shop is closed.",
        f"The check has found backup {ARCHIVE['id']}. The services are being stopped.",
        "The services are stopped, and the restore begins.",
    ]
    assert {one["involvedObject"]["uid"] for one in cluster.server.events} == {"uid-now"}
    assert {one["involvedObject"]["kind"] for one in cluster.server.events} == {"PlatformRestore"}


async def test_a_failed_restore_says_by_an_event_why_and_what_to_do(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Failed", {"reason": "WrongKey", "message": "use the Secret with that key"})
    for _ in range(2):
        await cluster.reconcile()
    assert cluster.events()[-1] == ("Warning", "WrongKey")
    assert cluster.server.events[-1]["message"] == cluster.said()[3]


async def test_a_check_that_is_retried_is_one_event_in_an_hour(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore()
    await cluster.reconcile()
    for hour in (1, 2):
        while cluster.now < NOW + timedelta(hours=hour):
            cluster.end("Failed", AWAY, "check-now")
            await cluster.reconcile()
            cluster.now += timedelta(minutes=6)
            await cluster.reconcile()
        failed = [one for one in cluster.events() if one == ("Warning", "DestinationUnavailable")]
        assert len(failed) == hour
    assert "the check is retried at 2026-01-01T12:00:10Z" in cluster.server.events[1]["message"]


def ended_pod(exit_code: int, reason: str, **metadata: str) -> Manifest:
    end = {"exitCode": exit_code, "reason": reason, "finishedAt": NOW.isoformat()}
    status = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": end}}]}
    return {"metadata": {"name": "p"} | metadata, "status": status}


TARGETED: Manifest = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
EVICTED: Manifest = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
INTERRUPTED: list[list[Manifest]] = [
    [],
    [{"metadata": {"name": "p"}, "status": EVICTED}],
    [{"metadata": {"name": "p"}, "status": ended_pod(1, "Error")["status"] | {"conditions": [TARGETED]}}],
    [ended_pod(1, "Error", deletionTimestamp="2026-01-01T12:00:30Z")],
    [ended_pod(137, "Error")],
    [ended_pod(143, "Error")],
    [ended_pod(139, "Error")],
]
"""What is left of a pod that was deleted, evicted, drained or killed."""


@pytest.mark.parametrize("pods", INTERRUPTED)
async def test_a_check_whose_pod_was_taken_away_is_retried(cluster: FakeCluster, pods: list[Manifest]) -> None:
    cluster.finds_backups = False
    cluster.restore()
    await cluster.reconcile()
    first = cluster.job("check-now")["metadata"]["uid"]
    cluster.end_with("Failed", "check-now", *pods)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Checking", "Unknown", "JobFailed"))
    assert "the shop stays open: the check is retried at 2026-01-01T12:00:10Z" in cluster.said()[3]
    cluster.now += timedelta(seconds=10)
    await cluster.reconcile()
    assert cluster.job("check-now")["metadata"]["uid"] != first
    cluster.end("Complete", ARCHIVE, "check-now")
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0]) == ("now/uid-now/Closing", "Closing")


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ([ended_pod(137, "OOMKilled")], "BackoffLimitExceeded"),
        ([ended_pod(1, "Error")], "BackoffLimitExceeded"),
        ([], "DeadlineExceeded"),
    ],
)
@pytest.mark.parametrize("job", ["check-now", "restore-now"])
async def test_what_fails_again_in_the_same_way_is_not_retried(
    cluster: FakeCluster, pods: list[Manifest], reason: str, job: str
) -> None:
    cluster.finds_backups = job != "check-now"
    cluster.restore()
    await (cluster.reconcile() if job == "check-now" else cluster.until_restoring())
    cluster.end_with("Failed", job, *pods, reason=reason)
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Failed", "False", "JobFailed")
    assert cluster.mark == (None if job == "check-now" else "now/uid-now/Failed/inconsistent")


async def test_a_bucket_that_goes_away_during_a_restore_is_tried_again_while_the_shop_is_closed(
    cluster: FakeCluster,
) -> None:
    cluster.restore()
    await cluster.until_restoring()
    first = cluster.job()["metadata"]["uid"]
    cluster.now += timedelta(seconds=60)
    cluster.end("Failed", AWAY)
    for _ in range(2):
        assert (await cluster.reconcile()).delay is not None
    assert (cluster.mark, cluster.said()[:3]) == (
        "now/uid-now/Closing", ("Closing", "Unknown", "DestinationUnavailable")
    )  # fmt: skip
    assert cluster.said()[3] == (
        "the bucket backups does not answer (503). The shop stays closed, and nothing was changed: the restore is "
        "retried at 2026-01-01T12:02:00Z, and not after 2026-01-01T18:00:00Z."
    )
    assert (cluster.server.writes, cluster.job()["metadata"]["uid"]) == ([], first), "its logs are kept"
    assert cluster.events()[-1] == ("Warning", "DestinationUnavailable")
    cluster.now += timedelta(seconds=60)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Restoring", ("Restoring", "Unknown", "Running"))
    assert cluster.job()["metadata"]["uid"] != first
    assert container(cluster.job()["spec"])["args"] == ["restore", ARCHIVE["id"], "--replace"]
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0]) == ("now/uid-now/Opening", "Opening")


@pytest.mark.parametrize(
    ("reason", "mark", "state"),
    [
        ("DatabaseUnreachable", "", "nothing was changed"),
        ("RestoreInterrupted", "/inconsistent", "its databases may be inconsistent"),
    ],
)
async def test_a_restore_that_has_lost_a_database_is_run_again(
    cluster: FakeCluster, reason: str, mark: str, state: str
) -> None:
    """The pod of a database is evicted with its node, and comes again."""
    cluster.restore()
    await cluster.until_restoring()
    first = cluster.job()["metadata"]["uid"]
    cluster.end("Failed", {"reason": reason, "message": "the database of order: psql ended with 2"})
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (f"now/uid-now/Closing{mark}", ("Closing", "Unknown", reason))
    assert f"The shop stays closed, and {state}: the restore is retried at" in cluster.said()[3]
    cluster.now += timedelta(seconds=10)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0]) == (f"now/uid-now/Restoring{mark}", "Restoring")
    assert cluster.job()["metadata"]["uid"] != first
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    assert cluster.mark == "now/uid-now/Opening"


@pytest.mark.parametrize("reason", ["DatabaseUnreachable", "RestoreInterrupted"])
async def test_a_database_that_stays_away_ends_the_restore_at_its_deadline(cluster: FakeCluster, reason: str) -> None:
    cluster.restore(backup="before", deadlineSeconds=600)
    await cluster.until_restoring()
    cluster.now += timedelta(seconds=301)
    cluster.end("Failed", {"reason": reason, "message": "the database of order: psql ended with 2"})
    assert (await cluster.reconcile()).delay is None
    assert cluster.said()[:3] == ("Failed", "False", reason)
    assert ("do not open it" in cluster.said()[3]) == (reason == "RestoreInterrupted")


@pytest.mark.parametrize("pods", INTERRUPTED)
async def test_a_restore_whose_pod_was_taken_away_is_run_again_once_that_pod_is_gone(
    cluster: FakeCluster, pods: list[Manifest]
) -> None:
    cluster.restore()
    await cluster.until_restoring()
    first = cluster.job()["metadata"]["uid"]
    cluster.end_with("Failed", "restore-now", *pods)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (
        "now/uid-now/Closing/inconsistent", ("Closing", "Unknown", "JobFailed")
    )  # fmt: skip
    assert "The shop stays closed, and its databases may be inconsistent: the restore is retried" in cluster.said()[3]
    cluster.now += timedelta(seconds=10)
    cluster.server.backup_pods = [backup_pod("restore", "Running")]
    await cluster.reconcile()
    assert (cluster.said()[:3], cluster.job()["metadata"]["uid"]) == (
        ("Closing", "Unknown", "JobFailed"), first
    ), "two would work at once"  # fmt: skip
    assert cluster.said()[3].endswith(
        "its databases may be inconsistent: the restore is retried when no pod and no Job uses the databases, and not "
        "after 2026-01-01T18:00:00Z."
    )
    await cluster.reconcile()
    assert cluster.server.writes == []
    cluster.server.backup_pods = []
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0]) == ("now/uid-now/Restoring/inconsistent", "Restoring")
    assert cluster.job()["metadata"]["uid"] != first
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    assert cluster.mark == "now/uid-now/Opening", "one state of two again"


async def test_connections_that_an_interrupted_restore_has_left_do_not_end_the_next_attempt(
    cluster: FakeCluster,
) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end_with("Failed", "restore-now")
    await cluster.reconcile()
    cluster.now += timedelta(seconds=10)
    await cluster.reconcile()
    cluster.end("Failed", {"reason": "RestoreRefused", "message": "2 other connections use the database of order"})
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (
        "now/uid-now/Closing/inconsistent", ("Closing", "Unknown", "RestoreRefused")
    )  # fmt: skip


@pytest.mark.parametrize(("is_interrupted", "mark"), [(False, "Failed"), (True, "Failed/inconsistent")])
async def test_a_restore_is_not_retried_after_its_deadline(
    cluster: FakeCluster, is_interrupted: bool, mark: str
) -> None:
    cluster.restore(backup="before", deadlineSeconds=600)
    await cluster.until_restoring()
    cluster.now += timedelta(seconds=301)
    if is_interrupted:
        cluster.end_with("Failed", "restore-now")
    else:
        cluster.end("Failed", AWAY)
    assert (await cluster.reconcile()).delay is None
    assert (cluster.mark, cluster.said()[:2]) == (f"now/uid-now/{mark}", ("Failed", "False"))
    assert (
        "another attempt would begin after 2026-01-01T12:10:00Z, the end of spec.deadlineSeconds" in cluster.said()[3]
    )
    assert ("do not open it" in cluster.said()[3]) == is_interrupted


async def test_a_restore_that_could_not_be_retried_before_its_deadline_fails(cluster: FakeCluster) -> None:
    await cluster.until_paused(backup="before", deadlineSeconds=600)
    cluster.server.backup_pods = [backup_pod("create", "Running")]
    cluster.now += timedelta(seconds=599)
    await cluster.reconcile()
    assert cluster.said()[0] == "Closing"
    cluster.now += timedelta(seconds=1)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Failed", ("Failed", "False", "DestinationUnavailable"))


async def test_a_retry_names_the_failure_and_the_backup_that_it_waits_for(cluster: FakeCluster) -> None:
    await cluster.until_paused()
    cluster.other_job("market-backup-1", "create")
    cluster.now += timedelta(seconds=10)
    await cluster.reconcile()
    assert cluster.said() == (
        "Closing", "Unknown", "DestinationUnavailable",
        "the bucket backups does not answer (503). The shop stays closed, and nothing was changed: the restore is "
        "retried when no pod and no Job uses the databases, and not after 2026-01-01T18:00:00Z. Job market-backup-1 "
        "still uses the databases: the restore begins when it has ended.",
    )  # fmt: skip


async def test_a_restore_whose_job_is_gone_in_the_pause_is_retried_until_its_deadline(cluster: FakeCluster) -> None:
    await cluster.until_paused(backup="before", deadlineSeconds=600)
    del cluster.server.objects[JOB.kind, "shop", "restore-now"]
    cluster.server.backup_pods = [backup_pod("restore", "Running")]
    cluster.now += timedelta(seconds=599)
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Closing", "Unknown", "JobLost")
    assert "retried when no pod and no Job uses the databases, and not after 2026-01-01T12:10:00Z" in cluster.said()[3]
    cluster.server.backup_pods = []
    cluster.now += timedelta(seconds=1)
    assert (await cluster.reconcile()).delay is None
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Failed", ("Failed", "False", "JobLost"))
    assert (
        "another attempt would begin after 2026-01-01T12:10:00Z, the end of spec.deadlineSeconds" in (cluster.said()[3])
    )
    assert cluster.jobs_named("restore-") == []


async def test_a_check_whose_job_is_gone_is_not_started_after_the_deadline(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore(backup="before", deadlineSeconds=600)
    await cluster.reconcile()
    cluster.end("Failed", AWAY, "check-now")
    await cluster.reconcile()
    del cluster.server.objects[JOB.kind, "shop", "check-now"]
    cluster.now += timedelta(seconds=600)
    assert (await cluster.reconcile()).delay is None
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Failed", "False", "JobLost"))
    assert cluster.said()[3] == (
        "The Job check-now does not exist. It is not retried: another attempt would begin after 2026-01-01T12:10:00Z, "
        "the end of spec.deadlineSeconds. Nothing was changed, and the shop stays open: correct this and create "
        "another PlatformRestore."
    )
    assert cluster.jobs_named("") == []


async def test_a_shop_whose_restore_was_deleted_before_it_is_retried_can_be_opened_as_it_was(
    cluster: FakeCluster,
) -> None:
    await cluster.until_paused()
    await cluster.delete()
    assert cluster.mark == "now/uid-now/Failed"


async def test_a_retried_job_whose_creation_was_not_answered_is_followed(cluster: FakeCluster) -> None:
    await cluster.until_paused()
    cluster.now += timedelta(seconds=10)
    with cluster.server.losing_answers():
        await cluster.reconcile()
    second = cluster.job()["metadata"]["uid"]
    cluster.end("Complete", RESTORED)
    for _ in range(2):
        await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0]) == ("now/uid-now/Opening", "Opening")
    assert cluster.job()["metadata"]["uid"] == second, "one that has succeeded is not run again"


async def test_a_failed_job_that_a_deletion_did_not_find_is_deleted_later(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    first = cluster.job()["metadata"]["uid"]
    cluster.end("Failed", AWAY)
    await cluster.reconcile()
    cluster.now += timedelta(seconds=10)
    cluster.server.not_found = {"restore-now"}
    await cluster.reconcile()
    assert (cluster.said()[0], cluster.mark) == ("Closing", "now/uid-now/Closing")
    cluster.server.not_found = set()
    await cluster.reconcile()
    assert (cluster.said()[0], cluster.job()["metadata"]["uid"] == first) == ("Restoring", False)


async def until_a_retry_is_due(cluster: FakeCluster) -> None:
    await cluster.until_paused(backup="before", deadlineSeconds=600)
    cluster.now += timedelta(seconds=10)


async def test_a_retried_job_that_is_refused_until_the_deadline_ends_the_restore_with_that_reason(
    cluster: FakeCluster,
) -> None:
    await until_a_retry_is_due(cluster)
    cluster.server.refused[JOB.kind] = QUOTA
    for _ in range(2):
        await cluster.reconcile()
        assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Closing", ("Closing", "Unknown", "Refused"))
        assert cluster.jobs_named("restore-") == []
    cluster.server.backup_pods = [backup_pod("restore", "Running")]
    for _ in range(2):
        await cluster.reconcile()
        assert (cluster.said()[2], cluster.said()[3].count("The shop stays closed")) == ("Refused", 1)
    cluster.now += timedelta(seconds=600)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Failed", ("Failed", "False", "Refused"))
    assert "exceeded quota: tenant" in cluster.said()[3]
    assert "It is not retried" in cluster.said()[3]
    assert "The shop stays closed" not in cluster.said()[3]


@pytest.mark.parametrize(("job", "phase"), [("check-now", "Checking"), ("restore-now", "Restoring")])
async def test_a_restore_whose_pods_a_quota_refuses_says_so(cluster: FakeCluster, job: str, phase: str) -> None:
    cluster.finds_backups = job != "check-now"
    cluster.restore()
    await cluster.until_restoring()
    cluster.server.refuse_pods(job)
    await cluster.reconcile()
    assert cluster.said() == (phase, "Unknown", "PodNotStarted", refusal_of(job))


QUOTA = ApiError(403, "Forbidden", "exceeded quota: tenant")
OVERLOADED = ApiError(503, "Unavailable", "the API server is overloaded")


async def until_it_is_closed(cluster: FakeCluster) -> None:
    cluster.restore(backup="before", deadlineSeconds=600)
    await cluster.reconcile()
    cluster.shop_says("Restoring")


async def test_a_first_job_that_is_refused_until_the_deadline_ends_the_restore_with_that_reason(
    cluster: FakeCluster,
) -> None:
    await until_it_is_closed(cluster)
    cluster.server.refused[JOB.kind] = QUOTA
    for seconds in (0, 599):
        cluster.now = NOW + timedelta(seconds=seconds)
        assert (await cluster.reconcile()).delay is not None
        assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Closing", ("Closing", "Unknown", "Refused"))
        assert "exceeded quota: tenant" in cluster.said()[3]
        assert "nothing was changed: the restore is retried" in cluster.said()[3]
        assert cluster.said()[3].endswith("and not after 2026-01-01T12:10:00Z.")
    assert cluster.events()[-1] == ("Warning", "Refused")
    cluster.now += timedelta(seconds=1)
    assert (await cluster.reconcile()).delay is None
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Failed", ("Failed", "False", "Refused"))
    assert "exceeded quota: tenant" in cluster.said()[3]
    assert "Nothing was changed, and the shop is closed" in cluster.said()[3]
    assert "again" not in cluster.said()[3], "it has ended"
    assert "lastFailure" not in cluster.status(), "the condition says it"


async def test_a_restore_goes_on_when_its_first_job_is_no_longer_refused(cluster: FakeCluster) -> None:
    await until_it_is_closed(cluster)
    cluster.server.refused[JOB.kind] = QUOTA
    await cluster.reconcile()
    assert cluster.status()["lastFailure"]["reason"] == "Refused"
    cluster.server.refused.clear()
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Restoring", ("Restoring", "Unknown", "Running"))
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    assert (cluster.said()[0], "lastFailure" in cluster.status()) == ("Opening", False)


async def test_why_a_job_was_refused_is_still_known_after_another_reason_was_reported(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until_a_retry_is_due(cluster)
    cluster.server.refused[JOB.kind] = QUOTA
    await cluster.reconcile()
    assert cluster.status()["lastFailure"]["reason"] == "Refused"
    with monkeypatch.context() as patch:
        patch.setattr(RememberingHelm, "template", time_out)
        await cluster.reconcile()
    assert cluster.said()[2] == "RenderTimedOut"
    cluster.now += timedelta(seconds=600)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Failed", ("Failed", "False", "Refused"))
    assert "exceeded quota: tenant" in cluster.said()[3]


async def test_a_first_job_whose_creation_gets_no_answer_until_the_deadline_ends_the_restore(
    cluster: FakeCluster,
) -> None:
    await until_it_is_closed(cluster)
    cluster.server.refused[JOB.kind] = OVERLOADED
    for seconds in (0, 599):
        cluster.now = NOW + timedelta(seconds=seconds)
        with pytest.raises(ApiError, match="overloaded"):
            await cluster.reconcile()
        assert cluster.said()[:3] == ("Closing", "Unknown", "Refused")
        assert cluster.said()[3].startswith("The API server did not create the Job: the API server is overloaded. ")
        assert cluster.said()[3].endswith("and not after 2026-01-01T12:10:00Z.")
    cluster.now += timedelta(seconds=1)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (
        "now/uid-now/Failed/inconsistent", ("Failed", "False", "Refused")
    ), "an answer may have been lost"  # fmt: skip
    assert "the API server is overloaded. It is not retried" in cluster.said()[3]


async def test_a_check_that_the_api_server_fails_to_create_is_reported(cluster: FakeCluster) -> None:
    cluster.restore()
    cluster.server.refused[JOB.kind] = OVERLOADED
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Pending", "Unknown", "Refused")
    assert cluster.said()[3] == f"The API server did not create the Job: {OVERLOADED}. The operator tries again."
    del cluster.server.refused[JOB.kind]
    await cluster.reconcile()
    assert cluster.said()[0] == "Closing", "the fake cluster ends a check at once"


async def time_out(*_: object) -> list[Manifest]:
    raise RenderTimeoutError("Helm has not ended within 60 seconds")


async def test_a_closed_shop_does_not_wait_for_helm_for_ever(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until_it_is_closed(cluster)
    monkeypatch.setattr(RememberingHelm, "template", time_out)
    cluster.now += timedelta(seconds=599)
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Closing", "Unknown", "RenderTimedOut")
    cluster.now += timedelta(seconds=1)
    assert (await cluster.reconcile()).delay is None
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Failed", ("Failed", "False", "RenderTimedOut"))
    assert "again" not in cluster.said()[3], "it has ended"


async def test_a_failed_job_whose_successor_gets_no_answer_until_the_deadline_is_not_said_to_be_lost(
    cluster: FakeCluster,
) -> None:
    await until_a_retry_is_due(cluster)
    cluster.server.refused[JOB.kind] = OVERLOADED
    for seconds in (0, 5):
        cluster.now += timedelta(seconds=seconds)
        with pytest.raises(ApiError, match="overloaded"):
            await cluster.reconcile()
    assert cluster.jobs_named("restore-") == []
    cluster.now += timedelta(seconds=600)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (
        "now/uid-now/Failed/inconsistent", ("Failed", "False", "DestinationUnavailable")
    ), "an answer may have been lost"  # fmt: skip
    assert cluster.said()[3].startswith("the bucket backups does not answer (503). It is not retried")


async def test_a_failed_job_is_not_deleted_before_the_next_one_is_rendered(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until_a_retry_is_due(cluster)
    failed = cluster.job()["metadata"]["uid"]
    monkeypatch.setattr(RememberingHelm, "template", time_out)
    await cluster.reconcile()
    assert (cluster.said()[2], cluster.job()["metadata"]["uid"]) == ("RenderTimedOut", failed)
    monkeypatch.undo()
    await cluster.reconcile()
    assert (cluster.said()[0], cluster.job()["metadata"]["uid"] == failed) == ("Restoring", False)


@pytest.mark.parametrize("job", ["check-now", "restore-now"])
async def test_a_long_message_leaves_room_for_the_deadline_and_what_to_do(cluster: FakeCluster, job: str) -> None:
    cluster.finds_backups = job != "check-now"
    cluster.restore(backup="before", deadlineSeconds=600)
    await (cluster.reconcile() if job == "check-now" else cluster.until_restoring())
    cluster.now += timedelta(seconds=400)
    cluster.end("Failed", {"reason": "DestinationUnavailable", "message": "x" * 3000}, job)
    await cluster.reconcile()
    assert len(cluster.said()[3]) <= 1024
    assert (
        "another attempt would begin after 2026-01-01T12:10:00Z, the end of spec.deadlineSeconds." in cluster.said()[3]
    )
    assert "create another PlatformRestore" in cluster.said()[3]


async def test_a_check_that_fails_until_the_deadline_ends_the_restore(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore(backup="before", deadlineSeconds=600)
    await cluster.reconcile()
    cluster.now += timedelta(seconds=301)
    cluster.end("Failed", AWAY, "check-now")
    assert (await cluster.reconcile()).delay is None, "the next check would begin after the deadline"
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Failed", "False", "DestinationUnavailable"))
    assert cluster.said()[3] == (
        "the bucket backups does not answer (503). It is not retried: another attempt would begin after "
        "2026-01-01T12:10:00Z, the end of spec.deadlineSeconds. Nothing was changed, and the shop stays open: correct "
        "this and create another PlatformRestore."
    )


async def test_all_checks_together_have_no_longer_than_the_deadline(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore(backup="before", deadlineSeconds=600)
    await cluster.reconcile()
    assert cluster.job("check-now")["spec"]["activeDeadlineSeconds"] == 600
    cluster.now += timedelta(seconds=100)
    cluster.end("Failed", AWAY, "check-now")
    cluster.now += timedelta(seconds=100)
    await cluster.reconcile()
    assert cluster.job("check-now")["spec"]["activeDeadlineSeconds"] == 400


async def test_the_deadline_of_a_check_does_not_count_what_a_restore_has_waited_before(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore(backup="before", deadlineSeconds=600)
    await cluster.reconcile()
    cluster.end("Failed", AWAY, "check-now")
    cluster.spec["hibernated"] = True
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Pending", "Unknown", "Hibernated")
    del cluster.spec["hibernated"]
    cluster.now += timedelta(hours=1)
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Checking", "Unknown", "CheckingBackup")
    assert cluster.job("check-now")["spec"]["activeDeadlineSeconds"] == 600
    assert cluster.status()["checkStartTime"] == "2026-01-01T13:00:00Z"


async def test_a_backup_whose_id_is_never_read_ends_the_restore_as_a_failed_job(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore(source={}, deadlineSeconds=600)
    await cluster.reconcile()
    cluster.now += timedelta(seconds=599)
    cluster.end("Complete", "", "check-now")
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Failed", "False", "JobFailed"))


@pytest.mark.parametrize(("failing", "pause"), [(1, 10), (10, 10), (40, 40), (299, 299), (4000, 300)])
def test_a_retry_pauses_for_as_long_as_it_has_failed(failing: int, pause: int) -> None:
    assert retry_pause(timedelta(seconds=failing)) == timedelta(seconds=pause)


async def test_the_newest_backup_is_looked_for_again_if_its_id_was_not_read(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore(source={})
    await cluster.reconcile()
    cluster.end("Complete", "", "check-now")
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Checking", "Unknown", "CheckingBackup"))
    cluster.now += timedelta(seconds=10)
    await cluster.reconcile()
    cluster.end("Complete", ARCHIVE, "check-now")
    await cluster.until_restoring()
    assert container(cluster.job()["spec"])["args"] == ["restore", ARCHIVE["id"], "--replace"]


async def test_a_repeated_check_reads_its_own_pods(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore()
    await cluster.reconcile()
    cluster.end("Failed", AWAY, "check-now")
    cluster.now += timedelta(seconds=10)
    await cluster.reconcile()
    pods = cluster.server.pods.copy()
    cluster.end("Failed", "", "check-now")
    cluster.server.pods = pods  # the pod of the first check still exists, and that of the second one was evicted
    await cluster.reconcile()
    assert cluster.said()[2] == "JobFailed"


async def test_a_restore_without_its_backup_leaves_a_shop_closed_that_an_earlier_one_has_closed(
    cluster: FakeCluster,
) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Failed", {"reason": "RestoreIncomplete", "message": "order is of another state"})
    await cluster.reconcile()
    cluster.finds_backups = False
    cluster.restore("again", backup="before")
    await cluster.reconcile("again")
    cluster.end("Failed", {"reason": "WrongKey", "message": "use the Secret with that key"}, "check-again")
    await cluster.reconcile("again")
    assert (cluster.mark, cluster.said("again")[2]) == ("now/uid-now/Failed/inconsistent", "WrongKey")
    assert "the shop stays closed" in cluster.said("again")[3]


async def test_a_check_survives_a_lost_answer_and_is_repeated_if_its_job_is_lost(
    cluster: FakeCluster,
) -> None:
    cluster.finds_backups = False
    cluster.restore()
    with cluster.server.losing_answers():
        await cluster.reconcile()
    await cluster.reconcile()
    assert (cluster.said()[0], cluster.jobs_named("")) == ("Checking", ["check-now"])
    del cluster.server.objects[JOB.kind, "shop", "check-now"]
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0], cluster.jobs_named("")) == (None, "Checking", ["check-now"])


async def test_a_restore_that_has_closed_the_shop_and_not_reported_it_goes_on(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore()
    await cluster.reconcile()
    stored = cluster.server.objects[PLATFORM_RESTORE.kind, "shop", "now"]
    before = copy.deepcopy(stored["status"])
    cluster.end("Complete", ARCHIVE, "check-now")
    await cluster.reconcile()
    stored = cluster.server.objects[PLATFORM_RESTORE.kind, "shop", "now"]
    stored["status"] = before
    del cluster.server.objects[JOB.kind, "shop", "check-now"]
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0]) == ("now/uid-now/Closing", "Closing")
    assert cluster.jobs_named("") == [], "a check that fails now would leave the shop closed"


async def test_a_restore_that_has_closed_the_shop_and_not_reported_it_is_not_pending_again(
    cluster: FakeCluster,
) -> None:
    cluster.finds_backups = False
    cluster.restore()
    await cluster.reconcile()
    before = copy.deepcopy(cluster.server.objects[PLATFORM_RESTORE.kind, "shop", "now"]["status"])
    cluster.end("Complete", ARCHIVE, "check-now")
    await cluster.reconcile()
    cluster.server.objects[PLATFORM_RESTORE.kind, "shop", "now"]["status"] = before
    cluster.other_job("market-backup-1", "create")
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0]) == ("now/uid-now/Closing", "Closing")
    assert cluster.status()["backupId"] == ARCHIVE["id"]


async def test_the_backup_that_was_found_is_restored_and_no_newer_one(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore(source={})
    await cluster.reconcile()
    assert container(cluster.job("check-now")["spec"])["args"] == ["check"]
    cluster.end("Complete", ARCHIVE, "check-now")
    await cluster.until_restoring()
    assert cluster.status()["backupId"] == ARCHIVE["id"]
    assert container(cluster.job()["spec"])["args"] == ["restore", ARCHIVE["id"], "--replace"]


async def test_what_was_checked_is_restored_also_if_spec_backup_names_another_place_by_then(
    cluster: FakeCluster,
) -> None:
    cluster.finds_backups = False
    cluster.restore(source={})
    await cluster.reconcile()
    elsewhere = {"destination": {"volume": {"claimName": "disk"}}, "encryptionKeySecretRef": {"name": "another-key"}}
    cluster.spec["backup"] = elsewhere
    cluster.end("Complete", ARCHIVE, "check-now")
    await cluster.reconcile()
    del cluster.spec["backup"], cluster.server.objects[JOB.kind, "shop", "check-now"]
    await cluster.until_restoring()
    assert cluster.status()["source"] == {
        "shop": "shop/market", "id": ARCHIVE["id"], "encryptionKeySecretRef": {"name": "backup-key"},
        "destination": {
            "s3": {"bucket": "backups", "prefix": "", "endpoint": "https://minio.example.com:9000",
                   "region": "us-east-1", "secretRef": {"name": "bucket"}},
        },
    }  # fmt: skip
    restoring = environment(cluster.job()["spec"])
    assert (restoring["BACKUP_DESTINATION"], container(cluster.job()["spec"])["args"][1]) == (
        "s3://backups", ARCHIVE["id"]
    )  # fmt: skip
    assert restoring["BACKUP_KEY"]["secretKeyRef"]["name"] == "backup-key"


async def test_the_place_is_recorded_before_a_job_checks_it(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore()
    with cluster.server.losing_answers():
        await cluster.reconcile()
    del cluster.server.objects[PLATFORM_BACKUP.kind, "shop", "before"]
    cluster.end("Complete", ARCHIVE, "check-now")
    await cluster.until_restoring()
    assert cluster.said()[0] == "Restoring"


async def test_the_id_that_was_found_is_recorded_before_the_shop_is_closed(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore(source={})
    await cluster.reconcile()
    cluster.end("Complete", ARCHIVE, "check-now")
    cluster.server.refused_marks = 1
    with pytest.raises(ApiError):
        await cluster.reconcile()
    del cluster.server.objects[JOB.kind, "shop", "check-now"]
    await cluster.reconcile()
    assert container(cluster.job("check-now")["spec"])["args"] == ["check", ARCHIVE["id"]]


async def test_a_restore_that_an_earlier_operator_has_begun_finds_its_place_again(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.reconcile()
    del cluster.server.objects[PLATFORM_RESTORE.kind, "shop", "now"]["status"]["source"]
    await cluster.until_restoring()
    assert (cluster.said()[0], cluster.status()["source"]["id"]) == ("Restoring", ARCHIVE["id"])


async def test_a_shop_that_is_not_ready_when_its_backup_was_found_is_not_closed(cluster: FakeCluster) -> None:
    cluster.finds_backups = False
    cluster.restore()
    await cluster.reconcile()
    cluster.end("Complete", ARCHIVE, "check-now")
    cluster.other_job("market-backup-1", "create")
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Pending", "Unknown", "BackupRunning"))
    cluster.end("Complete", ARCHIVE, "market-backup-1")
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[0]) == ("now/uid-now/Closing", "Closing")


UNCHANGED = ("DestinationRefused", "WrongKey", "BackupDamaged", "BackupNotFound",
             "RestoreRefused", "DatabaseFailed")  # fmt: skip


@pytest.mark.parametrize("reason", UNCHANGED)
async def test_a_restore_that_fails_leaves_the_shop_closed_and_says_what_to_do(
    cluster: FakeCluster, reason: str
) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Failed", {"reason": reason, "message": "the key is another: use the Secret with that key"})
    assert (await cluster.reconcile()).delay is None
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Failed", ("Failed", "False", reason))
    assert cluster.said()[3] == (
        "the key is another: use the Secret with that key. Nothing was changed, and the shop is closed: correct this "
        "and create another PlatformRestore, or open the shop as it was: kubectl -n shop annotate ecp market "
        "platform.ecommerce.dev/restore-"
    )
    await cluster.reconcile()
    assert (cluster.server.writes, "closedSeconds" in cluster.status()) == ([], False), "it is still closed"


@pytest.mark.parametrize("report", [{"reason": "RestoreIncomplete", "message": "order is of another state"}, "", "[]"])
async def test_a_shop_with_databases_of_two_states_is_not_to_be_opened(
    cluster: FakeCluster, report: Manifest | str
) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Failed", report)
    await cluster.reconcile()
    assert cluster.mark == "now/uid-now/Failed/inconsistent"
    assert "do not open it, but correct this and create another PlatformRestore" in cluster.said()[3]


async def test_only_a_restore_that_succeeds_makes_one_state_of_two(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Failed", {"reason": "RestoreIncomplete", "message": "order is of another state"})
    await cluster.reconcile()
    for name, reason in (("second", "DatabaseFailed"), ("third", "WrongKey")):
        cluster.restore(name, backup="before")
        await cluster.until_restoring(name)
        assert cluster.mark == f"{name}/uid-{name}/Restoring/inconsistent"
        cluster.end("Failed", {"reason": reason, "message": "it failed"}, f"restore-{name}")
        await cluster.reconcile(name)
        assert cluster.mark == f"{name}/uid-{name}/Failed/inconsistent"
        assert "do not open it, but correct this" in cluster.said(name)[3]
    cluster.restore("fourth", backup="before")
    await cluster.reconcile("fourth")
    cluster.spec["hibernated"] = "perhaps"
    cluster.now += timedelta(days=1)
    await cluster.reconcile("fourth")
    assert "do not open it, but correct this" in cluster.said("fourth")[3], "it has failed before its Job"
    del cluster.spec["hibernated"]
    cluster.restore("fifth", backup="before")
    await cluster.until_restoring("fifth")
    cluster.end("Complete", RESTORED, "restore-fifth")
    await cluster.reconcile("fifth")
    assert cluster.mark == "fifth/uid-fifth/Opening"


async def test_a_restore_fails_after_the_creation_of_its_job_was_not_answered(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.reconcile()
    cluster.shop_says("Restoring")
    with cluster.server.losing_answers():
        await cluster.reconcile()
    del cluster.server.objects[JOB.kind, "shop", "restore-now"]
    cluster.spec["hibernated"] = "perhaps"
    cluster.now += timedelta(days=1)
    await cluster.reconcile()
    assert cluster.mark == "now/uid-now/Failed/inconsistent", "the Job may have run"


async def test_a_restore_is_never_run_twice(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    del cluster.server.objects[JOB.kind, "shop", "restore-now"]
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Failed/inconsistent", ("Failed", "False", "JobLost"))
    await cluster.reconcile()
    assert (JOB.kind, "shop", "restore-now") not in cluster.server.objects


async def test_a_job_whose_creation_was_not_answered_is_followed(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.reconcile()
    cluster.shop_says("Restoring")
    with cluster.server.losing_answers():
        await cluster.reconcile()
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Restoring", "Unknown", "Running")


async def test_another_restore_repairs_a_shop_after_one_that_has_failed(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.restore("again", backup="before")
    await cluster.reconcile("again")
    assert cluster.said("again")[:3] == ("Pending", "Unknown", "OtherRestore")
    cluster.end("Failed", {"reason": "RestoreIncomplete", "message": "order is of another state"})
    await cluster.reconcile()
    await cluster.reconcile("again")
    assert (cluster.mark, cluster.said("again")[0]) == ("again/uid-again/Closing/inconsistent", "Closing")
    await cluster.reconcile()
    assert cluster.mark == "again/uid-again/Closing/inconsistent", "the one that has failed leaves the mark alone"


async def test_of_two_restores_at_once_one_has_the_shop_to_its_end(cluster: FakeCluster) -> None:
    cluster.restore()
    cluster.restore("again", backup="before")
    with pytest.raises(ApiError) as refused:
        await cluster.reconcile("now", "again")
    assert refused.value.conflict
    assert (cluster.mark, cluster.said("now")[0]) == ("now/uid-now/Closing", "Closing")
    cluster.shop_says("Restoring")
    await cluster.reconcile("again", "now")
    assert cluster.said("again")[:3] == ("Pending", "Unknown", "OtherRestore")
    assert cluster.jobs_named("restore-") == ["restore-now"]
    assert cluster.mark == "now/uid-now/Restoring"


async def test_a_restore_that_has_lost_the_shop_waits_and_leaves_the_mark_alone(cluster: FakeCluster) -> None:
    cluster.restore("again", backup="before")
    await cluster.reconcile("again")
    cluster.restore()
    stored = cluster.server.objects[PLATFORM.kind, "shop", SHOP.name]["metadata"]
    stored["annotations"] = {ANNOTATION_RESTORE: "now/uid-now/Closing"}
    cluster.shop_says("Restoring")
    await cluster.reconcile("again")
    assert (cluster.mark, cluster.said("again")[:3]) == ("now/uid-now/Closing", ("Pending", "Unknown", "OtherRestore"))
    assert (JOB.kind, "shop", "restore-again") not in cluster.server.objects


@pytest.mark.parametrize(
    ("status", "spec", "reason"),
    [
        ({}, {"mode": "Observe"}, "Observed"),
        ({}, {"hibernated": True}, "Hibernated"),
        ({}, {"closed": True}, "Closed"),
        ({}, {"hibernated": "perhaps"}, "PlatformInvalid"),
        ({"databases": DATABASES[1:]}, {}, "DatabasesNotReady"),
        ({"databases": [*DATABASES[1:], {"name": DATABASES[0]["name"], "ready": True}]}, {}, "DatabasesNotReady"),
    ],
)
async def test_a_restore_waits_for_what_it_needs_and_changes_nothing(
    cluster: FakeCluster, status: Manifest, spec: Manifest, reason: str
) -> None:
    cluster.shop(status, **spec)
    cluster.restore()
    assert (await cluster.reconcile()).delay is not None
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Pending", "Unknown", reason))
    cluster.shop()
    await cluster.reconcile()
    assert cluster.said()[0] == "Closing"


async def test_a_restore_waits_for_the_shop_and_its_backup(cluster: FakeCluster) -> None:
    shop = cluster.server.objects.pop((PLATFORM.kind, "shop", SHOP.name))
    cluster.restore()
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Pending", "Unknown", "PlatformMissing")
    cluster.server.objects[PLATFORM.kind, "shop", SHOP.name] = shop
    cluster.backup("Running")
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Pending", "Unknown", "BackupNotComplete")
    cluster.backup("Failed")
    await cluster.reconcile()
    assert cluster.said() == (
        "Pending", "Unknown", "BackupMissing",
        "PlatformBackup before has failed: create a PlatformRestore of another one.",
    )  # fmt: skip
    del cluster.server.objects[PLATFORM_BACKUP.kind, "shop", "before"]
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Pending", "Unknown", "BackupMissing")
    cluster.shop(backup=None)
    cluster.restore("elsewhere", source={})
    await cluster.reconcile("elsewhere")
    assert cluster.said("elsewhere")[:3] == ("Pending", "Unknown", "NoDestination")


@pytest.mark.parametrize("closes_before", [False, True])
async def test_a_restore_waits_for_a_backup_that_reads_the_databases(cluster: FakeCluster, closes_before: bool) -> None:
    cluster.restore()
    if closes_before:
        await cluster.reconcile()
    cluster.other_job("market-backup-1", "create")
    await cluster.until_restoring()
    phase = "Closing" if closes_before else "Pending"
    assert cluster.said()[:3] == (phase, "Unknown", "BackupRunning"), "a shop that serves is not closed for so long"
    cluster.end("Complete", ARCHIVE, "market-backup-1")
    await cluster.until_restoring()
    assert cluster.said()[0] == "Restoring"


@pytest.mark.parametrize(
    ("status", "said"),
    [({"backupId": "unknown"}, "source.id."), ({"targetDigest": "another"}, f"source.id {ARCHIVE['id']}, and with")],
)
async def test_a_backup_of_an_unknown_id_or_another_place_is_not_looked_for(
    cluster: FakeCluster, status: Manifest, said: str
) -> None:
    backup = cluster.server.objects[PLATFORM_BACKUP.kind, "shop", "before"]
    policy = cast(BackupPolicy, parse({"backup": POLICY}).backup)
    backup["status"]["targetDigest"] = target_digest(f"uid-{SHOP.name}", policy_target(policy))
    stored = dict(backup["status"])
    backup["status"] |= status
    cluster.restore()
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Pending", "Unknown", "BackupMissing"))
    assert said in cluster.said()[3]
    backup["status"] = stored
    await cluster.reconcile()
    assert cluster.said()[0] == "Closing"


def child(kind: str, **content: Any) -> Manifest:
    metadata = {"name": "market-order", "namespace": "shop", "uid": "c", "resourceVersion": "1", "generation": 1}
    return {"kind": kind, "metadata": metadata | {"labels": {LABEL_PLATFORM: "market"}}, **content}


@pytest.mark.parametrize(
    "left",
    [
        child("Job", spec={}, status={"active": 0, "failed": 1}),
        child("Deployment", spec={"replicas": 1}, status={"observedGeneration": 1}),
        child("Deployment", spec={"replicas": 0}, status={"observedGeneration": 1, "replicas": 1}),
    ],
)
async def test_a_restore_waits_for_what_may_still_start_pods(cluster: FakeCluster, left: Manifest) -> None:
    """A migration between two attempts has no pod, and a Deployment that the pass has not scaled may get one again."""
    cluster.children = [left]
    cluster.restore()
    await cluster.until_restoring()
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Closing", "Unknown", "Closing")
    cluster.children = []
    await cluster.reconcile()
    assert cluster.said()[0] == "Restoring"


async def test_a_restore_waits_for_the_spec_of_the_shop_that_made_the_backup(cluster: FakeCluster) -> None:
    cluster.create(PLATFORM, "other", spec={"backup": POLICY, "hibernated": "perhaps"}, status={})
    cluster.backup(platform="other")
    cluster.restore()
    assert (await cluster.reconcile()).delay is not None
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Pending", "Unknown", "PlatformInvalid"))
    assert cluster.said()[3] == (
        "The spec of EcommercePlatform other is invalid: spec.hibernated: Input should be a valid boolean, unable to "
        "interpret input: correct it with kubectl edit."
    )
    cluster.server.objects[PLATFORM.kind, "shop", "other"]["spec"]["hibernated"] = False
    await cluster.reconcile()
    assert cluster.said()[0] == "Closing"


async def test_a_restore_waits_for_a_backup_whose_spec_is_valid(cluster: FakeCluster) -> None:
    cluster.backup(destination={"s3": {}}, encryptionKeySecretRef={"name": "own-key"})
    cluster.restore()
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Pending", "Unknown", "BackupMissing"))
    assert "PlatformBackup before is invalid: spec.destination.s3.bucket: Field required" in cluster.said()[3]
    cluster.backup()
    await cluster.reconcile()
    assert cluster.said()[0] == "Closing"


async def test_a_closed_shop_waits_for_its_spec_to_be_corrected(cluster: FakeCluster) -> None:
    cluster.restore(backup="before", deadlineSeconds=600)
    await cluster.reconcile()
    cluster.shop_says("Restoring")
    cluster.spec["hibernated"] = "perhaps"
    cluster.now += timedelta(seconds=599)
    assert (await cluster.reconcile()).delay is not None
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Closing", ("Closing", "Unknown", "PlatformInvalid"))
    assert cluster.said()[3] == (
        "The spec of EcommercePlatform market is invalid: spec.hibernated: Input should be a valid boolean, unable to "
        "interpret input: correct it with kubectl edit. The shop is closed: the restore goes on once this is "
        "corrected, and fails at 2026-01-01T12:10:00Z."
    )
    await cluster.reconcile()
    assert cluster.server.writes == []
    del cluster.spec["hibernated"]
    await cluster.until_restoring()
    assert cluster.said()[0] == "Restoring"


async def test_a_shop_whose_spec_became_invalid_before_it_was_closed_is_not_said_to_be_closed(
    cluster: FakeCluster,
) -> None:
    cluster.restore(backup="before", deadlineSeconds=600)
    await cluster.reconcile()
    cluster.spec["hibernated"] = "perhaps"
    cluster.now += timedelta(seconds=601)
    assert (await cluster.reconcile()).delay is not None, "it serves, so nothing is urgent"
    assert cluster.said() == (
        "Closing", "Unknown", "Closing",
        f"The check has found backup {ARCHIVE['id']}. The services are being stopped. But the spec of "
        "EcommercePlatform market is invalid: spec.hibernated: Input "
        "should be a valid boolean, unable to interpret input: correct it with kubectl edit.",
    )  # fmt: skip
    del cluster.spec["hibernated"]
    await cluster.until_restoring()
    assert cluster.said()[0] == "Restoring", "the deadline is one of the retries"


async def test_a_closed_shop_does_not_wait_for_ever(cluster: FakeCluster) -> None:
    cluster.restore(backup="before", deadlineSeconds=600)
    await cluster.reconcile()
    cluster.shop_says("Restoring")
    cluster.spec["hibernated"] = "perhaps"
    cluster.now += timedelta(seconds=600)
    assert (await cluster.reconcile()).delay is None
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Failed", ("Failed", "False", "PlatformInvalid"))
    note = "It was not corrected until 2026-01-01T12:10:00Z, the end of spec.deadlineSeconds. Nothing was changed"
    assert note in cluster.said()[3]


async def test_a_restore_waits_for_values_that_the_chart_accepts(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        async def template(*_: object) -> list[Manifest]:
            raise RenderError("Helm refuses the values: userIds is wrong")

        monkeypatch.setattr(RememberingHelm, "template", template)

    cluster.restore()
    refuse()
    assert (await cluster.reconcile()).delay is not None
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Pending", "Unknown", "RenderFailed"))
    assert "EcommercePlatform market" in cluster.said()[3]
    monkeypatch.undo()
    await cluster.reconcile()
    refuse()
    cluster.shop_says("Restoring")
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Closing", ("Closing", "Unknown", "RenderFailed"))
    monkeypatch.undo()
    await cluster.reconcile()
    assert cluster.said()[0] == "Restoring"


async def test_a_restore_says_that_the_observed_shop_keeps_it_waiting(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.reconcile()
    spec = cluster.server.objects[PLATFORM.kind, "shop", SHOP.name]["spec"]
    spec["paused"] = True
    await cluster.reconcile()
    assert cluster.said()[3] == (
        f"The check has found backup {ARCHIVE['id']}. The services are being stopped. But the shop is observed: set "
        "its spec.mode to Manage, and paused to false."
    )
    spec["paused"] = False
    await cluster.until_restoring()
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    spec["mode"] = "Observe"
    await cluster.reconcile()
    assert "But the shop is observed" in cluster.said()[3]
    cluster.spec["hibernated"] = "perhaps"
    await cluster.reconcile()
    assert "But the shop is observed" in cluster.said()[3]
    cluster.spec["mode"] = "Manage"
    await cluster.reconcile()
    assert (
        "started. But the spec of EcommercePlatform market is invalid: spec.hibernated: Input should"
        in cluster.said()[3]
    )


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (
            "closed",
            "The shop is closed by its spec: set spec.closed to false, or spec.platform.closed of its Tenant.",
        ),
        (
            "hibernated",
            "The shop is hibernated by its spec: set spec.hibernated to false, or spec.suspended of its Tenant.",
        ),
    ],
)
async def test_a_restore_says_that_the_spec_of_the_shop_keeps_it_from_being_opened(
    cluster: FakeCluster, field: str, text: str
) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Complete", RESTORED)
    spec = cluster.server.objects[PLATFORM.kind, "shop", SHOP.name]["spec"]
    spec[field] = True
    await cluster.reconcile()
    cluster.shop_says("Reopening")
    await cluster.reconcile()
    assert cluster.said() == ("Opening", "Unknown", field.capitalize(), f"The databases are restored. {text}")
    spec[field] = False
    await cluster.reconcile()
    assert cluster.said()[2] == "Opening"


async def test_a_restore_waits_until_no_backup_is_scheduled(cluster: FakeCluster) -> None:
    cluster.create(CRON_JOB, "market-backup", spec={"suspend": False})
    stored = cluster.server.objects[CRON_JOB.kind, "shop", "market-backup"]
    stored["metadata"]["labels"] = {LABEL_PLATFORM: "market"}
    cluster.restore()
    await cluster.until_restoring()
    assert cluster.said()[:3] == ("Closing", "Unknown", "Closing")
    stored["spec"]["suspend"] = True
    await cluster.reconcile()
    assert cluster.said()[0] == "Restoring"


async def test_a_restore_waits_for_no_verification(cluster: FakeCluster) -> None:
    cluster.other_job("market-backup-verify-1", "verify")
    cluster.restore()
    await cluster.until_restoring()
    assert cluster.said()[0] == "Restoring"


@pytest.mark.parametrize(
    ("destination", "missing", "named"),
    [
        ({"s3": {"bucket": "b", "secretRef": {"name": "bucket"}}}, "the-key", "Secret the-key"),
        ({"s3": {"bucket": "b", "secretRef": {"name": "bucket"}}}, "bucket", "Secret bucket"),
        ({"volume": {"claimName": "disk"}}, "disk", "PersistentVolumeClaim disk"),
    ],
)
async def test_a_shop_is_not_closed_for_a_restore_whose_pod_could_not_start(
    cluster: FakeCluster, destination: Manifest, missing: str, named: str
) -> None:
    cluster.server.missing = {missing}
    cluster.restore(source={"destination": destination, "encryptionKeySecretRef": {"name": "the-key"}})
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Pending", "Unknown", "NoDestination"))
    assert cluster.said()[3] == f"{named} of the backup does not exist: create it."
    cluster.server.missing = set()
    await cluster.reconcile()
    assert cluster.said()[0] == "Closing"


async def test_a_later_shop_of_the_name_is_neither_restored_nor_closed(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.reconcile()
    cluster.shop()
    cluster.server.objects[PLATFORM.kind, "shop", SHOP.name]["metadata"]["uid"] = "another"
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == (None, ("Failed", "False", "PlatformReplaced"))
    assert (JOB.kind, "shop", "restore-now") not in cluster.server.objects


@pytest.mark.parametrize("is_replaced", [True, False])
async def test_the_job_of_a_shop_that_was_deleted_is_deleted(cluster: FakeCluster, is_replaced: bool) -> None:
    cluster.restore()
    await cluster.until_restoring()
    shop = cluster.server.objects.pop((PLATFORM.kind, "shop", SHOP.name))
    if is_replaced:
        shop["metadata"] |= {"uid": "another", "annotations": {}}
        cluster.server.objects[PLATFORM.kind, "shop", SHOP.name] = shop
    await cluster.reconcile()
    assert cluster.said()[2] == ("PlatformReplaced" if is_replaced else "PlatformMissing")
    assert (JOB.kind, "shop", "restore-now") not in cluster.server.objects


async def test_a_job_that_a_deletion_did_not_find_is_deleted_later(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    del cluster.server.objects[PLATFORM.kind, "shop", SHOP.name]
    cluster.server.not_found = {"restore-now"}
    assert (await cluster.reconcile()).delay is not None
    assert cluster.said()[:3] == ("Restoring", "Unknown", "PlatformMissing")
    cluster.server.not_found = set()
    await cluster.reconcile()
    assert cluster.said()[0] == "Failed"
    assert cluster.jobs_named("restore-") == []


@pytest.mark.parametrize("passes", [1, 2])
async def test_policies_that_a_deletion_did_not_find_are_deleted_later(cluster: FakeCluster, passes: int) -> None:
    cluster.finds_backups = False
    cluster.restore()
    await cluster.reconcile()
    cluster.end("Failed", {"reason": "WrongKey", "message": "use another"}, "check-now")
    cluster.server.not_found = {"check-now.databases"}
    for _ in range(passes):
        assert (await cluster.reconcile()).delay is not None
    cluster.server.not_found = set()
    assert (await cluster.reconcile()).delay is None
    assert [one for one in cluster.server.objects if one[0] == "NetworkPolicy"] == []


async def test_a_shop_whose_restore_was_deleted_is_left_closed(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.reconcile()
    await cluster.controller.reconcile_shop(SHOP)
    assert cluster.mark == "now/uid-now/Closing", "its restore leads it on"
    await cluster.delete()
    assert (cluster.mark, cluster.woken) == ("now/uid-now/Failed", [SHOP]), "no Job was created"
    cluster.restore("again", backup="before")
    await cluster.until_restoring("again")
    await cluster.delete("again")
    assert cluster.mark == "again/uid-again/Failed/inconsistent", "its Job may have committed"
    writes = list(cluster.server.writes)
    await cluster.controller.reconcile_shop(SHOP)
    assert cluster.server.writes == writes


async def test_a_shop_that_has_changed_since_it_was_read_is_looked_at_again(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.reconcile()
    del cluster.server.objects[PLATFORM_RESTORE.kind, "shop", "now"]
    await cluster.reconcile()
    cluster.shop_says("Restoring")
    with pytest.raises(ApiError) as refused:
        await cluster.controller.reconcile_shop(SHOP)
    assert (refused.value.conflict, cluster.mark) == (True, "now/uid-now/Closing")
    await cluster.controller.reconcile_shop(SHOP)  # no event has come since: it was read again
    assert cluster.mark == "now/uid-now/Failed"


async def test_a_restore_that_finds_the_shop_changed_reads_it_again(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = cluster.server.apply

    async def after_a_change(kind: Kind, *rest: Any, **named: Any) -> Any:
        if kind is PLATFORM:
            monkeypatch.undo()
            cluster.shop_says("Reopening")
        return await apply(kind, *rest, **named)

    cluster.restore()
    monkeypatch.setattr(cluster.server, "apply", after_a_change)
    with pytest.raises(ApiError) as refused:
        await cluster.reconcile()
    assert (refused.value.conflict, cluster.mark) == (True, None)
    await cluster.controller.reconcile(restore_key("shop", "now"))  # no event has come since
    assert (cluster.mark, cluster.said()[0]) == ("now/uid-now/Closing", "Closing")


async def test_a_shop_whose_restore_was_deleted_while_it_opens_is_opened(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    await cluster.delete()
    assert cluster.mark == "now/uid-now/Opening"
    cluster.shop_says("Reopening", "True")
    await cluster.reconcile()
    await cluster.controller.reconcile_shop(SHOP)
    assert cluster.mark == "now/uid-now/Succeeded"


async def test_a_restore_that_is_created_again_does_not_restore_again(cluster: FakeCluster) -> None:
    """GitOps does that after a deletion, and Velero without the status."""
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    cluster.shop_says("Reopening", "True")
    cluster.checked()
    await cluster.reconcile()
    assert cluster.said()[0] == "Succeeded"
    cluster.restore()
    cluster.server.objects[PLATFORM_RESTORE.kind, "shop", "now"]["metadata"]["uid"] = "another"
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Succeeded", ("Failed", "False", "AlreadyRestored"))
    cluster.shop_says("NotRestoring", "True")
    cluster.restore("other", backup="before")
    await cluster.reconcile("other")
    assert cluster.mark == "other/uid-other/Closing"


async def test_a_mark_that_was_removed_with_its_restore_is_written_again(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.server.objects[PLATFORM.kind, "shop", SHOP.name]["metadata"]["annotations"] = {}
    await cluster.delete()
    assert cluster.mark == "//Failed/inconsistent"


async def test_a_restore_waits_for_the_pod_of_one_that_was_deleted(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    labels = cluster.job()["spec"]["template"]["metadata"]["labels"]
    assert {LABEL_PLATFORM: "market", "app.kubernetes.io/component": "backup"}.items() <= labels.items()
    await cluster.delete()
    cluster.server.backup_pods = [backup_pod("restore", "Running")]
    cluster.restore("again", backup="before")
    await cluster.until_restoring("again")
    assert cluster.said("again")[:3] == ("Closing", "Unknown", "Closing")


async def test_a_restore_does_not_wait_for_the_check_of_another_one(cluster: FakeCluster) -> None:
    cluster.server.backup_pods = [backup_pod("check", "Pending"), backup_pod("verify", "Running")]
    cluster.restore()
    await cluster.until_restoring()
    assert cluster.said()[0] == "Restoring"


def backup_pod(command: str, phase: str) -> Manifest:
    spec = {"containers": [{"name": "backup", "args": [command, "20260101T000000Z-aaaaaaaa"]}]}
    return {"metadata": {"name": f"pod-of-{command}"}, "spec": spec, "status": {"phase": phase}}


async def test_broken_invariants_of_a_restored_shop_are_named(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    cluster.shop_says("Reopening", "True")
    cluster.checked(order=2)
    await cluster.reconcile()
    assert cluster.said()[:3] == ("Succeeded", "True", "InvariantBroken")
    assert "sums_agree of order (2 rows)" in cluster.said()[3]
    assert cluster.status()["invariants"] == "1 broken"


async def test_invariants_that_no_service_reports_end_a_restore(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    cluster.shop_says("Reopening", "True")
    await cluster.reconcile()
    cluster.now += timedelta(seconds=89)
    await cluster.reconcile()
    assert cluster.said()[2] == "CheckingInvariants"
    cluster.now += timedelta(seconds=1)
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("now/uid-now/Succeeded", ("Succeeded", "True", "Succeeded"))
    assert cluster.status()["invariants"] == "unknown"


async def test_another_restore_replaces_one_whose_shop_cannot_be_opened(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.end("Complete", RESTORED)
    await cluster.reconcile()
    cluster.restore("again", backup="before")
    cluster.shop_says("Reopening")
    await cluster.reconcile("again")
    assert cluster.said("again")[:3] == ("Pending", "Unknown", "OtherRestore"), "it may still become Ready"
    stored = cluster.server.objects[PLATFORM.kind, "shop", SHOP.name]
    stored["status"]["conditions"].append({"type": "Degraded", "status": "True", "reason": "MigrationFailed"})
    await cluster.reconcile("again")
    assert cluster.mark == "again/uid-again/Closing"
    await cluster.reconcile()
    assert (cluster.mark, cluster.said()[:3]) == ("again/uid-again/Closing", ("Failed", "False", "OtherRestore"))


async def test_the_annotation_is_put_back_while_the_databases_are_replaced(cluster: FakeCluster) -> None:
    cluster.restore()
    await cluster.until_restoring()
    cluster.shop({"conditions": cluster.server.objects[PLATFORM.kind, "shop", SHOP.name]["status"]["conditions"]})
    await cluster.reconcile()
    assert cluster.mark == "now/uid-now/Restoring/inconsistent", "whether it was inconsistent is not known any more"


@pytest.mark.parametrize("text", ["", "x", "a/Closed", "a/Opening", "a/Opening/b", "a/b/Opening/c"])
def test_an_annotation_that_cannot_be_read_closes_the_shop(text: str) -> None:
    mark = restore_mark({ANNOTATION_RESTORE: text}, {})
    assert mark is not None
    assert (mark.closes, mark.may_be_inconsistent) == (True, True)


@pytest.mark.parametrize("word", ["inconsistent", "mixed"])
def test_inconsistent_databases_are_marked_by_a_word_also_that_of_earlier_releases(word: str) -> None:
    mark = restore_mark({ANNOTATION_RESTORE: f"now/uid-now/Opening/{word}"}, {})
    assert mark is not None
    assert (mark.inconsistent, mark.closes) == (True, False)
    assert str(mark) == "now/uid-now/Opening/inconsistent"


def test_the_mark_of_a_restore_that_has_succeeded_closes_nothing() -> None:
    assert restore_mark({ANNOTATION_RESTORE: "now/uid-now/Succeeded"}, {}) is None


def test_every_failure_of_the_command_is_a_reason() -> None:
    of_verifications = {"BackupNotRestorable", "InvariantBroken", "ScratchServerFailed"}
    assert failure_reasons(BackupError) - of_verifications <= {str(one) for one in RestoreReason}


def test_the_store_passes_on_the_restores_of_a_shop_that_has_changed() -> None:
    queued: list[ObjectKey] = []
    store = BackupStore(queued.append)
    metadata = {"name": "now", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "1"}
    store.change(PLATFORM_RESTORE, "ADDED", {"metadata": metadata, "spec": {"platform": "market"}})
    queued.clear()
    store.enqueue_restores_of(PlatformKey("shop", "another"))
    assert queued == []
    store.enqueue_restores_of(SHOP)
    assert queued == [restore_key("shop", "now")]
    queued.clear()
    store.change(PLATFORM_RESTORE, "DELETED", {"metadata": metadata, "spec": {"platform": "market"}})
    assert queued == [schedule_key(SHOP)], "the shop may be closed by it"


@pytest.mark.parametrize("length", [10, 3000])
def test_advice_is_whole_however_long_the_message_is(length: int) -> None:
    advice = "Nothing was changed, and the shop stays open: correct this and create another PlatformRestore."
    text = check_failure_advice("x" * length, "It is not retried.", closed=False)
    assert (text.endswith(f"x. It is not retried. {advice}"), len(text) <= 1024) == (True, True)
