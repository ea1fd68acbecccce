"""Reflectors: what they do when a watch ends, breaks or lost its place; and watches over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from platform_operator import client as client_module
from platform_operator.api.kinds import CHILD_KINDS, Kind, Manifest, ObjectId, PlatformKey
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.reflector import ABSENT_DELAY, FIRST_DELAY, LONGEST_DELAY, Listed, Reflector

KEY = PlatformKey("shop", "shop")
GONE, BROKEN = ApiError(410, "Expired", "too old"), ApiError(0, "Unreachable", "reset")
Event = tuple[str, Manifest]


def child(name: str, version: int) -> Manifest:
    return {"kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": str(version)}}


class Names:
    """A store that keeps the names of objects."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def store_listed(self, kind: Kind, page: Iterable[Manifest]) -> Listed:
        names = {manifest["metadata"]["name"] for manifest in page}
        self.names |= names
        return {(KEY, ObjectId(kind.kind, name)) for name in names}

    def remove_unlisted(self, kind: Kind, namespace: str | None, listed: Listed, version: int) -> None:
        self.names = {identity.name for _, identity in listed}

    def change(self, kind: Kind, type_: str, manifest: Manifest) -> None:
        change = self.names.discard if type_ == "DELETED" else self.names.add
        change(manifest["metadata"]["name"])


class FakeServer:
    """An API server that answers with a script: lists are lists of names or errors, watches events and then an error
    or an end."""

    def __init__(self, lists: list[list[str] | ApiError], watches: list[list[Event | ApiError]]) -> None:
        self.lists, self.watches, self.requests, self.pauses = lists, watches, list[str](), list[float]()
        self.version = 100
        self.store = Names()

    async def pages(self, *_: object) -> AsyncIterator[tuple[list[Manifest], int]]:
        self.requests.append("list")
        answer = self.lists.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        for name in answer:
            yield [child(name, 1)], self.version
        if not answer:
            yield [], self.version

    async def watch(self, kind: Kind, namespace: str | None, selector: str, version: int) -> AsyncIterator[Event]:
        self.requests.append(f"watch {version}")
        if not self.watches:
            raise asyncio.CancelledError
        for event in self.watches.pop(0):
            if isinstance(event, ApiError):
                raise event
            yield event

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def run(self, kind: str = "ConfigMap") -> list[str]:
        """Returns the requests."""
        client: Any = self
        reflector = Reflector(client, self.store, CHILD_KINDS[kind], None, "", self.sleep)
        with pytest.raises(asyncio.CancelledError):
            await reflector.run()
        return self.requests


async def test_a_deletion_while_the_watch_had_lost_its_place_is_noticed_by_the_next_list() -> None:
    server = FakeServer([["a", "b"], ["b"]], [[("ADDED", child("c", 101)), GONE]])
    assert await server.run() == ["list", "watch 100", "list", "watch 100"]
    assert server.store.names == {"b"}
    assert server.pauses == [FIRST_DELAY]


async def test_a_watch_that_broke_goes_on_where_it_was() -> None:
    watches: list[list[Event | ApiError]] = [
        [("MODIFIED", child("a", 107)), BROKEN],
        [("DELETED", child("a", 108)), ("BOOKMARK", child("", 120))],
    ]
    server = FakeServer([["a", "b"]], watches)
    assert await server.run() == ["list", "watch 100", "watch 107", "watch 120"]
    assert server.store.names == {"b"}


async def test_an_add_on_that_is_installed_later_is_watched_from_then_on() -> None:
    absent = ApiError(404, "NotFound", "the server could not find the requested resource")
    server = FakeServer([absent, absent, ["route"]], [])
    assert await server.run("HTTPRoute") == ["list", "list", "list", "watch 100"]
    assert server.pauses == [ABSENT_DELAY, ABSENT_DELAY]
    assert server.store.names == {"route"}


async def test_failures_are_retried_with_growing_delays() -> None:
    down: list[list[str] | ApiError] = [ApiError(503, "", "down")] * 6
    server = FakeServer([*down, ["a"]], [[("ADDED", child("b", 101)), BROKEN]])
    await server.run()
    assert server.pauses == [1, 2, 4, 8, LONGEST_DELAY, LONGEST_DELAY, FIRST_DELAY]


