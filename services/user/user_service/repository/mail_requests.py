"""Statements on requests for mailed tokens. Who writes here holds the lock of the account's row, which orders them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.types.ids import UserId
from sqlalchemy import Row, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email
from user_service.domain.mail import MailRequest, Purpose
from user_service.repository.tables import mail_requests

_IS_OPEN = and_(mail_requests.c.used_at.is_(None), mail_requests.c.replaced_at.is_(None))


class MailRequestRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add(self, request: MailRequest) -> None:
        """The index `one_open_mail_request` refuses a second open one."""
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
        """By primary key, without a lock."""
        row = (await self._transaction.execute(select(mail_requests).where(mail_requests.c.id == request_id))).first()
        return _request(row) if row else None

    async def open_of(self, user_id: UserId, purpose: Purpose) -> MailRequest | None:
        """By the index `one_open_mail_request`; it may be too old."""
        wanted = select(mail_requests).where(
            mail_requests.c.user_id == user_id, mail_requests.c.purpose == purpose, _IS_OPEN
        )
        row = (await self._transaction.execute(wanted)).first()
        return _request(row) if row else None

    async def of(self, user_id: UserId) -> list[MailRequest]:
        """The newest first."""
        wanted = select(mail_requests).where(mail_requests.c.user_id == user_id)
        rows = await self._transaction.execute(wanted.order_by(mail_requests.c.created_at.desc()))
        return [_request(row) for row in rows]

    async def made_since(self, user_id: UserId, purpose: Purpose, since: datetime) -> list[datetime]:
        """When, the oldest first; along `mail_requests_of_a_user`."""
        made = select(mail_requests.c.created_at).where(
            mail_requests.c.user_id == user_id, mail_requests.c.purpose == purpose, mail_requests.c.created_at > since
        )
        return list(await self._transaction.scalars(made.order_by(mail_requests.c.created_at)))

    async def use(self, request_id: UUID, at: datetime) -> None:
        await self._transaction.execute(
            update(mail_requests).where(mail_requests.c.id == request_id).values(used_at=at)
        )

    async def replace_open_of(self, user_id: UserId, at: datetime, *purposes: Purpose) -> None:
        """What is open for these purposes is good no longer."""
        replaced = update(mail_requests).where(
            mail_requests.c.user_id == user_id, mail_requests.c.purpose.in_(purposes), _IS_OPEN
        )
        await self._transaction.execute(replaced.values(replaced_at=at))

    async def replace_changes_of(self, account: Account, at: datetime) -> None:
        """What is open for any address but the account's own is good no longer."""
        replaced = update(mail_requests).where(
            mail_requests.c.user_id == account.id, mail_requests.c.email != account.email, _IS_OPEN
        )
        await self._transaction.execute(replaced.values(replaced_at=at))

    async def forget_of(self, user_id: UserId) -> None:
        await self._transaction.execute(delete(mail_requests).where(mail_requests.c.user_id == user_id))

    async def forget_expired(self, before: datetime) -> int:
        """Along `mail_requests_by_expiry`."""
        old = delete(mail_requests).where(mail_requests.c.expires_at < before)
        return (await self._transaction.execute(old)).rowcount


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
    )
