"""Statements on buyers and their address books.

A buyer's row is locked before anything else of the buyer is written.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from chassis.database.statements import Statement
from chassis.types.ids import UserId
from sqlalchemy import ColumnElement, and_, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from order_service.domain.addresses import Address, AddressId, SavedAddress
from order_service.repository.tables import addresses, buyers


def lock_buyer() -> ReturningInsert[Any]:
    """Returns the statement that locks the row of the buyer `buyer_id`, creating it if needed, and returns it."""
    new = insert(buyers).values(id=bindparam("buyer_id"))
    return new.on_conflict_do_update(index_elements=[buyers.c.id], set_={"id": new.excluded.id}).returning(*buyers.c)


_LOCK = Statement(lock_buyer(), lambda row: row["erased_at"] is None)
_ERASED = Statement(
    select(buyers.c.id).where(buyers.c.id == bindparam("buyer_id"), buyers.c.erased_at.is_not(None)),
    lambda row: int(row["id"]),
)


class BuyerRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def is_erased(self, buyer_id: UserId) -> bool:
        """Reads by primary key, without a lock."""
        return await _ERASED.first(self._transaction, buyer_id=buyer_id) is not None

    async def lock(self, buyer_id: UserId) -> bool:
        """Locks the buyer's row, creating it if needed.

        Returns False if the buyer was erased: then nothing may be stored for them.
        """
        return await _LOCK.one(self._transaction, buyer_id=buyer_id)

    async def erase(self, buyer_id: UserId, at: datetime) -> None:
        """Marks the buyer as erased for good and deletes the address book; uses the index addresses_of_a_buyer.

        The row must be locked.
        """
        erased_at = func.coalesce(buyers.c.erased_at, at)
        await self._transaction.execute(update(buyers).where(buyers.c.id == buyer_id).values(erased_at=erased_at))
        await self._transaction.execute(delete(addresses).where(addresses.c.buyer_id == buyer_id))

    async def addresses(self, buyer_id: UserId) -> Sequence[SavedAddress]:
        """Returns the address book, oldest address first; uses the index addresses_of_a_buyer."""
        query = (
            select(addresses).where(addresses.c.buyer_id == buyer_id).order_by(addresses.c.created_at, addresses.c.id)
        )
        return [_saved_address(row.id, row.address) for row in await self._transaction.execute(query)]

    async def count_addresses(self, buyer_id: UserId) -> int:
        """Counts with the index addresses_of_a_buyer."""
        query = select(func.count()).select_from(addresses).where(addresses.c.buyer_id == buyer_id)
        return await self._transaction.scalar(query) or 0

    async def add_address(self, buyer_id: UserId, saved: SavedAddress, at: datetime) -> None:
        """Adds an address to the address book. The buyer's row must be locked."""
        new = insert(addresses).values(id=saved.id, buyer_id=buyer_id, address=asdict(saved.address), created_at=at)
        await self._transaction.execute(new)

    async def change_address(self, buyer_id: UserId, saved: SavedAddress) -> bool:
        """Updates by primary key; returns False if the buyer has no such address. The buyer's row must be locked."""
        changed = update(addresses).where(_own(buyer_id, saved.id)).values(address=asdict(saved.address))
        return (await self._transaction.execute(changed.returning(addresses.c.id))).first() is not None

    async def remove_address(self, buyer_id: UserId, address_id: AddressId) -> bool:
        """Deletes by primary key; returns False if the buyer has no such address."""
        removed = delete(addresses).where(_own(buyer_id, address_id)).returning(addresses.c.id)
        return (await self._transaction.execute(removed)).first() is not None


def _own(buyer_id: UserId, address_id: AddressId) -> ColumnElement[bool]:
    return and_(addresses.c.id == address_id, addresses.c.buyer_id == buyer_id)


def _saved_address(address_id: Any, stored: dict[str, str | None]) -> SavedAddress:
    return SavedAddress(AddressId(address_id), Address(**stored))  # type: ignore[arg-type]  # as asdict wrote it
