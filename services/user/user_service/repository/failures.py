"""Statements on wrong passwords. Counting is one statement that locks its row, so of many at once each is counted."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, case, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.lockout import AddressDigest, Failures
from user_service.repository.tables import login_failures


class FailureRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def find(self, address: AddressDigest) -> Failures | None:
        """By primary key, without a lock."""
        row = (await self._transaction.execute(_of(address))).first()
        return _failures(row) if row else None

    async def lock(self, address: AddressDigest) -> Failures | None:
        """By primary key, the row locked."""
        row = (await self._transaction.execute(_of(address).with_for_update())).first()
        return _failures(row) if row else None

    async def count(self, address: AddressDigest, at: datetime, forgotten: datetime) -> Failures:
        """One more, or the first where the last was before `forgotten`; the row stays locked. Until when the address is locked is
        as it was.
        """
        first = insert(login_failures).values(address_digest=address, failures=1, last_at=at)
        one_more = case((login_failures.c.last_at < forgotten, 1), else_=login_failures.c.failures + 1)
        counted = first.on_conflict_do_update(
            index_elements=[login_failures.c.address_digest], set_={"failures": one_more, "last_at": at}
        )
        return _failures((await self._transaction.execute(counted.returning(login_failures))).one())

    async def set_lock(self, address: AddressDigest, until: datetime) -> None:
        """The row must be locked."""
        row = update(login_failures).where(login_failures.c.address_digest == address)
        await self._transaction.execute(row.values(locked_until=until))

    async def clear(self, address: AddressDigest) -> None:
        await self._transaction.execute(delete(login_failures).where(login_failures.c.address_digest == address))

    async def forget(self, before: datetime) -> int:
        """Along the index on `last_at`."""
        return (
            await self._transaction.execute(delete(login_failures).where(login_failures.c.last_at < before))
        ).rowcount


def _of(address: AddressDigest) -> Any:
    return select(login_failures).where(login_failures.c.address_digest == address)


def _failures(row: Row[*tuple[Any, ...]]) -> Failures:
    return Failures(row.failures, row.last_at, row.locked_until)
