"""Disturbs shops and operators: `python -m shop_e2e.soak_operator`, or `make soak-operator`.

Two operators run on a real API server with simulated nodes. Children of shops are deleted and edited at random, specs
are edited, shops are deleted and created again, leaders are killed and suspended. Every few minutes, and at the end, no
one disturbs until all shops are as their specs say: their objects equal those of shops that were never disturbed. Exits
with 1 if they are not, or if something is leaked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform as machine
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from platform_operator.api.kinds import PLATFORM, Manifest
from platform_operator.client import KubernetesClient
from shop_e2e.bench_operator.control_plane import NAMESPACE, control_plane
from shop_e2e.bench_operator.operator_process import OperatorProcess
from shop_e2e.soak_operator.disturbances import MANAGER, Disturbances
from shop_e2e.soak_operator.operators import Operators
from shop_e2e.soak_operator.report import Figures, growth, table
from shop_e2e.soak_operator.shops import (
    SPECS,
    Shop,
    count_objects,
    find_differences,
    platform,
    read_objects,
    reference,
    secret_data,
)

ROOT = Path(__file__).resolve().parents[3]
UNDISTURBED_SHARE = 1 / 3
"""The share of the time, at the end, in which no leader is killed: the memory of one process is seen for longer."""
SHOWN_DIFFERENCES = 20
CREATION_TIMEOUTS = 3
"""All shops are created at once: they may take so many times longer than a change does."""


@dataclass(frozen=True)
class Options:
    """What is run. Times are seconds."""

    shops: int = 20
    seconds: float = 3600
    seed: int = 0
    pause: float = 3
    """The mean time between two disturbances."""
    check_every: float = 300
    kill_every: float = 240
    """The mean time between two losses of a leader."""
    resync: int = 60
    timeout: float = 600
    """The time within which all shops have to converge."""


def main() -> int:
    default = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shops", type=int, default=default.shops, help="disturbed shops [%(default)s]")
    parser.add_argument("--minutes", type=float, default=default.seconds / 60, help="of disturbances [%(default)s]")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the disturbances [random]")
    parser.add_argument("--pause", type=float, default=default.pause, help="mean seconds between two [%(default)s]")
    parser.add_argument("--check-every", type=float, default=default.check_every, help="seconds [%(default)s]")
    parser.add_argument("--kill-every", type=float, default=default.kill_every, help="mean seconds [%(default)s]")
    parser.add_argument("--resync", type=int, default=default.resync, help="seconds [%(default)s]")
    parser.add_argument("--timeout", type=float, default=default.timeout, help="seconds to converge [%(default)s]")
    parser.add_argument("--folder", type=Path, help="keep logs in this folder [a temporary one]")
    parsed = vars(parser.parse_args())
    folder, seconds = parsed.pop("folder"), parsed.pop("minutes") * 60
    figures = asyncio.run(soak(Options(seconds=seconds, **parsed), folder))
    print(table(figures))
    print("\n".join(figures.failures) or "all shops are as their specs say, and nothing is leaked")
    return 1 if figures.failures else 0


async def soak(options: Options, folder: Path | None = None) -> Figures:
    """Runs the soak. Prints its progress on stderr."""
    with tempfile.TemporaryDirectory(prefix="soak-operator-") as temporary:
        where = folder or Path(temporary)
        where.mkdir(parents=True, exist_ok=True)
        async with control_plane(where, options.shops + len(SPECS)) as plane:
            processes = [
                OperatorProcess(plane, where, ROOT / "charts", "1.0", options.resync, name=f"operator-{number}")
                for number in range(2)
            ]
            operators = Operators.beside_each_other(processes)
            async with operators.running():
                run = Run(options, plane.client, operators)
                await run.whole()
                return run.figures


class Run:
    """One run of the soak."""

    def __init__(self, options: Options, client: KubernetesClient, operators: Operators) -> None:
        self._options, self._client, self._operators = options, client, operators
        chance = random.Random(options.seed)
        shops = [Shop(f"shop-{number}", 0) for number in range(options.shops)]
        self._random, self._disturbances = chance, Disturbances(client, shops, chance)
        self._began = time.monotonic()
        self.figures = Figures(
            options.shops, options.seed, options.seconds, f"{os.cpu_count()} processors, {machine.machine()}"
        )
        self._leaders = {"killed leaders": 0, "suspended leaders": 0}
        self._secrets: dict[tuple[str, str], Manifest] = {}

    async def whole(self) -> None:
        figures = self.figures
        self._say(f"seed {self._options.seed}")
        await self._create()
        if not await self._check(CREATION_TIMEOUTS * self._options.timeout):
            return
        figures.created, figures.slowest_convergence, figures.checks = figures.slowest_convergence, 0.0, 0
        figures.first = await self._operators.sample()
        self._secrets = secret_data(await read_objects(self._client))
        figures.objects = (await self._count(), 0)
        await self._disturb()
        figures.done = self._disturbances.done | self._leaders
        await self._disturbances.restore_specs()
        if await self._check(self._options.timeout):
            await self._count_writes()
        figures.last = await self._operators.sample()
        figures.objects = (figures.objects[0], await self._count())
        figures.samples, figures.slowest_takeover = self._operators.samples, self._operators.slowest_takeover
        figures.failures += growth(figures)
        if figures.objects[0] != figures.objects[1]:
            figures.failures.append("the shops had {} objects, and have {}".format(*figures.objects))
        for replica in self._operators.replicas:
            figures.failures += replica.unexpected
            figures.lost_leases += replica.lost_leases

    async def _create(self) -> None:
        await self._operators.leader()
        references = [Shop(reference(spec), spec) for spec in range(len(SPECS))]
        for shop in (*references, *self._disturbances.shops):
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shop.namespace}}
            await self._client.create(NAMESPACE, "", namespace)
            await self._client.apply(PLATFORM, shop.namespace, platform(shop.spec), manager=MANAGER)
        self._say(f"{self._options.shops} shops and {len(references)} for reference are created")

    async def _disturb(self) -> None:
        """Disturbs for the time of the run; checks do not count."""
        options, rest = self._options, self._options.seconds
        next_check, next_kill = options.check_every, self._until_kill()
        while rest > 0:
            began = time.monotonic()
            await self._disturbances.disturb()
            await asyncio.sleep(self._random.expovariate(1 / options.pause))
            took = time.monotonic() - began
            rest, next_check, next_kill = rest - took, next_check - took, next_kill - took
            if next_kill <= 0 and rest > options.seconds * UNDISTURBED_SHARE:
                rest -= await self._lose_leader()
                next_kill = self._until_kill()
            if next_check <= 0 and rest > 0:
                await self._check(self._options.timeout)
                next_check = options.check_every

    def _until_kill(self) -> float:
        return self._random.uniform(0.5, 1.5) * self._options.kill_every

    async def _lose_leader(self) -> float:
        """Kills or suspends the leader, and goes on when another leads. Returns the seconds that it took."""
        began = time.monotonic()
        what = self._random.choice(list(self._leaders))
        self._leaders[what] += 1
        lose = {"killed leaders": self._operators.kill_leader, "suspended leaders": self._operators.suspend_leader}
        try:
            self._say(await lose[what]())
        except TimeoutError:
            self.figures.failures.append(f"{what}: no operator led, or the former leader lived on")
        return time.monotonic() - began

    async def _check(self, within: float) -> bool:
        """Waits until all shops have converged, and returns whether they have."""
        began = time.monotonic()
        while differences := await find_differences(self._client, self._disturbances.shops):
            if time.monotonic() - began > within:
                self.figures.failures += differences[:SHOWN_DIFFERENCES]
                self._say(f"{len(differences)} differences are left: {differences[:3]}")
                return False
            await asyncio.sleep(2)
        self.figures.checks += 1
        took = time.monotonic() - began
        self.figures.slowest_convergence = max(self.figures.slowest_convergence, took)
        self._check_secrets(secret_data(await read_objects(self._client)))
        sample = await self._operators.sample()
        self._say(
            f"all shops are as their specs say after {took:.0f} s; {self._disturbances.done | self._leaders};"
            f" leader {sample.life}: {sample.resident / 2**20:.0f} MiB, {sample.threads} threads,"
            f" {sample.connections} connections, {sample.tasks} tasks"
        )
        return True

    def _check_secrets(self, found: dict[tuple[str, str], Manifest]) -> None:
        changed = [key for key, data in self._secrets.items() if found.get(key) != data]
        self.figures.failures += [f"{namespace}: Secret {name} has another content" for namespace, name in changed]

    async def _count(self) -> int:
        return count_objects(await read_objects(self._client), [one.namespace for one in self._disturbances.shops])

    async def _count_writes(self) -> None:
        """Counts the writes of a resync, after one that reports what has ended."""
        await asyncio.sleep(self._options.resync)
        life, before = await self._operators.writes()
        await asyncio.sleep(self._options.resync * 1.5)
        same, after = await self._operators.writes()
        self.figures.writes = after - before
        if life != same or after != before:
            self.figures.failures.append(f"the operators have written {after - before} times in a resync")

    def _say(self, text: str) -> None:
        print(f"{(time.monotonic() - self._began) / 60:6.1f} min  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
