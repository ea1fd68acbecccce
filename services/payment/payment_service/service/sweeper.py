"""The sweeper checks the rows that are due with the provider, and so finishes what no request finishes.

That is work which a crash or an unknown outcome interrupted, which an event caused, or which a webhook reported.
Payments, refunds and saved methods are swept independently of each other, so that a refund never waits for the checks
of payments. Several processes may sweep one database: each claims rows that no other has claimed, for a limited time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from chassis.database.engine import Database
from chassis.errors import DatabaseUnavailable
from chassis.observability import logs
from chassis.types.ids import UserId

from payment_service.domain.errors import ProviderError
from payment_service.domain.payment_methods import PaymentMethodId
from payment_service.domain.payments import Payment, PaymentId, RefundId
from payment_service.repository.check_schedule import (
    CUSTOMER_CHECKS,
    PAYMENT_CHECKS,
    PAYMENT_METHOD_CHECKS,
    REFUND_CHECKS,
    CheckSchedule,
)
from payment_service.repository.payments import PaymentRepository
from payment_service.repository.refunds import RefundRepository
from payment_service.service.payment_methods import PaymentMethodService
from payment_service.service.payment_reconciler import PaymentReconciler
from payment_service.service.refund_reconciler import RefundReconciler

_BATCH = 20
_CONCURRENCY = 5
_FIRST_RETRY_SECONDS = 2.0
_MAX_RETRY_SECONDS = 300.0

_Key = TypeVar("_Key", UUID, int)

log = logs.get_logger(__name__)


class PaymentSweeper:
    def __init__(
        self,
        database: Database,
        payments: PaymentReconciler,
        refunds: RefundReconciler,
        methods: PaymentMethodService,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` returns a random number between 0 and 1."""
        self._database = database
        self._payments = payments
        self._refunds = refunds
        self._methods = methods
        self._now = now
        self._jitter = jitter

    async def sweep_payments(self) -> None:
        """Checks every payment that is due. A row that fails is due again after a delay, here and below."""
        await self._sweep(PAYMENT_CHECKS, self._check_payment)

    async def sweep_refunds(self) -> None:
        await self._sweep(REFUND_CHECKS, self._check_refund)

    async def sweep_methods(self) -> None:
        """Checks every saved method and every customer that is due."""
        await self._sweep(PAYMENT_METHOD_CHECKS, self._check_method)
        await self._sweep(CUSTOMER_CHECKS, self._check_customer)

    async def _sweep(self, schedule: "CheckSchedule[_Key]", check: Callable[[_Key], Awaitable[None]]) -> None:
        slots = asyncio.Semaphore(_CONCURRENCY)
        while True:
            async with self._database.begin() as transaction:
                claimed = await schedule.claim(transaction, self._now(), _BATCH, self._retry_delay)
            await asyncio.gather(*(self._check(slots, row, attempts, check) for row, attempts in claimed))
            if len(claimed) < _BATCH:
                return

    async def _check(
        self, slots: asyncio.Semaphore, row: _Key, attempts: int, check: Callable[[_Key], Awaitable[None]]
    ) -> None:
        async with slots:
            try:
                await check(row)
            except (ProviderError, DatabaseUnavailable) as error:
                log.warning("a check is retried later", row=str(row), attempts=attempts, reason=str(error))
            except Exception:
                log.exception("the check of a faulty row is retried later", row=str(row), attempts=attempts)

    async def _check_payment(self, payment_id: UUID) -> None:
        """Reconciles an open payment.

        Of a captured one, imports refunds made at the provider, and refunds what is left if its order is cancelled.
        """
        async with self._database.begin() as transaction:
            found = await PaymentRepository(transaction).find(PaymentId(payment_id))
        if found is None:
            return
        await self._refunds.import_provider_refunds(found)
        async with self._database.begin() as transaction:
            repository = PaymentRepository(transaction)
            payment, is_order_cancelled = await repository.lock_with_order(found.id)
            if not payment.is_open:
                await PAYMENT_CHECKS.clear_unless_rescheduled(transaction, payment.id, self._now())
                if is_order_cancelled or payment.is_wrongly_captured:
                    await self._refunds.refund_remainder_within(transaction, payment)
        if payment.is_open:
            payment, _ = await self._payments.reconcile(payment)
            await self._refunds.import_provider_refunds(payment)
            await self._postpone(payment)

    async def _postpone(self, payment: Payment) -> None:
        """Leaves a payment that waits for its buyer alone until its order expires, or until a hint comes before that.

        A hint is a webhook or a request. A closing payment is checked until it has failed.
        """
        now = self._now()
        if not payment.is_open or payment.is_closing or payment.pay_until is None or payment.pay_until <= now:
            return
        async with self._database.begin() as transaction:
            await PAYMENT_CHECKS.postpone_unless_rescheduled(transaction, payment.id, now, payment.pay_until)

    async def _check_refund(self, refund_id: UUID) -> None:
        """Reconciles a refund as a repetition, since its request may have reached the provider already."""
        async with self._database.begin() as transaction:
            refund = await RefundRepository(transaction).find(RefundId(refund_id))
        if refund is not None:
            await self._refunds.reconcile(refund, is_repeated=True)

    async def _check_method(self, method_id: UUID) -> None:
        await self._methods.detach(PaymentMethodId(method_id))

    async def _check_customer(self, user_id: int) -> None:
        await self._methods.erase_customer(UserId(user_id))

    def _retry_delay(self, attempts: int) -> timedelta:
        return retry_delay(attempts, self._jitter())


def retry_delay(attempts: int, jitter: float) -> timedelta:
    """Returns how long to wait before a row is checked again: doubles with every attempt, up to five minutes.

    `jitter`, between 0 and 1, keeps processes and rows from being checked at the same time.
    """
    seconds = min(_FIRST_RETRY_SECONDS * 2.0 ** min(attempts, 20), _MAX_RETRY_SECONDS)
    return timedelta(seconds=seconds * (0.5 + jitter / 2))
