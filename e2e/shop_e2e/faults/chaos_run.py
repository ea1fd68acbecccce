"""The chaos run: buyers order, pay, cancel and give up while every part of the shop is killed, restarted, disconnected
and slowed down, and while queues lose their messages.

Afterwards every part runs again, and the events of the run are resent, as an operator does after such a loss. Without
any other repair all data must be consistent; see devtools.consistency.

`python -m shop_e2e.faults.chaos_run --orders 10000` prints the result as a table; it needs `make test-env-up`, whose
servers it crashes and restarts.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from chassis.messaging.topology import load_topology
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from devtools import consistency
from devtools.consistency import Inconsistency
from devtools.retry import retry
from devtools.services import SERVICES
from devtools.shop_client import Person, Shop
from devtools.stack import Servers, Stack
from devtools.supervisor import run_unless_set
from ecommerce_client import ProblemError

from shop_e2e.api.mailbox import mailbox
from shop_e2e.faults import server_faults
from shop_e2e.isolated.stacks import admin_of, isolated_stack

_ATTEMPTS_PER_BUYER = 10
"""The attempts of one buyer: no more than the unpaid orders that the shop lets one buyer have."""
_RETRY_TIMEOUT_SECONDS = 240.0
"""How long a buyer retries a request: longer than any injected outage."""
_DRAIN_SECONDS = 600.0
"""How long the shop may take to finish what 10,000 orders caused; mails are the last."""
BUYERS = 16
FAULT_INTERVAL_SECONDS = 2.0
_T = TypeVar("_T")


@dataclass
class Tally:
    """What happened: orders by the buyers' intention and outcome, and injected faults by kind."""

    accepted: dict[str, str] = field(default_factory=dict)
    """The buyer's last action by order id: `paid`, `paid and cancelled`, `cancelled`, `left unpaid`."""
    sold_out: int = 0
    declined: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    purged: int = 0
    """The messages that queues have lost."""
    seconds: float = 0.0

    def rows(self) -> list[tuple[str, int]]:
        """Returns the rows of the report's table."""
        outcomes = Counter(self.accepted.values())
        return [
            ("orders accepted", len(self.accepted)),
            *((f"  {what}", count) for what, count in sorted(outcomes.items())),
            ("orders refused, sold out", self.sold_out),
            ("cards declined, then another paid", self.declined),
            *sorted(self.faults.items()),
            ("messages lost by purged queues", self.purged),
            ("seconds", round(self.seconds)),
        ]


