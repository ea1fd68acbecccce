"""Statements on buyers and their address books. Locks: a buyer's row, before anything else that is theirs is written."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from chassis.types.ids import UserId
from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.addresses import Address, AddressId, KnownAddress
from order_service.repository.tables import addresses, buyers


class BuyerRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def lock(self, buyer_id: UserId) -> bool:
        """Locks the buyer's row, made here where there was none. Says whether the buyer may have anything: False once they are erased."""
        new = insert(buyers).values(id=buyer_id)
        held = new.on_conflict_do_update(index_elements=[buyers.c.id], set_={"id": new.excluded.id})
        return await self._transaction.scalar(held.returning(buyers.c.erased_at)) is None

    async def is_erased(self, buyer_id: UserId) -> bool:
        """By primary key, without a lock."""
        return await self._transaction.scalar(select(buyers.c.erased_at).where(buyers.c.id == buyer_id)) is not None

    async def erase(self, buyer_id: UserId, at: datetime) -> None:
        """For ever, and the address book with it, along addresses_of_a_buyer. The row must be locked."""
        erased_at = func.coalesce(buyers.c.erased_at, at)
        await self._transaction.execute(update(buyers).where(buyers.c.id == buyer_id).values(erased_at=erased_at))
        await self._transaction.execute(delete(addresses).where(addresses.c.buyer_id == buyer_id))

    async def addresses(self, buyer_id: UserId) -> Sequence[KnownAddress]:
        """Oldest first, along addresses_of_a_buyer."""
        wanted = (
            select(addresses).where(addresses.c.buyer_id == buyer_id).order_by(addresses.c.created_at, addresses.c.id)
        )
        return [_known(row.id, row.address) for row in await self._transaction.execute(wanted)]

    async def address(self, buyer_id: UserId, address_id: AddressId) -> Address | None:
        """By primary key; None also for somebody else's."""
        found = await self._transaction.scalar(select(addresses.c.address).where(_own(buyer_id, address_id)))
        return None if found is None else Address(**found)

    async def count_addresses(self, buyer_id: UserId) -> int:
        """Along addresses_of_a_buyer."""
        wanted = select(func.count()).select_from(addresses).where(addresses.c.buyer_id == buyer_id)
        return await self._transaction.scalar(wanted) or 0

    async def add_address(self, buyer_id: UserId, known: KnownAddress, at: datetime) -> None:
        """The buyer's row must be locked."""
        new = insert(addresses).values(id=known.id, buyer_id=buyer_id, address=asdict(known.address), created_at=at)
        await self._transaction.execute(new)

    async def change_address(self, buyer_id: UserId, known: KnownAddress) -> bool:
        """By primary key; False where the buyer has none such. The buyer's row must be locked."""
        changed = update(addresses).where(_own(buyer_id, known.id)).values(address=asdict(known.address))
        return (await self._transaction.execute(changed.returning(addresses.c.id))).first() is not None

    async def remove_address(self, buyer_id: UserId, address_id: AddressId) -> bool:
        """By primary key; False where the buyer has none such."""
        removed = delete(addresses).where(_own(buyer_id, address_id)).returning(addresses.c.id)
        return (await self._transaction.execute(removed)).first() is not None


def _own(buyer_id: UserId, address_id: AddressId) -> ColumnElement[bool]:
    return and_(addresses.c.id == address_id, addresses.c.buyer_id == buyer_id)


def _known(address_id: Any, written: dict[str, str | None]) -> KnownAddress:
    return KnownAddress(AddressId(address_id), Address(**written))  # type: ignore[arg-type]  # as asdict wrote it
