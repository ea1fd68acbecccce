"""A write that the API server refuses as out of date is no failure of a shop: what it was decided by is read again."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path

import pytest
from rotation_harness import RotatingShop
from test_reconciler import DEPLOYMENT, KEY, FakeCluster, Manifest, releases, run_version

from platform_operator.api.kinds import HANDOVER_MANAGER, LABEL_MANAGED_BY, PLATFORM, RELEASE, Kind, PlatformKey
from platform_operator.cache.observed import observe
from platform_operator.errors import ApiError
from platform_operator.secrets.master_key import KeyRing
from platform_operator.workqueue import MAX_CONFLICTS

RECORD = ("ConfigMap", "shop-rotation")
SHOP = (PLATFORM.kind, "shop")
CONFLICT = ApiError(409, "Conflict", "the object has been modified")


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    return FakeCluster(tmp_path)


@pytest.fixture
async def shop(tmp_path: Path) -> RotatingShop:
    """A shop that was never rotated."""
    shop = RotatingShop.new(tmp_path)
    await shop.settle()
    return shop


def seen_by_watches(cluster: FakeCluster) -> dict[tuple[str, str], Manifest]:
    """Returns the objects as they are now, for a leader whose watches show nothing later."""
    return copy.deepcopy(cluster.server.objects)


async def assert_repeated(cluster: FakeCluster, seen: dict[tuple[str, str], Manifest]) -> None:
    """Makes a pass of a new leader that has seen these objects, and asserts that it ends without a word in the status,
    and that the next one, without any event, does not."""
    status = copy.deepcopy(cluster.server.objects[SHOP]["status"])
    cluster.restart()
    with pytest.raises(ApiError) as refused:
        await cluster.make_pass(seen)
    assert refused.value.conflict
    assert cluster.server.objects[SHOP]["status"] == status
    await cluster.reconciler.reconcile(KEY)
    assert cluster.condition("Degraded") == ("False", "Healthy")
    assert cluster.condition("Progressing")[1] != "RequestFailed"


async def test_a_new_leader_that_has_not_seen_a_step_of_a_rotation_reads_it_and_goes_on(shop: RotatingShop) -> None:
    shop.ask("grpc:first")
    delay = await shop.settle()
    assert delay is not None
    shop.cluster.now += timedelta(seconds=delay)
    seen = seen_by_watches(shop.cluster)
    await shop.reconcile()
    record = copy.deepcopy(shop.cluster.server.objects[RECORD])
    assert shop.states()["grpc"] == (1, "Use")

    await assert_repeated(shop.cluster, seen)
    assert shop.cluster.server.objects[RECORD] == record, "no step was taken twice, and none back"
    await shop.finish()
    assert shop.states()["grpc"] == (1, "Done")


async def test_a_new_leader_that_has_not_seen_the_record_of_a_rotation_does_not_replace_it(shop: RotatingShop) -> None:
    shop.ask("grpc:first")
    seen = seen_by_watches(shop.cluster)
    await shop.reconcile()
    record = copy.deepcopy(shop.cluster.server.objects[RECORD])
    shop.cluster.now += timedelta(seconds=20)

    await assert_repeated(shop.cluster, seen)
    assert shop.cluster.server.objects[RECORD] == record


async def test_a_record_of_a_rotation_that_comes_during_a_pass_is_not_replaced(
    shop: RotatingShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.ask("grpc:first")
    seen = seen_by_watches(shop.cluster)
    await shop.reconcile()
    record = copy.deepcopy(shop.cluster.server.objects[RECORD])
    shop.cluster.now += timedelta(seconds=20)
    shop.cluster.restart()
    reconciler = shop.cluster.reconciler
    keys_for = reconciler.master_keys.keys_for

    async def after_an_event(key: PlatformKey, *, may_create: bool) -> KeyRing:
        reconciler.cache.store(key, observe(record))
        return await keys_for(key, may_create=may_create)

    monkeypatch.setattr(reconciler.master_keys, "keys_for", after_an_event)
    with pytest.raises(ApiError) as refused:
        await shop.cluster.make_pass(seen)
    assert refused.value.conflict
    assert shop.cluster.server.objects[RECORD] == record, "the pass was decided by an earlier one"


async def test_a_platform_that_was_created_again_is_read_when_its_status_is_refused(cluster: FakeCluster) -> None:
    await cluster.converge()
    cluster.spec({})
    seen = seen_by_watches(cluster)
    cluster.spec({}, uid="p2")

    await assert_repeated(cluster, seen)
    assert cluster.reconciler.cache.platforms[KEY].uid == "p2"


async def test_a_new_leader_that_has_not_seen_the_newest_release_stores_no_other(cluster: FakeCluster) -> None:
    for version in ("1", "2"):
        await run_version(cluster, version)
    del cluster.server.objects[DEPLOYMENT]
    seen = {one: stored for one, stored in seen_by_watches(cluster).items() if one[0] != RELEASE}
    before = copy.deepcopy(releases(cluster))
    cluster.restart()
    await cluster.make_pass(seen)
    assert releases(cluster) == before
    assert DEPLOYMENT in cluster.server.objects


async def give_up_replicas(cluster: FakeCluster) -> None:
    """Brings a shop to the pass that leaves the number of a Deployment's pods to an autoscaler."""
    await cluster.converge()
    cluster.server.objects[DEPLOYMENT]["spec"]["replicas"] = 1
    cluster.helm.replicas = None
    cluster.spec({"services": {"order": {"replicas": 2}}})


