"""Measures order throughput: 16 buyers place and pay 10,000 orders as fast as the shop accepts them.

`python -m shop_e2e.bench.order_throughput` says how many orders a second were paid, how long the shop then took to
finish what they caused (events, stock, mails), and whether its data is consistent: it exits with 1 if it is not. The
eight services run as local processes on durable servers of their own, or on those of `make test-env-up`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from chassis_testing.waiting import eventually
from devtools.consistency import Inconsistency, open_checker
from devtools.stack import StackError

from shop_e2e.api.mailbox import Mailbox, mailbox
from shop_e2e.bench.http_client import CONNECTION_ERRORS, Connection
from shop_e2e.bench.samples import p50_and_p99
from shop_e2e.bench.servers import StoreServers, durable_servers, shared_servers
from shop_e2e.bench.targets.target import Buyer, Refused, TargetError, enroll, new_buyer
from shop_e2e.bench.targets.this_shop import MAILS_OF_AN_ORDER, ThisShop, prepared_shop

_PROGRESS_EVERY = 500
_REFUSED_SECONDS = 60.0
"""How long a request is repeated that the shop refuses temporarily."""
_DONE_SECONDS = 600.0
"""How long the shop may take to finish what the orders caused."""
_MAIL_SECONDS = 30.0
"""How much later its last mail may come: counts of queues lag by some seconds."""


@dataclass(slots=True)
class OrderThroughput:
    """The results of one run."""

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
        return (
            are_single
            and self.mails == MAILS_OF_AN_ORDER * len(self.ordered)
            and not self.lost
            and not self.inconsistencies
        )

    def __str__(self) -> str:
        rows = [
            ("orders paid", f"{len(self.ordered):,}"),
            ("orders a second", f"{len(self.ordered) / self.seconds:.1f}"),
            ("p50, p99 ms of cart, order and payment", p50_and_p99(self.milliseconds)),
            ("requests refused, then repeated", f"{self.refused:,}"),
            ("events, payments and mails left after the last", f"{self.unfinished:,}"),
            ("seconds until none was left", f"{self.finished_after:.1f}"),
            ("mails", f"{self.mails:,}"),
            ("orders lost", str(len(self.lost))),
            ("inconsistencies", str(len(self.inconsistencies))),
        ]
        lines = [f"| {name} | {value} |" for name, value in rows]
        return "\n".join(["| order throughput | |", "|---|---|", *lines, *self.lost, *map(str, self.inconsistencies)])


async def measure_order_throughput(
    servers: StoreServers, orders: int, buyers: int, logs: Path, say: Callable[[str], None]
) -> OrderThroughput:
    """Runs a shop for one measurement.

    Raises StackError, Refused, CONNECTION_ERRORS, and TimeoutError if the shop does not finish its work.
    """
    async with AsyncExitStack() as closing:
        box = await closing.enter_async_context(mailbox())
        say("prepare this shop")
        shop = await closing.enter_async_context(prepared_shop(servers, logs, box.port))
        await shop.start()
        checker = await closing.enter_async_context(open_checker(shop.stack))
        lanes = [await _log_in_buyer(closing, shop) for _ in range(buyers)]
        accounts = buyers + 1  # the seller of the catalogue, too
        await _wait_for_mails(box, accounts)
        await checker.wait_until_done(_DONE_SECONDS)
        measured = OrderThroughput()
        await _sell(shop, lanes, orders, measured, say)
        since = time.monotonic()
        measured.unfinished = sum((await checker.unfinished_work()).values())
        say(f"all orders are paid; {measured.unfinished:,} events, payments and mails are left")
        await checker.wait_until_done(_DONE_SECONDS)
        measured.finished_after = time.monotonic() - since
        with suppress(TimeoutError):  # then the orders are not consistent
            await _wait_for_mails(box, accounts + MAILS_OF_AN_ORDER * orders)
        measured.mails = len(box.mails) - accounts
        measured.lost = await checker.lost(dict.fromkeys(measured.ordered, "paid"))
        measured.inconsistencies = await checker.inconsistencies()
        return measured


async def _log_in_buyer(closing: AsyncExitStack, shop: ThisShop) -> tuple[Connection, Buyer]:
    """Registers a buyer, and logs them in, on a connection of their own. Raises Refused."""
    lane, buyer = Connection(shop.port), new_buyer()
    closing.push_async_callback(lane.close)
    await enroll(shop, lane, buyer)
    return lane, buyer


async def _wait_for_mails(box: Mailbox, count: int) -> None:
    """Waits until so many mails have come: counts of queues do not say when the last one has. Raises TimeoutError."""

    async def have_come() -> bool:
        return len(box.mails) >= count

    await eventually(have_come, _MAIL_SECONDS)


async def _sell(
    shop: ThisShop,
    lanes: Sequence[tuple[Connection, Buyer]],
    orders: int,
    measured: OrderThroughput,
    say: Callable[[str], None],
) -> None:
    """Places and pays so many orders, by all buyers at once. Raises Refused, CONNECTION_ERRORS."""
    numbers, began = iter(range(orders)), time.monotonic()

    async def order(lane: Connection, buyer: Buyer) -> None:
        for number in numbers:
            since, key = time.monotonic(), f"order-{number}"
            await _send(measured, partial(shop.add_to_cart, lane, buyer, number))
            await _send(measured, partial(shop.place, lane, buyer, key))
            await _send(measured, partial(shop.pay, lane, buyer, key))
            measured.milliseconds.append((time.monotonic() - since) * 1000)
            measured.ordered.append(str(buyer.order))
            if len(measured.ordered) % _PROGRESS_EVERY == 0:
                say(f"{len(measured.ordered):,} orders")

    try:
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(order(*lane))
    except* (Refused, *CONNECTION_ERRORS) as failed:
        raise failed.exceptions[0] from None
    measured.seconds = time.monotonic() - began


async def _send(measured: OrderThroughput, request: Callable[[], Awaitable[None]]) -> None:
    """Sends a request, and repeats it after Retry-After for up to a minute if it is refused temporarily.

    Raises Refused for a lasting refusal, or if it is still refused after a minute, and CONNECTION_ERRORS.
    A repeated cart may have two units instead of one: it has no idempotency key.
    """
    end = time.monotonic() + _REFUSED_SECONDS
    while True:
        try:
            return await request()
        except Refused as refused:
            if not refused.is_temporary or time.monotonic() > end:
                raise
            measured.refused += 1
            await asyncio.sleep(float(refused.reply.header("Retry-After") or 1))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m shop_e2e.bench.order_throughput", description=__doc__)
    parser.add_argument("--orders", type=int, default=10_000, metavar="N", help="[%(default)s]")
    parser.add_argument("--buyers", type=int, default=16, metavar="N", help="at once [%(default)s]")
    parser.add_argument(
        "--test-env", action="store_true",
        help="on the servers of `make test-env-up`, on which a commit costs little, not on durable ones",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    try:
        measured = asyncio.run(_run(chosen))
    except (TargetError, StackError, Refused, *CONNECTION_ERRORS) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(measured)
    sys.exit(not measured.is_consistent)


async def _run(chosen: argparse.Namespace) -> OrderThroughput:
    logs, began = Path(tempfile.mkdtemp(prefix="order-throughput-")), time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

    say(f"logs of the services: {logs}")
    async with AsyncExitStack() as closing:
        servers = shared_servers() if chosen.test_env else await closing.enter_async_context(durable_servers())
        return await measure_order_throughput(servers, chosen.orders, chosen.buyers, logs, say)


if __name__ == "__main__":
    main()
