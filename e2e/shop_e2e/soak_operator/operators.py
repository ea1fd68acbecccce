"""Two operators that compete for one Lease. Each is started again when it ends, as the kubelet does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from platform_operator.leader_election import LEASE_DURATION
from shop_e2e.bench_operator.operator_process import OperatorProcess, Readings
from shop_e2e.soak_operator.report import Sample

SAMPLE_INTERVAL = 5.0
"""Seconds between two samples of what the leader uses."""
TAKEOVER_TIMEOUT = 120.0
"""Seconds within which one of the operators leads. The machine may have other work: the figure is reported."""
PAST_LEASE = LEASE_DURATION + 10
"""Seconds for which a suspended leader is stopped: the other operator leads by then."""
_READ_TIMEOUT = 10.0


@dataclass
class Replica:
    """One of the operators."""

    operator: OperatorProcess
    starts: int = 0
    suspended: bool = False
    ends: bool = False
    """True while its end is what the soak asked for."""
    lost_leases: int = 0
    """The times that it ended because it could not renew its Lease in time, as on a machine with too much other work.
    """
    unexpected: list[str] = field(default_factory=list)
    """The last line of the log at each other end that the soak did not ask for."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def life(self) -> str:
        """Names the process that runs now."""
        return f"{self.operator.name}/{self.starts}"

    async def run(self) -> None:
        """Runs the operator again and again, until it is cancelled."""
        while True:
            self.starts += 1
            with self.operator.running():
                status = await self.operator.ended()
            if not self.ends:
                self._record_end(status)
            self.ends = self.suspended = False
            self.ended.set()
            await asyncio.sleep(1)

    def _record_end(self, status: int) -> None:
        *_, last = self.operator.log.splitlines() or [""]
        if "the Lease" in last:
            self.lost_leases += 1
        else:
            self.unexpected.append(f"{self.life} has ended with {status}: {last:.500}")

    async def read(self) -> Readings | None:
        """Returns its metrics, or None while it does not serve."""
        if self.suspended:
            return None
        try:
            async with asyncio.timeout(_READ_TIMEOUT):
                return await self.operator.read()
        except (aiohttp.ClientError, TimeoutError, AssertionError):
            return None


@dataclass
class Operators:
    """The operators, and what each leader used over time."""

    replicas: Sequence[Replica]
    samples: list[Sample] = field(default_factory=list)
    slowest_takeover: float = 0.0
    """Seconds until an operator led after the leader was gone."""

    @classmethod
    def beside_each_other(cls, processes: Sequence[OperatorProcess]) -> Operators:
        return cls([Replica(one) for one in processes])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(one.run()) for one in self.replicas]
        tasks.append(asyncio.create_task(self._sample()))
        try:
            yield
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def leader(self) -> tuple[Replica, Readings]:
        """Waits for an operator that leads. Raises TimeoutError."""
        async with asyncio.timeout(TAKEOVER_TIMEOUT):
            while True:
                for replica in self.replicas:
                    readings = await replica.read()
                    if readings is not None and readings.leading:
                        return replica, readings
                await asyncio.sleep(0.5)

    async def kill_leader(self) -> str:
        """Kills the leader with SIGKILL and waits until an operator leads. Returns what was done."""
        leader, _ = await self.leader()
        began, life = time.monotonic(), leader.life
        leader.ends = True
        os.kill(leader.operator.pid, signal.SIGKILL)
        await leader.ended.wait()
        leader.ended.clear()
        return f"killed the leader {life}; {await self._taken_over(began)}"

    async def suspend_leader(self) -> str:
        """Suspends the leader until its Lease is another's, and waits until it has ended by itself.

        Raises TimeoutError if it lives on.
        """
        leader, _ = await self.leader()
        began, life = time.monotonic(), leader.life
        leader.ends = leader.suspended = True
        os.kill(leader.operator.pid, signal.SIGSTOP)
        try:
            taken_over = await self._taken_over(began)
            await asyncio.sleep(max(0.0, began + PAST_LEASE - time.monotonic()))
        finally:
            os.kill(leader.operator.pid, signal.SIGCONT)
        async with asyncio.timeout(TAKEOVER_TIMEOUT):
            await leader.ended.wait()
        leader.ended.clear()
        return f"suspended the leader {life}, which ended; {taken_over}"

    async def _taken_over(self, since: float) -> str:
        await self.leader()
        took = time.monotonic() - since
        self.slowest_takeover = max(self.slowest_takeover, took)
        return f"an operator led after {took:.0f} s"

    async def writes(self) -> tuple[str, int]:
        """Returns which process leads, and the writes that it has sent."""
        replica, readings = await self.leader()
        return replica.life, readings.writes

    async def sample(self) -> Sample:
        """Returns what the leader uses now."""
        replica, readings = await self.leader()
        return sample_of(replica, readings)

    async def _sample(self) -> None:
        while True:
            for replica in self.replicas:
                readings = await replica.read()
                if readings is not None and readings.leading:
                    with contextlib.suppress(OSError):
                        self.samples.append(sample_of(replica, readings))
            await asyncio.sleep(SAMPLE_INTERVAL)


def sample_of(replica: Replica, readings: Readings) -> Sample:
    """Raises OSError if the process has ended since its metrics were read."""
    process = Path("/proc") / str(replica.operator.pid)
    threads = sum(1 for _ in (process / "task").iterdir())
    return Sample(
        replica.life, time.monotonic(), readings.resident, threads, _connections(process / "fd"), readings.tasks
    )


def _connections(descriptors: Path) -> int:
    count = 0
    for one in descriptors.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed since
            count += os.readlink(one).startswith("socket:")
    return count
