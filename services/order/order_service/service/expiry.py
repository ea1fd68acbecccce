"""The expiry of unpaid orders: the payment service is asked before an order is cancelled.

An order may be paid although its `payment.completed` has not arrived: the broker may be unavailable for longer than an
order may stay unpaid.
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

from order_service.clients.payments import Payments
from order_service.domain.expiry import ExpiryPolicy, OrderPayment, PaymentState
from order_service.domain.orders import Order, OrderStatus
from order_service.repository.orders import OrderRepository
from order_service.service.orders import OrderService

CONFIRMED_LATE = Counter(
    "orders_confirmed_without_event_total", "Orders whose payment was found by asking, before its event arrived"
)
GIVEN_UP = Counter(
    "orders_expired_in_process_total", "Orders cancelled while a payment was in process, after the longest wait"
)
UNANSWERED = Gauge(
    "orders_expiry_unanswered_seconds",
    "How long the oldest expired order waits for the payment service to answer; 0 if it answers",
)

_BATCH = 100

log = logs.get_logger(__name__)


class OrderExpiry:
    def __init__(
        self,
        database: Database,
        orders: OrderService,
        payments: Payments,
        policy: ExpiryPolicy,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._orders = orders
        self._payments = payments
        self._policy = policy
        self._now = now

    async def expire_unpaid(self) -> None:
        """Cancels the expired orders for which nothing is paid, and confirms those that are paid.

        An order whose payment is in process is asked about again later. If the payment service does not answer, all
        stay as they are until the next sweep.
        """
        while await self._sweep_batch() == _BATCH:
            pass

    async def _sweep_batch(self) -> int:
        """Returns how many orders were decided or postponed."""
        now = self._now()
        async with self._database.begin() as transaction:
            expired = await OrderRepository(transaction).list_expired(self._policy.last_expiry(now), now, _BATCH)
        if not expired:
            UNANSWERED.set(0)
            return 0
        payments = await self._states(list(expired))
        UNANSWERED.set(longest_wait(expired, payments, now))
        return await self._decide_all(payments) if payments else 0

    async def _states(self, expired: Sequence[OrderId]) -> Mapping[OrderId, OrderPayment]:
        """Asks the payment service, while no transaction is open. Empty if it does not answer."""
        try:
            return await self._payments.states(expired)
        except (NeighbourUnavailable, NeighbourRefused) as error:
            log.warning("expired orders are kept until payment answers", orders=len(expired), reason=str(error))
            return {}

    async def _decide_all(self, payments: Mapping[OrderId, OrderPayment]) -> int:
        """Returns how many orders were decided or postponed.

        An order that was paid, cancelled or locked since the question is left alone.
        """
        now = self._now()
        async with self._database.begin() as transaction:
            orders = await OrderRepository(transaction).lock_expired(list(payments), self._policy.last_expiry(now), now)
            for order in orders:
                await self._decide(transaction, order, payments[order.id], now)
        return len(orders)

    async def _decide(self, transaction: AsyncConnection, order: Order, payment: OrderPayment, now: datetime) -> None:
        if payment.state is PaymentState.NONE:
            await self._orders.cancel_expired(transaction, order)
        elif not await self._confirm(transaction, order, payment):
            await self._postpone(transaction, order, now)

    async def _confirm(self, transaction: AsyncConnection, order: Order, payment: OrderPayment) -> bool:
        """Records a captured payment as its event would; returns whether the order is confirmed by it."""
        if payment.captured is None:
            return False
        await self._orders.record_payment(transaction, order.id, payment.captured)
        stored = await OrderRepository(transaction).find(order.id)
        if stored is None or stored.status is OrderStatus.PENDING:
            return False  # the amount is wrong: counted as mispaid
        CONFIRMED_LATE.inc()
        log.info("order confirmed before its payment's event arrived", order_id=str(order.id))
        return True

    async def _postpone(self, transaction: AsyncConnection, order: Order, now: datetime) -> None:
        """Sets when to ask again, or cancels the order after the longest wait."""
        next_check = self._policy.next_check(order, now)
        if next_check is None:
            GIVEN_UP.inc()
            log.warning("order cancelled while a payment is in process", order_id=str(order.id))
            await self._orders.cancel_expired(transaction, order)
        else:
            await OrderRepository(transaction).postpone_expiry(order.id, next_check)
