"""The query of the order service: what is captured for an order, what may still be, and what was refunded of it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from chassis.database.engine import Database
from chassis.observability import logs
from chassis.types.ids import OrderId

from payment_service.domain.errors import ProviderError
from payment_service.domain.payment_states import OrderPayment, PaymentState
from payment_service.domain.payments import Payment, PaymentId, Refund
from payment_service.repository.payments import PaymentRepository
from payment_service.repository.refunds import RefundRepository
from payment_service.service.payment_reconciler import PaymentReconciler

_CONCURRENCY = 10
_PROVIDER_TIMEOUT_SECONDS = 4.0
"""The time for all payments of one query together: what is not known by then counts as in process."""

_NO_PAYMENT = OrderPayment(PaymentState.NONE)

log = logs.get_logger(__name__)


class PaymentStates:
    def __init__(self, database: Database, reconciler: PaymentReconciler, now: Callable[[], datetime]) -> None:
        self._database = database
        self._reconciler = reconciler
        self._now = now
        self._slots = asyncio.Semaphore(_CONCURRENCY)

    async def of_orders(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, OrderPayment]:
        """Returns the state of each order's payment.

        An open payment is reconciled with the provider first, since a missed webhook may hide that it was captured.
        """
        async with self._database.begin() as transaction:
            payments = await PaymentRepository(transaction).list_live_of_orders(order_ids)
        deadline = asyncio.get_running_loop().time() + _PROVIDER_TIMEOUT_SECONDS
        found = await asyncio.gather(*(self._current(payment, deadline) for payment in payments))
        states = {payment.order_id: state for payment, state in zip(payments, found, strict=True)}
        return await self._with_records({order: states.get(order, _NO_PAYMENT) for order in order_ids})

    async def _with_records(self, states: Mapping[OrderId, OrderPayment]) -> Mapping[OrderId, OrderPayment]:
        """Adds the refunds, and which orders are closed, as they are stored after the states are known."""
        captured = [state.captured.id for state in states.values() if state.captured is not None]
        async with self._database.begin() as transaction:
            refunds = await RefundRepository(transaction).list_succeeded(captured)
            closed = await PaymentRepository(transaction).closed_among(list(states))
        return {
            order: state.with_records(_refunds_of(state, refunds), is_closed=order in closed)
            for order, state in states.items()
        }

    async def _current(self, payment: Payment, deadline: float) -> OrderPayment:
        """Returns a payment's state after its reconciliation. `deadline` is a time of the event loop."""
        if not payment.is_open or payment.intent_id is None:
            return OrderPayment.of(payment, None, self._now())
        try:
            async with asyncio.timeout_at(deadline), self._slots:
                payment, intent = await self._reconciler.reconcile(payment)
        except (ProviderError, TimeoutError) as error:
            log.warning("the state of a payment is unknown", payment_id=str(payment.id), reason=str(error))
            return OrderPayment(PaymentState.IN_PROCESS)
        return OrderPayment.of(payment, intent, self._now())


def _refunds_of(state: OrderPayment, refunds: Mapping[PaymentId, Sequence[Refund]]) -> Sequence[Refund]:
    return () if state.captured is None else refunds.get(state.captured.id, ())