@dataclass(frozen=True)
class Report:
    """The result of a chaos run. `lost` has the accepted orders that are missing or not as their buyer left them."""

    seed: int
    tally: Tally
    lost: list[str]
    inconsistencies: list[Inconsistency]

    def __str__(self) -> str:
        charged_twice = sum(
            len(inconsistency.rows)
            for inconsistency in self.inconsistencies
            if inconsistency.what == consistency.CHARGED_TWICE
        )
        rows = [
            *self.tally.rows(),
            ("orders lost", len(self.lost)),
            ("orders charged twice", charged_twice),
            ("inconsistencies between services", len(self.inconsistencies)),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {count:>7}" for name, count in rows]
        return "\n".join([f"seed {self.seed}", *lines, *map(str, self.inconsistencies)])


async def run_chaos(
    orders: int,
    seed: int,
    logs: Path,
    say: Callable[[str], None],
    buyers: int = BUYERS,
    fault_interval: float = FAULT_INTERVAL_SECONDS,
) -> Report:
    """Runs an isolated stack on the test servers under injected faults; see ChaosRun."""
    async with AsyncExitStack() as closing:
        box = await closing.enter_async_context(mailbox())
        proxies, proxied_ports = await _open_proxies(closing)
        stack = await closing.enter_async_context(isolated_stack("chaos", logs, box, proxied_ports=proxied_ports))
        for service in (name for name, kind in SERVICES.items() if kind.grpc):
            proxies[service].retarget("127.0.0.1", stack.plan.ports[service].grpc)
        shop = await closing.enter_async_context(Shop(stack.url, timeout=30))
        admin = await admin_of(stack, shop)
        tally = await ChaosRun(stack, shop, admin, proxies, orders, seed, buyers, fault_interval, say).run_chaos()
        say("all faults are undone; waiting until the shop has finished its work")
        opened = await closing.enter_async_context(consistency.open_checker(stack))
        with suppress(AssertionError):  # the report names the inconsistencies that are left
            await opened.wait_until_consistent(_DRAIN_SECONDS)
        return Report(seed, tally, await opened.lost(tally.accepted), await opened.inconsistencies())


async def _open_proxies(closing: AsyncExitStack) -> tuple[dict[str, FaultProxy], dict[str, int]]:
    """Opens fault proxies to the servers and to every service's gRPC. Returns them, and their ports by name."""
    environment = Servers.from_environment()
    targets = {"postgres": urlsplit(environment.postgres), "rabbitmq": urlsplit(environment.rabbitmq)}
    proxies = {
        name: await closing.enter_async_context(fault_proxy(target.hostname or "", target.port or 0))
        for name, target in targets.items()
    }
    for service in (name for name, kind in SERVICES.items() if kind.grpc):
        proxies[service] = await closing.enter_async_context(fault_proxy("127.0.0.1", 0))
    return proxies, {name: proxy.port for name, proxy in proxies.items()}


@dataclass
class ChaosRun:
    """`orders` attempts by `buyers` at the same time, under faults at random times that `seed` determines."""

    stack: Stack
    shop: Shop
    admin: Person
    proxies: dict[str, FaultProxy]
    orders: int
    seed: int
    buyers: int
    fault_interval: float
    """The longest time in seconds between two faults."""
    say: Callable[[str], None] = print
    tally: Tally = field(default_factory=Tally)
    products: list[int] = field(default_factory=list)

    async def run_chaos(self) -> Tally:
        """Runs all attempts under faults. Every part of the shop runs again when this returns."""
        self.say(f"seed {self.seed}: {self.orders} orders by {self.buyers} buyers")
        began, began_at = time.monotonic(), datetime.now(UTC)
        # There is stock for nine in ten attempts, so that buyers compete for the last units.
        for _ in range(10):
            _, product = await self.shop.stocked_product(self.admin, max(1, self.orders * 9 // 100))
            self.products.append(product)
        attempts = iter(range(self.orders))
        finished = asyncio.Event()
        faults = asyncio.create_task(self._inject_faults(finished))
        try:
            await asyncio.gather(*(self._shop_for(attempts) for _ in range(self.buyers)))
        finally:
            finished.set()
            await faults
            await self._undo_faults()
        await self._resend_events(began_at)
        self.tally.seconds = time.monotonic() - began
        return self.tally

    async def _shop_for(self, attempts: Iterator[int]) -> None:
        """Runs one buyer after the other. Each takes attempts from the common queue until the access token is old."""
        for visited, number in enumerate(attempts):
            if visited % _ATTEMPTS_PER_BUYER == 0:
                person = await retry(self.shop.register, _RETRY_TIMEOUT_SECONDS)
            await self._attempt(person, number)
            if number % 500 == 499:
                self.say(
                    f"  {number + 1} attempts, {len(self.tally.accepted)} orders,"
                    f" {sum(self.tally.faults.values())} faults"
                )

    async def _attempt(self, person: Person, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        product, intention = chance.choice(self.products), chance.random()
        try:
            order = await self._retry(lambda: person.order((product, 1), key=f"order-{number}"))
        except ProblemError as refusal:
            if refusal.code != "out_of_stock":
                raise
            self.tally.sold_out += 1
            return
        self.tally.accepted[str(order.id)] = await self._pay_or_cancel(person, order.id, number, intention)

    async def _pay_or_cancel(self, person: Person, order: UUID, number: int, intention: float) -> str:
        if intention < 0.1:
            return "left unpaid"
        if intention < 0.2:
            await self._retry(lambda: person.cancel(order))
            return "cancelled"
        if intention < 0.3:
            with suppress(ProblemError):  # the card is declined, as intended
                await self._retry(lambda: person.pay(order, "pm_card_chargeDeclined", key=f"declined-{number}"))
            self.tally.declined += 1
        await self._retry(
            lambda: person.pay(order, key=f"payment-{number}"),
            passing={"payment_exists"},  # the declined payment, until the shop has closed it
        )
        if intention < 0.4:
            await self._retry(lambda: person.cancel(order))
            return "paid and cancelled"
        return "paid"

    async def _retry(self, call: Callable[[], Awaitable[_T]], passing: Collection[str] = ()) -> _T:
        return await retry(call, _RETRY_TIMEOUT_SECONDS, passing=passing)

    async def _inject_faults(self, finished: asyncio.Event) -> None:
        """Injects one fault after the other; each is undone before the next one and before the end."""
        chance = random.Random(self.seed)
        faults = {
            self._kill_service: 8,
            self._reset_connections: 4,
            self._sever_connections: 2,
            self._slow_connections: 2,
            self._crash_database: 1,
            self._restart_broker: 1,
            self._purge_queue: 1,
        }
        inject: Callable[[random.Random], Awaitable[None]] = (
            self._purge_queue
        )  # the first fault, so that every run has it
        while await run_unless_set(finished, self._pause(chance)):
            await inject(chance)
            (inject,) = chance.choices(list(faults), list(faults.values()))

    async def _pause(self, chance: random.Random) -> bool:
        return await asyncio.sleep(chance.uniform(self.fault_interval / 4, self.fault_interval), result=True)

    async def _kill_service(self, chance: random.Random) -> None:
        service = chance.choice(list(SERVICES))
        self.tally.faults[f"kills of {service}"] += 1
        await self.stack.kill(service)
        await asyncio.sleep(chance.uniform(0, 1))
        await self.stack.start(service)

    async def _reset_connections(self, chance: random.Random) -> None:
        self.tally.faults["connections reset"] += 1
        await self.proxies[chance.choice(list(self.proxies))].reset_connections()

    async def _sever_connections(self, chance: random.Random) -> None:
        self.tally.faults["connections severed"] += 1
        victim = self.proxies[chance.choice(list(self.proxies))]
        await victim.sever()
        await asyncio.sleep(chance.uniform(0.2, 3))
        await victim.restore()

    async def _slow_connections(self, chance: random.Random) -> None:
        self.tally.faults["connections slowed down"] += 1
        victim = self.proxies[chance.choice(list(self.proxies))]
        victim.delay = chance.uniform(0.01, 0.1)
        await asyncio.sleep(chance.uniform(1, 3))
        victim.delay = 0.0

    async def _crash_database(self, _chance: random.Random) -> None:
        self.tally.faults["crashes of the database server"] += 1
        await server_faults.crash_database(self.stack.servers.postgres)

    async def _restart_broker(self, _chance: random.Random) -> None:
        self.tally.faults["restarts of the broker"] += 1
        await server_faults.restart_broker(self.stack.servers.rabbitmq)

    async def _purge_queue(self, chance: random.Random) -> None:
        """Deletes the messages that wait for a service, which is stopped until some do."""
        service = chance.choice(sorted({each for event in load_topology().events.values() for each in event.consumers}))
        self.tally.faults[f"purges of the queue of {service}"] += 1
        await self.stack.kill(service)
        await asyncio.sleep(chance.uniform(1, 2))
        self.tally.purged += await self.stack.purge_queue(service)
        await self.stack.start(service)

    async def _resend_events(self, since: datetime) -> None:
        """Resends all events of the run, as docs/operations.md says. Consumers ignore those that they have received."""
        producers = sorted({event.producer for event in load_topology().events.values()})
        await asyncio.gather(*(self.stack.resend(each, ["--since", since.isoformat()]) for each in producers))

    async def _undo_faults(self) -> None:
        for proxy in self.proxies.values():
            proxy.delay = 0.0
            await proxy.sever()
            await proxy.restore()
        for service in SERVICES:
            if not self.stack.runs(service):
                await self.stack.start(service)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shop_e2e.faults.chaos_run", description=__doc__)
    parser.add_argument("--orders", type=int, default=500, help="attempts to order [%(default)s]")
    parser.add_argument("--buyers", type=int, default=BUYERS, help="at once [%(default)s]")
    parser.add_argument(
        "--fault-interval",
        type=float,
        default=FAULT_INTERVAL_SECONDS,
        help="seconds between two faults at most [%(default)s]",
    )
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of a run to repeat [a new one]")
    chosen = parser.parse_args()
    logs = Path(tempfile.mkdtemp(prefix="chaos-logs-"))
    report = asyncio.run(run_chaos(chosen.orders, chosen.seed, logs, print, chosen.buyers, chosen.fault_interval))
    print(report)
    sys.exit(bool(report.inconsistencies or report.lost))


if __name__ == "__main__":
    main()
