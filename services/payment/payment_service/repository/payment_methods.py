"""Statements on saved payment methods and their customers. Locks: a customer's row first, then its methods."""

from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database.statements import Connection, Statement
from chassis.types.ids import UserId
from sqlalchemy import Row, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.domain.payment_methods import Customer, PaymentMethodId, SavedPaymentMethod
from payment_service.repository.tables import customers, payment_methods, shop

_FIND_CUSTOMER = Statement(
    select(customers).where(customers.c.user_id == bindparam("user_id")),
    lambda row: Customer(UserId(row["user_id"]), row["provider_ref"], row["erased_at"] is not None),
)


class CustomerReader:
    """Reads customers without locks, in a transaction or without one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find_customer(self, user_id: UserId) -> Customer | None:
        """Finds a user's customer row by primary key."""
        return await _FIND_CUSTOMER.first(self._connection, user_id=user_id)


class PaymentMethodRepository(CustomerReader):
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    async def lock_customer(self, user_id: UserId) -> Customer:
        """Locks and returns a user's customer row, which it inserts if there is none."""
        await self._transaction.execute(insert(customers).values(user_id=user_id).on_conflict_do_nothing())
        locked = select(customers).where(customers.c.user_id == user_id).with_for_update()
        return _customer((await self._transaction.execute(locked)).one())

    async def shop_id(self) -> UUID:
        """Returns the random id of this shop, which tells its customers from those of other shops at one provider."""
        shop_id: UUID = (await self._transaction.execute(select(shop.c.id))).scalar_one()
        return shop_id

    async def count_of_user(self, user_id: UserId) -> int:
        """Counts a user's saved methods. Along payment_methods_of_a_user."""
        saved = select(func.count()).where(payment_methods.c.user_id == user_id, payment_methods.c.removed_at.is_(None))
        return (await self._transaction.execute(saved)).scalar_one()

    async def add_removed(self, method: SavedPaymentMethod, at: datetime) -> None:
        """Stores a method as removed, for the sweeper to detach it. One that is saved already stays as it is."""
        new = insert(payment_methods).values(**_values(method), removed_at=at, next_check_at=at)
        await self._transaction.execute(new.on_conflict_do_nothing(index_elements=[payment_methods.c.provider_ref]))

    async def is_saved(self, user_id: UserId, ref: str) -> bool:
        """Returns whether the user has saved the method with this reference, along its unique index."""
        saved = select(payment_methods.c.id).where(
            payment_methods.c.provider_ref == ref,
            payment_methods.c.user_id == user_id,
            payment_methods.c.removed_at.is_(None),
        )
        return await self._transaction.scalar(saved) is not None

    async def store_customer_ref(self, user_id: UserId, ref: str | None) -> None:
        """Stores the provider's reference of a customer. The row must be locked."""
        changed = update(customers).where(customers.c.user_id == user_id)
        await self._transaction.execute(changed.values(provider_ref=ref))

    async def erase_customer(self, user_id: UserId, at: datetime) -> None:
        """Marks the customer erased and blanks what may be shown of the saved methods. The row must be locked.

        The methods' references stay until they are detached at the provider.
        """
        first = func.coalesce(customers.c.erased_at, at)
        await self._transaction.execute(
            update(customers).where(customers.c.user_id == user_id).values(erased_at=first, next_check_at=at)
        )
        await self._transaction.execute(
            update(payment_methods)
            .where(payment_methods.c.user_id == user_id)
            .values(brand="", last4="", exp_month=0, exp_year=0, removed_at=at, next_check_at=at)
        )

    async def add(self, method: SavedPaymentMethod) -> SavedPaymentMethod:
        """Stores a method, and returns it; or returns the method that was saved under its reference before."""
        new = insert(payment_methods).values(**_values(method))
        stored = new.on_conflict_do_update(
            index_elements=[payment_methods.c.provider_ref],
            set_={"removed_at": None, "next_check_at": None},
        ).returning(payment_methods)
        return _method((await self._transaction.execute(stored)).one())

    async def list_of_user(self, user_id: UserId) -> list[SavedPaymentMethod]:
        """Lists a user's saved methods, newest first. Along payment_methods_of_a_user."""
        of_user = (
            select(payment_methods)
            .where(payment_methods.c.user_id == user_id, payment_methods.c.removed_at.is_(None))
            .order_by(payment_methods.c.created_at.desc(), payment_methods.c.id.desc())
        )
        return [_method(row) for row in await self._transaction.execute(of_user)]

    async def find(self, user_id: UserId, method_id: PaymentMethodId) -> SavedPaymentMethod | None:
        """Finds a saved method by primary key; None if it is another user's or removed."""
        found = select(payment_methods).where(
            payment_methods.c.id == method_id,
            payment_methods.c.user_id == user_id,
            payment_methods.c.removed_at.is_(None),
        )
        row = (await self._transaction.execute(found)).first()
        return None if row is None else _method(row)

    async def mark_removed(
        self, user_id: UserId, method_id: PaymentMethodId, at: datetime, next_check_at: datetime
    ) -> bool:
        """Hides a saved method; returns False if it is another user's or removed already."""
        removed = (
            update(payment_methods)
            .where(
                payment_methods.c.id == method_id,
                payment_methods.c.user_id == user_id,
                payment_methods.c.removed_at.is_(None),
            )
            .values(removed_at=at, next_check_at=next_check_at)
            .returning(payment_methods.c.id)
        )
        return (await self._transaction.execute(removed)).first() is not None

    async def find_ref_of_removed(self, method_id: PaymentMethodId) -> str | None:
        """Finds the provider's reference of a removed method, by primary key; None once the row is deleted."""
        ref = select(payment_methods.c.provider_ref).where(
            payment_methods.c.id == method_id, payment_methods.c.removed_at.is_not(None)
        )
        return await self._transaction.scalar(ref)

    async def delete_removed(self, method_id: PaymentMethodId) -> None:
        """Deletes a removed method, after it was detached. It stays if it was saved again in the time between."""
        await self._transaction.execute(
            delete(payment_methods).where(payment_methods.c.id == method_id, payment_methods.c.removed_at.is_not(None))
        )


def _customer(row: Row[Any]) -> Customer:
    return Customer(UserId(row.user_id), row.provider_ref, row.erased_at is not None)


def _values(method: SavedPaymentMethod) -> dict[str, object]:
    return {
        "id": method.id,
        "user_id": method.user_id,
        "provider_ref": method.ref,
        "brand": method.brand,
        "last4": method.last4,
        "exp_month": method.exp_month,
        "exp_year": method.exp_year,
        "created_at": method.created_at,
    }


def _method(row: Row[Any]) -> SavedPaymentMethod:
    return SavedPaymentMethod(
        id=PaymentMethodId(row.id),
        user_id=UserId(row.user_id),
        ref=row.provider_ref,
        brand=row.brand,
        last4=row.last4,
        exp_month=row.exp_month,
        exp_year=row.exp_year,
        created_at=row.created_at,
    )
