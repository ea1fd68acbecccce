"""Statements on sessions. A session is one row, and its lock orders all that happens to it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.types.ids import UserId
from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.sessions import Digest, Session
from user_service.repository.tables import sessions


class SessionRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add(self, session: Session) -> None:
        row = insert(sessions).values(
            id=session.id,
            user_id=session.user_id,
            digest=session.digest,
            expires_at=session.expires_at,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            user_agent=session.user_agent,
        )
        await self._transaction.execute(row)

    async def lock(self, session_id: UUID) -> Session | None:
        """By primary key, the row locked."""
        wanted = select(sessions).where(sessions.c.id == session_id).with_for_update()
        row = (await self._transaction.execute(wanted)).first()
        return _session(row) if row else None

    async def rotate(self, session_id: UUID, digest: Digest, at: datetime, expires_at: datetime) -> None:
        """The row must be locked."""
        renewed = update(sessions).where(sessions.c.id == session_id)
        await self._transaction.execute(renewed.values(digest=digest, last_used_at=at, expires_at=expires_at))

    async def is_live(self, session_id: UUID, user_id: UserId, at: datetime) -> bool:
        """By primary key, without a lock."""
        live = select(sessions.c.id).where(
            sessions.c.id == session_id, sessions.c.user_id == user_id, sessions.c.expires_at > at
        )
        return await self._transaction.scalar(live) is not None

    async def live_of(self, user_id: UserId, at: datetime) -> list[Session]:
        """The last used one first; by the index on `user_id`."""
        live = select(sessions).where(sessions.c.user_id == user_id, sessions.c.expires_at > at)
        rows = await self._transaction.execute(live.order_by(sessions.c.last_used_at.desc(), sessions.c.id))
        return [_session(row) for row in rows]

    async def end(self, session_id: UUID) -> None:
        await self._transaction.execute(delete(sessions).where(sessions.c.id == session_id))

    async def end_one_of(self, user_id: UserId, session_id: UUID) -> bool:
        """Whether this user had it."""
        ended = delete(sessions).where(sessions.c.id == session_id, sessions.c.user_id == user_id)
        return (await self._transaction.execute(ended)).rowcount > 0

    async def end_all_of(self, user_id: UserId, spared: UUID | None = None) -> None:
        """The account's row must be locked, so that none is opened meanwhile. By the index on `user_id`."""
        ended = delete(sessions).where(sessions.c.user_id == user_id)
        await self._transaction.execute(ended if spared is None else ended.where(sessions.c.id != spared))

    async def end_oldest_of(self, user_id: UserId, most: int) -> None:
        """Leaves the `most` that were used last. The account's row must be locked."""
        by_use = select(sessions.c.id).where(sessions.c.user_id == user_id).order_by(sessions.c.last_used_at.desc())
        await self._transaction.execute(delete(sessions).where(sessions.c.id.in_(by_use.offset(most))))

    async def end_expired(self, at: datetime) -> int:
        """By the index on `expires_at`."""
        return (await self._transaction.execute(delete(sessions).where(sessions.c.expires_at <= at))).rowcount


def _session(row: Row[*tuple[Any, ...]]) -> Session:
    return Session(
        row.id,
        UserId(row.user_id),
        Digest(row.digest),
        row.expires_at,
        row.created_at,
        row.last_used_at,
        row.user_agent,
    )
