"""A constant load of lists, details and orders on a shop, and its failed requests by phase."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
from devtools.shop_client import Person, Shop
from ecommerce_client import ProblemError

T = TypeVar("T")

_LOGIN_INTERVAL = 240.0
"""Seconds after which the buyer logs in again, before the access token expires."""
_MOST_AT_ONCE = 40
"""Requests without an answer at which the load waits: a shop that does not answer is not flooded."""


@dataclass(frozen=True)
class FailedRequest:
    """A request that was answered with an error, or not at all."""

    phase: str
    request: str
    status: int | None
    """None if the connection failed."""
    reason: str


@dataclass
class ConstantLoad:
    """One buyer who lists products, reads one, and orders and cancels it, `rate` times a second in turn.

    The next one is sent when it is due, whether or not the one before has been answered. No request is retried.
    """

    shop: Shop
    product: int
    rate: float = 3.0
    phase: str = ""
    """The name under which requests that begin now are counted."""
    sent: Counter[str] = field(default_factory=Counter)
    """The requests of each phase."""
    failures: list[FailedRequest] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)
    """The seconds of the slowest answer of each phase."""
    _buyer: Person = field(init=False)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the load until the block ends, and waits for the answers to what was sent."""
        self._buyer = await self.shop.register()
        stop, flying = asyncio.Event(), set[asyncio.Task[None]]()
        sending = asyncio.create_task(self._send(stop, flying))
        try:
            yield
        finally:
            stop.set()
            await sending
            await asyncio.gather(*flying)

    async def _send(self, stop: asyncio.Event, flying: set[asyncio.Task[None]]) -> None:
        turns = (self._list, self._details, self._order)
        number, logged_in = 0, time.monotonic()
        while not stop.is_set():
            if len(flying) >= _MOST_AT_ONCE:
                await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
            if time.monotonic() - logged_in > _LOGIN_INTERVAL:
                logged_in = time.monotonic()
                task = asyncio.create_task(self._log_in())
            else:
                task = asyncio.create_task(turns[number % len(turns)]())
                number += 1
            flying.add(task)
            task.add_done_callback(flying.discard)
            await asyncio.sleep(1 / self.rate)

    async def _list(self) -> None:
        await self._count("list", self.shop.call("GET", "/products"))

    async def _details(self) -> None:
        await self._count("details", self.shop.call("GET", f"/products/{self.product}"))

    async def _order(self) -> None:
        buyer = self._buyer
        order = await self._count("order", buyer.order((self.product, 1)))
        if order is not None:
            await self._count("cancel", buyer.cancel(order.id))

    async def _log_in(self) -> None:
        again = await self._count("log in", self.shop.log_in(self._buyer.email, self._buyer.password))
        self._buyer = again or self._buyer

    async def _count(self, request: str, answer: Awaitable[T]) -> T | None:
        """Awaits an answer. Returns None if there is none, or if it is an error."""
        phase, began = self.phase, time.monotonic()
        self.sent[phase] += 1
        try:
            return await answer
        except ProblemError as refusal:
            self.failures.append(FailedRequest(phase, request, refusal.status, str(refusal)))
        except httpx.TransportError as error:
            self.failures.append(FailedRequest(phase, request, None, repr(error)))
        finally:
            self.slowest[phase] = max(self.slowest.get(phase, 0.0), time.monotonic() - began)
        return None

    def table(self) -> str:
        """Returns the phases as a table."""
        failed = Counter(one.phase for one in self.failures)
        rows = [f"| {phase} | {count} | {failed[phase]} | {self.slowest.get(phase, 0):.1f} s |"
                for phase, count in self.sent.items()]  # fmt: skip
        return "\n".join(["| phase | requests | failed | slowest answer |", "|---|---|---|---|", *rows])
