"""Informers: the objects that they put into the cache, and the platforms that they enqueue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import kopf
import pytest

from platform_operator.api.kinds import CHILD_KINDS, CHILD_LABELS, PLATFORM, Kind, Manifest, PlatformKey
from platform_operator.cache.observed import ObservedObject, observe, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.client import PAGE_SIZE
from platform_operator.errors import ApiError
from platform_operator.informers import PLATFORMS_INTERVAL, Informers, kopf_settings, resync_offset

KEY = PlatformKey("shop", "shop")
DEPLOYMENTS = CHILD_KINDS["Deployment"]


class FakeCluster:
    """An API server that lists the given objects, and the informers that read it."""

    def __init__(self) -> None:
        self.lists: dict[str, Sequence[Manifest]] = {}
        self.refused: dict[str, ApiError] = {}
        self.enqueued: list[PlatformKey] = []
        self.page_sizes: dict[str, int] = {}
        server: Any = self
        self.informers = Informers(server, Cache(), self.enqueued.append, self.enqueued.append, (), "test")

    async def list(self, kind: Kind, namespace: str | None, selector: str = "") -> tuple[Sequence[Manifest], int]:
        if kind.kind in self.refused:
            raise self.refused[kind.kind]
        return self.lists.get(kind.kind, []), 100

    async def pages(
        self, kind: Kind, namespace: str | None, selector: str = "", size: int = PAGE_SIZE
    ) -> AsyncIterator[tuple[Sequence[Manifest], int]]:
        self.page_sizes[kind.kind] = size
        yield await self.list(kind, namespace, selector)

    def children(self) -> Sequence[str]:
        return sorted(identity.name for identity in self.informers.cache.children(KEY))


def child(name: str, **more: Any) -> Manifest:
    labels = CHILD_LABELS | {"app.kubernetes.io/instance": "shop"}
    metadata = {"name": name, "namespace": "shop", "uid": "u", "resourceVersion": "5", "generation": 1}
    return {"kind": "Deployment", "metadata": metadata | {"labels": labels}, "spec": {}, **more}


def platform() -> Manifest:
    return child("shop") | {"kind": PLATFORM.kind}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


async def test_a_malformed_object_does_not_stop_the_others_from_being_listed(cluster: FakeCluster) -> None:
    cluster.lists["Deployment"] = [child("a"), child("malformed", spec=None), child("z")]
    await cluster.informers.fill_cache()
    assert cluster.children() == ["a", "z"]


async def test_platforms_are_read_in_smaller_pages_than_their_children(cluster: FakeCluster) -> None:
    """Each is ten times as large, and nothing else runs while a page is parsed."""
    await cluster.informers.fill_cache()
    assert cluster.page_sizes[PLATFORM.kind] * 10 <= cluster.page_sizes["Deployment"]


@pytest.mark.parametrize(("own", "named"), [("", "staging"), ("staging", None), ("staging", "other")])
async def test_a_platform_of_another_class_is_not_reconciled(cluster: FakeCluster, own: str, named: str | None) -> None:
    cluster.informers.cache.operator_class = own
    cluster.lists[PLATFORM.kind] = [platform() | {"spec": {"operatorClassName": named} if named else {}}]
    cluster.lists["Deployment"] = [child("shop-order")]
    await cluster.informers.fill_cache()
    assert cluster.informers.cache.platforms == {}
    assert list(cluster.informers.cache.all_children()) == [], "its Secrets say nothing about this one's master key"


async def test_a_platform_that_changes_its_class_is_forgotten_and_taken_up_by_the_other(cluster: FakeCluster) -> None:
    def changed(version: str, **spec: str) -> Manifest:
        return platform() | {"spec": spec, "metadata": platform()["metadata"] | {"resourceVersion": version}}

    cache = cluster.informers.cache
    await cluster.informers.on_platform("ADDED", changed("6"))
    await cluster.informers.on_platform("MODIFIED", changed("7", operatorClassName="staging"))
    assert (cache.platforms, cluster.enqueued) == ({}, [KEY, KEY])
    await cluster.informers.on_platform("MODIFIED", changed("6"))
    assert cache.platforms == {}, "an older event"
    await cluster.informers.on_platform("MODIFIED", changed("8"))
    assert cache.platforms.keys() == {KEY}


async def test_an_object_that_becomes_malformed_stays_in_the_cache(cluster: FakeCluster) -> None:
    cluster.lists["Deployment"] = [child("malformed")]
    await cluster.informers.fill_cache()
    cluster.lists["Deployment"] = [child("malformed", spec=None)]
    await cluster.informers.fill_cache()
    assert cluster.children() == ["malformed"]


async def test_an_object_that_becomes_malformed_changes_nothing_until_it_is_deleted(cluster: FakeCluster) -> None:
    cluster.informers.change(DEPLOYMENTS, "ADDED", child("malformed"))
    cluster.informers.change(DEPLOYMENTS, "MODIFIED", child("malformed", spec=None))
    assert cluster.children() == ["malformed"]
    cluster.informers.change(DEPLOYMENTS, "DELETED", child("malformed", spec=None))
    assert cluster.children() == []
    assert cluster.enqueued == [KEY] * 2


async def test_a_platform_that_is_missing_from_a_list_is_enqueued(cluster: FakeCluster) -> None:
    cluster.lists[PLATFORM.kind] = [platform()]
    await cluster.informers.fill_cache()
    cluster.lists.clear()
    cluster.enqueued.clear()
    cluster.refused["Deployment"] = ApiError(0, "Unreachable", "down")
    with pytest.raises(ApiError):
        await cluster.informers.fill_cache()
    assert cluster.enqueued == [KEY]


def newer(manifest: Manifest, **more: Any) -> Manifest:
    return manifest | {"metadata": manifest["metadata"] | {"resourceVersion": "6"}} | more


async def test_a_write_of_the_status_wakes_nothing(cluster: FakeCluster) -> None:
    await cluster.informers.on_platform("ADDED", platform())
    written = newer(platform(), status={"conditions": [{"type": "Ready"}]})
    await cluster.informers.on_platform("MODIFIED", written)
    assert cluster.enqueued == [KEY]
    assert cluster.informers.cache.platforms[KEY].status == written["status"]


async def test_a_changed_spec_wakes_its_platform(cluster: FakeCluster) -> None:
    await cluster.informers.on_platform("ADDED", platform())
    await cluster.informers.on_platform("MODIFIED", newer(platform(), spec={"version": "2"}))
    assert cluster.enqueued == [KEY, KEY]


async def test_an_event_wakes_a_platform_only_by_what_is_read_of_the_object(cluster: FakeCluster) -> None:
    autoscaler = child("a", kind="HorizontalPodAutoscaler", spec={"minReplicas": 1})
    cluster.informers.change(DEPLOYMENTS, "ADDED", autoscaler)
    cluster.informers.change(DEPLOYMENTS, "MODIFIED", newer(autoscaler, status={"currentReplicas": 3}))
    assert cluster.enqueued == [KEY]
    changed = newer(autoscaler, spec={"minReplicas": 2})
    changed["metadata"]["resourceVersion"] = "7"
    cluster.informers.change(DEPLOYMENTS, "MODIFIED", changed)
    assert cluster.enqueued == [KEY, KEY]


async def test_a_version_that_is_known_is_not_read_again(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def recorded(manifest: Manifest) -> ObservedObject:
        read.append(manifest["metadata"]["resourceVersion"])
        return observe(manifest)

    monkeypatch.setattr("platform_operator.informers.observe", recorded)
    cluster.lists["Deployment"] = [child("a")]
    await cluster.informers.fill_cache()
    await cluster.informers.fill_cache()
    cluster.informers.change(DEPLOYMENTS, "MODIFIED", child("a"))
    cluster.informers.change(DEPLOYMENTS, "MODIFIED", newer(child("a")))
    assert read == ["5", "6"]


async def test_a_broken_add_on_stops_nothing_but_itself(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.lists[PLATFORM.kind], cluster.lists["Deployment"] = [platform()], [child("a")]
    cluster.refused["HTTPRoute"] = ApiError(500, "InternalError", "conversion webhook failed")
    cluster.refused["ServiceMonitor"] = ApiError(404, "NotFound", "not installed")
    await cluster.informers.fill_cache()
    assert (cluster.children(), cluster.enqueued[-1]) == (["a"], KEY)
    assert [record.getMessage() for record in caplog.records] == ["cannot list httproutes: conversion webhook failed"]


async def test_a_child_that_a_list_lacks_wakes_its_platform(cluster: FakeCluster) -> None:
    cluster.informers.change(DEPLOYMENTS, "ADDED", child("a"))
    cluster.enqueued.clear()
    cluster.informers.remove_unlisted(DEPLOYMENTS, None, set(), 100)
    assert (cluster.children(), cluster.enqueued) == ([], [KEY])


async def test_platforms_that_were_deleted_or_changed_unseen_are_found_every_half_minute(cluster: FakeCluster) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 3:
            raise asyncio.CancelledError

    cluster.informers.sleep = sleep
    await cluster.informers.on_platform("ADDED", platform())
    changed = newer(platform(), spec={"version": "2"})
    answers = iter(([changed], ApiError(500, "", "down"), ()))

    async def answer(*_: object) -> tuple[Sequence[Manifest], int]:
        found: Sequence[Manifest] | ApiError = next(answers)
        if isinstance(found, ApiError):
            raise found
        return found, 100

    cluster.list = answer  # type: ignore[method-assign, assignment]
    with pytest.raises(asyncio.CancelledError):
        await cluster.informers._look_for_deleted_platforms()
    assert (pauses, cluster.enqueued) == ([PLATFORMS_INTERVAL] * 4, [KEY] * 3)
    assert not cluster.informers.cache.platforms


class Schedule:
    """Time that passes only in sleeps, and the times at which platforms are enqueued or kinds are listed."""

    def __init__(self, cluster: FakeCluster, until: float) -> None:
        self.now, self.until = 0.0, until
        self.enqueued: dict[PlatformKey, list[float]] = {}
        self.lists: list[tuple[float, str]] = []
        cluster.informers.sleep = self.sleep
        cluster.informers.enqueue = lambda key: self.enqueued.setdefault(key, []).append(self.now)
        answer = cluster.list

        async def listed(kind: Kind, *arguments: Any) -> tuple[Sequence[Manifest], int]:
            self.lists.append((self.now, kind.kind))
            return await answer(kind, *arguments)

        cluster.list = listed  # type: ignore[method-assign, assignment]

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.until:
            raise asyncio.CancelledError


def fleet(cluster: FakeCluster, count: int) -> None:
    for number in range(count):
        metadata = platform()["metadata"] | {"name": f"shop-{number}", "uid": f"uid-{number}"}
        cluster.informers.cache.store_platform(observe_platform(platform() | {"metadata": metadata}))


async def test_a_resync_is_spread_over_its_interval_and_each_shop_keeps_its_time(cluster: FakeCluster) -> None:
    fleet(cluster, 500)
    schedule = Schedule(cluster, until=1200.0)
    with pytest.raises(asyncio.CancelledError):
        await cluster.informers.resync_platforms(600.0)
    assert len(schedule.enqueued) == 500
    for key, (first, second) in schedule.enqueued.items():
        assert second - first == pytest.approx(600.0)
        assert first == pytest.approx(resync_offset(cluster.informers.cache.platforms[key].uid, 600.0))
    seconds = Counter(int(first) for first, _ in schedule.enqueued.values())
    assert max(seconds.values()) <= 8, "500 in 600 s are one in a second, but for chance"


async def test_kinds_are_listed_again_one_after_the_other(cluster: FakeCluster) -> None:
    schedule = Schedule(cluster, until=1199.0)
    cluster.refused["Secret"] = ApiError(500, "", "down")
    with pytest.raises(asyncio.CancelledError):
        await cluster.informers.resync_children(600.0)
    assert [kind for _, kind in schedule.lists[: len(CHILD_KINDS)]] == [*CHILD_KINDS], "a failed one stops no other"
    assert len({at for at, _ in schedule.lists}) == len(schedule.lists) == 2 * len(CHILD_KINDS) - 1


def test_kopf_copies_nothing_of_a_platform_to_find_out_what_changed() -> None:
    storage = kopf_settings().persistence.diffbase_storage
    handled = {"kopf.zalando.org/last-handled-configuration": "{}"}
    metadata = {"name": "shop", "labels": {"a": "b"}, "annotations": handled}
    stored: Any = {"metadata": metadata, "spec": {"version": "1.0"}, "status": {"conditions": []}}
    assert storage.build(body=kopf.Body(stored)) == {}
    assert storage.fetch(body=kopf.Body(stored)) is None
