"""A continuous order load on a shop, and the consistency check at its end."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import httpx
from chassis_testing.waiting import eventually
from devtools.shop_client import Person, Shop
from ecommerce_client import ProblemError
from ecommerce_client.models.order import OrderResponse

_UNPAID_ORDERS = 5
"""The unpaid orders of one buyer. The shop may count more: those whose acceptance the buyer did not learn."""


@dataclass(frozen=True)
class Failure:
    """An order that was not accepted, with its HTTP status; none where the connection failed."""

    status: int | None
    reason: str


@dataclass
class OrderLoad:
    """`buyers` order one unit of a product again and again, and cancel some of their orders.

    They wait `pause` seconds in between, which leaves processor time to what the test does.
    """

    shop: Shop
    product: int
    buyers: int = 2
    pause: float = 0.2
    seed: int = field(default_factory=lambda: random.randrange(2**32))
    accepted: set[UUID] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    longest_pause: float = 0.0
    """The longest time without an accepted order, in seconds, since this was set to 0."""
    _accepted_at: float = math.inf
    _people: list[Person] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the load until the block ends."""
        print(f"order stream: seed {self.seed}")
        self._people = [await self.shop.register() for _ in range(self.buyers)]
        stop = asyncio.Event()
        buying = [asyncio.create_task(self._buy(person, stop)) for person in self._people]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*buying)

    async def reconnect(self, shop: Shop) -> None:
        """Logs its buyers in again to a restored shop, which does not accept their former tokens."""
        self.shop = shop
        self._people = [await shop.log_in(one.email, one.password) for one in self._people]

    async def recovered(self, within: float = 120.0) -> None:
        """Waits until every buyer could order again."""
        soon = len(self.accepted) + 3 * self.buyers

        async def flows() -> bool:
            return len(self.accepted) >= soon

        await eventually(flows, within)

    async def assert_consistent(self) -> None:
        """Asserts that no accepted order is lost and that reservations match the orders, once all events are in.

        A request that was answered with 503 may still be carried out, so the orders are read again with the stock.
        """
        lost = self.accepted - {order.id for order in await self.stored_orders()}
        assert not lost, f"{len(lost)} accepted orders are lost"

        async def reserved_is_held() -> bool:
            pending = [order for order in await self.stored_orders() if order.status == "pending"]
            held = sum(item.quantity for order in pending for item in order.items)
            return (await self.shop.stock(self.product)).reserved == held

        await eventually(reserved_is_held, within=90)

    async def stored_orders(self) -> list[OrderResponse]:
        """Returns the orders of all buyers, as the shop has them."""
        return [order for person in self._people for order in await person.orders()]

    def _accept(self, order: UUID) -> None:
        now = time.monotonic()
        self.longest_pause = max(self.longest_pause, now - self._accepted_at)
        self._accepted_at = now
        self.accepted.add(order)

    async def _buy(self, person: Person, stop: asyncio.Event) -> None:
        chance, unpaid = random.Random(f"{self.seed}/{person.id}"), 0
        while not stop.is_set():
            try:
                order = await person.order((self.product, 1))
                self._accept(order.id)
                unpaid += 1
                if unpaid > _UNPAID_ORDERS or chance.random() < 0.3:
                    await person.cancel(order.id)
                    unpaid -= 1
            except ProblemError as refusal:
                self.failures.append(Failure(refusal.status, str(refusal)))
            except httpx.TransportError as error:
                self.failures.append(Failure(None, repr(error)))
            await asyncio.sleep(self.pause)