# Over HTTP.


@pytest.fixture
async def client() -> AsyncIterator[KubernetesClient]:
    """A client of a server that lists two ConfigMaps and whose watches depend on the version."""

    async def config_maps(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await watch(request)
        begin, size = int(request.query.get("continue", 0)), int(request.query["limit"])
        items = [child("first", 1), child("second", 1)]
        end = begin + size
        metadata = {"resourceVersion": "7", "continue": str(end) if end < len(items) else ""}
        return web.json_response({"metadata": metadata, "items": items[begin:end]})

    async def watch(request: web.Request) -> web.StreamResponse:
        version = request.query["resourceVersion"]
        if version == "1":
            return web.json_response({"message": "too old", "reason": "Expired"}, status=410)
        response = web.StreamResponse()
        await response.prepare(request)
        events: dict[str, list[Manifest]] = {
            "2": [{"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}],
            "3": [{"type": "ADDED", "object": child("x" * 300_000, n)} for n in (4, 5)],
        }
        for event in events.get(version, []):
            await response.write(json.dumps(event).encode() + b"\n")
        if version == "stalls":
            await asyncio.Event().wait()
        return response

    async def network_policies(request: web.Request) -> web.StreamResponse:
        """Serves nothing but metadata."""
        media = "application/json;as=PartialObjectMetadata"
        assert request.headers["Accept"] == media + ("" if "watch" in request.query else "List") + ";g=meta.k8s.io;v=v1"
        item = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}}
        if "watch" in request.query:
            return web.Response(text=json.dumps({"type": "ADDED", "object": item}) + "\n")
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": [item]})

    app = web.Application()
    policies = web.get("/apis/networking.k8s.io/v1/networkpolicies", network_policies)
    app.add_routes([web.get("/api/v1/configmaps", config_maps), policies])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ApiClient(Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")) as connection:
        yield KubernetesClient(connection)
    await runner.cleanup()


async def events(client: KubernetesClient, version: Any) -> list[tuple[str, int]]:
    found = client.watch(CHILD_KINDS["ConfigMap"], None, "", version)
    return [(type_, int(manifest["metadata"]["resourceVersion"])) async for type_, manifest in found]


@pytest.mark.parametrize(("size", "names"), [(1, [["first"], ["second"]]), (2, [["first", "second"]])])
async def test_pages_of_a_size_are_read_until_there_are_no_more(
    client: KubernetesClient, size: int, names: Sequence[Sequence[str]]
) -> None:
    pages = [page async for page in client.pages(CHILD_KINDS["ConfigMap"], None, size=size)]
    assert [([one["metadata"]["name"] for one in objects], version) for objects, version in pages] == [
        (page, 7) for page in names
    ]


async def test_metadata_alone_is_read_where_it_is_enough_and_has_the_kind_of_its_object(
    client: KubernetesClient,
) -> None:
    kind = CHILD_KINDS["NetworkPolicy"]
    whole = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {"name": "a"}}
    assert [page async for page in client.pages(kind, None, "")] == [([whole], 7)]
    assert [event async for event in client.watch(kind, None, "", 7)] == [("ADDED", whole)]


async def test_events_of_any_length_are_read(client: KubernetesClient) -> None:
    assert await events(client, 3) == [("ADDED", 4), ("ADDED", 5)]


@pytest.mark.parametrize("version", [1, 2], ids=["refused", "in the stream"])
async def test_a_version_that_is_too_old_is_an_error(client: KubernetesClient, version: int) -> None:
    with pytest.raises(ApiError, match="too old") as raised:
        await events(client, version)
    assert raised.value.status == 410


async def test_a_watch_that_stalls_beyond_its_time_is_broken(
    client: KubernetesClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "WATCH_SECONDS", 0)
    client.write_timeout = 0.3
    with pytest.raises(ApiError, match="broke") as raised:
        await events(client, "stalls")
    assert raised.value.status == 0
