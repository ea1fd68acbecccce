"""Measures a rush: 16 buyers order and pay as fast as the shop allows, 10,000 orders in all.

`python -m shop_e2e.bench.rush` says how many orders a second were paid, how long the shop then took to finish what they
caused (events, stock, mails), and whether its data is consistent: it exits with 1 if it is not. The eight services run
as local processes on durable servers of their own, or on those of `make test-env-up`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from chassis_testing.waiting import eventually
from devtools.consistency import ConsistencyChecker, Inconsistency, open_checker
from devtools.stack import StackError

from shop_e2e.api.mailbox import mailbox
from shop_e2e.bench.catalogue import BASE_PRODUCTS, base_catalogue
from shop_e2e.bench.http_client import BROKEN, Connection
from shop_e2e.bench.samples import quantile
from shop_e2e.bench.servers import StoreServers, durable_servers, shared_servers
from shop_e2e.bench.targets.target import Buyer, Refused, TargetError, new_buyer
from shop_e2e.bench.targets.this_shop import ThisShop

_PROGRESS_EVERY = 500
_MAILS = 2
"""The mails of an order: it is confirmed, and paid."""
_REFUSED_SECONDS = 60.0
"""How long a request is repeated that the shop refuses temporarily."""
_DONE_SECONDS = 600.0
"""How long the shop may take to finish what the orders caused; mails are the last."""


@dataclass(slots=True)
class Rush:
    """What was measured."""

    ordered: list[str] = field(default_factory=list)
    """The ids of the orders that their buyers have paid."""
    milliseconds: list[float] = field(default_factory=list)
    """How long each order took: its cart, the order and its payment."""
    seconds: float = 0.0
    """The time from the first order to the last payment."""
    refused: int = 0
    """The requests that were refused temporarily, and repeated."""
    unfinished: int = 0
    """How many events, payments and mails were left when the last order was paid."""
    finished_after: float = 0.0
    """The seconds from then until none was left. Counts of queues lag by some seconds."""
    mails: int = 0
    lost: Sequence[str] = ()
    """Those of `ordered` that the shop does not have as paid."""
    inconsistencies: Sequence[Inconsistency] = ()

    @property
    def is_consistent(self) -> bool:
        """Tells whether each order is there once, paid, with its mails, and the services agree."""
        are_single = len(set(self.ordered)) == len(self.ordered)
        return are_single and self.mails == _MAILS * len(self.ordered) and not self.lost and not self.inconsistencies

    def __str__(self) -> str:
        times = sorted(self.milliseconds)
        rows = [
            ("orders paid", f"{len(times):,}"),
            ("orders a second", f"{len(times) / self.seconds:.1f}"),
            ("p50, p99 ms of cart, order and payment", f"{quantile(times, 0.50):.0f}, {quantile(times, 0.99):.0f}"),
            ("requests refused, then repeated", f"{self.refused:,}"),
            ("events, payments and mails left after the last", f"{self.unfinished:,}"),
            ("seconds until none was left", f"{self.finished_after:.1f}"),
            ("mails", f"{self.mails:,}"),
            ("orders lost", str(len(self.lost))),
            ("inconsistencies", str(len(self.inconsistencies))),
        ]
        lines = [f"| {name} | {value} |" for name, value in rows]
        return "\n".join(["| a rush | |", "|---|---|", *lines, *self.lost, *map(str, self.inconsistencies)])


async def run_rush(servers: StoreServers, orders: int, buyers: int, logs: Path, say: Callable[[str], None]) -> Rush:
    """Runs a shop for one rush. Raises StackError, Refused, BROKEN, and TimeoutError if its work does not end."""
    async with AsyncExitStack() as closing:
        box = await closing.enter_async_context(mailbox())
        shop = ThisShop(servers, logs, box.port)
        closing.push_async_callback(shop.remove)
        say("prepare this shop")
        await shop.prepare(base_catalogue(1, BASE_PRODUCTS))
        closing.push_async_callback(shop.stop)
        await shop.start()
        checker = await closing.enter_async_context(open_checker(shop.stack))
        lanes = [await _log_in_buyer(closing, shop) for _ in range(buyers)]
        await _wait_until_done(checker)
        rush, welcomes = Rush(), len(box.mails)
        await _sell(shop, lanes, orders, rush, say)
        since = time.monotonic()
        rush.unfinished = sum((await checker.unfinished_work()).values())
        say(f"all orders are paid; {rush.unfinished:,} events, payments and mails are left")
        await _wait_until_done(checker)
        rush.finished_after, rush.mails = time.monotonic() - since, len(box.mails) - welcomes
        rush.lost = await checker.lost(dict.fromkeys(rush.ordered, "paid"))
        rush.inconsistencies = await checker.inconsistencies()
        return rush


async def _log_in_buyer(closing: AsyncExitStack, shop: ThisShop) -> tuple[Connection, Buyer]:
    """Registers a buyer, and logs them in, on a connection of their own."""
    lane, buyer = Connection(shop.port), new_buyer()
    closing.push_async_callback(lane.close)
    await shop.register(lane, buyer)
    await shop.log_in(lane, buyer)
    return lane, buyer


async def _wait_until_done(checker: ConsistencyChecker) -> None:
    """Waits until the shop has done all work that requests have caused. Raises TimeoutError."""

    async def is_done() -> bool:
        return not await checker.unfinished_work()

    await eventually(is_done, _DONE_SECONDS)


async def _sell(
    shop: ThisShop, lanes: Sequence[tuple[Connection, Buyer]], orders: int, rush: Rush, say: Callable[[str], None]
) -> None:
    """Places and pays so many orders, by all buyers at once. Raises Refused."""
    numbers, began = iter(range(orders)), time.monotonic()

    async def order(lane: Connection, buyer: Buyer) -> None:
        for number in numbers:
            since, key = time.monotonic(), f"rush-{number}"
            await _send(rush, partial(shop.add_to_cart, lane, buyer, number))
            await _send(rush, partial(shop.place, lane, buyer, key))
            await _send(rush, partial(shop.pay, lane, buyer, key))
            rush.milliseconds.append((time.monotonic() - since) * 1000)
            rush.ordered.append(str(buyer.order))
            if len(rush.ordered) % _PROGRESS_EVERY == 0:
                say(f"{len(rush.ordered):,} orders")

    try:
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(order(*lane))
    except* Refused as refused:
        raise refused.exceptions[0] from None
    rush.seconds = time.monotonic() - began


async def _send(rush: Rush, request: Callable[[], Awaitable[None]]) -> None:
    """Repeats a request while the shop refuses it temporarily, when it says. Raises Refused, after a minute this too.

    A repeated cart may have two units instead of one: it has no idempotency key.
    """
    end = time.monotonic() + _REFUSED_SECONDS
    while True:
        try:
            return await request()
        except Refused as refused:
            if not refused.is_temporary or time.monotonic() > end:
                raise
            rush.refused += 1
            await asyncio.sleep(float(refused.reply.header("Retry-After") or 1))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m shop_e2e.bench.rush", description=__doc__)
    parser.add_argument("--orders", type=int, default=10_000, metavar="N", help="[%(default)s]")
    parser.add_argument("--buyers", type=int, default=16, metavar="N", help="at once [%(default)s]")
    parser.add_argument(
        "--test-env", action="store_true",
        help="on the servers of `make test-env-up`, on which a commit costs little, not on durable ones",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    try:
        rush = asyncio.run(_run(chosen))
    except (TargetError, StackError, Refused, *BROKEN) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(rush)
    sys.exit(not rush.is_consistent)


async def _run(chosen: argparse.Namespace) -> Rush:
    logs, began = Path(tempfile.mkdtemp(prefix="rush-")), time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

    say(f"logs of the services: {logs}")
    async with AsyncExitStack() as closing:
        servers = shared_servers() if chosen.test_env else await closing.enter_async_context(durable_servers())
        return await run_rush(servers, chosen.orders, chosen.buyers, logs, say)


if __name__ == "__main__":
    main()
