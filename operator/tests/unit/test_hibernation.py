"""Hibernated shops: how they stop, what they report, and how they wake."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from test_reconciler import DEPLOYMENT, JOB, KEY, NOW, STORE, FakeCluster, FakeHelm, Manifest, rendered, versions

from platform_operator.api.kinds import FIELD_MANAGER, HANDOVER_MANAGER, PLATFORM, POD, Kind, ObjectId, PlatformKey
from platform_operator.api.spec import Spec
from platform_operator.cache.observed import observe, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.errors import RenderError
from platform_operator.invariants.scrape_results import ScrapeResult, ServiceMetrics
from platform_operator.invariants.scraper import InvariantScraper
from platform_operator.plan.hibernation import keeps_release
from platform_operator.secrets.rotation import is_rotating

BROKER = ObjectId("StatefulSet", "shop-rabbitmq")
AUTOSCALER = ObjectId("HorizontalPodAutoscaler", DEPLOYMENT.name)
WORKLOADS = (STORE, BROKER, DEPLOYMENT)


class ScalableHelm(FakeHelm):
    """A Helm whose chart has a database, a broker, a migration, and a service with an autoscaler."""

    async def template(self, chart: Path, key: PlatformKey, chart_values: Manifest) -> list[Manifest]:
        hibernated = chart_values["global"].get("hibernated", "")
        self.replicas = None
        store, job, deployment = await super().template(chart, key, chart_values)
        deployment["spec"] |= {"replicas": 0} if hibernated else {}
        store["spec"]["replicas"] = 0 if hibernated == "All" else 1
        broker = rendered("apps/v1", "StatefulSet", BROKER.name, 1, {"replicas": store["spec"]["replicas"]})
        autoscaler = rendered("autoscaling/v2", AUTOSCALER.kind, AUTOSCALER.name, 4, {"minReplicas": 1})
        return [store, broker, deployment] if hibernated else [store, broker, job, deployment, autoscaler]


class ScalableCluster(FakeCluster):
    """A shop whose pods come and go as its workloads say."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.helm = ScalableHelm()
        self.restart()

    def settle(self, identity: ObjectId) -> None:
        """Gives a workload the pods that it asks for."""
        stored = self.server.objects[identity]
        pods = stored["spec"].setdefault("replicas", 1)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), pods)
        stored["status"] = {"observedGeneration": stored["metadata"]["generation"], **counts}
        self.server.touch(stored)

    def settle_stores(self) -> None:
        self.settle(STORE)
        self.settle(BROKER)

    async def start(self) -> None:
        await self.reconcile()
        self.settle_stores()
        await self.reconcile()
        self.come_up(self.migration())
        await self.reconcile()
        self.settle(DEPLOYMENT)
        await self.reconcile()
        await self.reconcile()

    async def hibernate(self) -> None:
        self.spec({"hibernated": True})
        await self.reconcile()
        self.settle(DEPLOYMENT)
        await self.reconcile()
        self.settle_stores()
        await self.reconcile()

    async def begin_to_close(self) -> None:
        self.spec({"closed": True})
        await self.reconcile()

    async def close(self) -> None:
        await self.begin_to_close()
        self.settle(DEPLOYMENT)
        await self.reconcile()

    def migration(self) -> ObjectId:
        (name,) = (name for kind, name in self.server.objects if kind == "Job")
        return ObjectId("Job", name)

    def pods(self, identity: ObjectId) -> int | None:
        pods: int | None = self.server.objects[identity]["spec"].get("replicas")
        return pods

    def state(self, type_: str = "Hibernated") -> tuple[str, str]:
        conditions = self.server.objects[PLATFORM.kind, "shop"]["status"]["conditions"]
        return next((one["status"], one["reason"]) for one in conditions if one["type"] == type_)


@pytest.fixture
def cluster(tmp_path: Path) -> ScalableCluster:
    return ScalableCluster(tmp_path)


