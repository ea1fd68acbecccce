"""The expiry of reservations: the order service is asked before a reservation ends.

A reservation is overdue by this service's clock. Whether it may end depends on its order, whose events may be late:
the broker may be unavailable for longer than any reservation lasts.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from chassis.database.engine import Database
from chassis.errors import NeighbourRefused, NeighbourUnavailable
from chassis.observability import logs
from chassis.observability.waiting import longest_wait
from chassis.types.ids import OrderId
from prometheus_client import Counter, Gauge
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.clients.orders import Orders
from inventory_service.domain.reservations import OrderState, StateOfOrder, extended_until
from inventory_service.repository.reservations import ReservationRepository
from inventory_service.service.reservations import ReservationService

EXPIRED = Counter(
    "inventory_reservations_expired_total", "Overdue reservations that ended: their order is unknown or cancelled"
)
EXTENDED = Counter("inventory_reservations_extended_total", "Overdue reservations that were kept for an open order")
COMMITTED = Counter(
    "inventory_reservations_committed_without_event_total",
    "Overdue reservations of paid orders, committed before the event came",
)
UNANSWERED = Gauge(
    "inventory_reservations_unanswered_seconds",
    "How long the oldest overdue reservation waits for the order service to answer; 0 if it answers",
)

_BATCH = 100

log = logs.get_logger(__name__)


class ReservationExpiry:
    def __init__(
        self,
        database: Database,
        reservations: ReservationService,
        orders: Orders,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._reservations = reservations
        self._orders = orders
        self._now = now

    async def expire_overdue(self) -> None:
        """Ends the overdue reservations that no order needs any more, extends those of open orders, commits paid ones.

        If the order service does not answer, all stay as they are until the next sweep.
        """
        while await self._sweep_batch() == _BATCH:
            pass

    async def _sweep_batch(self) -> int:
        """Returns how many reservations were ended, extended or committed."""
        async with self._database.begin() as transaction:
            overdue = await ReservationRepository(transaction).list_overdue(self._now(), _BATCH)
        if not overdue:
            UNANSWERED.set(0)
            return 0
        answers = await self._ask_order(list(overdue))
        UNANSWERED.set(longest_wait(overdue, answers, self._now()))
        return await self._decide(answers) if answers else 0

    async def _ask_order(self, overdue: Sequence[OrderId]) -> Mapping[OrderId, StateOfOrder]:
        """Asks the order service, while no transaction is open. Empty if it does not answer."""
        try:
            return await self._orders.states(overdue)
        except (NeighbourUnavailable, NeighbourRefused) as error:
            log.warning(
                "overdue reservations are kept until order answers", reservations=len(overdue), reason=str(error)
            )
            return {}

    async def _decide(self, answers: Mapping[OrderId, StateOfOrder]) -> int:
        """Returns how many reservations were ended, extended or committed.

        A reservation that was extended, ended or locked since the question is left alone.
        """
        paid = [order for order, answer in answers.items() if answer.state is OrderState.PAID]
        others = {order: answer for order, answer in answers.items() if answer.state is not OrderState.PAID}
        committed = [await self._commit(order) for order in paid]
        return sum(committed) + await self._end_or_extend(others)

    async def _commit(self, order_id: OrderId) -> bool:
        """Commits the units of a paid order as its event would, which has no effect when it arrives.

        One transaction for each order: stock rows are locked in product order within an order, not across orders.
        """
        async with self._database.begin() as transaction:
            if not await ReservationRepository(transaction).lock_overdue([order_id], self._now()):
                return False
            await self._reservations.commit_confirmed_order(transaction, order_id, lines=None)
        COMMITTED.inc()
        log.info("reservation committed before its order's event arrived", order_id=str(order_id))
        return True

    async def _end_or_extend(self, answers: Mapping[OrderId, StateOfOrder]) -> int:
        now = self._now()
        async with self._database.begin() as transaction:
            locked = await ReservationRepository(transaction).lock_overdue(list(answers), now)
            await self._end(transaction, locked, answers)
            await self._extend(transaction, locked, answers, now)
        return len(locked)

    async def _end(
        self, transaction: AsyncConnection, locked: Sequence[OrderId], answers: Mapping[OrderId, StateOfOrder]
    ) -> None:
        unknown = [order for order in locked if answers[order].state is OrderState.UNKNOWN]
        cancelled = [order for order in locked if answers[order].state is OrderState.CANCELLED]
        EXPIRED.inc(len(unknown) + len(cancelled))
        await self._reservations.end_overdue(transaction, unknown, cancelled)

    async def _extend(
        self,
        transaction: AsyncConnection,
        locked: Sequence[OrderId],
        answers: Mapping[OrderId, StateOfOrder],
        now: datetime,
    ) -> None:
        for order in locked:
            if answers[order].state is OrderState.OPEN:
                await ReservationRepository(transaction).extend(order, extended_until(answers[order], now))
                EXTENDED.inc()
