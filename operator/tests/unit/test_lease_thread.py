"""The thread that holds the Lease: it renews while the event loop is blocked, and ends a process that hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from platform_operator import leader_election, lease_thread
from platform_operator.api.kinds import Kind, Manifest
from platform_operator.errors import ApiError, LeadershipLostError
from platform_operator.leader_election import LeaderElector, LeaseClient
from platform_operator.lease_thread import MAX_MISSED_HEARTBEATS, LeaseThread

TIMEOUT = 30.0
"""Seconds after which a test fails that waits for the thread."""


class FakeApiServer:
    """An API server with one Lease. It signals each renewal, and remembers which threads spoke to it."""

    def __init__(self) -> None:
        self.renewals = threading.Semaphore(0)
        self.threads: set[int] = set()
        self.is_connected = self.is_taken = False
        self.holder = ""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[LeaseClient]:
        self.is_connected = True
        yield self
        self.is_connected = False

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return self._answer({"spec": {"holderIdentity": "another"}}) if self.is_taken else None

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        return self._answer(manifest)

    async def replace(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        if self.is_taken:
            raise ApiError(409, "Conflict", "changed")
        self.renewals.release()
        return self._answer(manifest)

    def _answer(self, stored: Manifest) -> Manifest:
        self.threads.add(threading.get_ident())
        self.holder = stored["spec"]["holderIdentity"]
        return stored


class Ended:
    """Takes the place of `os._exit`."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self._event = threading.Event()

    def __call__(self, code: int) -> None:
        self.codes.append(code)
        self._event.set()

    def block_until_called(self) -> bool:
        """Blocks the event loop."""
        return self._event.wait(TIMEOUT)


@pytest.fixture
def server() -> FakeApiServer:
    return FakeApiServer()


@pytest.fixture
def ended() -> Ended:
    return Ended()


@pytest.fixture
async def lease(server: FakeApiServer, ended: Ended, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LeaseThread]:
    monkeypatch.setattr(leader_election, "RENEW_INTERVAL", 0.001)
    monkeypatch.setattr(lease_thread, "WRITE_TIMEOUT", 0.001)
    async with LeaseThread(server.connect, elector, ended) as thread:
        yield thread


def elector(client: LeaseClient) -> LeaderElector:
    return LeaderElector(client, "system", "a", time.monotonic)


@asynccontextmanager
async def leading(lease: LeaseThread) -> AsyncIterator[asyncio.Task[None]]:
    await lease.acquire()
    renewing = asyncio.create_task(lease.keep_renewing())
    await asyncio.sleep(0)
    yield renewing
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)


async def test_renewals_go_on_while_the_event_loop_is_blocked(lease: LeaseThread, server: FakeApiServer) -> None:
    async with leading(lease):
        for _ in range(5):
            assert server.renewals.acquire(timeout=TIMEOUT), "the blocked loop starves the renewals"
        lease.require_leadership()


async def test_the_lease_has_a_connection_of_its_own_and_is_released_at_the_end(server: FakeApiServer) -> None:
    async with LeaseThread(server.connect, elector) as lease, leading(lease):
        assert (server.is_connected, server.holder) == (True, "a")
    assert (server.is_connected, server.holder) == (False, "")
    assert threading.get_ident() not in server.threads


async def test_a_process_whose_event_loop_hangs_is_ended(server: FakeApiServer, ended: Ended) -> None:
    async with LeaseThread(server.connect, elector, ended, heartbeat_interval=0.001) as lease, leading(lease):
        assert ended.block_until_called(), "it keeps the Lease and does nothing"
        assert ended.codes == [1]


async def test_a_process_whose_event_loop_runs_slowly_is_not_ended(
    lease: LeaseThread, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0

    async def sleep(_: float) -> None:
        nonlocal checks
        checks += 1
        if checks % (MAX_MISSED_HEARTBEATS - 1) == 0 and checks < 10 * MAX_MISSED_HEARTBEATS:
            lease._heartbeats += 1
        assert not ended.codes

    monkeypatch.setattr("asyncio.sleep", sleep)
    await lease._end_if_hung()
    assert (ended.codes, checks > 10 * MAX_MISSED_HEARTBEATS) == ([1], True)


async def test_a_lost_lease_ends_the_work(lease: LeaseThread, server: FakeApiServer, ended: Ended) -> None:
    async with leading(lease) as renewing:
        server.is_taken = True
        with pytest.raises(LeadershipLostError, match="another process wrote the Lease"):
            await asyncio.wait_for(renewing, TIMEOUT)
        ended.codes.clear()  # a slow machine may have been taken for one that hangs
        lease._end_unless_stopping(LeadershipLostError(""))
        assert ended.codes == []


async def test_a_process_that_hangs_is_ended_when_the_lease_is_lost(
    lease: LeaseThread, server: FakeApiServer, ended: Ended
) -> None:
    async with leading(lease):
        server.is_taken = True
        assert ended.block_until_called(), "it would go on writing when it wakes up"
