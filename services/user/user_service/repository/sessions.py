"""Statements on sessions. A session is one row, and its lock orders all that happens to it."""

from datetime import datetime
from uuid import UUID

from chassis.kernel.ids import UserId
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.sessions import Digest, Session
from user_service.repository.tables import sessions


class SessionRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add(self, session: Session) -> None:
        row = insert(sessions).values(
            id=session.id, user_id=session.user_id, digest=session.digest, expires_at=session.expires_at
        )
        await self._transaction.execute(row)

    async def lock(self, session_id: UUID) -> Session | None:
        """By primary key, the row locked."""
        wanted = select(sessions).where(sessions.c.id == session_id).with_for_update()
        row = (await self._transaction.execute(wanted)).first()
        return Session(row.id, UserId(row.user_id), Digest(row.digest), row.expires_at) if row else None

    async def rotate(self, session_id: UUID, digest: Digest, expires_at: datetime) -> None:
        """The row must be locked."""
        await self._transaction.execute(
            update(sessions).where(sessions.c.id == session_id).values(digest=digest, expires_at=expires_at)
        )

    async def end(self, session_id: UUID) -> None:
        await self._transaction.execute(delete(sessions).where(sessions.c.id == session_id))

    async def end_expired(self, at: datetime) -> int:
        """By the index on `expires_at`."""
        return (await self._transaction.execute(delete(sessions).where(sessions.c.expires_at <= at))).rowcount
