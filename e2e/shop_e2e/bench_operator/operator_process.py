"""The operator as a process of the benchmark, and what its metrics say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from chassis_testing.ports import free_port
from prometheus_client.parser import text_string_to_metric_families

from platform_operator.tasks import first_of
from shop_e2e.bench.processes import processor_seconds, resident_bytes
from shop_e2e.bench_operator.control_plane import ControlPlane, run_process

T = TypeVar("T")
READS = ("GET", "WATCH")
WRITES = ("PATCH", "PUT", "POST", "DELETE")
QUIET = 5.0
"""Seconds."""
TIMEOUT = 600.0
"""Seconds until the operator leads or is in sync."""


@dataclass(frozen=True)
class Readings:
    """The metrics of the operator at one time. Requests are by verb and resource. Blocks are seconds."""

    passes: int
    queued: int
    leading: bool
    requests: Mapping[tuple[str, str], float]
    bytes: float
    block: float
    own_block: float
    """The longest block without the time in which no processor was free."""
    work: float
    """The most processor time in one callback of the event loop, in seconds."""
    resident: int
    processor: float
    """The processor time that the process and its runs of Helm have used, in seconds."""
    tasks: int
    """The unfinished tasks of its event loop."""

    @property
    def total(self) -> float:
        """All requests but the renewals of the Lease, of which there are as many for any number of shops."""
        return self.sent(*READS, *WRITES)

    @property
    def writes(self) -> int:
        return int(self.sent(*WRITES))

    def counts(self) -> str:
        """Returns the number of requests by verb and resource, the most frequent ones first."""
        ordered = sorted(self.requests.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{verb} {resource} {count:.0f}" for (verb, resource), count in ordered)

    def sent(self, *verbs: str) -> float:
        """The requests of these verbs."""
        return sum(count for (verb, _), count in self.requests.items() if verb in verbs)


@dataclass
class OperatorProcess:
    """The operator, with the counters of `traced_operator`. Resyncs come every `resync` seconds."""

    plane: ControlPlane
    folder: Path
    charts: Path
    version: str
    resync: int
    tenant_admin_role: str = ""
    """Empty: Tenants are left alone."""
    name: str = "operator"
    """The name of its log, for operators beside each other."""
    _port: int = field(init=False, default=0)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._port = free_port()
        environment = {
            "OPERATOR_VERSION": self.version, "CHARTS_PATH": str(self.charts), "POD_NAME": f"bench-{self._port}",
            "KUBECONFIG": str(self.plane.kubeconfig), "BENCH_API_SERVER": self.plane.url, "LOG_LEVEL": "WARNING",
            "HEALTH_PORT": str(free_port()), "METRICS_PORT": str(self._port), "RESYNC_SECONDS": str(self.resync),
            "TENANT_ADMIN_ROLE": self.tenant_admin_role,
        }  # fmt: skip
        command = [sys.executable, "-m", "shop_e2e.bench_operator.traced_operator"]
        with run_process(self.folder, self.name, command, environment) as self._process:
            yield

    @property
    def pid(self) -> int:
        """The id of the process that runs."""
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        """What all its processes have written."""
        return (self.folder / f"{self.name}.log").read_text()

    async def ended(self) -> int:
        """Waits for the end of the process, and returns its exit status."""
        assert self._process
        while (status := self._process.poll()) is None:  # noqa: ASYNC110  # a thread that waits cannot be cancelled
            await asyncio.sleep(0.2)
        return status

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns the result of some work for which the operator has to run. Raises RuntimeError if it ends before."""
        working = asyncio.create_task(work)
        await first_of(self._raise_when_ended(), working)
        return working.result()

    async def _raise_when_ended(self) -> None:
        await self.ended()
        raise RuntimeError(f"the operator has ended:\n{self.log[-4000:]}")

    async def until_leading(self) -> None:
        await self.until(lambda readings: readings.leading)

    async def until(self, holds: Callable[[Readings], bool]) -> Readings:
        """Waits until the metrics satisfy a condition. Raises TimeoutError, or RuntimeError if the operator ended."""
        return await self.during(self._until(holds))

    async def _until(self, holds: Callable[[Readings], bool]) -> Readings:
        async with asyncio.timeout(TIMEOUT):
            while True:
                try:
                    readings = await self.read()
                    if holds(readings):
                        return readings
                except aiohttp.ClientError:
                    pass  # it does not serve yet
                await asyncio.sleep(0.2)

    async def until_quiet(self) -> None:
        """Waits until nothing has been written for QUIET: the last events of what was changed have been looked at."""
        writes = -1
        while (now := (await self.read()).writes) != writes:
            writes = now
            await asyncio.sleep(QUIET)

    async def read(self) -> Readings:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self._port}/metrics") as answer:
            text = await answer.text()
        samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
        plain = {one.name: one.value for one in samples if not one.labels}
        assert self._process
        return Readings(
            passes=int(plain.get("ecommerce_operator_reconcile_duration_seconds_count", 0)),
            queued=int(plain.get("ecommerce_operator_queue_depth", 0)),
            leading=plain.get("ecommerce_operator_leading") == 1,
            requests={
                (one.labels["verb"], one.labels["resource"]): one.value
                for one in samples
                if one.name == "bench_api_requests_total"
            },
            bytes=plain.get("bench_api_bytes_total", 0),
            block=plain.get("bench_longest_block_seconds", 0),
            own_block=plain.get("bench_longest_own_block_seconds", 0),
            work=plain.get("bench_longest_work_seconds", 0),
            resident=resident_bytes([self._process.pid]),
            processor=processor_seconds([self._process.pid]),
            tasks=int(plain.get("bench_tasks", 0)),
        )