async def test_a_new_status_of_a_deployment_during_the_handover_of_its_pods_is_no_failure(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give_up_replicas(cluster)
    apply, handovers = cluster.server.apply, []

    async def after_a_status(kind: Kind, namespace: str, manifest: Manifest, *rest: str, **named: str) -> Manifest:
        if named.get("manager") == HANDOVER_MANAGER:
            handovers.append(manifest)
            if len(handovers) == 1:
                cluster.server.touch(cluster.server.objects[DEPLOYMENT])
        return await apply(kind, namespace, manifest, *rest, **named)

    monkeypatch.setattr(cluster.server, "apply", after_a_status)
    await cluster.reconcile()
    assert len(handovers) == 2
    assert cluster.applied()[-2:] == ["apply Deployment shop-order", "apply ConfigMap shop-applied"]


async def test_the_pods_of_a_deployment_that_was_not_seen_are_handed_over_too(cluster: FakeCluster) -> None:
    await give_up_replicas(cluster)
    seen = seen_by_watches(cluster)
    del seen[DEPLOYMENT]
    await cluster.make_pass(seen)
    deployments = [write for write in cluster.applied() if "Deployment" in write]
    assert deployments == [f"apply Deployment shop-order {HANDOVER_MANAGER}", "apply Deployment shop-order"]


async def test_a_master_key_that_another_has_created_and_lost_again_is_no_lost_one(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.server.master_key = None

    async def create(kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        raise CONFLICT

    monkeypatch.setattr(cluster.server, "create", create)
    with pytest.raises(ApiError) as refused:
        await cluster.make_pass()
    assert refused.value.conflict
    assert "status" not in cluster.server.objects[SHOP]


async def test_a_conflict_that_comes_again_and_again_is_said_and_degrades_nothing(cluster: FakeCluster) -> None:
    await cluster.converge()
    status = copy.deepcopy(cluster.server.objects[SHOP]["status"])
    cluster.server.refuse["Deployment"] = CONFLICT
    del cluster.server.objects[DEPLOYMENT]
    for _ in range(MAX_CONFLICTS):
        with pytest.raises(ApiError):
            await cluster.reconcile()
        assert cluster.server.objects[SHOP]["status"] == status
    with pytest.raises(ApiError):
        await cluster.reconcile()
    assert cluster.condition("Progressing") == ("True", "RequestFailed")
    assert cluster.condition("Degraded") == ("False", "Healthy")

    del cluster.server.refuse["Deployment"]
    await cluster.reconcile()
    cluster.server.refuse["Deployment"] = CONFLICT
    cluster.server.objects.pop(DEPLOYMENT)
    status = copy.deepcopy(cluster.server.objects[SHOP]["status"])
    with pytest.raises(ApiError):
        await cluster.reconcile()
    assert cluster.server.objects[SHOP]["status"] == status, "the passes in a row are counted"


async def test_a_record_that_the_watches_do_not_select_any_more_is_the_shops_and_is_labelled_again(
    shop: RotatingShop,
) -> None:
    shop.ask("all:first")
    await shop.finish()
    before = copy.deepcopy(shop.cluster.server.objects[RECORD])
    shop.cluster.server.objects[RECORD]["metadata"]["labels"][LABEL_MANAGED_BY] = "changed"
    seen = seen_by_watches(shop.cluster)
    states = shop.states()

    await assert_repeated(shop.cluster, seen)
    record = shop.cluster.server.objects[RECORD]
    assert record["metadata"]["labels"] == before["metadata"]["labels"]
    assert record["data"] == before["data"], "nothing is rotated again"
    assert shop.states() == states
