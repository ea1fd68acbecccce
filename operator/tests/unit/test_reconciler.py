"""Reconcile passes against an API server that is a dictionary."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from platform_operator.api.kinds import (
    CHILD_LABELS,
    FIELD_MANAGER,
    HANDOVER_MANAGER,
    PLATFORM,
    Kind,
    ObjectId,
    PlatformKey,
)
from platform_operator.apply.inventory_store import inventory_id
from platform_operator.cache.observed import observe, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.errors import ApiError, RenderError, RenderTimeoutError
from platform_operator.invariants.metrics import ScrapeResult, ServiceMetrics
from platform_operator.reconciler import RECHECK_INTERVAL, Reconciler
from platform_operator.render.helm import Helm
from platform_operator.render.renderer import Renderer
from platform_operator.render.values import Installation
from platform_operator.secrets.master_key import MasterKey
from platform_operator.status.conditions import PROGRESS_DEADLINE
from platform_operator.status.recorder import EventRecorder
from platform_operator.workqueue import Requeue

KEY = PlatformKey("shop", "shop")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEPLOYMENT, JOB, STORE = (
    ObjectId("Deployment", "shop-order"),
    ObjectId("Job", "shop-order-migrate-1"),
    ObjectId("StatefulSet", "shop-order-db"),
)
Manifest = dict[str, Any]


class Server:
    """An API server with server-side apply as far as the operator relies on it: fields of the last apply are owned
    until another manager writes."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.writes: list[str] = []
        self.events: list[Manifest] = []
        self.refuse: dict[str, ApiError] = {}
        self.version = self.applies = 0
        self.pods: list[Manifest] = []
        self.listed: list[str] = []
        self.list_error: ApiError | None = None

    async def list(self, kind: Kind, namespace: str, selector: str) -> tuple[list[Manifest], int]:
        self.listed.append(selector)
        if self.list_error:
            raise self.list_error
        return self.pods, 1

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return self.objects.get((kind.kind, name))

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, subresource: str = "", manager: str = FIELD_MANAGER
    ) -> Manifest:
        name = manifest["metadata"]["name"]
        self.applies += 1
        self.writes.append(f"apply {kind.kind} {name} {subresource or manager}".removesuffix(f" {FIELD_MANAGER}"))
        if kind.kind in self.refuse:
            raise self.refuse[kind.kind]
        created = {**manifest, "metadata": {**manifest["metadata"], "uid": f"u{self.version}", "generation": 1}}
        stored = self.objects.setdefault((kind.kind, name), created)
        if subresource:
            stored["status"] = copy.deepcopy(manifest["status"])
        elif manager == FIELD_MANAGER:
            identity = {name: stored["metadata"][name] for name in ("uid", "generation")}
            stored.update(copy.deepcopy(manifest))
            stored["metadata"].update(identity)
            stored["metadata"]["managedFields"] = [
                {"manager": manager, "operation": "Apply", "fieldsV1": paths(manifest)}
            ]
        return self.touch(stored)

    async def overwrite(self, kind: Kind, namespace: str, name: str, fields: Manifest) -> None:
        """Replaces the list, so that the foreign item that made the object invalid is gone."""
        self.writes.append(f"overwrite {kind.kind} {name}")
        self.refuse.pop(kind.kind, None)

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        self.writes.append(f"create {kind.kind} {manifest.get('reason', '')}")
        self.events.append(manifest)
        if kind.kind in self.refuse:
            raise self.refuse[kind.kind]
        return manifest

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        self.writes.append(f"delete {kind.kind} {name}")
        del self.objects[kind.kind, name]

    def touch(self, stored: Manifest) -> Manifest:
        self.version += 1
        stored["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(stored)


def paths(value: object) -> object:
    return {f"f:{name}": paths(inner) for name, inner in value.items()} if isinstance(value, dict) else {}


class Charts(Helm):
    """A Helm whose chart has a store, a migration and a service."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: RenderError | None = None
        self.replicas: int | None = 1

    async def template(self, chart: Path, key: PlatformKey, chart_values: Manifest) -> list[Manifest]:
        self.runs += 1
        if self.error:
            raise self.error
        tag = chart_values["global"]["image"]["tag"]
        return [
            rendered("apps/v1", "StatefulSet", STORE.name, 1, {"replicas": 1}),
            rendered("batch/v1", "Job", f"shop-order-migrate-{tag}", 2, {}),
            rendered(
                "apps/v1",
                "Deployment",
                DEPLOYMENT.name,
                3,
                {"image": tag} | ({"replicas": self.replicas} if self.replicas else {}),
            ),
        ]


def rendered(api_version: str, kind: str, name: str, wave: int, spec: Manifest) -> Manifest:
    labels = CHILD_LABELS | {"app.kubernetes.io/instance": "shop", "app.kubernetes.io/component": "order"}
    annotations = {"platform.ecommerce.dev/wave": str(wave)}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": spec,
    }


class World:
    """A platform, its operator, and the controllers and users around them."""

    def __init__(self, tmp_path: Path) -> None:
        self.server, self.charts, self.tmp_path = Server(), Charts(), tmp_path
        self.scrape_results: dict[str, ScrapeResult] = {}
        self.now = NOW
        self.restart()
        self.spec({})

    def restart(self) -> None:
        renderer, master_key, installation = (
            Renderer(self.charts, self.tmp_path),
            MasterKey(b"k" * 32),
            Installation("1"),
        )
        server: Any = self.server
        self.reconciler = Reconciler(
            server, Cache(), renderer, master_key, installation, EventRecorder(server, "test"),
            lambda: self.now, lambda _: self.scrape_results,
        )  # fmt: skip

    def spec(self, spec: Manifest, **metadata: Any) -> None:
        stored = self.server.objects.setdefault(
            (PLATFORM.kind, "shop"), {"metadata": {"name": "shop", "namespace": "shop", "uid": "p1"}}
        )
        stored["spec"] = spec
        stored["metadata"] |= {"generation": stored["metadata"].get("generation", 0) + 1, **metadata}
        self.server.touch(stored)

    async def reconcile(self) -> Requeue:
        """Makes one pass, with the cache as the watches would fill it."""
        cache = self.reconciler.cache = Cache()
        for (kind, _), stored in self.server.objects.items():
            if kind == PLATFORM.kind:
                cache.store_platform(observe_platform(stored))
            elif CHILD_LABELS.items() <= stored["metadata"].get("labels", {}).items():
                cache.store(KEY, observe(stored))
        self.server.writes.clear()
        return await self.reconciler.reconcile(KEY)

    def lose_label(self, identity: ObjectId) -> None:
        """Removes the operator's label.

        A watch that selects by it reports that as a deletion, at the update's own version.
        """
        stored = self.server.objects[identity]
        del stored["metadata"]["labels"]["app.kubernetes.io/managed-by"]
        self.server.touch(stored)
        self.reconciler.cache.remove(KEY, identity, self.server.version)

    def come_up(self, identity: ObjectId) -> None:
        stored = self.server.objects[identity]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
        stored["status"] = {"observedGeneration": 1, "conditions": [{"type": "Complete", "status": "True"}], **counts}
        self.server.touch(stored)

    async def converge(self) -> None:
        for identity in (STORE, JOB, DEPLOYMENT):
            await self.reconcile()
            self.come_up(identity)
        await self.reconcile()

    def applied(self) -> list[str]:
        return [write for write in self.server.writes if write.startswith("apply") and not write.endswith("status")]

    def message(self, type_: str) -> str:
        conditions = self.server.objects[PLATFORM.kind, "shop"]["status"]["conditions"]
        return next(str(one["message"]) for one in conditions if one["type"] == type_)

    def condition(self, type_: str) -> tuple[str, str]:
        conditions = self.server.objects[PLATFORM.kind, "shop"]["status"]["conditions"]
        return next((one["status"], one["reason"]) for one in conditions if one["type"] == type_)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_platform_comes_up_wave_by_wave(world: World) -> None:
    assert await world.reconcile() == Requeue.after(RECHECK_INTERVAL)
    assert (STORE in world.server.objects, JOB in world.server.objects) == (True, False)
    world.come_up(STORE)
    await world.reconcile()
    assert (JOB in world.server.objects, DEPLOYMENT in world.server.objects) == (True, False)
    world.come_up(JOB)
    await world.reconcile()
    world.come_up(DEPLOYMENT)
    assert await world.reconcile() == Requeue.never()
    assert world.condition("Ready") == ("True", "AllReady")


async def test_nothing_is_written_when_nothing_changed(world: World) -> None:
    await world.converge()
    for _ in range(3):
        await world.reconcile()
        assert world.server.writes == []


async def test_invariants_are_written_only_when_they_change(world: World) -> None:
    await world.converge()
    for rows, status in ((0, "True"), (3, "False"), (3, "False"), (0, "True")):
        before = world.condition("NothingOversold")[0]
        world.scrape_results["inventory"] = ScrapeResult(
            NOW.timestamp(), ServiceMetrics({"nothing_oversold": rows}, checked=NOW.timestamp())
        )
        await world.reconcile()
        assert world.condition("NothingOversold")[0] == status
        assert world.condition("Ready") == ("True", "AllReady")
        events = ["create Event InvariantBroken" if rows else "create Event AllHold"] if before != "Unknown" else []
        changed = ["apply EcommercePlatform shop status", *events] if before != status else []
        assert world.server.writes == changed
        await world.reconcile()
        assert world.server.writes == []


async def test_a_restart_writes_nothing_and_renders_nothing(world: World) -> None:
    await world.converge()
    world.restart()
    runs = world.charts.runs
    await world.reconcile()
    assert (world.server.writes, world.charts.runs) == ([], runs)


async def test_only_the_deleted_child_is_created_again(world: World) -> None:
    await world.converge()
    children = [identity for identity in world.server.objects if identity[0] != PLATFORM.kind]
    for kind, name in children:
        if ObjectId(kind, name) != inventory_id(KEY):
            del world.server.objects[kind, name]
            await world.reconcile()
            assert world.applied() == [f"apply {kind} {name}"]


async def test_only_the_object_with_a_changed_field_is_applied(world: World) -> None:
    await world.converge()
    stored = world.server.objects[DEPLOYMENT]
    stored["metadata"]["managedFields"][0]["fieldsV1"] = {}
    world.server.touch(stored)
    await world.reconcile()
    assert world.applied() == ["apply Deployment shop-order"]


def count(metric: str, reason: str) -> float:
    labels = {"kind": "Deployment", "reason": reason}
    return REGISTRY.get_sample_value(f"ecommerce_operator_{metric}_total", labels) or 0.0


def take_image(world: World, manager: str) -> None:
    """Changes the image of the Deployment, as `kubectl edit` does."""
    stored = world.server.objects[DEPLOYMENT]
    own = stored["metadata"]["managedFields"][0]
    own["fieldsV1"] = {**own["fieldsV1"], "f:spec": {"f:replicas": {}}}
    other = {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:image": {}}}}
    stored["metadata"]["managedFields"] = [own, other]
    world.server.touch(stored)


async def test_a_repair_is_logged_counted_and_reported_with_the_manager_that_took_the_field(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.converge()
    before = [count(metric, "LostFields") for metric in ("applies", "repairs")]
    caplog.set_level("INFO")
    take_image(world, "kubectl-edit")

    await world.reconcile()

    message = "Deployment shop-order: field spec.image was taken by kubectl-edit and has been restored"
    assert [event["message"] for event in world.server.events if event["reason"] == "Repaired"] == [message]
    (record,) = [record for record in caplog.records if record.getMessage() == message]
    assert (vars(record)["reason"], vars(record)["manager"]) == ("LostFields", "kubectl-edit")
    assert [count(metric, "LostFields") for metric in ("applies", "repairs")] == [value + 1 for value in before]


async def test_a_fight_over_a_field_is_reported_once_in_each_interval(world: World) -> None:
    await world.converge()
    for _ in range(5):
        take_image(world, "argocd")
        await world.reconcile()
        assert "apply Deployment shop-order" in world.applied()
        world.now += timedelta(minutes=1)
    names = [event["metadata"]["name"] for event in world.server.events if event["reason"] == "Repaired"]
    assert (len(names), len(set(names))) == (5, 1), "the API server refuses a second Event of the same name"


async def test_a_new_shop_and_an_upgrade_report_no_repairs(world: World) -> None:
    await world.converge()
    world.spec({"version": "2"})
    await world.reconcile()
    world.come_up(ObjectId("Job", "shop-order-migrate-2"))
    await world.reconcile()
    assert [event for event in world.server.events if event["reason"] == "Repaired"] == []


async def test_an_upgrade_migrates_first_and_prunes_the_old_migration(world: World) -> None:
    await world.converge()
    world.spec({"version": "2"})
    await world.reconcile()
    assert "apply Job shop-order-migrate-2" in world.applied()
    assert "apply Deployment shop-order" not in world.applied()
    assert "delete Job shop-order-migrate-1" in world.server.writes
    world.come_up(ObjectId("Job", "shop-order-migrate-2"))
    await world.reconcile()
    assert world.server.objects[DEPLOYMENT]["spec"]["image"] == "2"
    await world.reconcile()
    assert world.condition("Ready") == ("True", "AllReady")


async def test_a_crash_at_any_write_leads_to_the_same_result(world: World, tmp_path: Path) -> None:
    await world.converge()
    children = world.server.objects.keys()
    for before_crash in range(world.server.applies):
        crashed = World(tmp_path)
        crashed.server.apply = crashing(crashed.server.apply, before_crash)  # type: ignore[method-assign]
        with pytest.raises(ApiError, match="the process crashed here"):
            await crashed.converge()
        del crashed.server.apply
        crashed.restart()
        await crashed.converge()
        assert crashed.server.objects.keys() == children
        assert crashed.condition("Ready") == ("True", "AllReady")


def crashing(apply: Callable[..., Any], before_crash: int) -> Callable[..., Any]:
    left = iter(range(before_crash))

    async def answer(*arguments: Any, **more: Any) -> Any:
        if next(left, None) is None:
            raise ApiError(0, "Unreachable", "the process crashed here")
        return await apply(*arguments, **more)

    return answer


async def test_a_paused_platform_is_not_changed_and_reports_it(world: World) -> None:
    await world.converge()
    world.spec({"paused": True})
    del world.server.objects[DEPLOYMENT]
    await world.reconcile()
    assert world.applied() == []
    assert world.condition("Progressing") == ("False", "Paused")
    world.spec({})
    await world.reconcile()
    assert world.applied() == ["apply Deployment shop-order"]


async def test_a_refused_object_is_reported_and_does_not_block_the_others(world: World) -> None:
    world.server.refuse["Secret"] = ApiError(403, "Forbidden", "exceeded quota")
    await world.reconcile()
    assert world.condition("Degraded") == ("True", "Refused")
    assert len([write for write in world.applied() if write.startswith("apply Secret")]) == 11


async def test_a_repair_that_a_foreign_list_item_makes_invalid_replaces_the_list(world: World) -> None:
    await world.converge()
    world.server.objects[DEPLOYMENT]["metadata"]["managedFields"] = []
    world.server.refuse["Deployment"] = ApiError(422, "Invalid", 'spec.ports[1].name: Duplicate value: "http"')

    await world.reconcile()

    assert [write for write in world.server.writes if DEPLOYMENT.name in write] == [
        f"apply Deployment {DEPLOYMENT.name}",
        f"overwrite Deployment {DEPLOYMENT.name}",
        f"apply Deployment {DEPLOYMENT.name}",
    ]


async def test_a_chart_that_does_not_render_is_reported_once(world: World) -> None:
    world.charts.error = RenderError("set database.password")
    assert await world.reconcile() == Requeue.never()
    assert world.condition("Degraded") == ("True", "RenderFailed")
    await world.reconcile()
    assert world.server.writes == []


async def test_each_wave_has_its_own_deadline(world: World) -> None:
    await world.reconcile()
    world.now += PROGRESS_DEADLINE - timedelta(seconds=1)
    world.come_up(STORE)
    await world.reconcile()
    assert world.condition("Progressing") == ("True", "Migrating")
    world.now += PROGRESS_DEADLINE - timedelta(seconds=1)
    await world.reconcile()
    assert world.condition("Degraded") == ("False", "Healthy")
    world.now += timedelta(seconds=1)
    await world.reconcile()
    assert world.condition("Degraded") == ("True", "TakesTooLong")
    assert "Job shop-order-migrate-1 has not finished after more than 5 minutes." in world.message("Degraded")


async def test_the_deadline_starts_again_whenever_a_wave_blocks(world: World) -> None:
    await world.converge()
    for _ in range(2):
        world.server.objects[DEPLOYMENT]["status"]["availableReplicas"] = 0
        world.server.touch(world.server.objects[DEPLOYMENT])
        await world.reconcile()
        world.now += PROGRESS_DEADLINE - timedelta(seconds=1)
        await world.reconcile()
        assert world.condition("Degraded") == ("False", "Healthy")
        world.come_up(DEPLOYMENT)
        await world.reconcile()


async def test_a_helm_run_that_timed_out_is_retried(world: World) -> None:
    world.charts.error = RenderTimeoutError("Helm did not finish within 60 s")
    assert await world.reconcile() == Requeue.after(RECHECK_INTERVAL)
    assert world.condition("Degraded") == ("True", "RenderFailed")
    world.charts.error = None
    assert await world.reconcile() == Requeue.after(RECHECK_INTERVAL)
    assert world.condition("Degraded") == ("False", "Healthy")


@pytest.mark.parametrize(("code", "warnings"), [(403, 2), (409, 0), (500, 2)])
async def test_a_refused_event_stops_neither_the_next_nor_the_pass(
    world: World, code: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.refuse["Event"] = ApiError(code, "Forbidden", "no Events here")
    world.scrape_results["inventory"] = ScrapeResult(
        NOW.timestamp(), ServiceMetrics({"nothing_oversold": 3}, checked=NOW.timestamp())
    )
    assert await world.reconcile() == Requeue.after(RECHECK_INTERVAL)
    assert [w for w in world.server.writes if "Event" in w] == [
        "create Event WaitingForStores",
        "create Event InvariantBroken",
    ]
    assert [record.levelname for record in caplog.records].count("WARNING") == warnings


CRASHING = {
    "metadata": {"name": "shop-order-1"},
    "status": {
        "containerStatuses": [
            {
                "name": "order",
                "image": "order:1",
                "restartCount": 4,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                "lastState": {"terminated": {"exitCode": 78, "reason": "Error"}},
            }
        ]
    },
}


async def test_pods_of_a_failed_part_are_diagnosed_and_no_others_are_listed(world: World) -> None:
    await world.converge()
    assert world.server.listed == []
    world.server.pods = [CRASHING]
    stored = world.server.objects[DEPLOYMENT]
    stored["status"] |= {
        "availableReplicas": 0,
        "conditions": [{"type": "Progressing", "status": "False", "message": "timed out."}],
    }
    world.server.touch(stored)
    await world.reconcile()
    assert world.server.listed == ["app.kubernetes.io/instance=shop,app.kubernetes.io/component=order"]
    assert "Its pod reports CrashLoopBackOff: container order ends with exit code 78 (Error)." in world.message(
        "Degraded"
    )
    await world.reconcile()
    assert world.server.writes == []


async def test_pods_of_a_failed_migration_are_selected_by_job_and_a_refused_list_is_tolerated(world: World) -> None:
    await world.reconcile()
    world.come_up(STORE)
    await world.reconcile()
    world.server.objects[JOB]["status"] = {
        "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimit"}]
    }
    world.server.touch(world.server.objects[JOB])
    world.server.list_error = ApiError(403, "Forbidden", "no")
    await world.reconcile()
    assert world.server.listed == ["batch.kubernetes.io/job-name=shop-order-migrate-1"]
    assert world.condition("Degraded") == ("True", "MigrationFailed")


async def test_a_foreign_secret_is_used_and_not_overwritten(world: World) -> None:
    foreign = {
        "kind": "Secret",
        "metadata": {"name": "shop-jwt", "namespace": "shop", "uid": "x", "generation": 1},
        "data": {},
    }
    world.server.objects["Secret", "shop-jwt"] = foreign
    world.server.touch(foreign)
    await world.reconcile()
    assert "apply Secret shop-jwt" not in world.applied()
    assert world.server.objects["Secret", "shop-jwt"] is foreign


async def test_a_secret_that_lost_its_label_is_left_alone(world: World) -> None:
    await world.converge()
    world.lose_label(ObjectId("Secret", "shop-jwt"))
    world.server.writes.clear()
    async with asyncio.timeout(5):
        await world.reconciler.reconcile(KEY)
    assert world.applied() == []


async def test_a_foreign_secret_that_the_cache_does_not_accept_is_attempted_once(world: World) -> None:
    await world.converge()
    jwt = ObjectId("Secret", "shop-jwt")
    world.lose_label(jwt)
    world.reconciler.cache.remove(KEY, jwt, world.server.version + 9)  # a list of a later version does not contain it
    async with asyncio.timeout(5):
        await world.reconciler.reconcile(KEY)
    assert "apply Secret shop-jwt" not in world.applied()


async def test_objects_applied_beside_a_failed_one_are_not_applied_again(world: World) -> None:
    apply = world.server.apply

    async def failing(kind: Kind, namespace: str, manifest: Manifest, *more: Any, **named: Any) -> Manifest:
        if manifest["metadata"]["name"] == "shop-admin":
            raise ApiError(500, "InternalError", "failed calling webhook")
        return await apply(kind, namespace, manifest, *more, **named)

    world.server.apply = failing  # type: ignore[method-assign]
    with pytest.raises(ApiError, match="failed calling webhook"):
        await world.reconcile()
    assert world.condition("Progressing") == ("True", "Interrupted")
    assert "failed calling webhook" in world.message("Progressing")
    world.server.apply = apply  # type: ignore[method-assign]
    await world.reconcile()
    secrets = [write for write in world.applied() if write.startswith("apply Secret")]
    assert secrets == ["apply Secret shop-admin"]
    assert world.condition("Progressing") == ("True", "WaitingForStores")


async def test_a_refused_deletion_is_reported_and_the_inventory_is_stored(world: World) -> None:
    await world.converge()
    world.spec({"version": "2"})
    delete = world.server.delete

    async def refusing(*_: Any) -> None:
        raise ApiError(403, "Forbidden", "cannot delete jobs")

    world.server.delete = refusing  # type: ignore[method-assign, assignment]
    with pytest.raises(ApiError, match="cannot delete jobs"):
        await world.reconcile()
    assert world.condition("Degraded") == ("True", "Refused")
    world.server.delete = delete  # type: ignore[method-assign]
    await world.reconcile()
    assert world.applied() == []
    assert "delete Job shop-order-migrate-1" in world.server.writes


async def test_a_late_event_does_not_bring_back_a_pruned_object(world: World) -> None:
    await world.converge()
    old = world.reconciler.cache.children(KEY)[JOB]
    world.spec({"version": "2"})
    await world.reconcile()
    world.reconciler.cache.store(KEY, old)
    assert JOB not in world.reconciler.cache.children(KEY)


async def test_a_recreated_platform_takes_over_the_retained_secrets(world: World) -> None:
    await world.converge()
    retained = {identity: stored for identity, stored in world.server.objects.items() if identity[0] == "Secret"}
    passwords = {identity: stored["data"] for identity, stored in copy.deepcopy(retained).items()}
    world.server.objects = retained
    world.spec({}, uid="p2")
    world.restart()
    await world.converge()
    assert {identity: world.server.objects[identity]["data"] for identity in passwords} == passwords
    assert world.condition("Ready") == ("True", "AllReady")


async def test_a_deployment_handed_over_to_its_autoscaler_keeps_its_pods(world: World) -> None:
    await world.converge()
    world.server.objects[DEPLOYMENT]["spec"]["replicas"] = 1
    world.charts.replicas = None
    world.spec({"version": "2"})
    await world.reconcile()
    world.come_up(ObjectId("Job", "shop-order-migrate-2"))
    await world.reconcile()
    assert world.applied()[:2] == [f"apply Deployment shop-order {HANDOVER_MANAGER}", "apply Deployment shop-order"]


async def test_a_platform_that_is_being_deleted_is_not_changed(world: World) -> None:
    await world.converge()
    world.spec({}, deletionTimestamp="2026-01-01T00:00:00Z")
    del world.server.objects[DEPLOYMENT]
    assert await world.reconcile() == Requeue.never()
    assert world.server.writes == []


async def test_a_platform_deleted_during_a_pass_leaves_no_metrics(world: World) -> None:
    def exported() -> float | None:
        labels = {"namespace": "shop", "platform": "shop", "condition": "Ready"}
        return REGISTRY.get_sample_value("ecommerce_platform_condition", labels)

    await world.converge()
    assert exported() == 1
    world.reconciler.cache.remove_platform(KEY, world.server.version + 1)
    assert await world.reconciler.reconcile(KEY) == Requeue.never()
    assert exported() is None


async def test_passwords_are_only_in_secrets(world: World) -> None:
    await world.converge()
    password = world.reconciler.master_key.password(KEY, "redis", "password")
    elsewhere = {identity: stored for identity, stored in world.server.objects.items() if identity[0] != "Secret"}
    assert password not in json.dumps([*elsewhere.values()])
