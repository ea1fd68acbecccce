"""A leader's process that is really stopped (SIGSTOP) past its Lease: after SIGCONT it writes nothing, and ends.

It is stopped while its writes wait for answers. If it were stopped between its last look at the Lease and the system
call that sends a write, it would send that write when it goes on: see docs/adr/0003-leader-election.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from chassis_testing.ports import free_port
from http_api_server import Chaos, Fault, HttpApiServer, Request
from operator_harness import Cluster, write_kubeconfig
from test_reconciler import FakeHelm, Manifest

from platform_operator.api.kinds import LEASE, PlatformKey
from platform_operator.leader_election import LEASE_NAME
from platform_operator.reconciler import MAX_CONCURRENT_APPLIES

DEADLINE = 300.0
"""Seconds after which the test fails. It takes 20 on a machine that does nothing else: a Lease has to expire."""


async def test_a_leader_that_was_stopped_past_its_lease_never_writes_again_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(tmp_path, monkeypatch)
    server = cluster.server
    helm = _write_helm(tmp_path / "helm", await _manifests())
    processes: dict[str, asyncio.subprocess.Process] = {}
    waits = asyncio.get_running_loop().create_future()

    def may_wait(request: Request) -> bool:
        """Returns whether a write gets no answer: the first Secrets of the shop, as many as are applied at once."""
        if "/namespaces/shop/secrets/" not in request.path or request.verb == "GET" or waits.done():
            return False
        if server.chaos and server.chaos.injected[Fault.STALL] == MAX_CONCURRENT_APPLIES - 1:
            waits.set_result(request.process)
        return True

    async with asyncio.timeout(DEADLINE), AsyncExitStack() as stack:
        address = await stack.enter_async_context(server.serving())
        for name in ("one", "two"):
            kubeconfig = write_kubeconfig(tmp_path / name, address, name)
            processes[name] = await stack.enter_async_context(_operator(name, kubeconfig, helm, tmp_path))
        await server.until(lambda: bool(_holder(server)))
        server.chaos = Chaos([Fault.STALL], hits=may_wait)
        cluster.apply()
        first = await waits
        processes[first].send_signal(signal.SIGSTOP)
        (second,) = processes.keys() - {first}
        await server.until(lambda: bool(_writes(server, second)))
        assert _holder(server) == second

        before = _writes(server, first)
        assert len(before) >= MAX_CONCURRENT_APPLIES
        processes[first].send_signal(signal.SIGCONT)
        code = await processes[first].wait()
        assert (_writes(server, first), code) == (before, 1)
        assert _holder(server) == second


def _writes(server: HttpApiServer, process: str) -> list[Request]:
    """Returns the writes that arrived from a process, without those of the Lease: its version guards them."""
    sent = (request for request in server.requests if request.verb != "GET" and LEASE.plural not in request.path)
    return [request for request in sent if request.process == process]


def _holder(server: HttpApiServer) -> str:
    """Returns the process that holds the Lease; empty if none does."""
    lease = server.objects.get((LEASE.kind, LEASE_NAME))
    return str(lease["spec"]["holderIdentity"]) if lease else ""


async def _manifests() -> list[Manifest]:
    """Returns the objects of a shop."""
    return await FakeHelm().template(Path(), PlatformKey("shop", "shop"), {"global": {"image": {"tag": "1"}}})


def _write_helm(path: Path, manifests: list[Manifest]) -> Path:
    """Writes a Helm that prints these objects."""
    printed = path.with_suffix(".yaml")
    printed.write_text("\n---\n".join(map(json.dumps, manifests)))
    path.write_text(f"#!/bin/sh\ncat >/dev/null\nexec cat {printed}\n")
    path.chmod(0o755)
    return path


@asynccontextmanager
async def _operator(name: str, kubeconfig: Path, helm: Path, charts: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs an operator in a process of its own. Kills it at the end, stopped or not."""
    settings = {
        "OPERATOR_VERSION": "1", "POD_NAME": name, "KUBECONFIG": str(kubeconfig), "HELM": str(helm),
        "CHARTS_PATH": str(charts), "HEALTH_PORT": str(free_port()), "METRICS_PORT": str(free_port()),
    }  # fmt: skip
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("KUBERNETES_SERVICE_")}
    with kubeconfig.with_suffix(".log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "platform_operator", "run", env=inherited | settings, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
