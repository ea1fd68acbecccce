"""Reconcile passes against an API server that is a dictionary."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from platform_operator.api.kinds import (
    ANNOTATION_KEY_ID,
    CHILD_LABELS,
    EVENT,
    FIELD_MANAGER,
    HANDOVER_MANAGER,
    PLATFORM,
    POD,
    RELEASE,
    VOLUME_CLAIM,
    Kind,
    ObjectId,
    PlatformKey,
)
from platform_operator.api.spec import parse
from platform_operator.apply.deletion import DELETION_DEADLINE, FINALIZER_MANAGER
from platform_operator.apply.inventory_store import inventory_id
from platform_operator.cache.observed import FINALIZER, observe, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.errors import (
    NAMESPACE_TERMINATING,
    ApiError,
    LeadershipLostError,
    RenderError,
    RenderTimeoutError,
    UnexpectedError,
)
from platform_operator.informers import Informers
from platform_operator.invariants.scrape_results import ScrapeResult, ServiceMetrics
from platform_operator.invariants.step_meter import StepMeter
from platform_operator.plan.data_loss import CHECK_AFTER
from platform_operator.plan.error_rates import PodCounts, PodId, RequestCounts
from platform_operator.plan.field_fights import FORGET_AFTER, FieldFights
from platform_operator.plan.fleet import Target, UpgradePolicy, choose_target, with_targets
from platform_operator.plan.job_retries import JobRetries
from platform_operator.plan.planner import make_plan
from platform_operator.plan.releases import HISTORY_LIMIT
from platform_operator.reconciler import (
    EARLY,
    EARLY_RECHECK,
    RECHECK_INTERVAL,
    SECRETS_INTERVAL,
    TURN_INTERVAL,
    Reconciler,
)
from platform_operator.release_chooser import ReleaseChooser
from platform_operator.render import renderer
from platform_operator.render.helm import Helm
from platform_operator.render.renderer import Renderer
from platform_operator.render.store_images import CHARTS_OWN, StoreImages
from platform_operator.render.values import Installation
from platform_operator.reporter import Reporter
from platform_operator.rotator import Rotator
from platform_operator.secrets.certificates import RENEWAL
from platform_operator.secrets.master_key import MasterKey
from platform_operator.secrets.master_key_store import MASTER_KEY_NAME, MasterKeyStore
from platform_operator.secrets.salt import salt_id
from platform_operator.secrets.store_tls import own_stores
from platform_operator.status.conditions import PROGRESS_DEADLINE
from platform_operator.status.pending import MAX_NAMED
from platform_operator.status.platform_status import describe
from platform_operator.status.recorder import MAX_WAITING, EventRecorder
from platform_operator.workqueue import Requeue, WorkQueue

KEY = PlatformKey("shop", "shop")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEPLOYMENT, JOB, STORE = (
    ObjectId("Deployment", "shop-order"),
    ObjectId("Job", "shop-order-migrate-1"),
    ObjectId("StatefulSet", "shop-order-db"),
)
Manifest = dict[str, Any]
MASTER_KEY = MasterKey(b"k" * 32)
SALT = "5a17" * 8
"""The salt of every new platform."""


class FakeApiServer:
    """An API server with server-side apply as far as the operator relies on it: fields of the last apply are owned
    until another manager writes."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.writes: list[str] = []
        self.events: list[Manifest] = []
        self.refuse: dict[str, ApiError] = {}
        self.version = self.applies = 0
        self.pods: list[Manifest] = []
        self.warnings: list[Manifest] = []
        self.volumes: list[Manifest] = []
        self.not_found: set[str] = set()
        """Names of the objects whose deletion is answered with 404, although they exist."""
        self.listed: list[str] = []
        self.list_error: ApiError | None = None
        self.master_key: Manifest | None = stored_key(MASTER_KEY)

    async def list(
        self, kind: Kind, namespace: str, selector: str = "", limit: int = 0, fields: str = ""
    ) -> tuple[list[Manifest], int]:
        if kind is EVENT:
            return self.warnings, 1
        if kind.kind == "Secret":
            return [one for (name, _), one in self.objects.items() if name == kind.kind], 1
        if kind is POD:
            self.listed.append(selector)
        if self.list_error:
            raise self.list_error
        return (self.volumes if kind is VOLUME_CLAIM else self.pods), 1

    async def names(self, kind: Kind, namespace: str) -> frozenset[str] | None:
        return frozenset(name for (stored, name) in self.objects if stored == kind.kind)

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        if name == MASTER_KEY_NAME:
            return self.master_key
        return self.objects.get((kind.kind, name))

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, subresource: str = "", manager: str = FIELD_MANAGER
    ) -> Manifest:
        name = manifest["metadata"]["name"]
        self.applies += 1
        self.writes.append(f"apply {kind.kind} {name} {subresource or manager}".removesuffix(f" {FIELD_MANAGER}"))
        if kind.kind in self.refuse:
            raise self.refuse[kind.kind]
        manifest = copy.deepcopy(manifest)
        expected = manifest["metadata"].pop("resourceVersion", None)
        if expected and expected != self.objects[kind.kind, name]["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "the object has been modified")
        uid = manifest["metadata"].pop("uid", None)
        if uid and uid != self.objects.get((kind.kind, name), {}).get("metadata", {}).get("uid"):
            raise ApiError(409, "Conflict", "the uid is another")
        created = {**manifest, "metadata": {**manifest["metadata"], "uid": f"u{self.version}", "generation": 1}}
        stored = self.objects.setdefault((kind.kind, name), created)
        if manager == FINALIZER_MANAGER:
            stored["metadata"]["finalizers"] = manifest["metadata"]["finalizers"]
            if "deletionTimestamp" in stored["metadata"] and not stored["metadata"]["finalizers"]:
                return self.touch(self.objects.pop((kind.kind, name)))
        elif subresource:
            stored["status"] = copy.deepcopy(manifest["status"])
        elif manager == FIELD_MANAGER:
            identity = {name: stored["metadata"][name] for name in ("uid", "generation")}
            identity["generation"] += stored.get("spec") != manifest.get("spec")
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
        if kind.kind == "Secret":
            self.writes.append(f"create Secret {manifest['metadata']['name']}")
            self.master_key = manifest
            return manifest
        self.writes.append(f"create {kind.kind} {manifest.get('reason', '')}")
        self.events.append(manifest)
        if kind.kind in self.refuse:
            raise self.refuse[kind.kind]
        return manifest

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        self.writes.append(f"delete {kind.kind} {name}")
        if name in self.not_found:
            return False
        if kind is VOLUME_CLAIM:
            self.volumes = [one for one in self.volumes if one["metadata"]["name"] != name]
        else:
            del self.objects[kind.kind, name]
        return True

    def touch(self, stored: Manifest) -> Manifest:
        self.version += 1
        stored["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(stored)


def stored_key(key: MasterKey) -> Manifest:
    return {"metadata": {"name": MASTER_KEY_NAME}, "data": {"key": base64.b64encode(key.secret).decode()}}


def paths(value: object) -> object:
    return {f"f:{name}": paths(inner) for name, inner in value.items()} if isinstance(value, dict) else {}


class FakeHelm(Helm):
    """A Helm whose chart has a store, a migration and a service."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: RenderError | None = None
        self.replicas: int | None = 1
        self.more: list[Manifest] = []
        self.silent = False
        self.values: Manifest = {}
        self.storage = 1
        self.chart = ""

    async def template(self, chart: Path, key: PlatformKey, chart_values: Manifest) -> list[Manifest]:
        self.runs += 1
        self.values = chart_values
        if self.error:
            raise self.error
        if self.silent:
            return []
        tag = chart_values["global"]["image"]["tag"]
        template = {"spec": {"containers": [{"name": "order", "image": f"ecommerce/order:{tag}"}]}}
        return [
            *copy.deepcopy(self.more),
            rendered("apps/v1", "StatefulSet", STORE.name, 1, {"replicas": 1, "storage": self.storage}),
            rendered("batch/v1", "Job", f"shop-order-migrate-{tag}", 2, {}),
            rendered(
                "apps/v1",
                "Deployment",
                DEPLOYMENT.name,
                3,
                {"image": tag, "chart": self.chart, "template": template}
                | ({"replicas": self.replicas} if self.replicas else {}),
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


class FakeCluster:
    """A platform, its operator, and the controllers and users around them."""

    def __init__(self, tmp_path: Path) -> None:
        self.server, self.helm, self.tmp_path = FakeApiServer(), FakeHelm(), tmp_path
        self.scrape_results: dict[str, ScrapeResult] = {}
        self.harmful_version = ""
        """The version of the order service that breaks its invariant `totals`."""
        self.pod_counts: dict[PodId, RequestCounts] = {}
        self.now = NOW
        self.version = "1"
        (tmp_path / "chart").write_text("of version 1")
        self.restart()
        self.spec({})

    def upgrade_operator(self, version: str) -> None:
        """Starts the next operator, with charts of its own."""
        self.version = version
        (self.tmp_path / "chart").write_text(f"of version {version}")
        self.helm.chart = version
        self.restart()

    def add_shop(self, name: str, **status: str) -> Manifest:
        """Adds another shop, which no test reconciles, with the status of its release."""
        metadata = {"name": name, "namespace": "other", "uid": name, "generation": 1}
        shop = self.server.objects[PLATFORM.kind, name] = {"metadata": metadata, "spec": {}, "status": status}
        self.server.touch(shop)
        return shop

    def restart(self, store_images: StoreImages = CHARTS_OWN) -> None:
        renderer, server, cache = Renderer(self.helm, self.tmp_path), cast(Any, self.server), Cache()
        installation = Installation(self.version, store_images=store_images)
        policy, fights, retries = UpgradePolicy(), FieldFights(), JobRetries()
        meter = StepMeter(self.scrape, self.count_requests)
        self.queue: WorkQueue[PlatformKey] = WorkQueue(lambda: 0.0)
        """Counts the failures; it queues nothing."""
        self.reconciler = Reconciler(
            server, cache, renderer, MasterKeyStore(server, "operator", Cache(), self.clock), installation,
            ReleaseChooser(server, cache, renderer, meter, self.version, policy, self.clock),
            Rotator(server, cache, self.version, policy.concurrency, self.clock),
            Reporter(
                server, cache, EventRecorder(server, "test"), store_images, self.scrape, {}, fights, retries,
                self.clock,
            ),
            self.clock, self.new_salt, fights, retries, self.queue.tolerates,
        )  # fmt: skip

    def clock(self) -> datetime:
        return self.now

    def new_salt(self) -> str:
        return SALT

    def scrape(self, key: PlatformKey) -> dict[str, ScrapeResult]:
        order = self.server.objects.get(DEPLOYMENT, {"spec": {}})["spec"]
        broken = ScrapeResult(self.now.timestamp(), ServiceMetrics(violations={"totals": 1}))
        is_harmful = bool(self.harmful_version) and order.get("image") == self.harmful_version
        return self.scrape_results | ({"order": broken} if is_harmful else {})

    async def count_requests(self, key: PlatformKey, services: Collection[str]) -> PodCounts:
        return {pod: counts for pod, counts in self.pod_counts.items() if pod.service in services}

    def take_over(self, other: FakeCluster) -> None:
        """Becomes a copy of another cluster, with an operator that has just started."""
        self.server.objects, self.server.version = copy.deepcopy(other.server.objects), other.server.version
        self.harmful_version, self.scrape_results = other.harmful_version, dict(other.scrape_results)
        self.restart()

    def spec(self, spec: Manifest, **metadata: Any) -> None:
        stored = self.server.objects.setdefault(
            (PLATFORM.kind, "shop"), {"metadata": {"name": "shop", "namespace": "shop", "uid": "p1"}}
        )
        stored["spec"] = {"upgrade": {"observeSeconds": 0}} | spec
        stored["metadata"] |= {"generation": stored["metadata"].get("generation", 0) + 1, **metadata}
        self.server.touch(stored)

    async def reconcile(self) -> Requeue:
        """Makes one pass, and sends its Events."""
        try:
            return await self.make_pass()
        finally:
            await self.reconciler.reporter.recorder.flush()

    async def make_pass(self, seen: dict[tuple[str, str], Manifest] | None = None) -> Requeue:
        """Makes one pass, with the cache as the watches would fill it. Those that are behind have `seen` other objects
        than the API server has."""
        cache, one = Cache(), self.reconciler
        one.cache = one.releases.cache = one.rotator.cache = one.reporter.cache = one.master_keys.cache = cache
        for (kind, _), stored in (self.server.objects if seen is None else seen).items():
            if kind == PLATFORM.kind:
                cache.store_platform(observe_platform(stored))
            elif CHILD_LABELS.items() <= stored["metadata"].get("labels", {}).items():
                cache.store(KEY, observe(stored))
        self.server.writes.clear()
        try:
            with self.queue.counting_conflicts(KEY):
                requeue = await self.reconciler.reconcile(KEY)
        except Exception:
            self.queue.add_rate_limited(KEY)
            raise
        self.queue.forget(KEY)
        return requeue

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
        generation = stored["metadata"]["generation"]
        stored["status"] = {
            "observedGeneration": generation,
            "conditions": [{"type": "Complete", "status": "True"}],
            **counts,
        }
        self.server.touch(stored)

    async def converge(self) -> None:
        for identity in (STORE, JOB, DEPLOYMENT):
            await self.reconcile()
            self.come_up(identity)
        await self.reconcile()

    def applied(self) -> list[str]:
        return [write for write in self.server.writes if write.startswith("apply") and not write.endswith("status")]

    def applied_stores(self) -> list[str]:
        return [write for write in self.applied() if write.startswith("apply StatefulSet ")]

    def message(self, type_: str) -> str:
        conditions = self.server.objects[PLATFORM.kind, "shop"]["status"]["conditions"]
        return next(str(one["message"]) for one in conditions if one["type"] == type_)

    def conditions(self) -> list[str]:
        return [one["type"] for one in self.server.objects[PLATFORM.kind, "shop"]["status"]["conditions"]]

    def condition(self, type_: str) -> tuple[str, str]:
        conditions = self.server.objects[PLATFORM.kind, "shop"]["status"]["conditions"]
        return next((one["status"], one["reason"]) for one in conditions if one["type"] == type_)


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    return FakeCluster(tmp_path)


async def test_a_pass_lets_other_tasks_run_between_its_parts_although_every_answer_is_there_at_once(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    parts: dict[str, list[int]] = {"render": [], "plan": [], "report": []}

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def recorded(part: str, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            parts[part].append(turns)
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(renderer, "desired_objects", recorded("render", renderer.desired_objects))
    monkeypatch.setattr("platform_operator.reconciler.make_plan", recorded("plan", make_plan))
    monkeypatch.setattr("platform_operator.reporter.describe", recorded("report", describe))
    task = asyncio.create_task(others())
    await cluster.make_pass()
    task.cancel()
    turn = [*parts["render"], *parts["plan"], *parts["report"]]
    assert len(turn) > 3
    assert sorted(set(turn)) == turn, f"parts that hold the event loop together: {parts}"


async def test_a_platform_comes_up_wave_by_wave(cluster: FakeCluster) -> None:
    assert await cluster.reconcile() == Requeue.after(EARLY_RECHECK)
    assert (STORE in cluster.server.objects, JOB in cluster.server.objects) == (True, False)
    cluster.come_up(STORE)
    await cluster.reconcile()
    assert (JOB in cluster.server.objects, DEPLOYMENT in cluster.server.objects) == (True, False)
    cluster.come_up(JOB)
    await cluster.reconcile()
    cluster.come_up(DEPLOYMENT)
    assert await cluster.reconcile() == Requeue.never()
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_a_change_of_all_stores_restarts_one_after_the_other_is_ready(cluster: FakeCluster) -> None:
    other = ObjectId("StatefulSet", "shop-review-db")

    def change(memory: str) -> None:
        cluster.helm.storage += 1
        cluster.helm.more = [rendered("apps/v1", "StatefulSet", other.name, 1, {"replicas": 1, "memory": memory})]
        cluster.spec({"databases": {"resources": {"limits": {"memory": memory}}}})

    change("1Gi")
    await cluster.reconcile()
    assert {STORE, other} <= cluster.server.objects.keys(), "a new shop starts all of them"
    cluster.come_up(other)
    await cluster.converge()

    change("2Gi")
    await cluster.reconcile()
    assert cluster.applied_stores() == [f"apply StatefulSet {STORE.name}"]
    await cluster.reconcile()
    assert cluster.applied_stores() == []
    cluster.come_up(STORE)
    await cluster.reconcile()
    assert cluster.applied_stores() == [f"apply StatefulSet {other.name}"]
    cluster.come_up(other)
    await cluster.reconcile()
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_an_upgrade_of_the_operator_keeps_the_images_of_a_shops_stores(cluster: FakeCluster) -> None:
    def image() -> str:
        return str(cluster.helm.values["order-db"]["image"])

    def recorded() -> str:
        return str(cluster.server.objects[PLATFORM.kind, "shop"]["status"]["storeImages"]["databases"])

    cluster.restart(StoreImages("postgres:17", "redis:8", "rabbitmq:4"))
    await cluster.converge()
    assert (image(), recorded()) == ("postgres:17", "postgres:17")

    cluster.restart(StoreImages("postgres:18", "redis:9", "rabbitmq:5"))
    await cluster.reconcile()
    assert (cluster.server.writes, recorded()) == ([], "postgres:17")

    cluster.spec({"databases": {"image": "postgres:17.6"}})
    await cluster.reconcile()
    assert (image(), recorded()) == ("postgres:17.6", "postgres:17.6")

    cluster.spec({})
    await cluster.reconcile()
    assert (image(), recorded()) == ("postgres:17.6", "postgres:17.6"), "what a store has, it keeps"


async def test_no_object_without_an_owner_has_the_label_by_which_argo_cd_prunes(cluster: FakeCluster) -> None:
    await cluster.converge()
    children = [one for (kind, _), one in cluster.server.objects.items() if kind != PLATFORM.kind]
    without_owner = [one["metadata"]["labels"] for one in children if not one["metadata"].get("ownerReferences")]
    assert len(without_owner) > 30, "the credentials"
    assert not any("app.kubernetes.io/instance" in labels for labels in without_owner)
    assert {labels["platform.ecommerce.dev/platform"] for labels in without_owner} == {"shop"}


async def test_secrets_of_a_release_with_the_label_of_argo_cd_are_the_shops_and_lose_it(cluster: FakeCluster) -> None:
    await cluster.converge()
    secret = cluster.server.objects["Secret", "shop-jwt"]
    labels = secret["metadata"]["labels"]
    labels["app.kubernetes.io/instance"] = labels.pop("platform.ecommerce.dev/platform")
    data = dict(secret["data"])
    secret["metadata"]["managedFields"] = [
        {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": paths({"metadata": {"labels": labels}})}
    ]
    cluster.server.touch(secret)
    cluster.restart()
    await cluster.reconcile()
    stored = cluster.server.objects["Secret", "shop-jwt"]
    assert "app.kubernetes.io/instance" not in stored["metadata"]["labels"]
    assert (stored["data"], cluster.condition("Ready")) == (data, ("True", "AllReady"))


async def test_nothing_is_written_when_nothing_changed(cluster: FakeCluster) -> None:
    await cluster.converge()
    for _ in range(3):
        await cluster.reconcile()
        assert cluster.server.writes == []


async def test_labels_of_the_spec_are_on_secrets_and_on_the_inventory_and_written_once(cluster: FakeCluster) -> None:
    await cluster.converge()
    extra = {"labels": {"team": "a"}, "annotations": {"note": "b"}}
    cluster.spec({"objects": extra})
    await cluster.reconcile()
    for identity in (ObjectId("Secret", "shop-jwt"), inventory_id(KEY)):
        metadata = cluster.server.objects[identity]["metadata"]
        assert metadata["labels"].items() >= {"team": "a", **CHILD_LABELS}.items()
        assert (
            metadata["annotations"].items() >= {"note": "b", ANNOTATION_KEY_ID: MASTER_KEY.with_salt("any").id}.items()
        )
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_invariants_are_written_only_when_they_change(cluster: FakeCluster) -> None:
    await cluster.converge()
    for rows, status in ((0, "True"), (3, "False"), (3, "False"), (0, "True")):
        before = cluster.condition("NothingOversold")[0]
        cluster.scrape_results["inventory"] = ScrapeResult(
            NOW.timestamp(), ServiceMetrics({"nothing_oversold": rows}, checked=NOW.timestamp())
        )
        await cluster.reconcile()
        assert cluster.condition("NothingOversold")[0] == status
        assert cluster.condition("Ready") == ("True", "AllReady")
        events = ["create Event InvariantBroken" if rows else "create Event AllHold"] if before != "Unknown" else []
        changed = ["apply EcommercePlatform shop status", *events] if before != status else []
        assert cluster.server.writes == changed
        await cluster.reconcile()
        assert cluster.server.writes == []


async def test_certificates_are_renewed_and_nothing_else_is_applied(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.now += RENEWAL
    await cluster.reconcile()
    certificates = [f"apply Secret shop-{one}-tls" for one in own_stores(parse({}))]
    assert sorted(cluster.applied()) == sorted([*certificates, "apply ConfigMap shop-applied"])
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_a_restart_writes_nothing_and_renders_nothing(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.restart()
    runs = cluster.helm.runs
    await cluster.reconcile()
    assert (cluster.server.writes, cluster.helm.runs) == ([], runs)


async def test_only_the_deleted_child_is_created_again(cluster: FakeCluster) -> None:
    await cluster.converge()
    children = [identity for identity in cluster.server.objects if identity[0] != PLATFORM.kind]
    for kind, name in children:
        if ObjectId(kind, name) != inventory_id(KEY) and kind != RELEASE:
            del cluster.server.objects[kind, name]
            await cluster.reconcile()
            assert cluster.applied() == [f"apply {kind} {name}"]


async def test_only_the_object_with_a_changed_field_is_applied(cluster: FakeCluster) -> None:
    await cluster.converge()
    stored = cluster.server.objects[DEPLOYMENT]
    stored["metadata"]["managedFields"][0]["fieldsV1"] = {}
    cluster.server.touch(stored)
    await cluster.reconcile()
    assert cluster.applied() == ["apply Deployment shop-order"]


def count(metric: str, reason: str) -> float:
    labels = {"kind": "Deployment", "reason": reason}
    return REGISTRY.get_sample_value(f"ecommerce_operator_{metric}_total", labels) or 0.0


def take_image(cluster: FakeCluster, manager: str) -> None:
    """Changes the image of the Deployment, as `kubectl edit` does."""
    take_field(cluster, manager, "image", left="replicas")


def take_field(cluster: FakeCluster, manager: str, name: str, left: str) -> None:
    """Changes a field of the Deployment's spec; the operator keeps another one."""
    stored = cluster.server.objects[DEPLOYMENT]
    own = stored["metadata"]["managedFields"][0]
    own["fieldsV1"] = {**own["fieldsV1"], "f:spec": {f"f:{left}": {}}}
    other = {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {f"f:{name}": {}}}}
    stored["metadata"]["managedFields"] = [own, other]
    cluster.server.touch(stored)


async def test_a_repair_is_logged_counted_and_reported_with_the_manager_that_took_the_field(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.converge()
    before = [count(metric, "LostFields") for metric in ("applies", "repairs")]
    caplog.set_level("INFO")
    take_image(cluster, "kubectl-edit")

    await cluster.reconcile()

    message = "Deployment shop-order: field spec.image was taken by kubectl-edit and has been restored"
    assert [event["message"] for event in cluster.server.events if event["reason"] == "Repaired"] == [message]
    (record,) = [record for record in caplog.records if record.getMessage() == message]
    assert (vars(record)["reason"], vars(record)["manager"]) == ("LostFields", "kubectl-edit")
    assert [count(metric, "LostFields") for metric in ("applies", "repairs")] == [value + 1 for value in before]


async def test_a_fight_over_a_field_is_reported_once_in_each_interval(cluster: FakeCluster) -> None:
    await cluster.converge()
    for _ in range(5):
        take_image(cluster, "argocd")
        await cluster.reconcile()
        assert "apply Deployment shop-order" in cluster.applied()
        cluster.now += timedelta(minutes=1)
    names = [event["metadata"]["name"] for event in cluster.server.events if event["reason"] == "Repaired"]
    assert (len(names), len(set(names))) == (5, 1), "the API server refuses a second Event of the same name"


async def test_a_new_shop_and_an_upgrade_report_no_repairs(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    cluster.come_up(ObjectId("Job", "shop-order-migrate-2"))
    await cluster.reconcile()
    assert [event for event in cluster.server.events if event["reason"] == "Repaired"] == []


class Rival:
    """A writer that takes a field again within each write of the operator, and whose event arrives with the answer."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster, self.apply, self.writes = cluster, cluster.server.apply, 0
        cluster.server.apply = self.answer  # type: ignore[method-assign]

    async def answer(self, kind: Kind, namespace: str, manifest: Manifest, *more: Any, **named: Any) -> Manifest:
        answer = await self.apply(kind, namespace, manifest, *more, **named)
        if kind.kind == "Deployment":
            self.writes += 1
            take_image(self.cluster, "argocd-controller")
            self.cluster.reconciler.cache.store(KEY, observe(self.cluster.server.objects[DEPLOYMENT]))
        return answer


async def test_a_fight_over_a_field_takes_one_try_in_a_pass_and_is_reported(cluster: FakeCluster) -> None:
    await cluster.converge()
    rival = Rival(cluster)
    take_image(cluster, "argocd-controller")
    for number in range(1, 4):
        assert "FieldFight" not in cluster.conditions()
        async with asyncio.timeout(30):
            await cluster.reconcile()
        assert rival.writes == number
    assert cluster.condition("FieldFight") == ("True", "TakenAgain")
    assert "field spec.image is taken by argocd-controller" in cluster.message("FieldFight")


async def test_a_fought_object_is_restored_at_growing_intervals_and_stops_nothing_else(cluster: FakeCluster) -> None:
    await cluster.converge()
    rival = Rival(cluster)
    take_image(cluster, "argocd-controller")
    waits: list[float] = []
    while len(waits) < 10:
        writes, requeue = rival.writes, await cluster.reconcile()
        if rival.writes == writes:
            assert requeue.delay is not None
            waits.append(requeue.delay)
            assert cluster.condition("Ready") == ("True", "AllReady")
            cluster.now += timedelta(seconds=requeue.delay)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    assert "apply Job shop-order-migrate-2" in cluster.applied()


async def test_edits_of_several_fields_of_an_object_are_no_fight(cluster: FakeCluster) -> None:
    await cluster.converge()
    for name, left in (("image", "replicas"), ("replicas", "image"), ("image", "replicas"), ("replicas", "image")):
        take_field(cluster, "kubectl-patch", name, left)
        await cluster.reconcile()
        assert "apply Deployment shop-order" in cluster.applied()
    assert "FieldFight" not in cluster.conditions()


async def test_a_fight_is_over_when_the_object_keeps_its_fields(cluster: FakeCluster) -> None:
    await cluster.converge()
    for _ in range(3):
        take_image(cluster, "argocd-controller")
        await cluster.reconcile()
    cluster.restart()
    await cluster.reconcile()
    assert cluster.condition("FieldFight") == ("True", "TakenAgain")
    cluster.now += FORGET_AFTER
    await cluster.reconcile()
    assert cluster.condition("FieldFight") == ("False", "NoFieldFight")


async def test_an_upgrade_migrates_first_and_prunes_the_old_migration(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    assert "apply Job shop-order-migrate-2" in cluster.applied()
    assert "apply Deployment shop-order" not in cluster.applied()
    assert "delete Job shop-order-migrate-1" in cluster.server.writes
    cluster.come_up(ObjectId("Job", "shop-order-migrate-2"))
    await cluster.reconcile()
    assert cluster.server.objects[DEPLOYMENT]["spec"]["image"] == "2"
    cluster.come_up(DEPLOYMENT)
    await cluster.reconcile()
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_setting_the_version_back_runs_the_former_version_again(cluster: FakeCluster) -> None:
    """The documented rollback. The Job of the former version was pruned and runs again, on the newer schema."""
    versions = ("1", "2", "1")
    for version in versions:
        cluster.spec({"version": version})
        for identity in (STORE, ObjectId("Job", f"shop-order-migrate-{version}"), DEPLOYMENT):
            await cluster.reconcile()
            cluster.come_up(identity)
        await cluster.reconcile()
        assert cluster.condition("Ready") == ("True", "AllReady")
        assert cluster.server.objects[DEPLOYMENT]["spec"]["image"] == version
    assert ObjectId("Job", "shop-order-migrate-2") not in cluster.server.objects


def releases(cluster: FakeCluster) -> list[Manifest]:
    """Returns the ControllerRevisions, the newest first."""
    stored = [one for (kind, _), one in cluster.server.objects.items() if kind == RELEASE]
    return sorted(stored, key=lambda one: -int(one["revision"]))


async def run_version(cluster: FakeCluster, version: str, **spec: Any) -> None:
    cluster.spec({"version": version, **spec})
    for identity in (STORE, ObjectId("Job", f"shop-order-migrate-{version}"), DEPLOYMENT):
        await cluster.reconcile()
        cluster.come_up(identity)
    await cluster.reconcile()


def versions(cluster: FakeCluster) -> tuple[str | None, str | None]:
    status = cluster.server.objects[PLATFORM.kind, "shop"]["status"]
    return status.get("version"), status.get("targetVersion")


async def test_each_release_is_an_object_and_a_release_that_comes_again_is_the_newest(cluster: FakeCluster) -> None:
    for version in ("1", "2", "1"):
        await run_version(cluster, version)
    newest, former = releases(cluster)
    assert [(one["data"]["version"], one["revision"]) for one in (newest, former)] == [("1", 3), ("2", 2)]
    assert newest["metadata"]["ownerReferences"][0]["name"] == "shop"
    assert newest["data"]["migrations"] == {"order": "shop-order-migrate-1"}
    assert newest["data"]["images"] == {"order": "ecommerce/order:1"}
    assert newest["data"]["charts"] == former["data"]["charts"]
    assert newest["data"]["values"] != former["data"]["values"]
    cluster.restart()
    await cluster.reconcile()
    assert cluster.server.writes == []


@pytest.mark.parametrize("label", ["app.kubernetes.io/component", "app.kubernetes.io/instance"])
async def test_changed_labels_of_all_releases_are_restored(cluster: FakeCluster, label: str) -> None:
    for version in ("1", "2"):
        await run_version(cluster, version)
    before = copy.deepcopy(releases(cluster))
    for one in releases(cluster):
        one["metadata"]["labels"][label] = "changed"
    await cluster.reconcile()
    for one, former in zip(releases(cluster), before, strict=True):
        assert one["metadata"]["labels"] == former["metadata"]["labels"]
        assert (one["revision"], one["data"]) == (former["revision"], former["data"])
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_the_newest_release_is_found_when_it_has_lost_the_label_that_the_watches_select_by(
    cluster: FakeCluster,
) -> None:
    await cluster.converge()
    before = copy.deepcopy(releases(cluster))
    del releases(cluster)[0]["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    await cluster.reconcile()
    (one,), (former,) = releases(cluster), before
    assert one["metadata"]["labels"] == former["metadata"]["labels"]
    assert (one["revision"], one["data"]) == (former["revision"], former["data"])
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_a_release_that_was_deleted_is_stored_again(cluster: FakeCluster) -> None:
    await cluster.converge()
    before = [one["data"] for one in releases(cluster)]
    del cluster.server.objects[RELEASE, releases(cluster)[0]["metadata"]["name"]]
    await cluster.reconcile()
    assert [one["data"] for one in releases(cluster)] == before


async def test_changed_labels_of_a_release_stay_while_the_shop_is_observed(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.spec({"mode": "Observe"})
    releases(cluster)[0]["metadata"]["labels"]["app.kubernetes.io/component"] = "changed"
    await cluster.reconcile()
    assert releases(cluster)[0]["metadata"]["labels"]["app.kubernetes.io/component"] == "changed"


async def test_a_repair_is_no_release(cluster: FakeCluster) -> None:
    await cluster.converge()
    before = releases(cluster)
    del cluster.server.objects[DEPLOYMENT]
    await cluster.reconcile()
    assert releases(cluster) == before


async def test_the_history_of_releases_is_limited(cluster: FakeCluster) -> None:
    await cluster.converge()
    for replicas in range(2, HISTORY_LIMIT + 4):
        cluster.spec({"services": {"order": {"replicas": replicas}}})
        await cluster.reconcile()
    numbers = [one["revision"] for one in releases(cluster)]
    assert numbers == list(range(HISTORY_LIMIT + 3, 3, -1))


async def test_the_version_that_runs_changes_when_all_parts_are_rolled_out(cluster: FakeCluster) -> None:
    await cluster.reconcile()
    assert versions(cluster) == (None, "1")
    await cluster.converge()
    assert versions(cluster) == ("1", "1")
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    assert versions(cluster) == ("1", "2")
    cluster.server.objects[DEPLOYMENT]["status"]["updatedReplicas"] = 0
    cluster.come_up(ObjectId("Job", "shop-order-migrate-2"))
    await cluster.reconcile()
    assert cluster.server.objects[DEPLOYMENT]["spec"]["image"] == "2"
    assert versions(cluster) == ("1", "2")
    cluster.come_up(DEPLOYMENT)
    await cluster.reconcile()
    assert versions(cluster) == ("2", "2")


def fail_job(cluster: FakeCluster, identity: ObjectId, message: str) -> None:
    stored = cluster.server.objects[identity]
    failed = {"type": "Failed", "status": "True", "message": message, "lastTransitionTime": cluster.now.isoformat()}
    stored["status"] = {"conditions": [failed]}
    stored["metadata"]["uid"] = f"job-{cluster.server.version}"
    cluster.server.touch(stored)


async def test_a_failed_migration_is_retried_with_growing_delays_until_it_completes(cluster: FakeCluster) -> None:
    await cluster.reconcile()
    cluster.come_up(STORE)
    await cluster.reconcile()
    for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
        fail_job(cluster, JOB, "BackoffLimitExceeded")
        await cluster.reconcile()
        retry_at = cluster.now + timedelta(minutes=minutes)
        assert f"(retried after {retry_at:%Y-%m-%dT%H:%M:%SZ})" in cluster.message("Degraded")
        cluster.now = retry_at - timedelta(seconds=1)
        await cluster.reconcile()
        assert f"delete Job {JOB.name}" not in cluster.server.writes
        cluster.now = retry_at
        await cluster.reconcile()
        assert [write for write in cluster.server.writes if JOB.name in write] == [
            f"delete Job {JOB.name}",
            f"apply Job {JOB.name}",
        ]
        assert cluster.condition("Degraded") == ("True", "MigrationFailed"), "a retry is no recovery"
    cluster.come_up(JOB)
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("False", "Healthy")


async def test_an_observed_platform_retries_no_job(cluster: FakeCluster) -> None:
    await cluster.reconcile()
    cluster.come_up(STORE)
    await cluster.reconcile()
    fail_job(cluster, JOB, "BackoffLimitExceeded")
    cluster.spec({"mode": "Observe"})
    cluster.now += timedelta(hours=2)
    await cluster.reconcile()
    assert JOB in cluster.server.objects
    assert not [write for write in cluster.server.writes if JOB.name in write]


def complete_job(cluster: FakeCluster, identity: ObjectId) -> None:
    stored = cluster.server.objects[identity]
    complete = {"type": "Complete", "status": "True", "lastTransitionTime": cluster.now.isoformat()}
    stored["status"] = {"conditions": [complete]}
    cluster.server.touch(stored)


def refuse_to_migrate(cluster: FakeCluster, identity: ObjectId) -> None:
    """Ends a migration with the exit code of lost data, as the rule of its Job treats it."""
    fail_job(cluster, identity, "Container migrate failed with exit code 65 matching FailJob rule at index 0")
    cluster.server.objects[identity]["status"]["conditions"][0]["reason"] = "PodFailurePolicy"


def lose_pods(cluster: FakeCluster, identity: ObjectId) -> None:
    cluster.server.objects[identity]["status"] |= {"readyReplicas": 0, "availableReplicas": 0}
    cluster.server.touch(cluster.server.objects[identity])


def known_migrations(cluster: FakeCluster) -> dict[str, str]:
    found: dict[str, str] = cluster.server.objects["ConfigMap", "shop-databases"]["data"]
    return found


MIGRATED = "2026-01-01T00:00:00Z"
RUNS_AGAIN = [f"delete Job {JOB.name}", f"apply Job {JOB.name}"]


async def converge_and_lose_the_volume(cluster: FakeCluster) -> None:
    """Runs until the migration of a service, whose database has become empty, was asked again."""
    await cluster.converge()
    complete_job(cluster, JOB)
    await cluster.reconcile()
    cluster.now += timedelta(days=1)
    lose_pods(cluster, DEPLOYMENT)
    await cluster.reconcile()
    cluster.now += CHECK_AFTER
    await cluster.reconcile()
    assert [write for write in cluster.server.writes if JOB.name in write] == RUNS_AGAIN


async def test_a_database_that_lost_its_data_is_named_with_the_commands(cluster: FakeCluster) -> None:
    await converge_and_lose_the_volume(cluster)
    assert known_migrations(cluster) == {"order": MIGRATED}, "the migration knows that there was a schema"
    refuse_to_migrate(cluster, JOB)
    await cluster.reconcile()

    assert cluster.condition("Degraded") == ("True", "DataLost")
    assert cluster.condition("Ready") == ("False", "DataLost")
    assert cluster.message("Degraded") == (
        "Lost the data of shop-order-db: empty, although migrated before. Nothing is written there, and the service "
        "waits. Restore a backup: kubectl -n shop exec --stdin shop-order-db-0 -- sh -c 'pg_restore --username "
        '"$POSTGRES_USER" --dbname "$POSTGRES_DB" --no-privileges --single-transaction\' < order.dump; '
        "then kubectl -n shop delete job shop-order-migrate-1. Or begin with an empty database: kubectl -n shop "
        "annotate --overwrite ecp shop platform.ecommerce.dev/accept-data-loss=order-db@2026-01-01T00:00:00Z"
    )
    cluster.now += timedelta(minutes=1)
    await cluster.reconcile()
    assert [write for write in cluster.server.writes if JOB.name in write] == RUNS_AGAIN, "it may be restored"
    assert cluster.condition("Degraded") == ("True", "DataLost"), "a retry is no recovery"
    assert known_migrations(cluster) == {"order": MIGRATED}


async def test_a_restored_database_needs_no_annotation(cluster: FakeCluster) -> None:
    await converge_and_lose_the_volume(cluster)
    complete_job(cluster, JOB)
    cluster.come_up(DEPLOYMENT)
    await cluster.reconcile()
    assert cluster.condition("Ready") == ("True", "AllReady")
    assert known_migrations(cluster) == {"order": MIGRATED}


async def test_the_loss_of_a_database_is_accepted_once(cluster: FakeCluster) -> None:
    await converge_and_lose_the_volume(cluster)
    refuse_to_migrate(cluster, JOB)
    annotation = "platform.ecommerce.dev/accept-data-loss"
    for accepted, known in (("order-db", {"order": MIGRATED}), (f"user-db@x, order-db@{MIGRATED}", {})):
        cluster.spec({}, annotations={annotation: accepted})
        await cluster.reconcile()
        assert known_migrations(cluster) == known
        assert f"delete Job {JOB.name}" not in cluster.server.writes

    await cluster.reconcile()
    assert [write for write in cluster.server.writes if JOB.name in write] == RUNS_AGAIN
    complete_job(cluster, JOB)
    await cluster.reconcile()
    assert known_migrations(cluster) == {"order": f"{cluster.now:%Y-%m-%dT%H:%M:%SZ}"}, "the next loss is another one"


async def test_the_migration_of_a_later_release_knows_of_the_schema(cluster: FakeCluster) -> None:
    await converge_and_lose_the_volume(cluster)
    cluster.restart()
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    assert ObjectId("Job", "shop-order-migrate-2") in cluster.server.objects
    assert known_migrations(cluster) == {"order": MIGRATED}


async def test_a_deleted_record_of_the_migrations_comes_back_from_the_status(cluster: FakeCluster) -> None:
    await converge_and_lose_the_volume(cluster)
    refuse_to_migrate(cluster, JOB)
    del cluster.server.objects["ConfigMap", "shop-databases"]
    await cluster.reconcile()
    assert known_migrations(cluster) == {"order": MIGRATED}


async def test_a_migration_runs_again_once_while_its_service_is_away_and_its_database_is_there(
    cluster: FakeCluster,
) -> None:
    await cluster.converge()
    complete_job(cluster, JOB)
    lose_pods(cluster, STORE)
    lose_pods(cluster, DEPLOYMENT)
    cluster.now += timedelta(seconds=1)
    await cluster.reconcile()
    cluster.now += CHECK_AFTER
    await cluster.reconcile()
    assert not [write for write in cluster.server.writes if JOB.name in write], "its database is away"

    cluster.come_up(STORE)
    await cluster.reconcile()
    assert [write for write in cluster.server.writes if JOB.name in write] == RUNS_AGAIN
    complete_job(cluster, JOB)
    cluster.now += timedelta(hours=1)
    await cluster.reconcile()
    assert not [write for write in cluster.server.writes if JOB.name in write], "the cause is another one"


def stored_objects(cluster: FakeCluster) -> dict[tuple[str, str], Manifest]:
    """Returns all objects, without what the API server generates."""
    generated = {"uid", "resourceVersion", "generation"}
    objects = {
        identity: stored
        | {"metadata": {name: stored["metadata"][name] for name in stored["metadata"].keys() - generated}}
        for identity, stored in copy.deepcopy(cluster.server.objects).items()
    }
    volumes = {("PersistentVolumeClaim", one["metadata"]["name"]): one for one in cluster.server.volumes}
    return objects | volumes


OBSERVED = [{"mode": "Observe"}, {"paused": True}]


def pending(cluster: FakeCluster) -> dict[str, Any]:
    changes: dict[str, Any] = cluster.server.objects[PLATFORM.kind, "shop"]["status"].get("pending", {})
    return changes


def pending_objects(cluster: FakeCluster) -> list[tuple[str, str, str]]:
    return [(one["kind"], one["name"], one["reason"]) for one in pending(cluster).get("objects", ())]


@pytest.mark.parametrize("spec", OBSERVED, ids=str)
async def test_an_observed_platform_is_not_changed_and_says_what_would_be(cluster: FakeCluster, spec: Manifest) -> None:
    await cluster.converge()
    take_image(cluster, "kubectl-edit")
    del cluster.server.objects[STORE]
    cluster.spec(spec | {"version": "2", "deletionPolicy": "Delete"})

    await cluster.reconcile()

    assert [write for write in cluster.server.writes if "Event" not in write] == ["apply EcommercePlatform shop status"]
    assert cluster.condition("Progressing") == ("False", "Observing")
    assert pending(cluster) | {"objects": []} == {"applies": 3, "deletions": 1, "objects": []}
    assert pending_objects(cluster) == [
        ("Job", "shop-order-migrate-1", "NotRequired"),
        ("StatefulSet", STORE.name, "Absent"),
        ("Job", "shop-order-migrate-2", "NotAppliedYet"),
        ("Deployment", DEPLOYMENT.name, "ContentChanged"),
    ]
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_an_observed_platform_names_the_field_that_would_be_restored(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.spec({"mode": "Observe"})
    take_image(cluster, "kubectl-edit")
    assert await cluster.reconcile() == Requeue.never()
    (row,) = pending(cluster)["objects"]
    assert row["message"] == "field spec.image was taken by kubectl-edit"
    cluster.spec({})
    await cluster.reconcile()
    assert cluster.applied() == ["apply Deployment shop-order"]
    assert pending(cluster) == {}


async def test_a_new_shop_that_is_observed_names_a_part_of_its_objects_and_creates_no_master_key(
    cluster: FakeCluster,
) -> None:
    keep_master_key(cluster, None)
    cluster.spec({"mode": "Observe"})
    await cluster.reconcile()
    assert [identity for identity in cluster.server.objects if identity[0] != PLATFORM.kind] == []
    assert f"create Secret {MASTER_KEY_NAME}" not in cluster.server.writes
    assert len(pending(cluster)["objects"]) == MAX_NAMED < pending(cluster)["applies"]
    cluster.spec({})
    await cluster.converge()
    assert cluster.server.master_key is not None
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_a_change_of_mode_is_an_event(cluster: FakeCluster) -> None:
    await cluster.converge()
    for mode in ("Observe", "Observe", "Manage"):
        cluster.spec({"mode": mode})
        await cluster.reconcile()
    events = [event["message"] for event in cluster.server.events if event["reason"] == "ModeChanged"]
    assert [message.partition(" the shop")[0] for message in events] == [
        "The operator observes",
        "The operator manages",
    ]


async def test_an_upgrade_names_what_is_next_and_what_blocks_it(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    assert pending_objects(cluster) == [("Deployment", DEPLOYMENT.name, "ContentChanged")]
    rows = cluster.server.objects[PLATFORM.kind, "shop"]["status"]["blocked"]
    assert [(row["name"], row["state"], row["message"]) for row in rows] == [
        (DEPLOYMENT.name, "Waiting", "waits for Job shop-order-migrate-2"),
        ("shop-order-migrate-2", "NotReady", "has not finished"),
    ]


CLOSED = {"maintenance": {"days": ["Mon"], "from": "02:00", "to": "03:00"}}
"""NOW is a Thursday."""
MONDAY = datetime(2026, 1, 5, 2, tzinfo=UTC)


async def finish_upgrade(cluster: FakeCluster, version: str) -> None:
    await cluster.reconcile()
    cluster.come_up(ObjectId("Job", f"shop-order-migrate-{version}"))
    await cluster.reconcile()
    cluster.come_up(DEPLOYMENT)
    await cluster.reconcile()


async def test_an_upgrade_of_the_operator_alone_writes_nothing_but_the_status(cluster: FakeCluster) -> None:
    cluster.spec(CLOSED)
    await cluster.converge()
    runs, before = cluster.helm.runs, stored_objects(cluster)
    cluster.upgrade_operator("2")
    assert (await cluster.reconcile()).delay == TURN_INTERVAL
    assert [write for write in cluster.server.writes if "Event" not in write] == ["apply EcommercePlatform shop status"]
    assert cluster.helm.runs == runs
    assert {one: value for one, value in stored_objects(cluster).items() if one[0] != PLATFORM.kind} == {
        one: value for one, value in before.items() if one[0] != PLATFORM.kind
    }
    assert cluster.condition("Upgraded") == ("False", "OutsideMaintenance")
    assert cluster.condition("Ready") == ("True", "AllReady")
    assert versions(cluster) == ("1", "1")
    cluster.restart()
    await cluster.reconcile()
    assert cluster.server.writes == []

    cluster.now = MONDAY
    await finish_upgrade(cluster, "2")
    assert versions(cluster) == ("2", "2")
    assert cluster.condition("Upgraded") == ("True", "UpToDate")


async def test_a_shop_that_waits_for_its_upgrade_is_repaired_at_its_own_version(cluster: FakeCluster) -> None:
    cluster.spec(CLOSED)
    await cluster.converge()
    cluster.upgrade_operator("2")
    del cluster.server.objects[DEPLOYMENT]
    await cluster.reconcile()
    assert cluster.applied()[0] == f"apply Deployment {DEPLOYMENT.name}"
    assert cluster.server.objects[DEPLOYMENT]["spec"]["image"] == "1"
    cluster.come_up(DEPLOYMENT)
    await cluster.reconcile()
    await cluster.reconcile()
    assert cluster.server.writes == []
    assert versions(cluster) == ("1", "1")
    assert JOB in cluster.server.objects


async def test_a_change_of_a_waiting_shop_is_made_and_its_version_stays(cluster: FakeCluster) -> None:
    cluster.spec(CLOSED)
    await cluster.converge()
    cluster.upgrade_operator("2")
    await cluster.reconcile()
    cluster.spec(CLOSED | {"maintenance": CLOSED["maintenance"] | {"to": "04:00"}})
    await cluster.reconcile()
    assert cluster.applied() == [], "the window itself changes no object"
    cluster.spec(CLOSED | {"services": {"order": {"replicas": 2}}})
    await cluster.reconcile()
    assert cluster.server.objects[DEPLOYMENT]["spec"] | {"template": {}} == {
        "image": "1", "chart": "2", "template": {}, "replicas": 1
    }  # fmt: skip
    assert cluster.condition("Upgraded") == ("False", "OutsideMaintenance")
    assert versions(cluster) == ("1", "1")


async def test_a_version_in_the_spec_does_not_wait(cluster: FakeCluster) -> None:
    cluster.spec(CLOSED)
    await cluster.converge()
    cluster.upgrade_operator("2")
    cluster.spec(CLOSED | {"version": "2"})
    await finish_upgrade(cluster, "2")
    assert versions(cluster) == ("2", "2")


async def test_the_choice_to_upgrade_is_stored_before_anything_is_changed_by_it(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.upgrade_operator("2")
    await cluster.reconcile()
    writes = [write for write in cluster.server.writes if "Event" not in write]
    assert writes[0] == "apply EcommercePlatform shop status"
    cluster.spec(CLOSED)
    cluster.restart()
    await finish_upgrade(cluster, "2")
    assert versions(cluster) == ("2", "2"), "what has begun goes on"


async def test_a_shop_waits_while_another_is_upgraded_and_when_that_has_failed(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.upgrade_operator("2")
    other = cluster.add_shop("first", version="1", targetVersion="2", charts="old")
    other["status"]["targetCharts"] = cluster.reconciler.renderer.chart_digest
    await cluster.reconcile()
    assert cluster.condition("Upgraded") == ("False", "WaitingForTurn")
    other["status"]["conditions"] = [{"type": "Degraded", "status": "True"}]
    cluster.server.touch(other)
    await cluster.reconcile()
    assert cluster.condition("Upgraded") == ("False", "UpgradesHalted")
    assert cluster.reconciler.releases.upgrades_halted()
    assert "other/first" in cluster.message("Upgraded")
    assert versions(cluster) == ("1", "1")


async def test_workers_beside_each_other_start_one_shop(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.upgrade_operator("2")
    cluster.add_shop("other", version="1", targetVersion="1", charts="old", targetCharts="old")
    cluster.server.writes.clear()
    reconciler, apply = cluster.reconciler, cluster.server.apply
    seen: list[Any] = []

    async def look(kind: Kind, namespace: str, manifest: Manifest, *more: Any, **named: Any) -> Manifest:
        platforms = {one.key.name: one for one in reconciler.cache.platforms.values()}
        fleet = with_targets(platforms.values(), reconciler.releases._starting)
        release = Target("2", reconciler.renderer.chart_digest)
        chosen = choose_target(
            platforms["other"], parse({}), release, fleet, UpgradePolicy(), cluster.now, edited=False
        )
        seen.append(chosen.wait)
        return await apply(kind, namespace, manifest, *more, **named)

    cluster.server.apply = look  # type: ignore[method-assign]
    await cluster.reconcile()
    assert seen
    assert all(wait is not None and wait.reason.value == "WaitingForTurn" for wait in seen[:2])


@pytest.mark.parametrize(("status", "counts"), [(0, True), (403, False)])
async def test_a_shop_whose_choice_of_a_release_had_no_answer_counts_as_started(
    cluster: FakeCluster, status: int, counts: bool
) -> None:
    await cluster.converge()
    cluster.upgrade_operator("2")
    cluster.server.refuse[PLATFORM.kind] = ApiError(status, "Refused", "the status was not written")
    with pytest.raises(ApiError):
        await cluster.reconcile()
    assert [one.version for one in cluster.reconciler.releases._starting.values()] == (["2"] if counts else [])
    del cluster.server.refuse[PLATFORM.kind]
    await cluster.reconcile()
    assert not cluster.reconciler.releases._starting


async def test_a_shop_that_is_observed_from_now_on_does_not_count_as_started(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.upgrade_operator("2")
    cluster.server.refuse[PLATFORM.kind] = ApiError(0, "Unreachable", "no answer")
    with pytest.raises(ApiError):
        await cluster.reconcile()
    del cluster.server.refuse[PLATFORM.kind]
    cluster.spec({"mode": "Observe"})
    await cluster.reconcile()
    assert not cluster.reconciler.releases._starting


async def test_a_refused_object_is_reported_and_does_not_block_the_others(cluster: FakeCluster) -> None:
    cluster.server.refuse["Secret"] = ApiError(403, "Forbidden", "exceeded quota")
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("True", "Refused")
    assert len([write for write in cluster.applied() if write.startswith("apply Secret")]) == 43


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
async def test_nothing_more_is_created_in_a_namespace_that_is_being_deleted(cluster: FakeCluster, kind: str) -> None:
    cluster.server.refuse[kind] = ApiError(403, NAMESPACE_TERMINATING, "because it is being terminated")
    cluster.server.refuse["Event"] = cluster.server.refuse[kind]
    with pytest.raises(ApiError) as raised:
        await cluster.reconcile()
    assert raised.value.namespace_terminating
    assert STORE not in cluster.server.objects
    assert cluster.condition("Degraded") == ("True", "Refused")
    assert "The namespace is being deleted" in cluster.message("Degraded")


async def test_a_broken_add_on_stops_nothing_but_its_own_objects(cluster: FakeCluster) -> None:
    monitor = rendered("monitoring.coreos.com/v1", "ServiceMonitor", "shop-order", 5, {})
    cluster.helm.more = [monitor]
    cluster.server.refuse["ServiceMonitor"] = ApiError(500, "InternalError", "conversion webhook failed")
    await cluster.converge()
    assert await cluster.reconcile() == Requeue.after(RECHECK_INTERVAL)
    assert cluster.condition("Degraded") == ("True", "Refused")
    assert "ServiceMonitor shop-order: conversion webhook failed" in cluster.message("Degraded")
    del cluster.server.refuse["ServiceMonitor"]
    await cluster.reconcile()
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_a_refused_change_of_storage_stops_no_emergency_fix(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.helm.storage = 2
    forbidden = ApiError(422, "Invalid", "Forbidden: updates to statefulset spec")

    async def refuse(*_: object) -> None:
        raise forbidden

    cluster.server.refuse["StatefulSet"] = forbidden
    cluster.server.overwrite = refuse  # type: ignore[method-assign, assignment]
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    cluster.come_up(ObjectId("Job", "shop-order-migrate-2"))
    await cluster.reconcile()
    assert cluster.server.objects[DEPLOYMENT]["spec"]["image"] == "2"
    assert cluster.condition("Degraded") == ("True", "ImmutableField")
    rows = cluster.server.objects[PLATFORM.kind, "shop"]["status"]["blocked"]
    assert [f"{row['kind']} {row['name']}" for row in rows if "refused" in row["message"]] == [
        "StatefulSet shop-order-db"
    ]


async def test_a_repair_that_a_foreign_list_item_makes_invalid_replaces_the_list(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.server.objects[DEPLOYMENT]["metadata"]["managedFields"] = []
    cluster.server.refuse["Deployment"] = ApiError(422, "Invalid", 'spec.ports[1].name: Duplicate value: "http"')

    await cluster.reconcile()

    assert [write for write in cluster.server.writes if DEPLOYMENT.name in write] == [
        f"apply Deployment {DEPLOYMENT.name}",
        f"overwrite Deployment {DEPLOYMENT.name}",
        f"apply Deployment {DEPLOYMENT.name}",
    ]


async def test_a_chart_that_does_not_render_is_reported_once(cluster: FakeCluster) -> None:
    cluster.helm.error = RenderError("set database.password")
    assert await cluster.reconcile() == Requeue.never()
    assert cluster.condition("Degraded") == ("True", "RenderFailed")
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_each_wave_has_its_own_deadline(cluster: FakeCluster) -> None:
    await cluster.reconcile()
    cluster.now += PROGRESS_DEADLINE - timedelta(seconds=1)
    cluster.come_up(STORE)
    await cluster.reconcile()
    assert cluster.condition("Progressing") == ("True", "Migrating")
    cluster.now += PROGRESS_DEADLINE - timedelta(seconds=1)
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("False", "Healthy")
    cluster.now += timedelta(seconds=1)
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("True", "ProgressDeadlineExceeded")
    assert "Job shop-order-migrate-1 has not finished after more than 5 minutes." in cluster.message("Degraded")


async def test_a_restart_forgets_no_failure(cluster: FakeCluster) -> None:
    await cluster.reconcile()
    cluster.now += PROGRESS_DEADLINE
    await cluster.reconcile()
    degraded = cluster.condition("Degraded")
    assert degraded == ("True", "ProgressDeadlineExceeded")
    cluster.restart()
    await cluster.reconcile()
    assert cluster.condition("Degraded") == degraded
    assert cluster.server.writes == []


async def test_a_deadline_goes_on_when_the_operator_restarts(cluster: FakeCluster) -> None:
    await cluster.reconcile()
    cluster.now += PROGRESS_DEADLINE - timedelta(seconds=1)
    cluster.restart()
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("False", "Healthy")
    cluster.now += timedelta(seconds=1)
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("True", "ProgressDeadlineExceeded")


async def test_an_unexpected_error_reaches_the_status_and_is_retried(cluster: FakeCluster) -> None:
    async def break_down(*_: object) -> list[Manifest]:
        raise KeyError("metadata")

    cluster.helm.template = break_down  # type: ignore[method-assign, assignment]
    with pytest.raises(UnexpectedError) as raised:
        await cluster.reconcile()
    assert isinstance(raised.value.__cause__, KeyError)
    assert cluster.condition("Degraded") == ("True", "InternalError")
    assert "KeyError: 'metadata'" in cluster.message("Degraded")
    del cluster.helm.template
    await cluster.converge()
    assert cluster.condition("Degraded") == ("False", "Healthy")


async def test_a_deposed_leader_reports_nothing(cluster: FakeCluster) -> None:
    async def lost(*_: object) -> list[Manifest]:
        raise LeadershipLostError

    cluster.helm.template = lost  # type: ignore[method-assign, assignment]
    with pytest.raises(LeadershipLostError):
        await cluster.reconcile()
    assert cluster.server.writes == ["apply ConfigMap shop-salt"], "it was the leader then"


async def test_the_deadline_starts_again_whenever_a_wave_blocks(cluster: FakeCluster) -> None:
    await cluster.converge()
    for _ in range(2):
        cluster.server.objects[DEPLOYMENT]["status"]["availableReplicas"] = 0
        cluster.server.touch(cluster.server.objects[DEPLOYMENT])
        await cluster.reconcile()
        cluster.now += PROGRESS_DEADLINE - timedelta(seconds=1)
        await cluster.reconcile()
        assert cluster.condition("Degraded") == ("False", "Healthy")
        cluster.come_up(DEPLOYMENT)
        await cluster.reconcile()


async def test_a_helm_run_that_timed_out_is_retried(cluster: FakeCluster) -> None:
    cluster.helm.error = RenderTimeoutError("Helm did not finish within 60 s")
    assert await cluster.reconcile() == Requeue.after(RECHECK_INTERVAL)
    assert cluster.condition("Degraded") == ("True", "RenderFailed")
    cluster.helm.error = None
    assert await cluster.reconcile() == Requeue.after(EARLY_RECHECK)
    assert cluster.condition("Degraded") == ("False", "Healthy")


async def test_no_pass_waits_for_its_events(cluster: FakeCluster) -> None:
    await cluster.make_pass()
    assert cluster.condition("Ready") == ("False", "WaitingForStores")
    assert [w for w in cluster.server.writes if "Event" in w] == []

    await cluster.reconciler.reporter.recorder.flush()
    assert [w for w in cluster.server.writes if "Event" in w] == ["create Event WaitingForStores"]


async def test_events_that_no_api_server_stores_do_not_pile_up(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.reconcile()
    platform = cluster.reconciler.cache.platforms[KEY]
    (condition, *_) = cluster.server.objects[PLATFORM.kind, "shop"]["status"]["conditions"]
    for _ in range(MAX_WAITING + 3):
        cluster.reconciler.reporter.recorder.emit_transition(platform, condition, NOW)
    assert [record.message for record in caplog.records].count("an Event was dropped: too many wait") == 3


@pytest.mark.parametrize(("code", "warnings"), [(403, 2), (409, 0), (500, 2)])
async def test_a_refused_event_stops_neither_the_next_nor_the_pass(
    cluster: FakeCluster, code: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.server.refuse["Event"] = ApiError(code, "Forbidden", "no Events here")
    cluster.scrape_results["inventory"] = ScrapeResult(
        NOW.timestamp(), ServiceMetrics({"nothing_oversold": 3}, checked=NOW.timestamp())
    )
    assert await cluster.reconcile() == Requeue.after(EARLY_RECHECK)
    assert [w for w in cluster.server.writes if "Event" in w] == [
        "create Event WaitingForStores",
        "create Event InvariantBroken",
    ]
    assert [record.levelname for record in caplog.records].count("WARNING") == warnings


async def test_a_failing_pass_does_not_wake_itself(cluster: FakeCluster) -> None:
    ports, queue = iter(range(40_000, 50_000)), WorkQueue[PlatformKey](lambda: cluster.now.timestamp(), lambda: 0.0)
    informers = Informers(cluster.reconciler.client, cluster.reconciler.cache, queue.add, queue.add_spaced, (), "test")

    async def refuse(kind: Kind, namespace: str, manifest: Manifest, subresource: str = "") -> Manifest:
        if not subresource:
            raise ApiError(500, "InternalError", f"failed calling webhook: read tcp 10.0.0.1:{next(ports)}: reset")
        cluster.server.writes.append("status")
        stored = cluster.server.objects[PLATFORM.kind, "shop"]
        stored["status"] = copy.deepcopy(manifest["status"])
        answer = cluster.server.touch(stored)
        await informers.on_platform("MODIFIED", copy.deepcopy(answer))  # before the answer is read
        return answer

    cluster.server.apply = refuse  # type: ignore[method-assign, assignment]
    await informers.on_platform("ADDED", copy.deepcopy(cluster.server.objects[PLATFORM.kind, "shop"]))
    for _ in range(12):
        async with asyncio.timeout(5):
            key = await queue.get()
        with pytest.raises(ApiError):
            await cluster.reconciler.reconcile(key)
        delay = queue.add_rate_limited(key)
        queue.done(key)
        assert queue.depth() == 0
        cluster.now += timedelta(seconds=delay)
    assert delay == queue.longest_delay
    assert cluster.server.writes == ["status"]


async def test_a_spec_that_arrives_with_the_answer_to_a_status_write_is_reconciled(cluster: FakeCluster) -> None:
    apply = cluster.server.apply

    async def edited(kind: Kind, namespace: str, manifest: Manifest, *more: Any) -> Manifest:
        if more:
            cluster.spec({"version": "2"})
        return await apply(kind, namespace, manifest, *more)

    cluster.server.apply = edited  # type: ignore[method-assign, assignment]
    assert await cluster.reconcile() == Requeue.after(0)


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


STRIPE: Manifest = {"payments": {"provider": "stripe", "secretRef": {"name": "stripe-keys"}}}


def keys(**data: str) -> Manifest:
    """A Secret of the user's, without labels."""
    metadata = {"name": "stripe-keys", "namespace": "shop", "uid": "x", "generation": 1, "resourceVersion": "1"}
    return {"kind": "Secret", "metadata": metadata, "data": data}


async def test_a_secret_that_the_spec_names_and_that_does_not_exist_is_named_in_the_first_status(
    cluster: FakeCluster,
) -> None:
    cluster.spec(STRIPE)
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("True", "SecretMissing")
    assert cluster.message("Degraded") == (
        "Secret stripe-keys, which spec.payments.secretRef names, does not exist: create it in namespace shop with "
        "STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET."
    )
    cluster.server.objects["Secret", "stripe-keys"] = keys(STRIPE_SECRET_KEY="YQ==")
    await cluster.reconcile()
    assert "does not have STRIPE_WEBHOOK_SECRET" in cluster.message("Degraded")
    cluster.server.objects["Secret", "stripe-keys"] = keys(STRIPE_SECRET_KEY="YQ==", STRIPE_WEBHOOK_SECRET="Yg==")
    await cluster.converge()
    assert cluster.condition("Degraded") == ("False", "Healthy")
    assert await cluster.reconcile() == Requeue.after(SECRETS_INTERVAL)
    assert cluster.server.writes == []


async def test_the_pods_that_read_a_secret_follow_its_values_and_nothing_else(cluster: FakeCluster) -> None:
    def annotations() -> dict[str, Any]:
        return {name: one["podAnnotations"] for name, one in cluster.helm.values.items() if "podAnnotations" in one}

    cluster.spec(STRIPE)
    stored = keys(STRIPE_SECRET_KEY="YQ==", STRIPE_WEBHOOK_SECRET="Yg==")
    cluster.server.objects["Secret", "stripe-keys"] = stored
    await cluster.converge()
    before, runs = annotations(), cluster.helm.runs
    assert [*before] == ["payment"]
    assert "YQ==" not in json.dumps(before)

    stored["metadata"]["resourceVersion"], stored["data"]["unread"] = "2", "Yw=="
    await cluster.reconcile()
    del cluster.server.objects["Secret", "stripe-keys"]  # pods that restarted now would not start
    cluster.restart()
    await cluster.reconcile()
    assert (cluster.helm.runs, cluster.condition("Degraded")) == (runs, ("True", "SecretMissing"))

    cluster.server.objects["Secret", "stripe-keys"] = keys(STRIPE_SECRET_KEY="bmV3", STRIPE_WEBHOOK_SECRET="Yg==")
    await cluster.reconcile()
    assert [*annotations()] == ["payment"]
    assert annotations() != before


QUOTA = (
    'create Pod shop-order-db-0 in StatefulSet shop-order-db failed error: pods "shop-order-db-0" is forbidden: '
    "exceeded quota: small, requested: requests.memory=96Mi, used: requests.memory=0, limited: requests.memory=50Mi"
)


async def test_an_exceeded_quota_is_named_as_soon_as_the_store_s_events_say_it(cluster: FakeCluster) -> None:
    assert await cluster.reconcile() == Requeue.after(EARLY_RECHECK)
    cluster.server.warnings = [warning("StatefulSet", STORE.name, "FailedCreate", QUOTA, cluster.now)]
    cluster.now += timedelta(seconds=EARLY_RECHECK)
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("True", "QuotaExceeded")
    assert "exceeded quota: small, requested: requests.memory=96Mi" in cluster.message("Degraded")
    assert "delete pod" not in cluster.message("Degraded")
    assert cluster.condition("Ready") == ("False", "QuotaExceeded")
    cluster.now += EARLY
    assert await cluster.reconcile() == Requeue.after(RECHECK_INTERVAL)
    assert cluster.server.writes == []
    cluster.come_up(STORE)
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("False", "Healthy")


def warning(kind: str, name: str, reason: str, message: str, at: datetime) -> Manifest:
    return {
        "metadata": {"name": "w"},
        "involvedObject": {"kind": kind, "name": name},
        "reason": reason,
        "message": message,
        "lastTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


async def test_pods_of_a_failed_part_are_diagnosed_and_no_others_are_listed(cluster: FakeCluster) -> None:
    await cluster.converge()
    assert cluster.server.listed == []
    cluster.server.pods = [CRASHING]
    stored = cluster.server.objects[DEPLOYMENT]
    stored["status"] |= {
        "availableReplicas": 0,
        "conditions": [{"type": "Progressing", "status": "False", "message": "timed out."}],
    }
    cluster.server.touch(stored)
    await cluster.reconcile()
    assert cluster.server.listed == ["app.kubernetes.io/instance=shop,app.kubernetes.io/component=order"]
    assert "Its pod reports CrashLoopBackOff: container order ends with exit code 78 (Error)." in cluster.message(
        "Degraded"
    )
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_pods_of_a_failed_migration_are_selected_by_job_and_a_refused_list_is_tolerated(
    cluster: FakeCluster,
) -> None:
    await cluster.reconcile()
    cluster.come_up(STORE)
    await cluster.reconcile()
    cluster.server.objects[JOB]["status"] = {
        "conditions": [
            {"type": "Failed", "status": "True", "reason": "BackoffLimit", "lastTransitionTime": NOW.isoformat()}
        ]
    }
    cluster.server.touch(cluster.server.objects[JOB])
    cluster.server.list_error = ApiError(403, "Forbidden", "no")
    await cluster.reconcile()
    assert cluster.server.listed == ["batch.kubernetes.io/job-name=shop-order-migrate-1"]
    assert cluster.condition("Degraded") == ("True", "MigrationFailed")


async def test_a_foreign_secret_is_used_and_not_overwritten(cluster: FakeCluster) -> None:
    foreign = {
        "kind": "Secret",
        "metadata": {"name": "shop-jwt", "namespace": "shop", "uid": "x", "generation": 1},
        "data": {},
    }
    cluster.server.objects["Secret", "shop-jwt"] = foreign
    cluster.server.touch(foreign)
    await cluster.reconcile()
    assert "apply Secret shop-jwt" not in cluster.applied()
    assert cluster.server.objects["Secret", "shop-jwt"] is foreign


async def test_a_secret_that_lost_its_label_is_left_alone(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.lose_label(ObjectId("Secret", "shop-jwt"))
    cluster.server.writes.clear()
    async with asyncio.timeout(5):
        await cluster.reconciler.reconcile(KEY)
    assert cluster.applied() == []


async def test_a_foreign_secret_that_the_cache_does_not_accept_is_attempted_once(cluster: FakeCluster) -> None:
    await cluster.converge()
    jwt = ObjectId("Secret", "shop-jwt")
    cluster.lose_label(jwt)
    cluster.reconciler.cache.remove(
        KEY, jwt, cluster.server.version + 9
    )  # a list of a later version does not contain it
    async with asyncio.timeout(5):
        await cluster.reconciler.reconcile(KEY)
    assert "apply Secret shop-jwt" not in cluster.applied()


def put_object_of_another(cluster: FakeCluster, identity: ObjectId, **metadata: Any) -> Manifest:
    foreign = {
        "kind": identity.kind,
        "metadata": {
            "name": identity.name, "namespace": "shop", "uid": "x", "generation": 1,
            "managedFields": [{"manager": "kubectl-client-side-apply", "operation": "Update"}],
            **metadata,
        },
        "spec": {"theirs": True},
    }  # fmt: skip
    cluster.server.objects[identity] = foreign
    cluster.server.touch(foreign)
    return copy.deepcopy(foreign)


OUR_LABELS = {**CHILD_LABELS, "app.kubernetes.io/instance": "shop"}
OWNER = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs", "uid": "d", "controller": True}


@pytest.mark.parametrize(
    "metadata", [{}, {"labels": OUR_LABELS}, {"labels": OUR_LABELS, "ownerReferences": [OWNER]}],
    ids=["plain", "labelled", "owned"],
)  # fmt: skip
async def test_an_object_of_another_is_left_alone_and_named(cluster: FakeCluster, metadata: Manifest) -> None:
    foreign = put_object_of_another(cluster, STORE, **metadata)
    for _ in range(2):
        assert await cluster.reconcile() in (Requeue.after(EARLY_RECHECK), Requeue.after(RECHECK_INTERVAL))
        assert f"apply StatefulSet {STORE.name}" not in cluster.applied()
    assert cluster.server.objects[STORE] == foreign
    assert cluster.condition("Degraded") == ("True", "NameConflict")
    holder = "Deployment theirs" if "ownerReferences" in metadata else "kubectl-client-side-apply"
    assert f"{STORE} ({holder})" in cluster.message("Degraded")
    rows = cluster.server.objects[PLATFORM.kind, "shop"]["status"]["blocked"]
    assert (STORE.name, "Conflict") in [(row["name"], row["state"]) for row in rows]


@pytest.mark.parametrize("listed", ["all", "too many", "refused"])
async def test_one_list_shows_which_names_of_a_new_shop_are_free(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    taken, *free = [ObjectId("StatefulSet", f"shop-{name}-db") for name in ("a", "b", "c")]
    cluster.helm.more = [rendered("apps/v1", one.kind, one.name, 1, {"replicas": 1}) for one in (taken, *free)]
    foreign, looked_at, get = put_object_of_another(cluster, taken), set[str](), cluster.server.get

    async def recorded(kind: Kind, namespace: str, name: str) -> Manifest | None:
        looked_at.update([name] if kind.kind == "StatefulSet" else [])
        return await get(kind, namespace, name)

    async def not_listed(kind: Kind, namespace: str) -> frozenset[str] | None:
        if listed == "refused":
            raise ApiError(403, "Forbidden", "no")
        return None

    monkeypatch.setattr(cluster.server, "get", recorded)
    if listed != "all":
        monkeypatch.setattr(cluster.server, "names", not_listed)
    await cluster.reconcile()
    assert looked_at == {taken.name} if listed == "all" else {taken.name, *(one.name for one in free)} <= looked_at
    assert cluster.server.objects[taken] == foreign
    assert all(one in cluster.server.objects for one in free)
    assert cluster.condition("Degraded") == ("True", "NameConflict")


async def test_an_object_of_another_is_adopted_by_its_annotation(cluster: FakeCluster) -> None:
    put_object_of_another(cluster, STORE)
    await cluster.reconcile()
    command = cluster.message("Degraded").rpartition("kubectl ")[2].split()
    assert command[:5] == ["-n", "shop", "annotate", "statefulset", STORE.name]
    annotation, _, value = command[5].partition("=")
    put_object_of_another(cluster, STORE, annotations={annotation: value})
    await cluster.converge()
    assert cluster.server.objects[STORE]["metadata"]["ownerReferences"][0]["name"] == "shop"
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_the_annotation_of_another_platform_adopts_nothing(cluster: FakeCluster) -> None:
    put_object_of_another(cluster, STORE, annotations={"platform.ecommerce.dev/adopt": "bakery"})
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("True", "NameConflict")


async def test_an_object_of_another_that_is_gone_makes_room(cluster: FakeCluster) -> None:
    put_object_of_another(cluster, STORE)
    await cluster.reconcile()
    del cluster.server.objects[STORE]
    await cluster.converge()
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_the_inventory_of_another_is_not_overwritten_and_nothing_is_applied(cluster: FakeCluster) -> None:
    foreign = put_object_of_another(cluster, inventory_id(KEY))
    await cluster.reconcile()
    assert cluster.applied() == ["apply ConfigMap shop-salt"]
    assert cluster.server.objects[inventory_id(KEY)] == foreign
    assert cluster.condition("Degraded") == ("True", "NameConflict")


async def test_an_own_object_that_lost_its_labels_is_restored(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.lose_label(DEPLOYMENT)
    await cluster.reconcile()
    assert cluster.applied() == [f"apply Deployment {DEPLOYMENT.name}"]


async def test_objects_applied_beside_a_failed_one_are_not_applied_again(cluster: FakeCluster) -> None:
    apply = cluster.server.apply

    async def failing(kind: Kind, namespace: str, manifest: Manifest, *more: Any, **named: Any) -> Manifest:
        if manifest["metadata"]["name"] == "shop-admin":
            raise ApiError(500, "InternalError", "failed calling webhook")
        return await apply(kind, namespace, manifest, *more, **named)

    cluster.server.apply = failing  # type: ignore[method-assign]
    with pytest.raises(ApiError, match="failed calling webhook"):
        await cluster.reconcile()
    assert cluster.condition("Progressing") == ("True", "RequestFailed")
    assert "failed calling webhook" in cluster.message("Progressing")
    cluster.server.apply = apply  # type: ignore[method-assign]
    await cluster.reconcile()
    secrets = [write for write in cluster.applied() if write.startswith("apply Secret")]
    assert secrets == ["apply Secret shop-admin"]
    assert cluster.condition("Progressing") == ("True", "WaitingForStores")


async def test_a_refused_deletion_is_reported_and_the_inventory_is_stored(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.spec({"version": "2"})
    delete = cluster.server.delete

    async def refusing(*_: Any) -> None:
        raise ApiError(403, "Forbidden", "cannot delete jobs")

    cluster.server.delete = refusing  # type: ignore[method-assign, assignment]
    with pytest.raises(ApiError, match="cannot delete jobs"):
        await cluster.reconcile()
    assert cluster.condition("Degraded") == ("True", "Refused")
    cluster.server.delete = delete  # type: ignore[method-assign]
    await cluster.reconcile()
    assert cluster.applied() == []
    assert "delete Job shop-order-migrate-1" in cluster.server.writes


async def test_a_helm_that_prints_nothing_deletes_nothing(cluster: FakeCluster) -> None:
    await cluster.converge()
    before = set(cluster.server.objects)
    cluster.helm.silent = True
    cluster.spec({"version": "2"})

    assert await cluster.reconcile() == Requeue.after(RECHECK_INTERVAL)

    assert set(cluster.server.objects) == before
    assert cluster.condition("Ready") == ("False", "PruneHeld")
    assert str(STORE) in cluster.message("Degraded")
    rows = cluster.server.objects[PLATFORM.kind, "shop"]["status"]["blocked"]
    assert (STORE.name, "Held") in [(row["name"], row["state"]) for row in rows]
    await cluster.reconcile()
    assert cluster.server.writes == [], "a deletion that is held is not reported twice"


async def test_a_helm_that_prints_everything_again_ends_the_hold(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.helm.silent = True
    cluster.spec({"services": {"order": {"replicas": 2}}})
    await cluster.reconcile()
    cluster.helm.silent = False
    await cluster.reconcile()
    assert cluster.condition("Ready") == ("True", "AllReady")
    assert {STORE, JOB, DEPLOYMENT} <= cluster.server.objects.keys()


async def test_a_held_deletion_is_made_when_its_annotation_allows_it_and_the_next_is_held(
    cluster: FakeCluster,
) -> None:
    await cluster.converge()
    cluster.helm.silent = True
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    annotation, _, value = cluster.message("Degraded").rpartition(" ")[2].partition("=")

    cluster.spec({"version": "2"}, annotations={annotation: value})
    await cluster.reconcile()
    assert f"delete StatefulSet {STORE.name}" in cluster.server.writes
    assert cluster.condition("Ready") == ("True", "AllReady")

    cluster.helm.silent = False
    cluster.spec({"version": "3"}, annotations={annotation: value})
    for identity in (STORE, ObjectId("Job", "shop-order-migrate-3"), DEPLOYMENT):
        await cluster.reconcile()
        cluster.come_up(identity)
    cluster.helm.silent = True
    cluster.spec({"version": "4"}, annotations={annotation: value})
    await cluster.reconcile()
    assert STORE in cluster.server.objects
    assert cluster.condition("Degraded") == ("True", "PruneHeld")


async def test_a_late_event_does_not_bring_back_a_pruned_object(cluster: FakeCluster) -> None:
    await cluster.converge()
    old = cluster.reconciler.cache.children(KEY)[JOB]
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    cluster.reconciler.cache.store(KEY, old)
    assert JOB not in cluster.reconciler.cache.children(KEY)


async def test_a_recreated_platform_takes_over_the_retained_secrets(cluster: FakeCluster) -> None:
    await cluster.converge()
    retained = {identity: stored for identity, stored in cluster.server.objects.items() if identity[0] == "Secret"}
    passwords = {identity: stored["data"] for identity, stored in copy.deepcopy(retained).items()}
    cluster.server.objects = retained
    cluster.spec({}, uid="p2")
    cluster.restart()
    await cluster.converge()
    assert {identity: cluster.server.objects[identity]["data"] for identity in passwords} == passwords
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_a_deployment_handed_over_to_its_autoscaler_keeps_its_pods(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.server.objects[DEPLOYMENT]["spec"]["replicas"] = 1
    cluster.helm.replicas = None
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    cluster.come_up(ObjectId("Job", "shop-order-migrate-2"))
    await cluster.reconcile()
    deployments = [write for write in cluster.applied() if "Deployment" in write]
    assert deployments == [f"apply Deployment shop-order {HANDOVER_MANAGER}", "apply Deployment shop-order"]


async def test_a_number_of_pods_that_is_changed_during_the_handover_is_not_undone(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.converge()
    stored = cluster.server.objects[DEPLOYMENT]
    stored["spec"]["replicas"] = 1
    cluster.helm.replicas = None
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    cluster.come_up(ObjectId("Job", "shop-order-migrate-2"))
    apply = cluster.server.apply

    async def after_scaling(kind: Kind, namespace: str, manifest: Manifest, *rest: str, **named: str) -> Manifest:
        if named.get("manager") == HANDOVER_MANAGER:
            stored["spec"]["replicas"] = 5
            cluster.server.touch(stored)
        return await apply(kind, namespace, manifest, *rest, **named)

    monkeypatch.setattr(cluster.server, "apply", after_scaling)
    with pytest.raises(ApiError):
        await cluster.reconcile()
    assert "apply Deployment shop-order" not in cluster.applied()


async def test_a_platform_that_is_being_deleted_is_not_changed(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.spec({}, deletionTimestamp="2026-01-01T00:00:00Z")
    del cluster.server.objects[DEPLOYMENT]
    assert await cluster.reconcile() == Requeue.never()
    assert cluster.server.writes == []


VOLUME = {"metadata": {"name": "data-shop-order-db-0", "uid": "v1"}}


def data_of(cluster: FakeCluster) -> list[str]:
    """Returns what holds data or opens it: StatefulSets, volumes and Secrets."""
    names = [name for kind, name in cluster.server.objects if kind in ("StatefulSet", "Secret")]
    return sorted([*names, *(volume["metadata"]["name"] for volume in cluster.server.volumes)])


async def run_shop(cluster: FakeCluster, policy: str) -> None:
    cluster.spec({"deletionPolicy": policy})
    await cluster.converge()
    cluster.server.volumes = [VOLUME]


def delete_platform(cluster: FakeCluster, spec: Manifest) -> None:
    cluster.spec(spec, deletionTimestamp=NOW.isoformat())


def effective_policy(cluster: FakeCluster) -> str:
    return str(cluster.server.objects[PLATFORM.kind, "shop"]["status"]["effectiveDeletionPolicy"])


@pytest.mark.parametrize("paused", [True, False])
async def test_data_stays_if_retain_was_set_after_the_last_pass(cluster: FakeCluster, paused: bool) -> None:
    await run_shop(cluster, "Delete")
    before = data_of(cluster)
    delete_platform(cluster, {"deletionPolicy": "Retain", "paused": paused})
    cluster.restart()
    assert await cluster.reconcile() == Requeue.never()
    assert data_of(cluster) == before
    assert (PLATFORM.kind, "shop") not in cluster.server.objects


async def test_retain_set_while_paused_is_effective_at_once(cluster: FakeCluster) -> None:
    await run_shop(cluster, "Delete")
    assert effective_policy(cluster) == "Delete"
    cluster.spec({"deletionPolicy": "Retain", "paused": True})
    await cluster.reconcile()
    assert effective_policy(cluster) == "Retain"


async def test_delete_set_while_paused_is_not_effective_yet_and_says_so(cluster: FakeCluster) -> None:
    await run_shop(cluster, "Retain")
    before = data_of(cluster)
    spec = {"deletionPolicy": "Delete", "paused": True}
    cluster.spec(spec)
    await cluster.reconcile()
    assert effective_policy(cluster) == "Retain"
    delete_platform(cluster, spec)
    await cluster.reconcile()
    assert data_of(cluster) == before


async def test_delete_takes_volumes_and_derived_secrets_and_nothing_else(cluster: FakeCluster) -> None:
    foreign = {"kind": "Secret", "metadata": {"name": "shop-jwt", "namespace": "shop", "uid": "x"}, "data": {}}
    cluster.server.objects["Secret", "shop-jwt"] = foreign
    cluster.server.touch(foreign)
    await run_shop(cluster, "Delete")
    delete_platform(cluster, {"deletionPolicy": "Delete"})
    await cluster.reconcile()
    assert data_of(cluster) == ["shop-jwt"]
    deletions = [write for write in cluster.server.writes if write.startswith("delete")]
    assert deletions[:2] == [f"delete StatefulSet {STORE.name}", "delete PersistentVolumeClaim data-shop-order-db-0"]
    assert (PLATFORM.kind, "shop") not in cluster.server.objects


@pytest.mark.parametrize("name", [STORE.name, VOLUME["metadata"]["name"]])
async def test_data_that_a_deletion_did_not_find_is_deleted_by_another_pass(cluster: FakeCluster, name: str) -> None:
    """A proxy or an API server that has just started may answer that an object is gone, though it is not."""
    await run_shop(cluster, "Delete")
    delete_platform(cluster, {"deletionPolicy": "Delete"})
    cluster.server.not_found = {name}
    assert (await cluster.reconcile()).delay is not None
    assert (PLATFORM.kind, "shop") in cluster.server.objects
    cluster.server.not_found = set()
    assert await cluster.reconcile() == Requeue.never()
    assert data_of(cluster) == []
    assert (PLATFORM.kind, "shop") not in cluster.server.objects


async def test_data_that_is_never_found_lets_the_platform_go_after_the_deadline(cluster: FakeCluster) -> None:
    await run_shop(cluster, "Delete")
    delete_platform(cluster, {"deletionPolicy": "Delete"})
    cluster.server.not_found = {STORE.name}
    cluster.now += DELETION_DEADLINE
    assert await cluster.reconcile() == Requeue.never()
    assert (PLATFORM.kind, "shop") not in cluster.server.objects


async def test_a_retained_platform_has_no_finalizer_that_could_block_a_namespace(cluster: FakeCluster) -> None:
    await run_shop(cluster, "Delete")
    stored = cluster.server.objects[PLATFORM.kind, "shop"]
    assert stored["metadata"]["finalizers"] == [FINALIZER]
    cluster.spec({"deletionPolicy": "Retain"})
    await cluster.reconcile()
    assert stored["metadata"]["finalizers"] == []
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_a_deletion_that_cannot_be_finished_lets_the_platform_go_after_its_deadline(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    await run_shop(cluster, "Delete")
    delete_platform(cluster, {"deletionPolicy": "Delete"})
    cluster.server.list_error = ApiError(403, "Forbidden", "cannot list persistentvolumeclaims")
    cluster.now += DELETION_DEADLINE - timedelta(seconds=1)
    with pytest.raises(ApiError, match="cannot list persistentvolumeclaims"):
        await cluster.reconcile()
    assert (PLATFORM.kind, "shop") in cluster.server.objects
    cluster.now += timedelta(seconds=1)
    assert await cluster.reconcile() == Requeue.never()
    assert (PLATFORM.kind, "shop") not in cluster.server.objects
    assert "volumes or credentials may be left" in caplog.text


async def test_a_stateful_set_of_an_older_operator_is_reported_until_it_is_changed(cluster: FakeCluster) -> None:
    await run_shop(cluster, "Retain")
    stored = cluster.server.objects[STORE]
    stored["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Delete"}
    cluster.server.touch(stored)
    await cluster.reconcile()
    assert effective_policy(cluster) == "Delete"


async def test_a_platform_deleted_during_a_pass_leaves_no_metrics(cluster: FakeCluster) -> None:
    def exported() -> float | None:
        labels = {"namespace": "shop", "platform": "shop", "condition": "Ready"}
        return REGISTRY.get_sample_value("ecommerce_platform_condition", labels)

    await cluster.converge()
    assert exported() == 1
    cluster.reconciler.cache.remove_platform(KEY, cluster.server.version + 1)
    assert await cluster.reconciler.reconcile(KEY) == Requeue.never()
    assert exported() is None


OTHER_KEY = MasterKey(b"o" * 32)


def keep_master_key(cluster: FakeCluster, stored: Manifest | None) -> None:
    cluster.server.master_key = stored


def secrets_of(cluster: FakeCluster) -> dict[tuple[str, str], Manifest]:
    return copy.deepcopy({one: stored for one, stored in cluster.server.objects.items() if one[0] == "Secret"})


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize(
    ("replacement", "reason"), [(None, "MasterKeyMissing"), (stored_key(OTHER_KEY), "MasterKeyChanged")]
)
async def test_a_lost_or_changed_master_key_replaces_no_secret(
    cluster: FakeCluster, policy: str, replacement: Manifest | None, reason: str
) -> None:
    cluster.spec({"deletionPolicy": policy})
    await cluster.converge()
    before = secrets_of(cluster)
    cluster.server.master_key = replacement
    cluster.restart()
    for _ in range(2):
        assert await cluster.reconcile() == Requeue.after(RECHECK_INTERVAL)
        assert cluster.applied() == []
    assert secrets_of(cluster) == before
    assert cluster.condition("Degraded") == ("True", reason)


async def test_nothing_of_a_shop_is_touched_while_its_master_key_is_another(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.server.master_key = stored_key(OTHER_KEY)
    del cluster.server.objects["Secret", "shop-jwt"], cluster.server.objects[DEPLOYMENT]
    cluster.restart()
    await cluster.reconcile()
    assert cluster.applied() == []
    assert f"annotate secret,configmap -l $label=shop {ANNOTATION_KEY_ID}-; done" in cluster.message("Degraded")


async def test_a_changed_master_key_is_noticed_even_if_every_secret_is_gone(cluster: FakeCluster) -> None:
    await cluster.converge()
    for identity in secrets_of(cluster):
        del cluster.server.objects[identity]
    cluster.server.master_key = stored_key(OTHER_KEY)
    cluster.restart()
    await cluster.reconcile()
    assert cluster.condition("Degraded") == ("True", "MasterKeyChanged")
    assert secrets_of(cluster) == {}


async def test_a_restored_master_key_is_used_without_a_restart(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.server.master_key = None
    cluster.restart()
    await cluster.reconcile()
    cluster.server.master_key = stored_key(MASTER_KEY)
    del cluster.server.objects["Secret", "shop-jwt"]
    await cluster.reconcile()
    assert cluster.applied() == ["apply Secret shop-jwt"]
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_credentials_of_a_lost_key_are_kept_when_their_annotations_are_removed(cluster: FakeCluster) -> None:
    await cluster.converge()
    before = {identity: stored["data"] for identity, stored in secrets_of(cluster).items()}
    cluster.server.master_key = stored_key(OTHER_KEY)
    for identity in (*before, inventory_id(KEY), salt_id(KEY)):
        del cluster.server.objects[identity]["metadata"]["annotations"][ANNOTATION_KEY_ID]
        cluster.server.touch(cluster.server.objects[identity])
    cluster.restart()
    for _ in range(2):
        await cluster.reconcile()
    assert {identity: stored["data"] for identity, stored in secrets_of(cluster).items()} == before
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_the_first_master_key_is_created_once(cluster: FakeCluster) -> None:
    keep_master_key(cluster, None)
    await cluster.converge()
    created = copy.deepcopy(cluster.server.master_key)
    assert created is not None
    assert created["immutable"] is True
    cluster.restart()
    await cluster.reconcile()
    assert cluster.server.master_key == created
    assert cluster.condition("Ready") == ("True", "AllReady")


async def test_a_key_that_could_be_guessed_is_no_key(cluster: FakeCluster) -> None:
    cluster.server.master_key = stored_key(MasterKey(b"short"))
    await cluster.reconcile()
    assert cluster.applied() == []
    assert cluster.condition("Degraded") == ("True", "MasterKeyMissing")


async def test_passwords_are_only_in_secrets(cluster: FakeCluster) -> None:
    await cluster.converge()
    password = MASTER_KEY.password(KEY, "redis", "password")
    elsewhere = {identity: stored for identity, stored in cluster.server.objects.items() if identity[0] != "Secret"}
    assert password not in json.dumps([*elsewhere.values()])
