"""Finishes what nobody else does: what a crash left undone, what an event asked for, what a webhook hinted at.

Several processes may sweep one database: each takes rows that no other holds, and takes them for a while only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from chassis.errors import DatabaseUnavailable
from chassis.observability import logs
from chassis.types.ids import UserId
from sqlalchemy import Column

from payment_service.domain.errors import ProviderError
from payment_service.domain.pacing import pause
from payment_service.domain.payments import PaymentId, RefundId
from payment_service.domain.wallets import MethodId
from payment_service.repository import due
from payment_service.repository.payments import PaymentRepository
from payment_service.repository.refunds import RefundRepository
from payment_service.repository.tables import customers, payment_methods, payments, refunds
from payment_service.service.settling import Settlement, Tools
from payment_service.service.wallets import Wallets

_BATCH = 20
_AT_ONCE = 5

_Key = TypeVar("_Key", UUID, int)

log = logs.get_logger(__name__)


class Sweeper:
    def __init__(self, tools: Tools, settlement: Settlement, wallets: Wallets, chance: Callable[[], float]) -> None:
        self._tools = tools
        self._settlement = settlement
        self._wallets = wallets
        self._chance = chance
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def sweep(self) -> None:
        """One pass over everything that is due. What fails is due again after a pause."""
        await self._each(payments.c.id, self._payment)
        await self._each(refunds.c.id, self._refund)
        await self._each(payment_methods.c.id, self._method)
        await self._each(customers.c.user_id, self._customer)

    async def _each(self, key: "Column[_Key]", finish: Callable[[_Key], Awaitable[None]]) -> None:
        while True:
            async with self._tools.database.begin() as transaction:
                taken = await due.take(transaction, key, self._tools.now(), _BATCH, self._pause)
            await self._all(taken, finish)
            if len(taken) < _BATCH:
                return

    async def _all(self, taken: Sequence[tuple[_Key, int]], finish: Callable[[_Key], Awaitable[None]]) -> None:
        await asyncio.gather(*(self._one(row, attempts, finish) for row, attempts in taken))

    async def _one(self, row: _Key, attempts: int, finish: Callable[[_Key], Awaitable[None]]) -> None:
        async with self._slots:
            try:
                await finish(row)
            except (ProviderError, DatabaseUnavailable) as error:
                log.warning("it is tried again later", row=str(row), attempts=attempts, reason=str(error))
            except Exception:
                log.exception("a faulty row is tried again later, the others go on", row=str(row), attempts=attempts)

    async def _payment(self, payment_id: UUID) -> None:
        """An open one is brought to where the provider is. Of one that is or was captured, what other hands gave back is recorded, and
        where its order is cancelled, what is left goes back.
        """
        async with self._tools.database.begin() as transaction:
            found = await PaymentRepository(transaction).find(PaymentId(payment_id))
        if found is None:
            return
        await self._settlement.adopt_refunds(found)
        async with self._tools.database.begin() as transaction:
            repository = PaymentRepository(transaction)
            is_order_cancelled = await repository.lock_order(found.order_id)
            payment = await repository.lock(found.id)
            if not payment.is_open:
                await due.rest(transaction, payments.c.id, payment.id, self._tools.now())
                if is_order_cancelled:
                    await self._settlement.refund_remainder_within(transaction, payment)
        if payment.is_open:
            payment, _ = await self._settlement.advance(payment)
            await self._settlement.adopt_refunds(payment)

    async def _refund(self, refund_id: UUID) -> None:
        """Whoever asked for it may have asked the provider too: so what is there already is looked for first."""
        async with self._tools.database.begin() as transaction:
            refund = await RefundRepository(transaction).find(RefundId(refund_id))
        if refund is not None:
            await self._settlement.finish_refund(refund, is_repeated=True)

    async def _method(self, method_id: UUID) -> None:
        await self._wallets.detach(MethodId(method_id))

    async def _customer(self, user_id: int) -> None:
        await self._wallets.erase(UserId(user_id))

    def _pause(self, attempts: int) -> timedelta:
        return pause(attempts, self._chance())
