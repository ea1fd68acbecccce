"""Measures what a journey costs each service: `python -m shop_e2e.bench.journey_cost --before CHECKOUT`.

Two releases run at the same time on the servers of `make test-env-up`, and are measured alternately, so that what else
the machine does is the same for both. A release is a checkout; libraries are those of this one. A journey is list,
details, cart, order and pay, with its events and two mails. What the processes use at rest is subtracted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from chassis_testing.waiting import eventually
from devtools.services import SERVICES

from shop_e2e.api.mailbox import Mailbox, mailbox
from shop_e2e.bench.http_client import Connection
from shop_e2e.bench.processes import running_seconds, title
from shop_e2e.bench.servers import StoreServers, shared_servers
from shop_e2e.bench.targets.target import Buyer, Refused, enroll, new_buyer
from shop_e2e.bench.targets.this_shop import MAILS_OF_AN_ORDER, ThisShop, prepared_shop

_POSTGRES = "PostgreSQL"
_MAIL_SECONDS = 60.0
_REST_SECONDS = 6.0
_LAST_SECONDS = 0.5
"""What a shop has after the last mail to store its outcome and acknowledge its event."""


@dataclass(slots=True)
class Release:
    """One of the two shops, with what its journeys cost in seconds, by process and round."""

    name: str
    shop: ThisShop
    servers: StoreServers
    box: Mailbox
    lanes: int
    buyers: list[Buyer] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    rest: Mapping[str, float] = field(default_factory=dict)
    rounds: list[Mapping[str, float]] = field(default_factory=list)

    async def start(self) -> None:
        """Starts the shop with a buyer for each connection. Raises StackError, Refused."""
        await self.shop.start()
        for _ in range(self.lanes):
            buyer, connection = new_buyer(), Connection(self.shop.port)
            await enroll(self.shop, connection, buyer)
            await connection.close()
            self.buyers.append(buyer)

    async def measure_rest(self) -> None:
        before = self._used()
        await asyncio.sleep(_REST_SECONDS)
        self.rest = {process: used / _REST_SECONDS for process, used in self._since(before).items()}

    async def measure(self, journeys: int) -> None:
        """Adds a round."""
        before, began = self._used(), time.monotonic()
        await self.make_journeys(journeys)
        elapsed = time.monotonic() - began
        used = self._since(before)
        self.rounds.append(
            {process: (seconds - self.rest[process] * elapsed) / journeys for process, seconds in used.items()}
        )

    async def make_journeys(self, journeys: int) -> None:
        """Returns once the journeys are made and their last mail has come. Raises Refused, AssertionError."""
        mails = len(self.box.mails) + MAILS_OF_AN_ORDER * journeys
        left = iter(range(journeys))
        await asyncio.gather(*(self._shop_with(buyer, left) for buyer in self.buyers))

        async def have_come() -> bool:
            return len(self.box.mails) >= mails

        await eventually(have_come, _MAIL_SECONDS)
        await asyncio.sleep(_LAST_SECONDS)

    async def _shop_with(self, buyer: Buyer, left: Iterator[int]) -> None:
        connection = Connection(self.shop.port)
        for _ in left:
            number = next(self.numbers)
            for work in ("list", "details"):
                reply = await connection.send(self.shop.read(work, number))
                if not self.shop.is_answer(reply):
                    raise Refused(reply)
            await self.shop.add_to_cart(connection, buyer, number)
            await self.shop.place(connection, buyer)
            await self.shop.pay(connection, buyer)
        await connection.close()

    def _since(self, before: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
        return {
            name: sum(seconds - before[name].get(process, 0.0) for process, seconds in processes.items())
            for name, processes in self._used().items()
        }

    def _used(self) -> dict[str, dict[int, float]]:
        """Returns the processor seconds of each service and of the store's processes that serve this shop alone."""
        used = {name: {process: running_seconds(process)} for name, process in self.shop.process_ids.items()}
        databases = self.shop.databases
        serving = [
            process
            for process in self.servers.processes("postgres")
            if any(f" {database} " in title(process) for database in databases)
        ]
        return {**used, _POSTGRES: {process: running_seconds(process) for process in serving}}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m shop_e2e.bench.journey_cost", description=__doc__)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another release [none]")
    parser.add_argument("--now", type=Path, metavar="CHECKOUT", help="the release beside it [this one]")
    parser.add_argument("--connections", type=int, default=8, metavar="N", help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=4, help="[%(default)s]")
    parser.add_argument("--journeys", type=int, default=80, metavar="N", help="of a round [%(default)s]")
    parser.add_argument("--profiles", type=Path, metavar="FOLDER", help="record a round of each service by py-spy")
    asyncio.run(_run(parser.parse_args(arguments)))


async def _run(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as closing:
        logs = Path(tempfile.mkdtemp(prefix="journey-cost-"))
        print(f"logs: {logs}", flush=True)
        releases = []
        for name, checkout in (("before", options.before), ("now", options.now)):
            if name == "before" and checkout is None:
                continue
            box = await closing.enter_async_context(mailbox())
            servers = shared_servers()
            preparing = prepared_shop(servers, logs / name, box.port, checkout and checkout.resolve())
            shop = await closing.enter_async_context(preparing)
            releases.append(Release(name, shop, servers, box, options.connections))
        await _measure(releases, options)


async def _measure(releases: Sequence[Release], options: argparse.Namespace) -> None:
    for release in releases:
        await release.start()
        await release.make_journeys(options.journeys)
    for release in releases:
        await release.measure_rest()
    for number in range(options.rounds):
        for release in releases if number % 2 else reversed(releases):
            await release.measure(options.journeys)
            total = sum(release.rounds[-1].values())
            print(f"round {number + 1}, {release.name}: {total * 1000:.1f} ms", flush=True)
    print("\n".join(_table(releases)), flush=True)
    if options.profiles:
        options.profiles.mkdir(parents=True, exist_ok=True)
        for release in releases:
            await _profile(release, options.profiles, options.journeys)


async def _profile(release: Release, folder: Path, journeys: int) -> None:
    """Records the stacks of each service during journeys."""
    recording = [
        await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("py-spy"), "record", "--pid", str(process), "--rate", "50",
            "--nonblocking", "--format", "raw", "--output", folder / f"{release.name}-{service}.stacks",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )
        for service, process in release.shop.process_ids.items()
    ]  # fmt: skip
    for process in recording:
        assert process.stdout is not None
        await process.stdout.readline()  # that it samples
    await release.make_journeys(journeys)
    for process in recording:
        process.send_signal(signal.SIGINT)
    for process in recording:
        await process.communicate()


def _table(releases: Sequence[Release]) -> list[str]:
    names = [release.name for release in releases]
    lines = [f"| process | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    totals = {release.name: 0.0 for release in releases}
    for process in (*SERVICES, _POSTGRES):
        cost = {release.name: _median(release, process) for release in releases}
        if process != _POSTGRES:
            totals = {name: totals[name] + cost[name] for name in names}
        lines.append(f"| {process} | {' | '.join(f'{cost[name]:.2f}' for name in names)} |")
    return [*lines, f"| all services | {' | '.join(f'{totals[name]:.2f}' for name in names)} |"]


def _median(release: Release, process: str) -> float:
    """Returns milliseconds per journey."""
    return 1000 * median(round_[process] for round_ in release.rounds)


if __name__ == "__main__":
    main()
