"""The whole operator, Kopf and its HTTP client included, in virtual time, with an API server that can fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from http_api_server import HttpApiServer
from test_reconciler import NOW, SALT, FakeHelm, Manifest

from platform_operator import app
from platform_operator.api.kinds import EVENT, LEASE, PLATFORM
from platform_operator.errors import OperatorError
from platform_operator.leader_election import LeaderElector, LeaseClient
from platform_operator.settings import Settings

RESTART_PAUSES = (0.5, 10.0, 20.0, 40.0, 80.0, 160.0)
"""Seconds after which the kubelet starts a container again."""
STARTUP = 3.0
"""Seconds that pods and Jobs take to become ready."""


@dataclass
class Process:
    """An operator's pod: its process is started again when it ends."""

    identity: str
    settings: Settings
    exits: list[OperatorError] = field(default_factory=list)

    async def run(self) -> None:
        for pause in RESTART_PAUSES:
            try:
                await app.run(self.settings)
            except OperatorError as error:
                self.exits.append(error)
            await asyncio.sleep(pause)
        raise AssertionError(f"{self.identity} has ended too often: {self.exits}")


class LeaseInLoop:
    """A LeaseThread without its thread, which virtual time would not wait for."""

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[LeaseClient]],
        elector: Callable[[LeaseClient], LeaderElector],
    ) -> None:
        self._connection, self._make_elector = connect(), elector

    async def __aenter__(self) -> LeaderElector:
        self._elector = self._make_elector(await self._connection.__aenter__())
        return self._elector

    async def __aexit__(self, *error: Any) -> None:
        await self._elector.release()
        await self._connection.__aexit__(*error)


