"""Statements on saved payment methods and their customers. Locks: a customer's row first, then their methods."""

from datetime import datetime
from typing import Any

from chassis.types.ids import UserId
from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.domain.wallets import Customer, MethodId, SavedMethod
from payment_service.repository.tables import customers, payment_methods


class WalletRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def lock_customer(self, user_id: UserId) -> Customer:
        """Locks the user's row, made here where there was none."""
        await self._transaction.execute(insert(customers).values(user_id=user_id).on_conflict_do_nothing())
        wanted = select(customers).where(customers.c.user_id == user_id).with_for_update()
        return _customer((await self._transaction.execute(wanted)).one())

    async def find_customer(self, user_id: UserId) -> Customer | None:
        """By primary key, without a lock."""
        row = (await self._transaction.execute(select(customers).where(customers.c.user_id == user_id))).first()
        return None if row is None else _customer(row)

    async def store_customer_ref(self, user_id: UserId, ref: str | None) -> None:
        """The row must be locked."""
        changed = update(customers).where(customers.c.user_id == user_id)
        await self._transaction.execute(changed.values(provider_ref=ref))

    async def erase_customer(self, user_id: UserId, at: datetime) -> None:
        """The row must be locked. What may be shown of the methods is gone at once; their references when they are detached."""
        first = func.coalesce(customers.c.erased_at, at)
        await self._transaction.execute(
            update(customers).where(customers.c.user_id == user_id).values(erased_at=first, next_check_at=at)
        )
        await self._transaction.execute(
            update(payment_methods)
            .where(payment_methods.c.user_id == user_id)
            .values(brand="", last4="", exp_month=0, exp_year=0, removed_at=at, next_check_at=at)
        )

    async def add(self, method: SavedMethod) -> SavedMethod:
        """The method as it is stored: this one, or the one that was saved under its reference before."""
        new = insert(payment_methods).values(
            id=method.id,
            user_id=method.user_id,
            provider_ref=method.ref,
            brand=method.brand,
            last4=method.last4,
            exp_month=method.exp_month,
            exp_year=method.exp_year,
            created_at=method.created_at,
        )
        stored = new.on_conflict_do_update(
            index_elements=[payment_methods.c.provider_ref],
            set_={"removed_at": None, "next_check_at": None},
        ).returning(payment_methods)
        return _method((await self._transaction.execute(stored)).one())

    async def of_user(self, user_id: UserId) -> list[SavedMethod]:
        """Newest first, along payment_methods_of_a_user."""
        wanted = (
            select(payment_methods)
            .where(payment_methods.c.user_id == user_id, payment_methods.c.removed_at.is_(None))
            .order_by(payment_methods.c.created_at.desc(), payment_methods.c.id.desc())
        )
        return [_method(row) for row in await self._transaction.execute(wanted)]

    async def find(self, user_id: UserId, method_id: MethodId) -> SavedMethod | None:
        """By primary key; None for somebody else's or a removed one."""
        wanted = select(payment_methods).where(
            payment_methods.c.id == method_id,
            payment_methods.c.user_id == user_id,
            payment_methods.c.removed_at.is_(None),
        )
        row = (await self._transaction.execute(wanted)).first()
        return None if row is None else _method(row)

    async def remove(self, user_id: UserId, method_id: MethodId, at: datetime, due: datetime) -> SavedMethod | None:
        """From now on nobody sees it; None for somebody else's or a removed one."""
        changed = (
            update(payment_methods)
            .where(
                payment_methods.c.id == method_id,
                payment_methods.c.user_id == user_id,
                payment_methods.c.removed_at.is_(None),
            )
            .values(removed_at=at, next_check_at=due)
            .returning(payment_methods)
        )
        row = (await self._transaction.execute(changed)).first()
        return None if row is None else _method(row)

    async def ref_of_removed(self, method_id: MethodId) -> str | None:
        """By primary key; None once it is forgotten."""
        wanted = select(payment_methods.c.provider_ref).where(
            payment_methods.c.id == method_id, payment_methods.c.removed_at.is_not(None)
        )
        return await self._transaction.scalar(wanted)

    async def forget(self, method_id: MethodId) -> None:
        """Once it is detached. One that was saved again meanwhile stays."""
        await self._transaction.execute(
            delete(payment_methods).where(payment_methods.c.id == method_id, payment_methods.c.removed_at.is_not(None))
        )


def _customer(row: Row[Any]) -> Customer:
    return Customer(UserId(row.user_id), row.provider_ref, row.erased_at is not None)


def _method(row: Row[Any]) -> SavedMethod:
    return SavedMethod(
        id=MethodId(row.id),
        user_id=UserId(row.user_id),
        ref=row.provider_ref,
        brand=row.brand,
        last4=row.last4,
        exp_month=row.exp_month,
        exp_year=row.exp_year,
        created_at=row.created_at,
    )
