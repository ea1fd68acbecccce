"""Compares payments with the order service periodically: finds those whose order does not exist there.

Order compares the orders that it has; an order that its restored database lost is found by no one else.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from chassis.database.engine import Database
from chassis.errors import NeighbourRefused, NeighbourUnavailable
from chassis.observability import logs
from prometheus_client import Counter

from payment_service.clients.orders import Orders
from payment_service.domain.orphans import COMPARED_FOR, RECHECK_DELAY, ComparedPayment, OrphanStep, next_step
from payment_service.repository.orphans import OrphanRepository
from payment_service.repository.payments import PaymentRepository
from payment_service.service.order_cancellation import OrderCancellation

ORPHANS = Counter(
    "payment_orphans_total", "Payments whose order the order service does not know, by what became of them", ["step"]
)

_BATCH = 100
_BATCHES = 10
"""How many batches one round compares at most; the next round continues."""

log = logs.get_logger(__name__)


class OrphanSearch:
    def __init__(
        self,
        database: Database,
        orders: Orders,
        cancellation: OrderCancellation,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
        interval: timedelta,
        refund_after: timedelta | None,
    ) -> None:
        """`interval` is the longest time between two rounds. `jitter` returns a random number between 0 and 1.

        `refund_after` is how long an order must be unknown until its payment is refunded; None leaves that to a person.
        """
        self._database = database
        self._orders = orders
        self._cancellation = cancellation
        self._now = now
        self._jitter = jitter
        self._interval = interval
        self._refund_after = refund_after

    async def search_next(self) -> None:
        """Checks the payments that were found a while ago, and then the next batches of all of which money is kept.

        One process does so at a time. If the order service does not answer, nothing follows: the next round continues.
        """
        if not await self._claim():
            return
        async with self._database.begin() as transaction:
            due = await OrphanRepository(transaction).list_due(self._now(), _BATCH)
        if due and not await self._check(due):
            return
        for _ in range(_BATCHES):
            if not await self._check_next_batch():
                return

    async def _claim(self) -> bool:
        now = self._now()
        next_at = now + self._interval * (0.5 + self._jitter() / 2)
        async with self._database.begin() as transaction:
            return await OrphanRepository(transaction).claim(now, next_at)

    async def _check_next_batch(self) -> bool:
        """Returns whether another batch follows; after the last one, the next round begins with the oldest payment."""
        async with self._database.begin() as transaction:
            batch = await OrphanRepository(transaction).next_batch(self._now() - COMPARED_FOR, _BATCH)
        if batch and not await self._check(batch):
            return False
        is_last = len(batch) < _BATCH
        async with self._database.begin() as transaction:
            await OrphanRepository(transaction).store_position(None if is_last else batch[-1])
        return not is_last

    async def _check(self, batch: Sequence[ComparedPayment]) -> bool:
        """Returns whether the order service answered. An order about which it says nothing counts as not asked."""
        try:
            known = await self._orders.are_known([payment.order_id for payment in batch])
        except (NeighbourUnavailable, NeighbourRefused) as error:
            log.warning("payments and orders are compared later", payments=len(batch), reason=str(error))
            return False
        async with self._database.begin() as transaction:
            found = await OrphanRepository(transaction).found_among([payment.id for payment in batch])
        for payment in batch:
            is_known = known.get(payment.order_id)
            if is_known is not None and (payment.id in found or not is_known):
                await self._follow(payment, is_order_known=is_known)
        return True

    async def _follow(self, payment: ComparedPayment, *, is_order_known: bool) -> None:
        """Holds a payment whose order is not known, and refunds it if that stayed so.

        A refund is the use case of a cancelled order: its row is locked, and nothing is captured for it later.
        """
        now = self._now()
        async with self._database.begin() as transaction:
            repository, payments = OrphanRepository(transaction), PaymentRepository(transaction)
            locked, _ = await payments.lock_with_order(payment.id)
            is_refundable = locked.refundable > 0
            found_at = await repository.found_at(payment.id)
            step = next_step(
                found_at, now, self._refund_after, is_order_known=is_order_known, is_refundable=is_refundable
            )
            if step in (OrphanStep.FOUND, OrphanStep.HELD):
                await repository.hold(payment.id, now, now + RECHECK_DELAY)
            else:
                await repository.delete(payment.id)
            if step is OrphanStep.REFUNDED:
                await self._cancellation.record_within(transaction, payment.order_id)
        _report(payment, step)


def _report(payment: ComparedPayment, step: OrphanStep) -> None:
    payment_id, order_id = str(payment.id), str(payment.order_id)
    match step:
        case OrphanStep.FOUND:
            log.error(
                "order does not know the order of a payment: it is held", payment_id=payment_id, order_id=order_id
            )
        case OrphanStep.REFUNDED:
            log.error("a payment of an unknown order is refunded", payment_id=payment_id, order_id=order_id)
        case OrphanStep.RECOVERED:
            log.info("a payment is held no longer", payment_id=payment_id, order_id=order_id)
        case _:
            return
    ORPHANS.labels(step).inc()
