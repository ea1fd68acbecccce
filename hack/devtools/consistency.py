"""Checks the data consistency of a whole shop: each service's invariants, and what must agree between services once
every event has been delivered.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
from chassis.database import invariants
from chassis.messaging.topology import load_topology
from chassis_testing.waiting import eventually

from devtools.services import SERVICES
from devtools.stack import Stack

CHARGED_TWICE = "orders charged twice"
_WITH_DATABASE = tuple(service for service, kind in SERVICES.items() if kind.database)
_UNSHIPPED = ("confirmed", "processing")
_SHIPPED = ("shipped", "delivered")
_PAID = (*_UNSHIPPED, *_SHIPPED)
_RESERVED_AS: Mapping[str, frozenset[str | None]] = {
    "pending": frozenset({"pending"}),
    "cancelled": frozenset({"released", "expired", None}),
    **dict.fromkeys(_UNSHIPPED, frozenset({"committed", "sold at payment"})),
    **dict.fromkeys(_SHIPPED, frozenset({"fulfilled", "sold at payment"})),
}
"""The reservation states that inventory may have for each order status."""


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """A broken invariant or a disagreement between two services: where, what, and the rows that show it."""

    where: str
    what: str
    rows: Sequence[object]

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {len(self.rows)} rows, the first: {list(self.rows[:3])}"


@asynccontextmanager
async def open_checker(stack: Stack) -> AsyncIterator["ConsistencyChecker"]:
    async with AsyncExitStack() as closing:
        connections = {}
        for service in _WITH_DATABASE:
            connections[service] = await asyncpg.connect(stack.database_of(service))
            closing.push_async_callback(connections[service].close)
        yield ConsistencyChecker(stack, connections)


class ConsistencyChecker:
    def __init__(self, stack: Stack, connections: Mapping[str, asyncpg.Connection]) -> None:
        self._stack = stack
        self._of = connections

    async def wait_until_done(self, within: float) -> None:
        """Waits until no work is unfinished. Raises TimeoutError that names what is left."""

        async def is_done() -> bool:
            return not await self.unfinished_work()

        try:
            await eventually(is_done, within)
        except TimeoutError:
            raise TimeoutError(f"after {within} s: under way {await self.unfinished_work()}") from None

    async def wait_until_consistent(self, within: float) -> None:
        """Waits until no work is unfinished and no inconsistency is left. Raises AssertionError that names what is
        left.
        """

        async def agree() -> bool:
            return not await self.unfinished_work() and not await self.inconsistencies()

        try:
            await eventually(agree, within)
        except TimeoutError:
            inconsistencies = [str(finding) for finding in await self.inconsistencies()]
            raise AssertionError(
                f"after {within} s: under way {await self.unfinished_work()}, inconsistencies {inconsistencies}"
            ) from None

    async def unfinished_work(self) -> dict[str, int]:
        """Counts unfinished work by kind, without kinds that have none. Queue counts lag by some seconds."""
        counts = {f"queue {name}": count for name, count in (await self._stack.queues()).items()}
        for service in {event.producer for event in load_topology().events.values()}:
            counts[f"outbox of {service}"] = await self._of[service].fetchval("SELECT count(*) FROM outbox")
        for what, service, query in _UNFINISHED:
            counts[what] = await self._of[service].fetchval(query)
        return {what: count for what, count in counts.items() if count}

    async def inconsistencies(self) -> list[Inconsistency]:
        """Returns every inconsistency; an empty list for a consistent shop."""
        broken = await asyncio.gather(*(self._broken_in(service) for service in _WITH_DATABASE))
        return [*(finding for found in broken for finding in found), *await self._between_services()]

    async def lost(self, accepted: Mapping[str, str]) -> list[str]:
        """Returns the accepted orders whose status does not follow from the buyer's last action, which `accepted` has
        by order id.
        """
        status = {
            str(row["id"]): row["status"] for row in await self._of["order"].fetch("SELECT id, status FROM orders")
        }
        expected = {"paid": "confirmed", "left unpaid": "pending"}
        return [
            f"{order}: {status.get(order)} though {what}"
            for order, what in accepted.items()
            if status.get(order) != expected.get(what, "cancelled")
        ]

    async def _broken_in(self, service: str) -> list[Inconsistency]:
        found = []
        for invariant in invariants.load_invariants(f"{service}_service"):
            rows = await self._of[service].fetch(invariant.query)
            found.append(Inconsistency(service, invariant.name, [dict(row) for row in rows]))
        return [finding for finding in found if finding.rows]

    async def _between_services(self) -> list[Inconsistency]:
        orders = {row["id"]: row for row in await self._of["order"].fetch(_ORDERS)}
        inconsistencies = [
            Inconsistency("order and payment", CHARGED_TWICE, await self._of["payment"].fetch(_CHARGED_TWICE)),
            Inconsistency("order and payment", "money kept is not what orders cost", await self._money(orders)),
            Inconsistency("order and inventory", "reservations do not follow orders", await self._reservations(orders)),
            Inconsistency("order and inventory", "stock taken is not what was paid", await self._taken()),
        ]
        return [finding for finding in inconsistencies if finding.rows]

    async def _money(self, orders: Mapping[object, asyncpg.Record]) -> list[object]:
        kept: dict[object, int] = defaultdict(int)
        for row in await self._of["payment"].fetch("SELECT order_id, captured - refunded AS kept FROM payments"):
            kept[row["order_id"]] += row["kept"]
        owed = {number: order["owed"] if order["status"] in _PAID else 0 for number, order in orders.items()}
        return [
            (str(number), {"owed": owed.get(number), "kept": kept.get(number, 0)})
            for number in owed.keys() | kept.keys()
            if owed.get(number) != kept.get(number, 0)
        ]

    async def _reservations(self, orders: Mapping[object, asyncpg.Record]) -> list[object]:
        reserved = {row["order_id"]: row["status"] for row in await self._of["inventory"].fetch(_RESERVATIONS)}
        return [
            (str(number), order["status"], reserved.get(number))
            for number, order in orders.items()
            if reserved.get(number) not in _RESERVED_AS[order["status"]]
        ]

    async def _taken(self) -> list[object]:
        taken = {row["product_id"]: row["units"] for row in await self._of["inventory"].fetch(_TAKEN_UNITS)}
        paid = {row["product_id"]: row["units"] for row in await self._of["order"].fetch(_PAID_UNITS, list(_PAID))}
        return [
            (product, {"taken": taken.get(product, 0), "paid": paid.get(product, 0)})
            for product in taken.keys() | paid.keys()
            if taken.get(product, 0) != paid.get(product, 0)
        ]


_UNFINISHED = (
    ("payments to look after", "payment", "SELECT count(*) FROM payments WHERE next_check_at IS NOT NULL"),
    ("refunds to look after", "payment", "SELECT count(*) FROM refunds WHERE next_check_at IS NOT NULL"),
    ("mails to send", "notification", "SELECT count(*) FROM notifications WHERE status = 'pending'"),
)
_CHARGED_TWICE = (
    "SELECT order_id, count(*) FROM payments WHERE captured > refunded GROUP BY order_id HAVING count(*) > 1"
)
_ORDERS = """
    SELECT o.id, o.status, o.total_amount - coalesce(m.amount, 0) AS owed
    FROM orders o LEFT JOIN manual_payments m ON m.order_id = o.id
"""
_RESERVATIONS = """
    SELECT order_id,
        CASE WHEN status = 'committed' AND NOT in_committed THEN 'sold at payment' ELSE status END AS status
    FROM reservations
"""
_TAKEN_UNITS = """
    SELECT product_id, sum(units)::bigint AS units
    FROM (
        SELECT product_id, -delta AS units FROM movements WHERE kind IN ('sale', 'return')
        UNION ALL
        SELECT product_id, committed FROM stock
    ) AS taken
    GROUP BY product_id HAVING sum(units) <> 0
"""
_PAID_UNITS = """
    SELECT product_id, sum(quantity)::bigint AS units FROM order_items JOIN orders ON id = order_id
    WHERE status = ANY($1) GROUP BY product_id
"""
