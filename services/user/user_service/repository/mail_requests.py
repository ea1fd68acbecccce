"""Statements on mail requests.

A transaction which writes them holds the lock of the account's row, which orders them.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database.pruning import delete_oldest
from chassis.types.ids import UserId
from sqlalchemy import Row, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email
from user_service.domain.mail_tokens import MailRequest, Purpose
from user_service.repository.tables import mail_requests

_IS_OPEN = and_(mail_requests.c.used_at.is_(None), mail_requests.c.replaced_at.is_(None))


class MailRequestRepository:
    """Reads and writes mail requests within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add(self, request: MailRequest) -> None:
        """Inserts a request. The index `one_open_mail_request` rejects a second open one for its user and purpose."""
        await self._transaction.execute(
            insert(mail_requests).values(
                id=request.id,
                user_id=request.user_id,
                purpose=request.purpose,
                email=request.email,
                created_at=request.created_at,
                expires_at=request.expires_at,
            )
        )

    async def find(self, request_id: UUID) -> MailRequest | None:
        """Reads by primary key, without a lock."""
        row = (await self._transaction.execute(select(mail_requests).where(mail_requests.c.id == request_id))).first()
        return _request(row) if row else None

    async def find_open(self, user_id: UserId, purpose: Purpose) -> MailRequest | None:
        """Returns the open request, which may have expired; reads through the index `one_open_mail_request`."""
        query = select(mail_requests).where(
            mail_requests.c.user_id == user_id, mail_requests.c.purpose == purpose, _IS_OPEN
        )
        row = (await self._transaction.execute(query)).first()
        return _request(row) if row else None

    async def list_for_user(self, user_id: UserId) -> list[MailRequest]:
        """Returns the user's requests, the newest first."""
        query = select(mail_requests).where(mail_requests.c.user_id == user_id)
        rows = await self._transaction.execute(query.order_by(mail_requests.c.created_at.desc()))
        return [_request(row) for row in rows]

    async def creation_times(self, user_id: UserId, purpose: Purpose, since: datetime) -> list[datetime]:
        """Returns when the requests since then were made, the oldest first; reads through `mail_requests_of_a_user`."""
        query = select(mail_requests.c.created_at).where(
            mail_requests.c.user_id == user_id, mail_requests.c.purpose == purpose, mail_requests.c.created_at > since
        )
        return list(await self._transaction.scalars(query.order_by(mail_requests.c.created_at)))

    async def mark_used(self, request_id: UUID, at: datetime, replaced_email: Email | None = None) -> None:
        """Stores that the token was used, and which address it has replaced."""
        used = update(mail_requests).where(mail_requests.c.id == request_id)
        await self._transaction.execute(used.values(used_at=at, replaced_email=replaced_email))

    async def replace_open(self, user_id: UserId, at: datetime, *purposes: Purpose) -> None:
        """Invalidates the open requests for these purposes."""
        statement = update(mail_requests).where(
            mail_requests.c.user_id == user_id, mail_requests.c.purpose.in_(purposes), _IS_OPEN
        )
        await self._transaction.execute(statement.values(replaced_at=at))

    async def replace_email_changes(self, account: Account, at: datetime) -> None:
        """Invalidates the open requests for an address other than the account's own."""
        statement = update(mail_requests).where(
            mail_requests.c.user_id == account.id, mail_requests.c.email != account.email, _IS_OPEN
        )
        await self._transaction.execute(statement.values(replaced_at=at))

    async def delete_for_user(self, user_id: UserId) -> None:
        await self._transaction.execute(delete(mail_requests).where(mail_requests.c.user_id == user_id))

    async def delete_expired(self, before: datetime, limit: int) -> int:
        """Deletes the `limit` oldest requests which expired before `before`; returns how many.

        Deletes through `mail_requests_by_expiry`.
        """
        return (await self._transaction.execute(delete_oldest(mail_requests.c.expires_at, before, limit))).rowcount


def _request(row: Row[*tuple[Any, ...]]) -> MailRequest:
    return MailRequest(
        row.id,
        UserId(row.user_id),
        Purpose(row.purpose),
        Email(row.email),
        row.created_at,
        row.expires_at,
        row.used_at,
        row.replaced_at,
        row.replaced_email,
    )
