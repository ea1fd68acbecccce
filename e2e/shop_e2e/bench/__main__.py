"""Measures this shop beside its peers: `python -m shop_e2e.bench`, or `make bench`.

One client sends the same work to one target after the other, in alternating rounds, on one machine and the same
PostgreSQL. Only one target runs at a time. Writes results.json, results.md and results.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from devtools.stack import StackError

from shop_e2e.api.mailbox import mailbox
from shop_e2e.bench.catalogue import BASE_PRODUCTS, base_catalogue
from shop_e2e.bench.measuring import Effort, Measurement
from shop_e2e.bench.profiles import Profiler, ProfilerError, no_profile
from shop_e2e.bench.report import Report
from shop_e2e.bench.samples import Life, Overload, Race, Sample
from shop_e2e.bench.servers import StoreServers, durable_servers, shared_servers
from shop_e2e.bench.targets.floor import Floor
from shop_e2e.bench.targets.medusa import Medusa
from shop_e2e.bench.targets.target import DESCRIPTIONS, OVERLOAD, READS, WORKS, Buyer, Refused, Target, TargetError
from shop_e2e.bench.targets.this_shop import ThisShop
from shop_e2e.bench.targets.vendure import Vendure

TARGETS = ("shop", "vendure", "medusa", "floor")
_SMOKE_TARGETS = ("shop", "floor")
_OUTPUT = Path(".bench")
_SMOKE_PRODUCTS = 22
_FULL = Effort(
    seconds=1.5,
    journey_seconds=8.0,
    actions=20_000,
    waves=2,
    wave_buyers=12,
    warm_up_seconds=1.0,
    journey_warm_up_seconds=4.0,
    overload_seconds=10.0,
    quiet_limit_seconds=20.0,
)
SMOKE = Effort(
    seconds=0.3,
    journey_seconds=0.3,
    actions=3,
    waves=1,
    wave_buyers=2,
    warm_up_seconds=0.1,
    journey_warm_up_seconds=0.1,
    overload_seconds=0.5,
    quiet_limit_seconds=0.0,
)


@dataclass(frozen=True, slots=True)
class Options:
    targets: Sequence[str]
    connections: Sequence[int]
    works: Sequence[str]
    rounds: int
    products: Sequence[int]
    effort: Effort
    smoke: bool
    output: Path
    profiler: Profiler | None


@dataclass(slots=True)
class Run:
    """One benchmark, as far as it has come."""

    options: Options
    servers: StoreServers
    targets: Sequence[Target]
    began: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    races: list[Race] = field(default_factory=list)
    overloads: list[Overload] = field(default_factory=list)
    buyers: dict[str, list[Buyer]] = field(default_factory=dict)

    async def measure(self) -> Report:
        """Prepares all targets, then measures them in rounds. Raises TargetError, StackError, Refused."""
        catalogue = base_catalogue(self.options.rounds, _SMOKE_PRODUCTS if self.options.smoke else BASE_PRODUCTS)
        for target in self.targets:
            self.say(f"prepare {target.name}: {len(catalogue.products)} products")
            await target.prepare(catalogue)
        for place, size in enumerate(self.options.products):
            works = self.options.works if place == 0 else [work for work in self.options.works if work in READS]
            for target in self.targets:
                count = await target.grow(size)
                self.say(f"{target.name} has {count:,} products")
            for number in range(1, self.options.rounds + 1):
                await self._measure_round(size, number, works)
        return await self._report()

    async def _measure_round(self, size: int, number: int, works: Sequence[str]) -> None:
        """Measures each target once; every other round in the opposite order."""
        for target in self.targets if number % 2 else list(reversed(self.targets)):
            self.say(f"round {number} of {self.options.rounds}: {target.name}, {size:,} products")
            buyers = self.buyers.setdefault(target.name, [])
            effort = self.options.effort
            record = self.options.profiler.recording if self.options.profiler else no_profile
            measurement = Measurement(target, self.servers, size, number, effort, buyers, self._say_sample, record)
            result = await measurement.run(works, self.options.connections)
            self.lives.append(result.life)
            self.samples += result.samples
            self.races += result.races
            self.overloads += result.overloads
            if isinstance(target, Floor):
                for connections in self.options.connections:
                    sample = await asyncio.to_thread(target.measure_commits, size, connections, number, effort.seconds)
                    self._say_sample(sample)
                    self.samples.append(sample)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.0f} s  {text}", flush=True)

    def _say_sample(self, sample: Sample) -> None:
        failed = f", {len(sample.failures)} failed, first: {sample.failures[0]}" if sample.failures else ""
        self.say(
            f"  {sample.target:10} {sample.case.connections:3} connections  {sample.case.work:8}"
            f" {sample.rate:8.1f} per second, client {sample.client_share:.0%}{failed}"
        )

    async def _report(self) -> Report:
        return Report(
            shop=ThisShop.name,
            peers=[target.name for target in self.targets if target.name not in (ThisShop.name, Floor.name)],
            machine=_machine(),
            servers=await self.servers.facts(),
            targets={target.name: target.facts() for target in self.targets},
            samples=self.samples,
            lives=self.lives,
            races=self.races,
            overloads=self.overloads,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    try:
        report = asyncio.run(_run(options))
    except (TargetError, StackError, Refused, ProfilerError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    for path in report.write(options.output):
        print(path)
    if options.profiler:
        print(options.profiler.write_table())


def _options(arguments: Sequence[str] | None) -> Options:
    works = "\n".join(f"  {work:9} {text}" for work, text in DESCRIPTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m shop_e2e.bench", description=__doc__, epilog=f"works:\n{works}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--targets", nargs="+", choices=TARGETS, help="[all; a smoke: shop and floor]")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 8, 32], metavar="N", help="[1 8 32]")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS, metavar="WORK", help="see below [all]")
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    parser.add_argument(
        "--products", nargs="+", type=int, default=[BASE_PRODUCTS, 100_000], metavar="N",
        help="sizes of the catalogue, ascending; from the second on, reads alone are measured [90 100000]",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=_OUTPUT, metavar="FOLDER", help="of the results [%(default)s]")
    parser.add_argument(
        "--smoke", action="store_true",
        help="a few requests of each work on the servers of `make test-env-up`: tests the benchmark, measures nothing",
    )  # fmt: skip
    parser.add_argument(
        "--profiles", action="store_true",
        help="record flame graphs in odd rounds and times per library in even ones, by py-spy, which needs root or "
        "CAP_SYS_PTRACE; requests take longer under it",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    if OVERLOAD in chosen.works and "journey" not in chosen.works:
        parser.error("overload needs journey, whose rate it multiplies: --works journey overload")
    return Options(
        targets=chosen.targets or (_SMOKE_TARGETS if chosen.smoke else TARGETS),
        connections=[2] if chosen.smoke else chosen.connections,
        works=chosen.works,
        rounds=1 if chosen.smoke else chosen.rounds,
        products=[2 * _SMOKE_PRODUCTS] if chosen.smoke else sorted(chosen.products),
        effort=SMOKE if chosen.smoke else _FULL,
        smoke=chosen.smoke,
        output=chosen.output,
        profiler=Profiler(chosen.output / "profiles") if chosen.profiles else None,
    )


async def _run(options: Options) -> Report:
    async with AsyncExitStack() as closing:
        servers = shared_servers() if options.smoke else await closing.enter_async_context(durable_servers())
        logs = Path(tempfile.mkdtemp(prefix="bench-"))
        box = await closing.enter_async_context(mailbox())
        targets = [_target(name, servers, logs / name, box.port) for name in options.targets]
        print(f"logs of the targets: {logs}", flush=True)
        for target in targets:
            closing.push_async_callback(target.remove)
        report = await Run(options, servers, targets).measure()
        shutil.rmtree(logs)
        return report


def _target(name: str, servers: StoreServers, logs: Path, mail_port: int) -> Target:
    match name:
        case "shop":
            return ThisShop(servers, logs, mail_port)
        case "vendure":
            return Vendure(servers, logs)
        case "medusa":
            return Medusa(servers, logs)
        case _:
            return Floor(servers, logs)


def _machine() -> dict[str, str]:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "time": datetime.now(UTC).isoformat(timespec="minutes"),
        "processors": f"{os.cpu_count()} of {model.partition(':')[2].strip()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 30} GiB",
        "system": platform.platform(),
        "load average before": " ".join(f"{one:.1f}" for one in os.getloadavg()),
    }


if __name__ == "__main__":
    main()
