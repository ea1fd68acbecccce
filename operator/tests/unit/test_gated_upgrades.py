"""Upgrades of one shop: their steps, what each is measured by, and how they go back."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from test_fleet import NEW, OLD, RELEASE
from test_fleet import shop as member
from test_reconciler import CLOSED, KEY, NOW, FakeCluster, FakeHelm, Manifest, fail_job, rendered, versions

from platform_operator.api.kinds import PLATFORM, ObjectId, PlatformKey
from platform_operator.api.spec import NEIGHBOURS, parse
from platform_operator.errors import ApiError
from platform_operator.invariants.scrape_results import ScrapeResult, ServiceMetrics
from platform_operator.plan.error_rates import PodId, RequestCounts, failing
from platform_operator.plan.fleet import Target, UpgradePolicy, choose_target, is_halted
from platform_operator.plan.inventory import DesiredObject, Inventory
from platform_operator.plan.rollout_steps import COMPLETE, GROUPS, STEPS, Releases, dependency_groups
from platform_operator.plan.upgrades import ANNOTATION_RETRY_UPGRADE, read_upgrade
from platform_operator.reconciler import STEP_INTERVAL

OBSERVED = timedelta(seconds=60)
DEADLINE = timedelta(seconds=600)
USER, ORDER, GATEWAY = (ObjectId("Deployment", f"shop-{name}") for name in ("user", "order", "gateway"))
GATED: Manifest = {"upgrade": {"observeSeconds": 60}}


class ThreeServices(FakeHelm):
    """A Helm whose chart has three services, two of them with a migration, and a budget for the gateway."""

    async def template(self, chart: Path, key: PlatformKey, chart_values: Manifest) -> list[Manifest]:
        self.runs += 1
        tag = chart_values["global"]["image"]["tag"]
        return copy.deepcopy(
            [*self.more, *(one for name in ("user", "order", "gateway") for one in self._of(name, tag))]
        )

    def _of(self, name: str, tag: str) -> list[Manifest]:
        template = {"spec": {"containers": [{"name": name, "image": f"ecommerce/{name}:{tag}"}]}}
        spec = {"image": tag, "chart": self.chart, "template": template, "replicas": 1}
        deployment = rendered("apps/v1", "Deployment", f"shop-{name}", 4 if name == "gateway" else 3, spec)
        deployment["metadata"]["labels"]["app.kubernetes.io/version"] = tag
        if name == "gateway":
            return [deployment, rendered("networking.k8s.io/v1", "Ingress", "shop", 4, {"chart": self.chart})]
        return [rendered("batch/v1", "Job", f"shop-{name}-migrate-{tag}{self.chart}", 2, {}), deployment]


class GatedCluster(FakeCluster):
    """A shop of three services that runs version 1, and the pods that its Deployments get."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.helm = ThreeServices()
        self.broken: set[tuple[str, str]] = set()
        """Names and versions of services that do not become ready."""
        self.overdue = False
        """True if Kubernetes has given up waiting for them (`progressDeadlineSeconds`)."""
        self.restart()
        self.spec(GATED)

    def start_pods(self) -> None:
        """Gives each workload what its controller would: ready pods, or a new pod that does not become ready."""
        for kind, name in list(self.server.objects):
            identity = ObjectId(kind, name)
            if kind == "Deployment" and (name, self.image(identity)) in self.broken:
                stored = self.server.objects[identity]
                counts = {"replicas": 2, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
                stored["status"] = {"observedGeneration": stored["metadata"]["generation"], **counts}
                stored["status"]["conditions"] = [{"type": "Progressing", "status": "False"}] * self.overdue
                self.server.touch(stored)
            elif kind in ("StatefulSet", "Deployment") or (kind == "Job" and not self.has_ended(identity)):
                self.come_up(identity)

    def has_ended(self, identity: ObjectId) -> bool:
        return bool(self.server.objects[identity].get("status", {}).get("conditions"))

    async def run(self) -> None:
        """Makes passes until nothing is written any more."""
        for _ in range(30):
            await self.reconcile()
            written = [write for write in self.server.writes if "Event" not in write]
            self.start_pods()
            if not written:
                return
        pytest.fail("the operator does not stop writing")

    async def observe(self) -> None:
        """Lets the time of a step pass."""
        self.now += OBSERVED
        await self.run()

    async def upgrade(self, version: str = "2", **spec: Any) -> None:
        """Begins an upgrade, up to the end of its first step."""
        self.spec(GATED | {"version": version} | spec)
        await self.run()

    def image(self, identity: ObjectId) -> str:
        return str(self.server.objects[identity]["spec"]["image"])

    def images(self) -> str:
        return "".join(self.image(one) for one in (USER, ORDER, GATEWAY))

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.server.objects[PLATFORM.kind, "shop"]["status"]
        return status

    @property
    def step(self) -> str:
        return str(self.status["upgrade"]["step"])

    @property
    def phase(self) -> str:
        return str(self.status["upgrade"]["phase"])

    def hold(self, **violations: int) -> None:
        """Scrapes the order service with these numbers of rows that break its invariants."""
        self.scrape_results["order"] = ScrapeResult(self.now.timestamp(), ServiceMetrics(violations=violations))

    def answer(self, service: str, requests: int, errors: int, pod: str = "pod") -> None:
        self.pod_counts[PodId(service, pod)] = RequestCounts(requests, errors)


@pytest.fixture
async def shop(tmp_path: Path) -> GatedCluster:
    cluster = GatedCluster(tmp_path)
    await cluster.run()
    assert cluster.images() == "111"
    assert versions(cluster) == ("1", "1")
    return cluster


async def test_an_upgrade_goes_from_the_migrations_to_the_gateway_in_the_order_of_calls(shop: GatedCluster) -> None:
    seen = []
    await shop.upgrade()
    while "upgrade" in shop.status:
        seen.append((shop.step.partition(",")[0], shop.images()))
        assert shop.condition("Upgraded") == ("False", "RollingOut")
        assert shop.condition("Ready") == ("False", "ObservingStep")
        assert versions(shop) == ("1", "2")
        await shop.observe()
    assert seen == [("migrations", "111"), ("user", "211"), ("inventory", "221"), ("gateway", "222")]
    assert versions(shop) == ("2", "2")
    assert shop.condition("Ready") == ("True", "AllReady")
    assert shop.condition("Upgraded") == ("True", "UpToDate")


async def test_a_step_is_observed_before_the_next_one_also_across_a_restart(shop: GatedCluster) -> None:
    await shop.upgrade()
    await shop.observe()
    assert shop.images() == "211"
    shop.now += OBSERVED - timedelta(seconds=1)
    assert (await shop.reconcile()).delay == STEP_INTERVAL
    assert shop.images() == "211"
    shop.restart()
    shop.now += timedelta(seconds=1)
    await shop.run()
    assert shop.images() == "211", "a process that has just started has counted no requests yet"
    await shop.observe()
    assert shop.images() == "221"


async def test_a_step_that_changes_nothing_takes_no_time(shop: GatedCluster) -> None:
    shop.upgrade_operator("1")
    shop.helm.chart = ""
    await shop.run()
    assert versions(shop) == ("1", "1")
    assert "upgrade" not in shop.status
    assert shop.condition("Upgraded") == ("True", "UpToDate")


async def test_the_step_is_stored_before_anything_is_changed_by_it(shop: GatedCluster) -> None:
    shop.spec(GATED | {"version": "2"})
    await shop.reconcile()
    writes = [write for write in shop.server.writes if "Event" not in write]
    assert writes[0] == "apply EcommercePlatform shop status"
    shop.start_pods()
    await shop.run()
    shop.now += OBSERVED
    await shop.reconcile()
    writes = [write for write in shop.server.writes if "Event" not in write]
    assert (writes[0], writes[2]) == ("apply EcommercePlatform shop status", "apply Deployment shop-user")


async def test_a_step_that_is_not_ready_in_time_goes_back_by_itself(shop: GatedCluster) -> None:
    shop.broken = {("shop-order", "2")}
    before = REGISTRY.get_sample_value("ecommerce_operator_failed_upgrades_total", {"outcome": "RolledBack"}) or 0
    await shop.upgrade()
    for _ in range(2):
        await shop.observe()
    assert shop.images() == "221"
    shop.now += DEADLINE - timedelta(seconds=1)
    shop.restart()
    await shop.run()
    assert (shop.images(), shop.phase) == ("221", "RollingOut")
    shop.now += timedelta(seconds=1)
    shop.restart()
    await shop.run()
    assert (shop.images(), shop.phase) == ("111", "RolledBack")
    assert shop.condition("Upgraded") == ("False", "RolledBack")
    assert shop.condition("Ready") == ("True", "AllReady")
    assert shop.condition("Degraded") == ("False", "Healthy")
    assert versions(shop) == ("1", "1")
    message = shop.message("Upgraded")
    assert "Deployment shop-order is replacing its pods after 600 s" in message
    assert f"annotate --overwrite ecp shop {ANNOTATION_RETRY_UPGRADE}=" in message
    assert {"RollingBack", "RolledBack"} <= {one["reason"] for one in shop.server.events if one["type"] == "Warning"}
    outcomes = REGISTRY.get_sample_value("ecommerce_operator_failed_upgrades_total", {"outcome": "RolledBack"})
    assert outcomes == before + 1
    labels = {"namespace": "shop", "platform": "shop", "phase": "RolledBack"}
    assert REGISTRY.get_sample_value("ecommerce_platform_upgrade_failed", labels) == 1
    jobs = [name for kind, name in shop.server.objects if kind == "Job"]
    assert sorted(jobs) == ["shop-order-migrate-1", "shop-user-migrate-1"]
    shop.restart()
    await shop.reconcile()
    assert shop.server.writes == []


async def test_callers_go_back_before_those_that_they_call(shop: GatedCluster) -> None:
    await shop.upgrade()
    shop.hold(totals=0)
    for _ in range(3):
        await shop.observe()
    assert shop.images() == "222"
    seen = []
    shop.broken = {("shop-gateway", "2")}
    shop.start_pods()
    shop.now += DEADLINE
    for _ in range(8):
        await shop.reconcile()
        shop.start_pods()
        seen.append(shop.images())
    assert list(dict.fromkeys(seen)) == ["221", "211", "111"]


async def test_a_failed_migration_stops_the_upgrade_before_any_service_is_changed(shop: GatedCluster) -> None:
    shop.spec(GATED | {"version": "2"})
    await shop.reconcile()
    fail_job(shop, ObjectId("Job", "shop-order-migrate-2"), "BackoffLimitExceeded")
    shop.start_pods()
    await shop.run()
    assert (shop.images(), shop.phase) == ("111", "RolledBack")
    assert "Job shop-order-migrate-2 failed: BackoffLimitExceeded" in shop.message("Upgraded")
    assert ("Job", "shop-order-migrate-2") not in shop.server.objects
    assert ("Job", "shop-order-migrate-1") in shop.server.objects


async def test_an_invariant_that_held_before_and_breaks_goes_back(shop: GatedCluster) -> None:
    shop.hold(totals=0, refunds=3)
    await shop.run()
    await shop.upgrade()
    await shop.observe()
    shop.hold(totals=1, refunds=4, new_rule=7)
    await shop.run()
    assert (shop.images(), shop.phase) == ("111", "RolledBack")
    assert "invariants that held before are broken: order/totals." in shop.message("Upgraded")


async def test_an_invariant_that_was_broken_before_or_is_new_stops_nothing(shop: GatedCluster) -> None:
    shop.hold(totals=0, refunds=3)
    await shop.run()
    await shop.upgrade()
    shop.hold(totals=0, refunds=4, new_rule=7)
    for _ in range(4):
        await shop.observe()
    assert versions(shop) == ("2", "2")


@pytest.mark.parametrize(("service", "goes_back"), [("user", True), ("gateway", True), ("order", False)])
async def test_requests_that_fail_while_a_step_is_observed_go_back(
    shop: GatedCluster, service: str, goes_back: bool
) -> None:
    """The step replaces user: its own pods and the gateway's count."""
    shop.answer("gateway", 1000, 0)
    await shop.upgrade()
    await shop.observe()
    assert shop.images() == "211"
    shop.answer(service, 1100, 60, pod="new")
    await shop.run()
    assert (shop.phase == "RolledBack") is goes_back
    if goes_back:
        assert f"{service} fails" in shop.message("Upgraded")


async def test_a_service_that_failed_before_may_fail_as_much(shop: GatedCluster) -> None:
    shop.answer("gateway", 1000, 400)
    await shop.upgrade()
    assert shop.status["upgrade"]["errors"] == {"gateway": 40}
    shop.answer("gateway", 2000, 820)
    await shop.run()
    assert shop.phase == "RollingOut"
    shop.answer("gateway", 3000, 1800)
    await shop.run()
    assert shop.phase == "RolledBack"


async def test_a_part_that_was_not_ready_before_stops_no_upgrade(shop: GatedCluster) -> None:
    """An emergency fix must not wait for what is broken anyway."""
    shop.broken, shop.overdue = {("shop-user", "1"), ("shop-user", "2")}, True
    shop.start_pods()
    await shop.run()
    await shop.upgrade()
    for _ in range(3):
        await shop.observe()
    assert shop.images() == "222"
    assert shop.status["upgrade"]["unready"] == ["user"]
    await shop.observe()
    assert versions(shop) == ("1", "2"), "it is not rolled out before all is ready"
    shop.broken = set()
    shop.start_pods()
    await shop.run()
    assert versions(shop) == ("2", "2")


async def fail(shop: GatedCluster) -> None:
    """Upgrades to version 2, whose order service does not start, and goes back."""
    shop.broken = {("shop-order", "2")}
    await shop.upgrade()
    for _ in range(2):
        await shop.observe()
    shop.now += DEADLINE
    await shop.run()
    assert (shop.images(), shop.phase) == ("111", "RolledBack")


async def test_a_release_that_has_failed_is_not_tried_again_by_itself(shop: GatedCluster) -> None:
    await fail(shop)
    shop.broken = set()
    shop.now += timedelta(days=1)
    shop.restart()
    await shop.run()
    assert (shop.images(), shop.phase) == ("111", "RolledBack")


async def test_a_change_of_the_spec_tries_again(shop: GatedCluster) -> None:
    await fail(shop)
    await shop.upgrade(profile="medium")
    assert shop.phase == "RollingOut"


async def test_a_new_value_of_the_annotation_tries_again_once(shop: GatedCluster) -> None:
    await fail(shop)
    metadata = shop.server.objects[PLATFORM.kind, "shop"]["metadata"]
    metadata["annotations"] = {ANNOTATION_RETRY_UPGRADE: "1"}
    await shop.run()
    assert shop.phase == "RollingOut"
    for _ in range(2):
        await shop.observe()
    shop.now += DEADLINE
    await shop.run()
    assert (shop.images(), shop.phase) == ("111", "RolledBack")
    names = [one["metadata"]["name"] for one in shop.server.events if one["reason"] == "RolledBack"]
    assert len({*names}) == 2
    metadata["annotations"] = {}
    await shop.run()
    assert shop.phase == "RolledBack", "to remove it asks for nothing"


async def test_another_version_is_tried_and_goes_back_to_the_last_that_was_rolled_out(shop: GatedCluster) -> None:
    """Version 2 reaches all services, version 3 replaces it, and fails before it reaches the second of them."""
    shop.broken = {("shop-gateway", "2"), ("shop-user", "3")}
    await shop.upgrade()
    for _ in range(3):
        await shop.observe()
    assert shop.images() == "222"
    await shop.upgrade("3")
    await shop.observe()
    assert shop.images() == "322"
    shop.now += DEADLINE
    seen = []
    for _ in range(8):
        await shop.reconcile()
        shop.start_pods()
        seen.append(shop.images())
    assert list(dict.fromkeys(seen)) == ["321", "111"], "what is not ready goes back with the callers"
    assert shop.phase == "RolledBack"


async def test_a_user_who_sets_the_version_back_ends_the_upgrade(shop: GatedCluster) -> None:
    await shop.upgrade()
    await shop.observe()
    await shop.upgrade("1")
    assert (shop.images(), versions(shop)) == ("111", ("1", "1"))
    assert "upgrade" not in shop.status


async def test_a_rollback_that_fails_is_degraded_and_stays_put(shop: GatedCluster) -> None:
    await shop.upgrade()
    for _ in range(2):
        await shop.observe()
    shop.broken = {("shop-order", "2"), ("shop-order", "1")}
    shop.start_pods()
    shop.now += DEADLINE
    await shop.run()
    assert (shop.images(), shop.phase) == ("211", "RollingBack")
    shop.now += DEADLINE
    await shop.run()
    assert (shop.images(), shop.phase) == ("211", "RollbackFailed")
    assert shop.condition("Degraded") == ("True", "RollbackFailed")
    assert shop.condition("Upgraded") == ("False", "RollbackFailed")
    shop.now += timedelta(days=1)
    shop.restart()
    await shop.run()
    assert shop.images() == "211"
    shop.broken = set()
    shop.start_pods()
    await shop.run()
    assert (shop.images(), shop.phase) == ("111", "RolledBack"), "it goes on when its obstacle is gone"
    assert shop.condition("Degraded") == ("False", "Healthy")


async def test_the_migrations_of_the_former_version_run_before_its_code(shop: GatedCluster) -> None:
    """They refuse a schema on which that code may not run, as `oldest_code` says."""
    await shop.upgrade()
    for _ in range(2):
        await shop.observe()
    shop.broken = {("shop-order", "2")}
    shop.start_pods()
    shop.now += DEADLINE
    await shop.reconcile()
    fail_job(shop, ObjectId("Job", "shop-order-migrate-1"), "the schema is ahead")
    shop.come_up(ObjectId("Job", "shop-user-migrate-1"))
    for _ in range(3):
        await shop.reconcile()
    assert (shop.images(), shop.phase) == ("221", "RollbackFailed")
    assert shop.condition("Degraded") == ("True", "RollbackFailed")
    assert "Job shop-order-migrate-1 failed" in shop.message("Degraded")


async def test_new_charts_that_fail_are_stopped_since_there_is_no_version_to_go_back_to(shop: GatedCluster) -> None:
    shop.spec(GATED | {"version": "1"})
    await shop.run()
    shop.upgrade_operator("2")
    await shop.run()
    await shop.observe()
    assert [shop.server.objects[one]["spec"]["chart"] for one in (USER, ORDER, GATEWAY)] == ["2", "", ""]
    shop.broken = {("shop-user", "1")}
    shop.start_pods()
    shop.now += DEADLINE
    await shop.run()
    assert shop.phase == "Stopped"
    assert shop.condition("Degraded") == ("True", "UpgradeStopped")
    assert shop.condition("Upgraded") == ("False", "UpgradeStopped")
    assert [shop.server.objects[one]["spec"]["chart"] for one in (USER, ORDER, GATEWAY)] == ["2", "", ""]
    del shop.server.objects[GATEWAY]
    await shop.reconcile()
    assert GATEWAY in shop.server.objects, "it is still repaired"
    shop.broken = set()
    shop.spec(GATED | {"version": "1", "profile": "medium"})
    for _ in range(4):
        await shop.run()
        await shop.observe()
    assert versions(shop) == ("1", "1")
    assert "upgrade" not in shop.status


async def test_a_new_operator_goes_back_in_what_it_changed_and_leaves_the_rest(shop: GatedCluster) -> None:
    shop.broken = {("shop-order", "2")}
    shop.upgrade_operator("2")
    await shop.run()
    for _ in range(2):
        await shop.observe()
    assert shop.images() == "221"
    shop.now += DEADLINE
    await shop.run()
    assert (shop.images(), shop.phase) == ("111", "RolledBack")
    assert [shop.server.objects[one]["spec"]["chart"] for one in (USER, ORDER, GATEWAY)] == ["2", "2", ""]
    assert shop.reconciler.releases.upgrades_halted(), "no other shop gets this release"
    shop.restart()
    await shop.reconcile()
    assert shop.server.writes == []
    del shop.server.objects[ORDER]
    await shop.run()
    assert shop.images() == "111"

    shop.upgrade_operator("3")
    for _ in range(5):
        await shop.run()
        await shop.observe()
    assert (shop.images(), versions(shop)) == ("333", ("3", "3"))
    assert not shop.reconciler.releases.upgrades_halted()


async def test_nothing_is_deleted_that_the_version_before_may_use(shop: GatedCluster) -> None:
    shop.helm.more = [rendered("v1", "Service", "shop-legacy", 0, {})]
    shop.spec(GATED | {"profile": "medium"})
    await shop.run()
    shop.helm.more = []
    await shop.upgrade()
    for _ in range(3):
        assert ("Service", "shop-legacy") in shop.server.objects
        await shop.observe()
    await shop.observe()
    assert ("Service", "shop-legacy") not in shop.server.objects


async def test_a_lost_part_of_a_later_step_is_restored_at_the_version_before(shop: GatedCluster) -> None:
    await shop.upgrade()
    del shop.server.objects[GATEWAY]
    await shop.reconcile()
    assert (shop.images(), shop.step) == ("111", "migrations")


async def test_an_observed_shop_stays_where_it_is(shop: GatedCluster) -> None:
    await shop.upgrade()
    await shop.observe()
    shop.spec(GATED | {"version": "2", "mode": "Observe"})
    shop.now += 3 * DEADLINE
    await shop.run()
    assert (shop.images(), shop.step) == ("211", "user")
    for _ in range(3):
        await shop.upgrade()
        await shop.observe()
    assert (shop.images(), versions(shop)) == ("222", ("2", "2"))


async def test_a_shop_that_waits_for_its_window_begins_no_upgrade(shop: GatedCluster) -> None:
    shop.spec(GATED | CLOSED)
    await shop.run()
    shop.upgrade_operator("2")
    await shop.run()
    assert "upgrade" not in shop.status
    assert shop.condition("Upgraded") == ("False", "OutsideMaintenance")


async def test_an_operator_that_was_away_gives_a_step_its_whole_time(shop: GatedCluster) -> None:
    shop.server.refuse["Job"] = ApiError(0, "Unreachable", "the process crashed here")
    shop.spec(GATED | {"version": "2"})
    with pytest.raises(ApiError):
        await shop.reconcile()
    shop.server.refuse.clear()
    shop.now += 2 * DEADLINE
    shop.restart()
    await shop.run()
    assert (shop.phase, shop.step) == ("RollingOut", "migrations")


def test_a_failed_upgrade_stops_the_fleet_until_it_is_tried_again() -> None:
    row = {"version": NEW[0], "charts": NEW[1], "step": "user", "since": NOW.isoformat(), "generation": 1}
    failed = member("failed", upgrade={**row, "phase": "RolledBack"})
    assert is_halted([failed], RELEASE)

    def choose(one: Any, *others: Any) -> Target:
        return choose_target(one, parse({}), RELEASE, [one, *others], UpgradePolicy(), NOW, edited=False)

    waiting = choose(member("other"), failed)
    assert waiting.wait is not None
    assert waiting.wait.reason.value == "UpgradesHalted"
    own = choose(failed)
    assert own.wait is not None
    assert ((own.version, own.charts), own.wait.reason.value) == (OLD, "RolledBack")
    assert choose(replace(failed, generation=2)) == RELEASE
    assert choose(replace(failed, annotations={ANNOTATION_RETRY_UPGRADE: "1"})) == RELEASE
    assert not is_halted([member("trying", NEW, OLD, upgrade={**row, "phase": "RollingOut"})], RELEASE)


def test_services_come_after_those_that_they_call_and_circles_together() -> None:
    assert dependency_groups({"a": ["b"], "b": ["c", "d"], "c": ["b"], "d": []}) == (("d",), ("b", "c"), ("a",))
    assert GROUPS[0] == ("user",)
    assert GROUPS[-1] == ("gateway",)
    depth = {service: number for number, group in enumerate(GROUPS) for service in group}
    assert depth.keys() == NEIGHBOURS.keys()
    assert all(depth[other] <= depth[service] for service, others in NEIGHBOURS.items() for other in others)


def test_the_status_has_all_that_an_upgrade_is() -> None:
    row = {
        "version": "2",
        "charts": "c",
        "phase": "RollingBack",
        "step": STEPS[2],
        "since": "2026-01-01T00:00:00Z",
        "readySince": "2026-01-01T00:01:00Z",
        "unready": ["redis"],
        "errors": {"order": 7},
        "invariants": ["order/totals"],
        "generation": 3,
        "request": "a",
        "cause": "b",
    }
    upgrade = read_upgrade({"upgrade": row})
    assert upgrade is not None
    assert upgrade.dump() == row
    assert read_upgrade({}) is None
    unknown = read_upgrade({"upgrade": row | {"step": "of another operator"}})
    assert unknown is not None
    assert unknown.step == 0


def test_requests_are_counted_between_two_looks_at_the_same_pods() -> None:
    old, new = PodId("order", "old"), PodId("order", "new")
    before = {old: RequestCounts(1000, 500)}
    assert failing(before, {old: RequestCounts(1100, 500), new: RequestCounts(100, 12)}, 5) == {"order": 6}
    assert failing(before, {old: RequestCounts(1100, 500), new: RequestCounts(100, 10)}, 5) == {}
    assert failing({}, {new: RequestCounts(19, 19)}, 5) == {}, "too few to judge by"
    assert failing(before, {old: RequestCounts(20, 20)}, 5) == {"order": 100}, "the process has started again"
    assert failing({}, {new: RequestCounts(100, 30)}, 5, {"order": 26}) == {}
    assert failing({}, {new: RequestCounts(100, 100)}, 100) == {}


def test_an_object_of_a_later_step_that_was_never_applied_waits() -> None:
    later = DesiredObject(ObjectId("Ingress", "shop"), 4, "same")
    releases = Releases(KEY, (later,), (later,))
    assert releases.during(0, Inventory()) == ()
    assert releases.during(COMPLETE - 1, Inventory()) == (later,)


async def test_an_upgrade_measures_the_step_of_the_services_that_it_replaces(shop: GatedCluster) -> None:
    asked: list[set[str]] = []
    count = shop.count_requests

    async def record(key: PlatformKey, services: Any) -> Any:
        asked.append(set(services))
        return await count(key, services)

    shop.reconciler.releases.step_meter.count = record
    await shop.upgrade()
    await shop.observe()
    assert asked[0] == NEIGHBOURS.keys(), "before it begins"
    assert {"gateway"} in asked
    assert asked[-1] == {"gateway", "user"}
