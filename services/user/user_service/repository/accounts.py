"""Statements on users."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.kernel.ids import UserId
from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email, NewAccount, Role, name_of
from user_service.repository.tables import users

_SEEN = (users.c.id, users.c.email, users.c.role, users.c.display_name, users.c.created_at)


@dataclass(frozen=True, slots=True)
class Credentials:
    account: Account
    password_hash: str


class AccountRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add(self, new: NewAccount, password_hash: str, at: datetime) -> Account | None:
        """None where the address is taken; the index `users_by_email` decides between two at once."""
        row = insert(users).values(
            email=new.email,
            password_hash=password_hash,
            role=new.role,
            display_name=new.display_name,
            created_at=at,
        )
        added = (await self._transaction.execute(row.on_conflict_do_nothing().returning(*_SEEN))).first()
        return _account(added) if added else None

    async def by_email(self, email: Email) -> Credentials | None:
        """By the index `users_by_email`, without a lock."""
        wanted = select(*_SEEN, users.c.password_hash).where(func.lower(users.c.email) == email)
        row = (await self._transaction.execute(wanted)).first()
        return Credentials(_account(row), row.password_hash) if row else None

    async def by_id(self, user_id: UserId) -> Account | None:
        """By primary key, without a lock."""
        row = (await self._transaction.execute(select(*_SEEN).where(users.c.id == user_id))).first()
        return _account(row) if row else None

    async def rename(self, user_id: UserId, display_name: str) -> Account | None:
        changed = update(users).where(users.c.id == user_id).values(display_name=display_name).returning(*_SEEN)
        row = (await self._transaction.execute(changed)).first()
        return _account(row) if row else None

    async def page(self, offset: int, limit: int) -> tuple[list[Account], int]:
        """In the order of registration, by primary key; with how many there are in all."""
        rows = await self._transaction.execute(select(*_SEEN).order_by(users.c.id).offset(offset).limit(limit))
        total = await self._transaction.scalar(select(func.count()).select_from(users))
        return [_account(row) for row in rows], total or 0


def _account(row: Row[*tuple[Any, ...]]) -> Account:
    user_id = UserId(row.id)
    return Account(user_id, Email(row.email), Role(row.role), name_of(user_id, row.display_name), row.created_at)
