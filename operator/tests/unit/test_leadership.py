"""Two operators: the other one acts when the leader dies, and a leader that was suspended never writes again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from http_api_server import Request
from kubernetes.aio.client.api_client import ApiClient
from operator_harness import Cluster
from test_reconciler import DEPLOYMENT
from virtual_time import VirtualLoop, run_in_virtual_time

from platform_operator.api.kinds import LEASE
from platform_operator.errors import LeadershipLostError
from platform_operator.leader_election import LEASE_DURATION, LEASE_NAME

TAKEN_OVER = 20.0
"""Seconds from the death of the leader to the first repair by the other operator."""


def test_when_the_leader_is_killed_the_other_operator_repairs_within_twenty_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with Cluster(tmp_path, monkeypatch).running() as cluster:
            cluster.apply()
            await cluster.until(cluster.is_ready, 60)
            cluster.start(cluster.new_process("other"))
            await asyncio.sleep(30)
            assert {process for process, _ in cluster.server.effects} == {"operator"}
            await cluster.kill(cluster.process)
            cluster.server.touch(cluster.server.objects.pop(DEPLOYMENT))
            await cluster.until(lambda: DEPLOYMENT in cluster.server.objects, TAKEN_OVER)

    run_in_virtual_time(scenario())


@pytest.mark.parametrize("number", [1, 2, 3, 5, 10, 20, 30, 33])
def test_a_leader_that_was_suspended_in_the_middle_of_a_pass_never_writes_again(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock jumps past the Lease at one of its writes, as SIGSTOP and SIGCONT make it, and another one leads."""
    cluster = Cluster(tmp_path, monkeypatch)
    sent: list[str] = []
    writes: list[Request] = []
    suspended = asyncio.Event()
    call_api = ApiClient.call_api

    async def record(self: ApiClient, method: str, url: str, *arguments: Any, **named: Any) -> Any:
        if method == "GET" or LEASE.plural in url:
            return await call_api(self, method, url, *arguments, **named)
        lost = suspended.is_set()
        answer = await call_api(self, method, url, *arguments, **named)
        if lost:
            sent.append(f"{method} {url}")
        return answer

    def suspend(request: Request) -> None:
        if LEASE.plural in request.path:
            return
        writes.append(request)
        if len(writes) == number:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.now += LEASE_DURATION + 1
            lease = cluster.server.objects[LEASE.kind, LEASE_NAME]
            lease["spec"]["holderIdentity"] = "other"
            cluster.server.touch(lease)
            suspended.set()

    async def scenario() -> None:
        async with cluster.running():
            cluster.server.before_write = suspend
            cluster.apply()
            await cluster.until(lambda: bool(cluster.process.exits), 60)
            assert sent == []

    monkeypatch.setattr(ApiClient, "call_api", record)
    run_in_virtual_time(scenario())
    assert [type(error) for error in cluster.process.exits] == [LeadershipLostError]
