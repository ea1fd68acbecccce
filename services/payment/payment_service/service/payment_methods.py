"""The use cases of saved payment methods.

The provider keeps the cards; a method removed here is detached there, at once or later.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database.engine import Database
from chassis.observability import logs
from chassis.types.ids import UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.clients.provider import Provider, SavedCard
from payment_service.domain.errors import (
    AccountErased,
    PaymentMethodRefused,
    ProviderRefused,
    ProviderUnavailable,
    TooManyPaymentMethods,
    UnknownPaymentMethod,
)
from payment_service.domain.payment_methods import MAX_SAVED_METHODS, PaymentMethodId, SavedPaymentMethod
from payment_service.repository.check_schedule import CUSTOMER_CHECKS
from payment_service.repository.payment_methods import PaymentMethodRepository
from payment_service.repository.refunds import RefundRepository

log = logs.get_logger(__name__)


class PaymentMethodService:
    def __init__(
        self,
        database: Database,
        provider: Provider,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        sweep_after: timedelta,
    ) -> None:
        """`sweep_after` is how long a removed method is left to its request before the sweeper detaches it."""
        self._database = database
        self._provider = provider
        self._now = now
        self._new_id = new_id
        self._sweep_after = sweep_after

    async def list_of_user(self, user_id: UserId) -> list[SavedPaymentMethod]:
        """Lists a user's saved methods, newest first."""
        async with self._database.begin() as transaction:
            return await PaymentMethodRepository(transaction).list_of_user(user_id)

    async def save(self, user_id: UserId, method: str) -> SavedPaymentMethod:
        """Saves a method. Raises PaymentMethodRefused, TooManyPaymentMethods, AccountErased, ProviderUnavailable."""
        customer = await self._ensure_customer(user_id)
        try:
            card = await self._provider.attach_method(customer, method)
        except ProviderRefused as refusal:
            raise PaymentMethodRefused(refusal.failure.reason) from None
        return await self._store(user_id, card)

    async def remove(self, user_id: UserId, method_id: PaymentMethodId) -> None:
        """Hides a method at once, and detaches it at the provider, now or when it is available again.

        Raises UnknownPaymentMethod, also if it is another user's.
        """
        now = self._now()
        async with self._database.begin() as transaction:
            repository = PaymentMethodRepository(transaction)
            is_removed = await repository.mark_removed(user_id, method_id, now, next_check_at=now + self._sweep_after)
        if not is_removed:
            raise UnknownPaymentMethod(method_id)
        try:
            await self.detach(method_id)
        except ProviderUnavailable as error:
            log.warning("a payment method is detached later", method_id=str(method_id), reason=str(error))

    async def erase_user_within(self, transaction: AsyncConnection, user_id: UserId) -> None:
        """Records that a user was erased, and blanks their saved methods; the sweeper then erases the customer."""
        repository = PaymentMethodRepository(transaction)
        await repository.lock_customer(user_id)
        await repository.erase_customer(user_id, self._now())
        await RefundRepository(transaction).erase_reasons_of_buyer(user_id)

    async def detach(self, method_id: PaymentMethodId) -> None:
        """Detaches a removed method at the provider, and then deletes it here. Raises ProviderUnavailable."""
        async with self._database.begin() as transaction:
            ref = await PaymentMethodRepository(transaction).find_ref_of_removed(method_id)
        if ref is None:
            return
        await self._provider.detach_method(ref)
        async with self._database.begin() as transaction:
            await PaymentMethodRepository(transaction).delete_removed(method_id)

    async def erase_customer(self, user_id: UserId) -> None:
        """Erases the customer of an erased user at the provider, with all saved methods. Raises ProviderUnavailable."""
        async with self._database.begin() as transaction:
            customer = await PaymentMethodRepository(transaction).find_customer(user_id)
        if customer is None or not customer.is_erased:
            return
        if customer.ref is not None:
            await self._provider.erase_customer(customer.ref)
        async with self._database.begin() as transaction:
            repository = PaymentMethodRepository(transaction)
            if (await repository.lock_customer(user_id)).ref == customer.ref:
                await repository.store_customer_ref(user_id, None)
                await CUSTOMER_CHECKS.clear(transaction, user_id)

    async def _ensure_customer(self, user_id: UserId) -> str:
        """Returns the provider's reference of the user, created there if there is none."""
        async with self._database.begin() as transaction:
            repository = PaymentMethodRepository(transaction)
            customer = await repository.lock_customer(user_id)
            count, shop_id = await repository.count_of_user(user_id), await repository.shop_id()
        if customer.is_erased:
            raise AccountErased
        if count >= MAX_SAVED_METHODS:
            raise TooManyPaymentMethods(MAX_SAVED_METHODS)
        if customer.ref is not None:
            return customer.ref
        return await self._store_customer(user_id, await self._provider.create_customer(user_id, shop_id))

    async def _store_customer(self, user_id: UserId, ref: str) -> str:
        async with self._database.begin() as transaction:
            repository = PaymentMethodRepository(transaction)
            customer = await repository.lock_customer(user_id)
            if customer.ref is None:
                await repository.store_customer_ref(user_id, ref)
            if customer.is_erased:  # while the provider was called: the sweeper must erase the new customer too
                await CUSTOMER_CHECKS.reschedule(transaction, user_id, self._now())
        if customer.is_erased:
            raise AccountErased
        return customer.ref or ref

    async def _store(self, user_id: UserId, card: SavedCard) -> SavedPaymentMethod:
        now = self._now()
        new = SavedPaymentMethod(
            PaymentMethodId(self._new_id()),
            user_id,
            card.ref,
            card.brand,
            card.last4,
            card.exp_month,
            card.exp_year,
            now,
        )
        async with self._database.begin() as transaction:
            repository = PaymentMethodRepository(transaction)
            customer = await repository.lock_customer(user_id)
            stored = None
            if customer.is_erased:
                await CUSTOMER_CHECKS.reschedule(transaction, user_id, now)
            elif await _has_room(repository, user_id, card.ref):
                stored = await repository.add(new)
            else:
                await repository.add_removed(new, now)  # it is attached already: the sweeper detaches it
        if customer.is_erased:
            raise AccountErased
        if stored is None:
            raise TooManyPaymentMethods(MAX_SAVED_METHODS)
        return stored


async def _has_room(repository: PaymentMethodRepository, user_id: UserId, ref: str) -> bool:
    """Returns whether the user may have the method: it is theirs already, or there are fewer than the limit.

    The customer's row must be locked.
    """
    return await repository.is_saved(user_id, ref) or await repository.count_of_user(user_id) < MAX_SAVED_METHODS
