"""Informers: the objects that they put into the cache, and the platforms that they enqueue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from platform_operator.api.kinds import CHILD_LABELS, PLATFORM, Kind, Manifest, PlatformKey
from platform_operator.cache.store import Cache
from platform_operator.errors import ApiError
from platform_operator.informers import Informers

KEY = PlatformKey("shop", "shop")


class FakeCluster:
    """An API server that lists the given objects, and the informers that read it."""

    def __init__(self) -> None:
        self.lists: dict[str, Sequence[Manifest]] = {}
        self.refused_kind = ""
        self.enqueued: list[PlatformKey] = []
        server: Any = self
        self.informers = Informers(server, Cache(), self.enqueued.append, (), "test")

    async def list(self, kind: Kind, namespace: str | None, selector: str = "") -> tuple[Sequence[Manifest], int]:
        if kind.kind == self.refused_kind:
            raise ApiError(0, "Unreachable", "down")
        return self.lists.get(kind.kind, []), 100

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
    await cluster.informers.resync()
    assert cluster.children() == ["a", "z"]


async def test_an_object_that_becomes_malformed_stays_in_the_cache(cluster: FakeCluster) -> None:
    cluster.lists["Deployment"] = [child("malformed")]
    await cluster.informers.resync()
    cluster.lists["Deployment"] = [child("malformed", spec=None)]
    await cluster.informers.resync()
    assert cluster.children() == ["malformed"]


async def test_an_object_that_becomes_malformed_changes_nothing_until_it_is_deleted(cluster: FakeCluster) -> None:
    await cluster.informers.on_child("ADDED", child("malformed"))
    await cluster.informers.on_child("MODIFIED", child("malformed", spec=None))
    assert cluster.children() == ["malformed"]
    await cluster.informers.on_child("DELETED", child("malformed", spec=None))
    assert cluster.children() == []
    assert cluster.enqueued == [KEY] * 2


async def test_a_platform_that_is_missing_from_a_list_is_enqueued(cluster: FakeCluster) -> None:
    cluster.lists[PLATFORM.kind] = [platform()]
    await cluster.informers.resync()
    cluster.lists.clear()
    cluster.enqueued.clear()
    cluster.refused_kind = "Deployment"
    with pytest.raises(ApiError):
        await cluster.informers.resync()
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
    await cluster.informers.on_child("ADDED", autoscaler)
    await cluster.informers.on_child("MODIFIED", newer(autoscaler, status={"currentReplicas": 3}))
    assert cluster.enqueued == [KEY]
    changed = newer(autoscaler, spec={"minReplicas": 2})
    changed["metadata"]["resourceVersion"] = "7"
    await cluster.informers.on_child("MODIFIED", changed)
    assert cluster.enqueued == [KEY, KEY]