async def test_services_stop_before_the_stores_and_nothing_is_deleted_but_what_acts_on_pods(
    cluster: ScalableCluster,
) -> None:
    await cluster.start()
    kept = {one for one in cluster.server.objects if one[0] not in ("Job", AUTOSCALER.kind, "ControllerRevision")}

    cluster.spec({"hibernated": True})
    await cluster.reconcile()
    assert [cluster.pods(one) for one in WORKLOADS] == [1, 1, 0], "the stores serve until the last service has ended"
    assert (cluster.state(), cluster.state("Progressing")) == (("False", "Hibernating"), ("True", "Hibernating"))
    cluster.settle(DEPLOYMENT)
    await cluster.reconcile()
    assert [cluster.pods(one) for one in WORKLOADS] == [0, 0, 0]
    assert cluster.state() == ("False", "Hibernating"), "pods of stores run still"
    cluster.settle_stores()
    await cluster.reconcile()

    assert {one for one in cluster.server.objects if one[0] != "ControllerRevision"} == kept
    for type_, status in (("Hibernated", "True"), ("Ready", "False"), ("Progressing", "False")):
        assert cluster.state(type_) == (status, "Hibernated")
    assert cluster.state("Degraded")[0] == "False"
    status = cluster.server.objects[PLATFORM.kind, "shop"]["status"]
    assert (status["servicesReady"], status["services"][5]["ready"]) == ("0/8", False)
    await cluster.reconcile()
    assert cluster.server.writes == []


async def test_the_stores_serve_until_the_pods_that_are_being_stopped_have_completed_their_requests(
    cluster: ScalableCluster,
) -> None:
    """A Deployment stops counting a pod when it is deleted, not when it has ended."""
    await cluster.start()
    for seconds, stores in ((30, 1), (-1, 0)):
        ends = (NOW + timedelta(seconds=seconds)).isoformat()
        cluster.server.pods = [{"metadata": {"name": "shop-order-1", "deletionTimestamp": ends}}, {"metadata": {}}]
        await cluster.hibernate()
        assert [cluster.pods(one) for one in WORKLOADS] == [stores, stores, 0]
        if stores:
            requeue = await cluster.reconcile()
            assert requeue.delay is not None, "no event announces their end"
            assert requeue.delay <= 5


@pytest.mark.parametrize(
    ("degraded", "version", "keeps"), [("True", "1.1", False), ("True", None, True), ("False", "1.1", True)]
)
def test_a_shop_that_cannot_wake_at_its_version_takes_another_of_its_spec(
    degraded: str, version: str | None, keeps: bool
) -> None:
    waking = {"type": "Hibernated", "status": "False", "reason": "Waking"}
    status = {"version": "1.0", "conditions": [waking, {"type": "Degraded", "status": degraded, "reason": "x"}]}
    assert keeps_release(Spec(version=version), status, {}) is keeps


async def test_a_hibernated_shop_wakes_in_the_order_of_its_dependencies(cluster: ScalableCluster) -> None:
    await cluster.start()
    await cluster.hibernate()

    cluster.spec({})
    await cluster.reconcile()
    assert [cluster.pods(one) for one in WORKLOADS] == [1, 1, 0], "no store waits for the other"
    assert cluster.state() == ("False", "Waking")
    cluster.settle(STORE)
    await cluster.reconcile()
    cluster.come_up(cluster.migration())
    await cluster.reconcile()
    assert cluster.pods(DEPLOYMENT) == 0, "it waits for the broker, as a new one does"
    cluster.settle(BROKER)
    await cluster.reconcile()
    assert cluster.server.objects[DEPLOYMENT]["spec"].get("replicas") != 0, "an autoscaler never starts from none"
    cluster.settle(DEPLOYMENT)
    await cluster.reconcile()
    await cluster.reconcile()
    assert AUTOSCALER in cluster.server.objects
    assert (cluster.state(), cluster.state("Ready")) == (("False", "Awake"), ("True", "AllReady"))


