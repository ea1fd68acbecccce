"""What the watches and lists make of the cache, and whom they wake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from platform_operator.api.kinds import OURS, PLATFORM, Key, Kind, Manifest
from platform_operator.cache.observed import Cache
from platform_operator.errors import ApiError
from platform_operator.informers import Watcher

KEY = Key("shop", "shop")


class World:
    """An API server that lists what it is given, and a watcher of it."""

    def __init__(self) -> None:
        self.lists: dict[str, Sequence[Manifest]] = {}
        self.no_list_of = ""
        self.woken: list[Key] = []
        server: Any = self
        self.watcher = Watcher(server, Cache(), self.woken.append, (), "test")

    async def list(self, kind: Kind, namespace: str | None, selector: str = "") -> tuple[Sequence[Manifest], int]:
        if kind.kind == self.no_list_of:
            raise ApiError(0, "Unreachable", "down")
        return self.lists.get(kind.kind, []), 100

    def children(self) -> Sequence[str]:
        return sorted(identity.name for identity in self.watcher.cache.children(KEY))


def child(name: str, **more: Any) -> Manifest:
    labels = OURS | {"app.kubernetes.io/instance": "shop"}
    metadata = {"name": name, "namespace": "shop", "uid": "u", "resourceVersion": "5", "generation": 1}
    return {"kind": "Deployment", "metadata": metadata | {"labels": labels}, "spec": {}, **more}


def platform() -> Manifest:
    return child("shop") | {"kind": PLATFORM.kind}


@pytest.fixture
def world() -> World:
    return World()


async def test_an_odd_object_does_not_keep_the_others_from_being_listed(world: World) -> None:
    world.lists["Deployment"] = [child("a"), child("odd", spec=None), child("z")]
    await world.watcher.resync()
    assert world.children() == ["a", "z"]


async def test_an_object_that_has_become_odd_is_still_there(world: World) -> None:
    world.lists["Deployment"] = [child("odd")]
    await world.watcher.resync()
    world.lists["Deployment"] = [child("odd", spec=None)]
    await world.watcher.resync()
    assert world.children() == ["odd"]


async def test_an_odd_object_that_is_watched_wakes_its_platform_and_goes_like_any_other(world: World) -> None:
    await world.watcher.on_child("ADDED", child("odd"))
    await world.watcher.on_child("MODIFIED", child("odd", spec=None))
    assert world.children() == ["odd"]
    await world.watcher.on_child("DELETED", child("odd", spec=None))
    assert world.children() == []
    assert world.woken == [KEY] * 3


async def test_a_platform_that_only_a_list_shows_to_be_gone_is_woken(world: World) -> None:
    world.lists[PLATFORM.kind] = [platform()]
    await world.watcher.resync()
    world.lists.clear()
    world.woken.clear()
    world.no_list_of = "Deployment"
    with pytest.raises(ApiError):
        await world.watcher.resync()
    assert world.woken == [KEY]
