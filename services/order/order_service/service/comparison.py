"""Compares orders with their payments periodically, and repairs what a lost event left different.

Events are resent for a week at most, and an order that has ended is not touched again: without this comparison a refund
whose event was lost would never be recorded, and a payment whose order's cancellation was lost never refunded.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from chassis.database.engine import Database
from chassis.errors import NeighbourRefused, NeighbourUnavailable
from chassis.observability import logs
from chassis.types.ids import OrderId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.clients.payments import Payments
from order_service.domain.comparison import COMPARED_FOR, RECHECK_DELAY, Difference, PaymentRecord, differences
from order_service.domain.expiry import OrderPayment
from order_service.repository.comparison import ComparisonRepository
from order_service.repository.orders import OrderRepository
from order_service.service.orders import OrderService

REPAIRED = Counter(
    "orders_payment_differences_repaired_total",
    "Differences between orders and payments after a lost event, repaired by comparing them",
    ["difference"],
)

_BATCH = 100
_BATCHES = 10
"""How many batches one round compares at most; the next round continues."""

log = logs.get_logger(__name__)


class PaymentComparison:
    def __init__(
        self,
        database: Database,
        orders: OrderService,
        payments: Payments,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
        interval: timedelta,
    ) -> None:
        """`interval` is the longest time between two rounds. `jitter` returns a random number between 0 and 1."""
        self._database = database
        self._orders = orders
        self._payments = payments
        self._now = now
        self._jitter = jitter
        self._interval = interval

    async def compare_next(self) -> None:
        """Compares the orders that differed a while ago, and then the next batches of all that are not pending.

        One process does so at a time. If the payment service does not answer, the next round continues.
        """
        if not await self._claim():
            return
        async with self._database.begin() as transaction:
            due = await ComparisonRepository(transaction).list_due(self._now(), _BATCH)
        if due and not await self._compare(due):
            return
        for _ in range(_BATCHES):
            if not await self._compare_next_batch():
                return

    async def _claim(self) -> bool:
        now = self._now()
        next_at = now + self._interval * (0.5 + self._jitter() / 2)
        async with self._database.begin() as transaction:
            return await ComparisonRepository(transaction).claim(now, next_at)

    async def _compare_next_batch(self) -> bool:
        """Returns whether another batch follows; after the last one, the next round begins with the oldest order."""
        async with self._database.begin() as transaction:
            repository = ComparisonRepository(transaction)
            position = await repository.position()
            batch = await repository.next_batch(position, self._now() - COMPARED_FOR, _BATCH)
        if batch and not await self._compare([each.order_id for each in batch]):
            return False
        is_last = len(batch) < _BATCH
        async with self._database.begin() as transaction:
            await ComparisonRepository(transaction).store_position(None if is_last else batch[-1])
        return not is_last

    async def _compare(self, order_ids: Sequence[OrderId]) -> bool:
        """Returns whether the payment service answered. What it answered is compared with what is stored after that."""
        try:
            answers = await self._payments.states(order_ids)
        except (NeighbourUnavailable, NeighbourRefused) as error:
            log.warning("orders and payments are compared later", orders=len(order_ids), reason=str(error))
            return False
        async with self._database.begin() as transaction:
            repository = ComparisonRepository(transaction)
            records = await repository.records(order_ids)
            known = await repository.different_among(order_ids)
        for record in records:
            answer = answers.get(record.order_id)
            if answer is not None and (record.order_id in known or differences(record, answer)):
                await self._follow(record.order_id, answer)
        return True

    async def _follow(self, order_id: OrderId, answer: OrderPayment) -> None:
        """Stores a difference that is found for the first time, repairs one that is still found later.

        The order's row is locked, so that what is recorded of it stays as it is compared.
        """
        now = self._now()
        async with self._database.begin() as transaction:
            repository = ComparisonRepository(transaction)
            await OrderRepository(transaction).lock(order_id)
            (record,) = await repository.records([order_id])
            found = differences(record, answer)
            is_due = await repository.is_due(order_id, now)
            if found and is_due:
                await self._repair(transaction, record, answer, found)
                (record,) = await repository.records([order_id])
                found = differences(record, answer)
            if not found:
                await repository.delete_differences(order_id)
            elif is_due or order_id not in await repository.different_among([order_id]):
                await repository.store_differences(order_id, found, now, now + RECHECK_DELAY)

    async def _repair(
        self, transaction: AsyncConnection, record: PaymentRecord, answer: OrderPayment, found: frozenset[Difference]
    ) -> None:
        """Repairs differences as the lost event would have, or by another event with the same content."""
        for difference in sorted(found):
            log.error("an order and its payment differ", order_id=str(record.order_id), difference=difference)
        if Difference.UNKNOWN_PAYMENT in found and answer.captured is not None:
            await self._orders.record_payment(transaction, record.order_id, answer.captured)
        for refund in answer.refunds:
            if refund.id not in record.refunds:
                await self._orders.record_refund(transaction, record.order_id, refund)
        if Difference.UNKNOWN_CLOSURE in found:
            await self._orders.repeat_closure(transaction, record.order_id)
        for difference in found - {Difference.NOT_CAPTURED}:
            REPAIRED.labels(difference).inc()