async def test_a_deployment_is_given_back_to_its_autoscaler_with_a_pod(
    cluster: ScalableCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An autoscaler starts from no pods never: Kubernetes takes that for switched off."""
    await cluster.start()
    await cluster.hibernate()
    handed_over: list[Manifest] = []
    apply = cluster.server.apply

    async def recorded(
        kind: Kind, namespace: str, manifest: Manifest, subresource: str = "", manager: str = FIELD_MANAGER
    ) -> Manifest:
        if manager == HANDOVER_MANAGER:
            handed_over.append(manifest)
        return await apply(kind, namespace, manifest, subresource, manager)

    monkeypatch.setattr(cluster.server, "apply", recorded)
    cluster.spec({})
    await cluster.start()
    assert [one["spec"]["replicas"] for one in handed_over] == [1]


async def test_a_shop_with_a_broken_database_can_be_hibernated(cluster: ScalableCluster) -> None:
    await cluster.start()
    cluster.server.objects[STORE]["status"]["readyReplicas"] = 0
    cluster.server.touch(cluster.server.objects[STORE])
    await cluster.hibernate()
    assert cluster.state() == ("True", "Hibernated")


async def test_a_pod_that_is_started_by_hand_is_stopped_and_wakes_no_store(cluster: ScalableCluster) -> None:
    await cluster.start()
    await cluster.hibernate()
    cluster.server.objects[DEPLOYMENT]["spec"]["replicas"] = 1
    cluster.server.objects[DEPLOYMENT]["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"].pop("f:replicas")
    cluster.settle(DEPLOYMENT)
    await cluster.reconcile()
    assert [cluster.pods(one) for one in WORKLOADS] == [0, 0, 0]


async def test_a_hibernated_shop_is_upgraded_when_it_is_awake(cluster: ScalableCluster) -> None:
    await cluster.start()
    await cluster.hibernate()
    cluster.upgrade_operator("2")
    await cluster.reconcile()
    await cluster.reconcile()
    assert (versions(cluster)[0], cluster.state("Upgraded")) == ("1", ("False", "Hibernated"))
    cluster.spec({})
    await cluster.reconcile()
    cluster.settle_stores()
    await cluster.reconcile()
    assert cluster.migration().name == JOB.name, "the migration of the version that it had"
    cluster.come_up(JOB)
    await cluster.reconcile()
    cluster.settle(DEPLOYMENT)
    await cluster.reconcile()
    await cluster.reconcile()
    assert cluster.state() == ("False", "Awake")
    requeue = await cluster.reconcile()
    assert requeue.delay is not None
    assert versions(cluster)[1] == "2", "and then its upgrade begins"


async def test_an_upgrade_that_has_begun_ends_before_the_shop_is_hibernated(cluster: ScalableCluster) -> None:
    await cluster.start()
    cluster.spec({"version": "2"})
    await cluster.reconcile()
    cluster.spec({"version": "2", "hibernated": True})
    await cluster.reconcile()
    assert [cluster.pods(one) for one in (STORE, BROKER)] == [1, 1]
    assert cluster.state() == ("False", "Hibernating")
    for identity in list(cluster.server.objects):
        if identity[0] == "Job":
            cluster.come_up(ObjectId(*identity))
    await cluster.reconcile()
    cluster.settle(DEPLOYMENT)
    requeue = await cluster.reconcile()
    assert requeue.delay == 0, "nothing else would wake it"
    await cluster.reconcile()
    assert cluster.pods(DEPLOYMENT) == 0
    assert versions(cluster)[0] == "2"


async def test_what_was_known_of_invariants_stays_while_a_shop_is_hibernated(cluster: ScalableCluster) -> None:
    cluster.scrape_results = {
        name: ScrapeResult(cluster.now.timestamp(), ServiceMetrics(violations={"nothing": 0}))
        for name in ("user", "product", "inventory", "order", "payment", "notification", "review", "gateway")
    }
    await cluster.start()
    assert cluster.state("NothingOversold") == ("True", "AllHold")
    await cluster.hibernate()
    cluster.scrape_results = {}
    await cluster.reconcile()
    assert cluster.state("NothingOversold") == ("True", "AllHold")


@pytest.mark.parametrize("field", ["hibernated", "closed"])
async def test_a_stopped_shop_is_not_scraped(cluster: ScalableCluster, field: str) -> None:
    await cluster.start()
    cluster.spec({field: True})
    await cluster.reconcile()
    asked: list[Any] = []

    async def fetch(url: str) -> str:
        asked.append(url)
        return ""

    cache: Cache = cluster.reconciler.cache
    woken: list[PlatformKey] = []
    scraper = InvariantScraper(cache, woken.append, fetch, lambda: 0.0)
    await scraper.scrape_all()
    assert (asked, woken, scraper.results(KEY)) == ([], [], {})


async def test_an_invalid_spec_does_not_hide_that_a_shop_is_hibernated(cluster: ScalableCluster) -> None:
    await cluster.start()
    await cluster.hibernate()
    cluster.spec({"hibernated": True, "services": {"order": {"replicas": "many"}}})
    await cluster.reconcile()
    assert cluster.state() == ("True", "Hibernated")


async def test_an_invalid_spec_does_not_hide_that_a_shop_is_closed(cluster: ScalableCluster) -> None:
    await cluster.start()
    await cluster.close()
    cluster.spec({"closed": True, "services": {"order": {"replicas": "many"}}})
    await cluster.reconcile()
    assert cluster.state("Closed") == ("True", "Closed")


async def test_a_new_shop_may_be_hibernated_and_is_migrated_when_it_wakes(cluster: ScalableCluster) -> None:
    cluster.spec({"hibernated": True})
    await cluster.reconcile()
    for identity in WORKLOADS:
        cluster.settle(identity)
    await cluster.reconcile()
    assert cluster.state() == ("True", "Hibernated")
    assert not [kind for kind, _ in cluster.server.objects if kind == "Job"]
    cluster.spec({})
    await cluster.start()
    assert cluster.state("Ready") == ("True", "AllReady")


def closed(phase: str) -> Manifest:
    return {"annotations": {"platform.ecommerce.dev/restore": f"now/uid/{phase}"}}


async def test_a_shop_is_closed_by_its_spec_while_its_stores_run_and_opened_again(cluster: ScalableCluster) -> None:
    await cluster.start()
    await cluster.begin_to_close()
    assert [cluster.pods(one) for one in WORKLOADS] == [1, 1, 0]
    assert AUTOSCALER not in cluster.server.objects, "it would start pods"
    assert (cluster.state("Closed"), cluster.state("Ready")) == (("False", "Closing"), ("False", "Closing"))
    cluster.settle(DEPLOYMENT)
    await cluster.reconcile()
    requeue = await cluster.reconcile()
    for type_, status in (("Closed", "True"), ("Ready", "False"), ("Progressing", "False")):
        assert cluster.state(type_) == (status, "Closed")
    assert [cluster.pods(one) for one in WORKLOADS] == [1, 1, 0]
    assert (cluster.server.writes, requeue.delay) == ([], None), "a shop that stays closed for days is not looked at"

    cluster.spec({})
    await cluster.reconcile()
    assert (cluster.state("Closed"), cluster.pods(DEPLOYMENT)) == (("False", "Opening"), 0), "migrations run first"
    cluster.come_up(cluster.migration())
    await cluster.reconcile()
    cluster.settle(DEPLOYMENT)
    await cluster.reconcile()
    await cluster.reconcile()
    assert (cluster.state("Closed"), cluster.state("Ready")) == (("False", "Open"), ("True", "AllReady"))
    assert AUTOSCALER in cluster.server.objects


async def test_a_shop_is_not_closed_while_a_service_completes_requests(cluster: ScalableCluster) -> None:
    """A backup that begins then may lack what these requests write."""
    await cluster.start()
    await cluster.begin_to_close()
    cluster.settle(DEPLOYMENT)
    ends = (NOW + timedelta(seconds=30)).isoformat()
    cluster.server.pods = [{"metadata": {"name": "shop-order-1", "deletionTimestamp": ends}}]
    requeue = await cluster.reconcile()
    assert cluster.state("Closed") == ("False", "Closing")
    assert requeue.delay is not None, "no event announces their end"
    assert requeue.delay <= 5
    cluster.server.pods = []
    await cluster.reconcile()
    assert cluster.state("Closed") == ("True", "Closed")


async def test_a_shop_is_not_closed_while_a_deployment_still_counts_pods(cluster: ScalableCluster) -> None:
    """Its controller says that it has seen the new number before it deletes the pods."""
    await cluster.start()
    await cluster.begin_to_close()
    deployment = cluster.server.objects[DEPLOYMENT]
    deployment["status"]["observedGeneration"] = deployment["metadata"]["generation"]
    cluster.server.touch(deployment)
    await cluster.reconcile()
    assert cluster.state("Closed") == ("False", "Closing")
    cluster.settle(DEPLOYMENT)
    await cluster.reconcile()
    assert cluster.state("Closed") == ("True", "Closed")


@pytest.mark.parametrize("field", ["closed", "hibernated"])
async def test_pods_that_leave_their_deployment_after_they_were_listed_may_still_complete_requests(
    cluster: ScalableCluster, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    await cluster.start()
    cluster.spec({field: True})
    await cluster.reconcile()
    list_ = cluster.server.list

    async def before_an_event(kind: Kind, *rest: Any, **named: Any) -> tuple[list[Manifest], int]:
        listed = await list_(kind, *rest, **named)
        if kind is POD and cluster.server.objects[DEPLOYMENT]["status"]["replicas"]:
            cluster.settle(DEPLOYMENT)
            cluster.reconciler.cache.store(KEY, observe(cluster.server.objects[DEPLOYMENT]))
        return listed

    monkeypatch.setattr(cluster.server, "list", before_an_event)
    await cluster.reconcile()
    assert cluster.server.objects[DEPLOYMENT]["status"]["replicas"] == 0, "the event came during the pass"
    assert cluster.state(field.capitalize())[1] in ("Closing", "Hibernating")
    assert [cluster.pods(one) for one in WORKLOADS] == [1, 1, 0]


async def test_a_shop_is_not_closed_while_a_migration_runs(cluster: ScalableCluster) -> None:
    """Its pod changes the schema on until it is deleted, which is some time after its Job was."""
    await cluster.start()
    await cluster.begin_to_close()
    cluster.settle(DEPLOYMENT)
    cluster.server.pods = [{"metadata": {"name": "shop-order-migrate-1-x"}, "status": {"phase": "Running"}}]
    requeue = await cluster.reconcile()
    assert "order-migrate" in cluster.server.listed[-1]
    assert cluster.state("Closed") == ("False", "Closing")
    assert requeue.delay is not None, "no event announces its end"
    cluster.server.pods[0]["status"]["phase"] = "Failed"
    await cluster.reconcile()
    assert cluster.state("Closed") == ("True", "Closed")


async def test_a_shop_with_a_broken_database_can_be_closed(cluster: ScalableCluster) -> None:
    """A service does not wait for a database of its own in order to stop."""
    await cluster.start()
    cluster.server.objects[STORE]["status"]["readyReplicas"] = 0
    cluster.server.touch(cluster.server.objects[STORE])
    await cluster.begin_to_close()
    assert [cluster.pods(one) for one in WORKLOADS] == [1, 1, 0]


async def test_an_edit_that_closes_a_shop_changes_its_stores_when_the_services_have_ended(
    cluster: ScalableCluster,
) -> None:
    """A restart of a store would fail what customers request until then."""
    await cluster.start()
    cluster.helm.storage = 2
    cluster.spec({"closed": True, "databases": {"storage": {"size": "2Gi"}}})
    await cluster.reconcile()
    assert (cluster.pods(DEPLOYMENT), cluster.applied_stores()) == (0, [])
    cluster.settle(DEPLOYMENT)
    ends = (NOW + timedelta(seconds=30)).isoformat()
    cluster.server.pods = [{"metadata": {"name": "shop-order-1", "deletionTimestamp": ends}}]
    await cluster.reconcile()
    assert cluster.applied_stores() == []
    cluster.server.pods = []
    await cluster.reconcile()
    assert cluster.server.objects[STORE]["spec"]["storage"] == 2


async def test_the_stores_of_a_closed_shop_can_be_changed(cluster: ScalableCluster) -> None:
    await cluster.start()
    await cluster.close()
    cluster.helm.storage = 2
    cluster.spec({"closed": True, "databases": {"storage": {"size": "2Gi"}}})
    await cluster.reconcile()
    assert cluster.server.objects[STORE]["spec"]["storage"] == 2


async def test_a_closed_shop_stays_closed_while_a_store_restarts(cluster: ScalableCluster) -> None:
    await cluster.start()
    await cluster.close()
    cluster.server.objects[STORE]["status"]["readyReplicas"] = 0
    cluster.server.touch(cluster.server.objects[STORE])
    await cluster.reconcile()
    assert (cluster.state("Closed"), cluster.state("Ready")) == (("True", "Closed"), ("False", "Closed"))
    assert cluster.state("Progressing") == ("True", "WaitingForStores")


@pytest.mark.parametrize("field", ["closed", "hibernated"])
async def test_a_failed_pass_leaves_a_stopped_shop_as_it_was_reported(cluster: ScalableCluster, field: str) -> None:
    await cluster.start()
    await (cluster.close() if field == "closed" else cluster.hibernate())
    stopped = ("True", field.capitalize())
    cluster.helm.error = RenderError("the charts are broken")
    cluster.spec({field: True, "services": {"order": {"replicas": 2}}})
    await cluster.reconcile()
    assert (cluster.state(field.capitalize()), cluster.state("Degraded")[1]) == (stopped, "RenderFailed")
    cluster.come_up(DEPLOYMENT)
    await cluster.reconcile()
    assert cluster.state(field.capitalize())[0] == "False", "a person has started a pod"
    assert "upgrade" not in cluster.message(field.capitalize())


async def test_a_shop_that_is_hibernated_instead_of_closed_is_not_said_to_open(cluster: ScalableCluster) -> None:
    await cluster.start()
    await cluster.close()
    cluster.spec({"hibernated": True})
    await cluster.reconcile()
    assert (cluster.state("Closed"), cluster.message("Closed")) == (
        ("False", "Open"),
        "The spec does not close the shop.",
    )


@pytest.mark.parametrize(("field", "part"), [("closed", "service"), ("hibernated", "pod")])
async def test_an_observed_shop_says_that_nothing_is_stopped(cluster: ScalableCluster, field: str, part: str) -> None:
    await cluster.start()
    cluster.server.pods = [{"metadata": {"name": "shop-order-1"}}]
    cluster.spec({field: True, "paused": True})
    requeue = await cluster.reconcile()
    assert cluster.state(field.capitalize()) == ("False", "Observing")
    assert cluster.message(field.capitalize()) == f"The shop is observed: no {part} is stopped."
    assert requeue.delay is None, "nothing ends"
    assert cluster.pods(DEPLOYMENT) != 0


async def test_a_shop_that_a_restore_has_closed_is_not_closed_by_its_spec(cluster: ScalableCluster) -> None:
    """Closed=True silences the alert, and a restore that has failed needs a person."""
    await cluster.start()
    await cluster.close()
    cluster.spec({"closed": True}, **closed("Failed"))
    await cluster.reconcile()
    assert cluster.state("Closed") == ("False", "Restoring")
    assert cluster.state("Ready") == ("False", "RestoreFailed")


async def test_a_closed_shop_can_be_hibernated_and_is_closed_when_it_wakes(cluster: ScalableCluster) -> None:
    """The old shop of a move is kept for some days."""
    await cluster.start()
    await cluster.begin_to_close()
    cluster.settle(DEPLOYMENT)
    cluster.spec({"closed": True, "hibernated": True})
    await cluster.reconcile()
    assert [cluster.pods(one) for one in WORKLOADS] == [0, 0, 0]
    cluster.settle_stores()
    await cluster.reconcile()
    assert (cluster.state("Hibernated"), cluster.state("Closed")) == (("True", "Hibernated"), ("True", "Closed"))
    assert cluster.state("Ready") == ("False", "Hibernated")
    await cluster.begin_to_close()
    assert [cluster.pods(one) for one in WORKLOADS] == [1, 1, 0]
    cluster.settle_stores()
    await cluster.reconcile()
    assert (cluster.state("Hibernated"), cluster.state("Ready")) == (("False", "Awake"), ("False", "Closed"))


async def test_a_closed_shop_keeps_its_release(cluster: ScalableCluster) -> None:
    await cluster.start()
    await cluster.begin_to_close()
    cluster.settle(DEPLOYMENT)
    cluster.upgrade_operator("2")
    await cluster.reconcile()
    assert (versions(cluster)[0], cluster.state("Upgraded")) == ("1", ("False", "Closed"))
    cluster.spec({"closed": True, "hibernated": True})
    await cluster.reconcile()
    assert (versions(cluster)[0], cluster.state("Upgraded")) == ("1", ("False", "Hibernated")), "it has to wake first"


@pytest.mark.parametrize(("spec", "waits"), [({}, True), ({"closed": True}, False), ({"hibernated": True}, False)])
def test_no_shop_waits_for_the_rotation_of_one_that_is_stopped(spec: Manifest, waits: bool) -> None:
    status = {"rotation": [{"name": "databases", "step": "Use"}]}
    metadata = {"name": "shop", "namespace": "shop", "uid": "1", "resourceVersion": "1", "generation": 1}
    assert is_rotating(observe_platform({"metadata": metadata, "spec": spec, "status": status})) is waits


async def test_a_restore_closes_the_services_and_no_store_until_it_opens_the_shop(cluster: ScalableCluster) -> None:
    await cluster.start()
    cluster.spec({}, **closed("Closing"))
    await cluster.reconcile()
    assert [cluster.pods(one) for one in WORKLOADS] == [1, 1, 0]
    assert AUTOSCALER not in cluster.server.objects, "it would start pods"
    assert (cluster.state("Restoring"), cluster.state("Ready")) == (("True", "Restoring"), ("False", "Restoring"))
    cluster.settle(DEPLOYMENT)
    for phase, reason in (("Restoring", "Restoring"), ("Failed", "RestoreFailed")):
        cluster.spec({"hibernated": phase == "Restoring"}, **closed(phase))
        cluster.restart()
        await cluster.reconcile()
        await cluster.reconcile()
        assert [cluster.pods(one) for one in WORKLOADS] == [1, 1, 0], "also by an operator that was just started"
        assert cluster.state("Ready") == ("False", reason)
    requeue = await cluster.reconcile()
    assert requeue.delay is None, "a shop that stays closed for days is not looked at"

    cluster.spec({}, **closed("Opening"))
    await cluster.reconcile()
    assert cluster.state("Restoring") == ("True", "Reopening")
    assert cluster.pods(DEPLOYMENT) == 0, "the migration looks at the restored database first"
    cluster.come_up(cluster.migration())
    await cluster.reconcile()
    cluster.settle(DEPLOYMENT)
    await cluster.reconcile()
    await cluster.reconcile()
    assert (cluster.state("Ready"), AUTOSCALER in cluster.server.objects) == (("True", "AllReady"), True)
    cluster.spec({}, annotations={})
    await cluster.reconcile()
    assert cluster.state("Restoring") == ("False", "NotRestoring")


@pytest.mark.parametrize(
    ("phase", "annotation", "condition"),
    [
        ("Restoring", {}, ("True", "Restoring")),
        ("Restoring", {"platform.ecommerce.dev/restore": "open"}, ("True", "Restoring")),
        ("Failed/inconsistent", {}, ("False", "RestoreIncomplete")),
    ],
)
async def test_a_shop_with_databases_of_two_states_is_opened_by_a_value_alone(
    cluster: ScalableCluster, phase: str, annotation: Manifest, condition: tuple[str, str]
) -> None:
    """kubectl replace removes the annotation, too. While a Job may run, nothing opens the shop."""
    await cluster.start()
    cluster.spec({}, **closed(phase))
    await cluster.reconcile()
    cluster.settle(DEPLOYMENT)
    await cluster.reconcile()
    cluster.spec({}, annotations=annotation)
    cluster.restart()
    for _ in range(3):
        await cluster.reconcile()
        assert (cluster.pods(DEPLOYMENT), cluster.state("Restoring")) == (0, condition)
    cluster.spec({}, **closed("Failed/inconsistent"))
    await cluster.reconcile()
    cluster.spec({}, annotations={"platform.ecommerce.dev/restore": "open"})
    await cluster.reconcile()
    assert cluster.state("Restoring") == ("False", "NotRestoring")


async def test_a_shop_whose_restore_has_failed_can_be_hibernated(cluster: ScalableCluster) -> None:
    """That of a suspended tenant has no use of its stores."""
    await cluster.start()
    cluster.spec({}, **closed("Failed/inconsistent"))
    await cluster.reconcile()
    cluster.settle(DEPLOYMENT)
    cluster.spec({"hibernated": True}, **closed("Failed/inconsistent"))
    for _ in range(2):
        await cluster.reconcile()
    assert [cluster.pods(one) for one in WORKLOADS] == [0, 0, 0]
    for one in WORKLOADS:
        cluster.settle(one)
    await cluster.reconcile()
    assert (cluster.state(), cluster.state("Restoring")) == (("True", "Hibernated"), ("False", "RestoreIncomplete"))
    cluster.spec({}, **closed("Failed/inconsistent"))
    for _ in range(2):
        await cluster.reconcile()
    assert [cluster.pods(one) for one in WORKLOADS] == [1, 1, 0], "and is closed again when it wakes"


async def test_a_shop_that_is_being_restored_keeps_its_release(cluster: ScalableCluster) -> None:
    await cluster.start()
    cluster.spec({}, **closed("Restoring"))
    await cluster.reconcile()
    cluster.settle(DEPLOYMENT)
    cluster.upgrade_operator("2")
    for phase in ("Restoring", "Opening"):
        cluster.spec({}, **closed(phase))
        await cluster.reconcile()
        assert (versions(cluster)[0], cluster.state("Upgraded")) == ("1", ("False", "Restoring"))


def test_a_restored_shop_that_cannot_be_opened_takes_the_version_of_its_spec() -> None:
    """The backup may have a newer schema than the version of the shop."""
    status = {"version": "1", "conditions": [{"type": "Degraded", "status": "True", "reason": "MigrationFailed"}]}
    for phase, keeps in (("Opening", False), ("Closing", True), ("Failed", True)):
        assert keeps_release(Spec(version="2"), status, closed(phase)["annotations"]) is keeps
    assert keeps_release(Spec(version="1"), status, closed("Opening")["annotations"])
    assert keeps_release(Spec(version="2"), {"version": "1"}, closed("Opening")["annotations"])


async def test_the_invariants_of_a_closed_shop_stay_as_they_were(cluster: ScalableCluster) -> None:
    """No service checks them."""
    cluster.spec({}, **closed("Failed"))
    shops = Cache()
    shops.store_platform(observe_platform(cluster.server.objects[PLATFORM.kind, "shop"]))

    async def never(url: str) -> str:
        raise AssertionError(url)

    scraper = InvariantScraper(shops, lambda key: None, never, lambda: 0.0)
    await scraper.scrape_all()
    assert scraper.results(KEY) == {}