class Cluster:
    """An API server, the controllers of workloads, and an operator."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.helm, self.tmp_path, self.monkeypatch = HttpApiServer(), FakeHelm(), tmp_path, monkeypatch
        self.process = self.new_process("operator")

    def new_process(self, identity: str) -> Process:
        return Process(identity, Settings("1", identity=identity, charts=write_charts(self.tmp_path)))

    @property
    def time(self) -> float:
        """Seconds since the start."""
        return asyncio.get_running_loop().time()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Cluster]:
        loop = asyncio.get_running_loop()

        def now(zone: object = None) -> datetime:
            return NOW + timedelta(seconds=loop.time())

        clock = SimpleNamespace(monotonic=loop.time, time=lambda: now().timestamp())
        key = SimpleNamespace(token_bytes=lambda count: b"k" * count)
        self.monkeypatch.setattr("platform_operator.secrets.master_key_store.secrets", key)
        self.monkeypatch.setattr(app, "new_salt", lambda: SALT)
        self.monkeypatch.setattr(app, "time", clock)
        self.monkeypatch.setattr(app, "datetime", SimpleNamespace(now=now))
        self.monkeypatch.setattr(app, "Helm", lambda executable: self.helm)
        self.monkeypatch.setattr(app, "serve", _serve_nothing)
        self.monkeypatch.setattr(app, "LeaseThread", LeaseInLoop)
        self.monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        async with self.server.serving() as address:
            self._address = address
            self._tasks = {"controllers": asyncio.create_task(self._run_controllers())}
            self.start(self.process)
            try:
                yield self
            finally:
                for task in self._tasks.values():
                    assert not task.done() or not task.exception(), task.exception()
                    task.cancel()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def start(self, process: Process) -> None:
        """Starts an operator. It reads its credentials, which are its name, in its first second."""
        path = write_kubeconfig(self.tmp_path / process.identity, self._address, process.identity)
        self.monkeypatch.setenv("KUBECONFIG", str(path))
        self._tasks[process.identity] = asyncio.create_task(process.run())

    async def kill(self, process: Process) -> None:
        """Ends an operator at once: nothing that it still sends has an effect."""
        self.server.dead.add(process.identity)
        task = self._tasks.pop(process.identity)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _run_controllers(self) -> None:
        """Makes workloads ready some time after they were changed."""
        while True:
            await asyncio.sleep(STARTUP)
            for (kind, _), stored in list(self.server.objects.items()):
                if kind in ("Deployment", "StatefulSet", "Job") and _is_new(stored):
                    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
                    generation = {"observedGeneration": stored["metadata"]["generation"]}
                    conditions = [{"type": "Complete", "status": "True"}] if kind == "Job" else []
                    stored["status"] = generation | counts | {"conditions": conditions}
                    self.server.touch(stored)

    # Users.

    def apply(self, name: str = "shop", /, annotations: Manifest | None = None, **spec: Any) -> None:
        """Creates a platform or changes its spec."""
        metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "generation": 0}
        created = {"apiVersion": PLATFORM.api_version, "kind": PLATFORM.kind, "metadata": metadata}
        stored = self.server.objects.setdefault((PLATFORM.kind, name), created)
        stored["spec"] = {"upgrade": {"observeSeconds": 0}} | spec
        stored["metadata"]["generation"] += 1
        stored["metadata"]["annotations"] = annotations or {}
        self.server.touch(stored)

    def is_ready(self, name: str = "shop") -> bool:
        """Returns whether a platform's status says that all is as its newest spec asks."""
        stored = self.server.objects[PLATFORM.kind, name]
        ready = [one["status"] for one in stored.get("status", {}).get("conditions", ()) if one["type"] == "Ready"]
        return ready == ["True"] and self.is_noticed(name)

    def is_noticed(self, name: str = "shop") -> bool:
        """Returns whether a platform's status is of its newest spec."""
        stored = self.server.objects[PLATFORM.kind, name]
        return bool(stored.get("status", {}).get("observedGeneration") == stored["metadata"]["generation"])

    async def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Waits until a condition holds. Returns the seconds that it took; fails after `seconds`."""
        began = self.time
        while not condition():
            assert self.time - began <= seconds, f"not within {seconds:.0f} s: {self.conditions()}"
            await asyncio.sleep(0.5)
        return self.time - began

    def conditions(self) -> list[str]:
        shops = [stored for (kind, _), stored in self.server.objects.items() if kind == PLATFORM.kind]
        rows = [row for shop in shops for row in shop.get("status", {}).get("conditions", ())]
        return [f"{row['type']}={row['status']} {row['reason']}: {row['message']}" for row in rows]

    def objects(self) -> dict[tuple[str, str], Manifest]:
        """Returns all objects without what differs between any two runs: ids, versions and times."""
        kept = {one: stored for one, stored in self.server.objects.items() if one[0] not in (LEASE.kind, EVENT.kind)}
        return {one: comparable(stored) for one, stored in kept.items()}


def comparable(stored: Manifest) -> Manifest:
    """Returns an object without ids, versions and times."""
    cut: Manifest = json.loads(json.dumps(stored), object_hook=_without_generated)
    return cut


_GENERATED = {"uid", "resourceVersion", "lastTransitionTime", "creationTimestamp"}


def _without_generated(fields: Manifest) -> Manifest:
    return {name: value for name, value in fields.items() if name not in _GENERATED}


def _is_new(stored: Manifest) -> bool:
    status = stored.get("status", {})
    return "status" not in stored or status.get("observedGeneration") != stored["metadata"]["generation"]


def write_charts(folder: Path) -> Path:
    """Writes what the operator reads of its charts itself. Returns the folder."""
    for store in ("postgres", "redis", "rabbitmq"):
        values = folder / "platform" / "charts" / store / "values.yaml"
        values.parent.mkdir(parents=True, exist_ok=True)
        values.write_text(f"image: {store}:1\n")
    return folder


def write_kubeconfig(path: Path, address: str, token: str) -> Path:
    """Writes the access to an API server for the process that shows the token. Returns the path."""
    named = {"name": "test"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [named | {"cluster": {"server": address}}],
        "users": [named | {"user": {"token": token}}],
        "contexts": [named | {"context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(json.dumps(content))
    return path


async def _serve_nothing(*_: object) -> Any:
    async def cleanup() -> None:
        pass

    return SimpleNamespace(cleanup=cleanup)
