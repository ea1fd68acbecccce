"""The use cases of saved payment methods. The provider keeps them; what is removed here is detached there, sooner or later."""

from chassis.observability import logs
from chassis.types.ids import UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.clients.provider import SavedCard
from payment_service.domain.errors import (
    AccountErased,
    MethodRefused,
    ProviderRefused,
    ProviderUnavailable,
    TooManyMethods,
    UnknownMethod,
)
from payment_service.domain.wallets import MAX_METHODS, MethodId, SavedMethod
from payment_service.repository import due
from payment_service.repository.refunds import RefundRepository
from payment_service.repository.tables import customers
from payment_service.repository.wallets import WalletRepository
from payment_service.service.settling import Tools

log = logs.get_logger(__name__)


class Wallets:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def methods_of(self, user_id: UserId) -> list[SavedMethod]:
        """Newest first."""
        async with self._tools.database.begin() as transaction:
            return await WalletRepository(transaction).of_user(user_id)

    async def save(self, user_id: UserId, method: str) -> SavedMethod:
        """Raises MethodRefused, TooManyMethods, AccountErased, ProviderUnavailable."""
        customer = await self._customer(user_id)
        try:
            card = await self._tools.provider.attach(customer, method)
        except ProviderRefused as refusal:
            raise MethodRefused(refusal.failure.reason) from None
        return await self._store(user_id, card)

    async def remove(self, user_id: UserId, method_id: MethodId) -> None:
        """Gone at once for everybody; at the provider when it answers. Raises UnknownMethod, also for somebody else's."""
        now = self._tools.now()
        async with self._tools.database.begin() as transaction:
            repository = WalletRepository(transaction)
            removed = await repository.remove(user_id, method_id, now, due=now + self._tools.patience)
        if removed is None:
            raise UnknownMethod(method_id)
        try:
            await self.detach(method_id)
        except ProviderUnavailable as error:
            log.warning("a payment method waits to be detached", method_id=str(method_id), reason=str(error))

    async def erase_within(self, transaction: AsyncConnection, user_id: UserId) -> None:
        """Records that a user is gone: what could be shown is blanked now, the sweeper tells the provider."""
        repository = WalletRepository(transaction)
        await repository.lock_customer(user_id)
        await repository.erase_customer(user_id, self._tools.now())
        await RefundRepository(transaction).forget_reasons_of(user_id)

    async def detach(self, method_id: MethodId) -> None:
        """Of a removed method: first at the provider, then here. Raises ProviderUnavailable."""
        async with self._tools.database.begin() as transaction:
            ref = await WalletRepository(transaction).ref_of_removed(method_id)
        if ref is None:
            return
        await self._tools.provider.detach(ref)
        async with self._tools.database.begin() as transaction:
            await WalletRepository(transaction).forget(method_id)

    async def erase(self, user_id: UserId) -> None:
        """The customer of an erased user, with all that the provider keeps for them. Raises ProviderUnavailable."""
        async with self._tools.database.begin() as transaction:
            customer = await WalletRepository(transaction).find_customer(user_id)
        if customer is None or not customer.is_erased:
            return
        if customer.ref is not None:
            await self._tools.provider.erase_customer(customer.ref)
        async with self._tools.database.begin() as transaction:
            repository = WalletRepository(transaction)
            if (await repository.lock_customer(user_id)).ref == customer.ref:
                await repository.store_customer_ref(user_id, None)
                await due.settle(transaction, customers.c.user_id, user_id)

    async def _customer(self, user_id: UserId) -> str:
        """The user's reference at the provider, made there where there was none."""
        async with self._tools.database.begin() as transaction:
            repository = WalletRepository(transaction)
            customer = await repository.lock_customer(user_id)
            saved = len(await repository.of_user(user_id))
        if customer.is_erased:
            raise AccountErased
        if saved >= MAX_METHODS:
            raise TooManyMethods(MAX_METHODS)
        if customer.ref is not None:
            return customer.ref
        return await self._store_customer(user_id, await self._tools.provider.create_customer(user_id))

    async def _store_customer(self, user_id: UserId, ref: str) -> str:
        async with self._tools.database.begin() as transaction:
            repository = WalletRepository(transaction)
            customer = await repository.lock_customer(user_id)
            if customer.ref is None:
                await repository.store_customer_ref(user_id, ref)
            if customer.is_erased:  # meanwhile: so the sweeper erases this one too
                await due.hasten(transaction, customers.c.user_id, user_id, self._tools.now())
        if customer.is_erased:
            raise AccountErased
        return customer.ref or ref

    async def _store(self, user_id: UserId, card: SavedCard) -> SavedMethod:
        now = self._tools.now()
        new = SavedMethod(
            MethodId(self._tools.new_id()),
            user_id,
            card.ref,
            card.brand,
            card.last4,
            card.exp_month,
            card.exp_year,
            now,
        )
        async with self._tools.database.begin() as transaction:
            repository = WalletRepository(transaction)
            customer = await repository.lock_customer(user_id)
            if customer.is_erased:
                await due.hasten(transaction, customers.c.user_id, user_id, now)
            else:
                stored = await repository.add(new)
        if customer.is_erased:
            raise AccountErased
        return stored
