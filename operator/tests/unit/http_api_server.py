"""The fake API server of the reconciler's tests over HTTP, with lists, watches, Leases and injected faults."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import random
from bisect import bisect
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from aiohttp import web
from test_reconciler import FakeApiServer, Manifest

from platform_operator.api.backups import PLATFORM_BACKUP, PLATFORM_RESTORE
from platform_operator.api.kinds import CHILD_KINDS, CRD, EVENT, LEASE, PLATFORM, POD, VOLUME_CLAIM, Kind
from platform_operator.backups.objects import CRON_JOB
from platform_operator.errors import ApiError
from platform_operator.secrets.master_key_store import MASTER_KEY_NAME

KINDS = {
    (kind.group, kind.plural): kind
    for kind in (
        *CHILD_KINDS.values(),
        CRD,
        CRON_JOB,
        EVENT,
        LEASE,
        PLATFORM,
        PLATFORM_BACKUP,
        PLATFORM_RESTORE,
        POD,
        VOLUME_CLAIM,
    )
}


class Fault(Enum):
    """What happens to a request instead of an answer."""

    TOO_MANY_REQUESTS = 429
    CONFLICT = 409
    GONE = 410
    SERVER_ERROR = 500
    UNAVAILABLE = 503
    UNAUTHORIZED = 401
    FORBIDDEN = 403
    NOT_FOUND = 404
    RESET = "the connection breaks before the request takes effect"
    LOST_ANSWER = "the connection breaks after the request took effect"
    STALL = "the request is never answered"
    FOREIGN_ANSWER = "a proxy answers with a page of its own, as if all were well"

    def may_hit(self, request: Request) -> bool:
        """Returns whether an API server would do this to such a request."""
        if self is Fault.CONFLICT:
            return request.verb in ("POST", "PUT", "PATCH")
        return request.is_watch if self is Fault.GONE else True


@dataclass(frozen=True)
class Request:
    """A request as it arrived, in seconds of the loop."""

    at: float
    verb: str
    path: str
    is_watch: bool
    process: str
    """The token that the process showed."""


@dataclass
class Chaos:
    """Chooses the fault of each request, by a seed: a share of those that it hits gets one of the kinds."""

    kinds: Sequence[Fault]
    hits: Callable[[Request], bool] = lambda request: True
    share: float = 1.0
    seed: int = 0
    injected: Counter[Fault] = field(default_factory=Counter)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def choose(self, request: Request) -> Fault | None:
        kinds = [kind for kind in self.kinds if kind.may_hit(request)] if self.hits(request) else []
        if not kinds or self._random.random() >= self.share:
            return None
        fault = self._random.choice(kinds)
        self.injected[fault] += 1
        return fault


class HttpApiServer(FakeApiServer):
    """Serves the objects of a FakeApiServer. An apply that changes nothing has no new version, as in Kubernetes."""

    def __init__(self) -> None:
        super().__init__()
        self.master_key = None
        self.chaos: Chaos | None = None
        self.requests: list[Request] = []
        self.dead: set[str] = set()
        """Processes whose requests get no answer any more and have no effect."""
        self.effects: list[tuple[str, str]] = []
        """The process and the text of each write that took effect."""
        self.created: Counter[tuple[str, str]] = Counter()
        """How often each object was created."""
        self.before_write: Callable[[Request], None] = lambda request: None
        self._history: list[tuple[int, str, Kind, Manifest]] = []
        self._published: dict[tuple[str, str], tuple[str, str]] = {}
        """The content and the version of each object."""
        self._changed = asyncio.Event()
        self._watches: set[asyncio.Transport] = set()
        self._faults: list[Exception] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serves on a port of its own. Yields the address. Raises at the end what no answer was written for."""
        server = web.Server(self._handle, handler_cancellation=True)  # else a request goes on after its connection
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
        if self._faults:
            raise ExceptionGroup("requests that the fake API server cannot answer", self._faults)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until a condition holds after a change of an object. A leader's Lease changes every two seconds."""
        while not holds():
            await self._changed.wait()

    def break_watches(self) -> None:
        """Resets the connection of every watch."""
        for transport in self._watches:
            transport.abort()

    # The objects.

    def touch(self, stored: Manifest) -> Manifest:
        kind, name = stored.get("kind", PLATFORM.kind), stored["metadata"]["name"]
        exists = (kind, name) in self.objects
        content = json.dumps(stored | {"metadata": stored["metadata"] | {"resourceVersion": ""}}, sort_keys=True)
        known, version = self._published.get((kind, name), ("", ""))
        if exists and known == content:
            stored["metadata"]["resourceVersion"] = version
            return copy.deepcopy(stored)
        if exists and not known:
            self.created[kind, name] += 1
        answer = super().touch(stored)
        self._published[kind, name] = (content, str(self.version)) if exists else ("", "")
        self._history.append((self.version, "MODIFIED" if exists else "DELETED", _KIND_OF[kind], answer))
        self._changed.set()
        self._changed = asyncio.Event()
        return answer

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        name = manifest["metadata"]["name"]
        if name == MASTER_KEY_NAME and self.master_key is not None:
            raise ApiError(409, "AlreadyExists", "exists")
        if kind is EVENT and any(one["metadata"]["name"] == name for one in self.events):
            raise ApiError(409, "AlreadyExists", "exists")
        if kind is not LEASE:
            return await super().create(kind, namespace, manifest)
        if (kind.kind, name) in self.objects:
            raise ApiError(409, "AlreadyExists", "exists")
        created = {"uid": name, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
        stored = self.objects[kind.kind, name] = manifest | {"metadata": manifest["metadata"] | created}
        return self.touch(stored)

    async def replace(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        stored = self.objects[kind.kind, manifest["metadata"]["name"]]
        if stored["metadata"]["resourceVersion"] != manifest["metadata"].get("resourceVersion"):
            raise ApiError(409, "Conflict", "the object has been modified")
        stored.update(copy.deepcopy(manifest))
        return self.touch(stored)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        if kind is VOLUME_CLAIM:
            return await super().delete(kind, namespace, name, uid)
        stored = self.objects.get((kind.kind, name))
        if stored is None:
            raise ApiError(404, "NotFound", "not found")
        if stored["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "the uid is another")
        await super().delete(kind, namespace, name, uid)
        self.touch(stored)
        return True

    def _of(self, kind: Kind, namespace: str | None, query: Any) -> Iterator[Manifest]:
        selected = _selector(query.get("labelSelector", ""))
        fields = dict(one.split("=", 1) for one in query.get("fieldSelector", "").split(",") if one)
        for (name, _), stored in self.objects.items():
            metadata = stored["metadata"]
            is_named = fields.get("metadata.name", metadata["name"]) == metadata["name"]
            is_here = namespace in (None, metadata.get("namespace"))
            if name == kind.kind and is_named and is_here and selected(stored):
                yield stored

    # HTTP.

    async def _handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        process = raw.headers.get("Authorization", "").rpartition(" ")[2]
        request = Request(asyncio.get_running_loop().time(), raw.method, raw.path, "watch" in raw.query, process)
        if process in self.dead:
            return _reset(raw)
        self.requests.append(request)
        body = await raw.json() if raw.can_read_body else {}
        fault = self.chaos.choose(request) if self.chaos else None
        if fault is Fault.RESET:
            return _reset(raw)
        if fault is Fault.STALL:
            await asyncio.Event().wait()
        if fault is Fault.FOREIGN_ANSWER:
            return web.Response(text="<h1>Welcome</h1>")
        if fault is not None and isinstance(fault.value, int):
            return _refusal(ApiError(fault.value, fault.name, f"injected {fault.name}", 2.0))
        try:
            answer = await self._answer(raw, request, body)
        except ApiError as error:
            return _refusal(error)
        except Exception as error:
            self._faults.append(error)
            raise
        return _reset(raw) if fault is Fault.LOST_ANSWER else answer

    async def _answer(self, raw: web.BaseRequest, request: Request, body: Manifest) -> web.StreamResponse:
        if (discovered := _discovery(request.path)) is not None:
            return web.json_response(discovered)
        kind, namespace, name, subresource = _parse_path(request.path)
        if request.verb != "GET":
            self.before_write(request)
            self.effects.append((request.process, f"{request.verb} {kind.kind} {name or body['metadata']['name']}"))
            return web.json_response(
                await self._write(request.verb, kind, namespace or "", name, subresource, raw, body)
            )
        if name:
            stored = await self.get(kind, namespace or "", name)
            if stored is None:
                raise ApiError(404, "NotFound", f"{name} not found")
            return web.json_response(stored)
        if request.is_watch:
            return await self._watch(raw, kind, namespace)
        items = (
            self.pods if kind is POD else self.volumes if kind is VOLUME_CLAIM else self._of(kind, namespace, raw.query)
        )
        listed = [*map(_as_accepted(raw), items)]
        is_metadata = ";as=PartialObjectMetadata" in raw.headers["Accept"]
        content = None if is_metadata and not listed else listed  # null, as the API server writes it
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": content})

    async def _write(
        self, verb: str, kind: Kind, namespace: str, name: str, subresource: str, raw: web.BaseRequest, body: Manifest
    ) -> Manifest:
        if verb == "POST":
            return await self.create(kind, namespace, body)
        if verb == "PUT":
            return await self.replace(kind, namespace, body)
        if verb == "DELETE":
            await self.delete(kind, namespace, name, body["preconditions"]["uid"])
            return {"kind": "Status"}
        if "merge-patch" in raw.content_type:
            await self.overwrite(kind, namespace, name, body)
            return self.objects[kind.kind, name]
        if kind is PLATFORM and (kind.kind, name) not in self.objects:
            raise ApiError(404, "NotFound", f"{name} not found")
        return await self.apply(kind, namespace, body, subresource, raw.query["fieldManager"])

    async def _watch(self, raw: web.BaseRequest, kind: Kind, namespace: str | None) -> web.StreamResponse:
        """Streams the events after a version, for as long as the client asks or the connection holds."""
        response = web.StreamResponse()
        await response.prepare(raw)
        transport = raw.transport
        assert transport is not None
        self._watches.add(transport)
        accepted = _as_accepted(raw)
        version, selected = int(raw.query.get("resourceVersion", "0")), _selector(raw.query.get("labelSelector", ""))
        loop = asyncio.get_running_loop()
        end = loop.time() + float(raw.query.get("timeoutSeconds", "300"))
        try:
            while loop.time() < end:
                first, version, changed = (
                    bisect(self._history, version, key=lambda one: one[0]),
                    self.version,
                    self._changed,
                )
                for _, type_, of, manifest in self._history[first:]:
                    if of is kind and namespace in (None, manifest["metadata"].get("namespace")) and selected(manifest):
                        await response.write(json.dumps({"type": type_, "object": accepted(manifest)}).encode() + b"\n")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(end):
                        await changed.wait()
            bookmark = {
                "type": "BOOKMARK",
                "object": {"kind": kind.kind, "metadata": {"resourceVersion": str(version)}},
            }
            await response.write(json.dumps(bookmark).encode() + b"\n")
        except ConnectionError:
            pass
        finally:
            self._watches.discard(transport)
        return response


_KIND_OF = {kind.kind: kind for kind in KINDS.values()}


def _selector(text: str) -> Callable[[Manifest], bool]:
    """Returns what a label selector of equalities selects. Others select everything: nothing here has such labels."""
    wanted = dict(one.split("=", 1) for one in text.split(",") if "=" in one)
    return lambda manifest: wanted.items() <= (manifest["metadata"].get("labels") or {}).items()


def _as_accepted(request: web.BaseRequest) -> Callable[[Manifest], Manifest]:
    """Returns what a request accepts of an object: the whole, or its metadata alone."""
    if ";as=PartialObjectMetadata" not in request.headers["Accept"]:
        return lambda manifest: manifest
    return lambda manifest: {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": manifest["metadata"],
    }


def _parse_path(path: str) -> tuple[Kind, str | None, str, str]:
    """Returns the kind, the namespace, the name and the subresource of a path."""
    root, *parts = path.strip("/").split("/")
    group = parts.pop(0) if root == "apis" else ""
    parts.pop(0)  # the version
    namespace = parts[1] if parts[0] == "namespaces" else None
    plural, name, subresource, *_ = [*(parts[2:] if namespace else parts), "", ""]
    return KINDS[group, plural], namespace, name, subresource


def _discovery(path: str) -> Manifest | None:
    """Returns the answer to a request of Kopf's for the kinds that the API server has."""
    answers: dict[str, Manifest] = {
        "/api": {"versions": ["v1"]},
        "/api/v1": {"resources": [_resource("Namespace", "namespaces", namespaced=False)]},
        "/apis": {"groups": [_group(PLATFORM), _group(CRD)]},
        f"/apis/{PLATFORM.api_version}": {"resources": [_resource(PLATFORM.kind, PLATFORM.plural, namespaced=True)]},
        f"/apis/{CRD.api_version}": {"resources": [_resource(CRD.kind, CRD.plural, namespaced=False)]},
    }
    return answers.get(path)


def _group(kind: Kind) -> Manifest:
    versions = [{"groupVersion": kind.api_version, "version": kind.api_version.rpartition("/")[2]}]
    return {"name": kind.group, "versions": versions, "preferredVersion": versions[0]}


def _resource(kind: str, plural: str, *, namespaced: bool) -> Manifest:
    verbs = ["get", "list", "watch", "patch"]
    return {"name": plural, "singularName": kind.lower(), "namespaced": namespaced, "kind": kind, "verbs": verbs}


def _refusal(error: ApiError) -> web.Response:
    headers = {"Retry-After": f"{error.retry_after:.0f}"} if error.status == 429 else {}
    status = {"kind": "Status", "code": error.status, "reason": error.reason, "message": str(error)}
    return web.json_response(status, status=error.status, headers=headers)


def _reset(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
