"""Statements on login failures.

Counting is one statement which locks its row, so concurrent failures are all counted.
"""

from datetime import datetime
from typing import Any

from chassis.database.pruning import delete_oldest
from sqlalchemy import Row, case, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.lockout import LoginDigest, LoginFailures
from user_service.repository.tables import login_failures


class LoginFailureRepository:
    """Reads and writes login failures within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def find(self, email: LoginDigest) -> LoginFailures | None:
        """Reads by primary key, without a lock."""
        row = (await self._transaction.execute(_select(email))).first()
        return _failures(row) if row else None

    async def lock(self, email: LoginDigest) -> LoginFailures | None:
        """Reads by primary key, and locks the row."""
        row = (await self._transaction.execute(_select(email).with_for_update())).first()
        return _failures(row) if row else None

    async def add(
        self, email: LoginDigest, at: datetime, stale_before: datetime, account: LoginDigest | None = None
    ) -> LoginFailures:
        """Counts one more failure, or the first if the last one was before `stale_before`.

        `account` is the digest for all networks if `email` is that for one network. The row stays locked;
        `locked_until` is not changed.
        """
        first = insert(login_failures).values(address_digest=email, account_digest=account, failures=1, last_at=at)
        count = case((login_failures.c.last_at < stale_before, 1), else_=login_failures.c.failures + 1)
        statement = first.on_conflict_do_update(
            index_elements=[login_failures.c.address_digest], set_={"failures": count, "last_at": at}
        )
        return _failures((await self._transaction.execute(statement.returning(login_failures))).one())

    async def set_lock(self, email: LoginDigest, until: datetime) -> None:
        """Locks the address until then. The row must be locked."""
        row = update(login_failures).where(login_failures.c.address_digest == email)
        await self._transaction.execute(row.values(locked_until=until))

    async def clear(self, email: LoginDigest) -> None:
        await self._transaction.execute(delete(login_failures).where(login_failures.c.address_digest == email))

    async def clear_all(self, account: LoginDigest) -> None:
        """Deletes the failures for an address from all networks, through `login_failures_of_an_account`."""
        of_account = or_(login_failures.c.address_digest == account, login_failures.c.account_digest == account)
        await self._transaction.execute(delete(login_failures).where(of_account))

    async def delete_before(self, before: datetime, limit: int) -> int:
        """Deletes the `limit` oldest failures through the index on `last_at`; returns how many."""
        return (await self._transaction.execute(delete_oldest(login_failures.c.last_at, before, limit))).rowcount


def _select(email: LoginDigest) -> Any:
    return select(login_failures).where(login_failures.c.address_digest == email)


def _failures(row: Row[*tuple[Any, ...]]) -> LoginFailures:
    return LoginFailures(row.failures, row.last_at, row.locked_until)
