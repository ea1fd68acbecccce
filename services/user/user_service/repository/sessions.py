"""Statements on sessions. A session is one row; the lock of that row orders all its changes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database.pruning import delete_oldest
from chassis.types.ids import UserId
from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.sessions import Digest, Session
from user_service.repository.tables import sessions


class SessionRepository:
    """Reads and writes sessions within one transaction."""

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
        """Reads by primary key, and locks the row."""
        query = select(sessions).where(sessions.c.id == session_id).with_for_update()
        row = (await self._transaction.execute(query)).first()
        return _session(row) if row else None

    async def rotate(self, session_id: UUID, digest: Digest, at: datetime, expires_at: datetime) -> None:
        """Replaces the refresh token and extends the session. The row must be locked."""
        statement = update(sessions).where(sessions.c.id == session_id)
        await self._transaction.execute(statement.values(digest=digest, last_used_at=at, expires_at=expires_at))

    async def is_active(self, session_id: UUID, user_id: UserId, at: datetime) -> bool:
        """Reads by primary key, without a lock."""
        query = select(sessions.c.id).where(
            sessions.c.id == session_id, sessions.c.user_id == user_id, sessions.c.expires_at > at
        )
        return await self._transaction.scalar(query) is not None

    async def list_active(self, user_id: UserId, at: datetime) -> list[Session]:
        """Returns the user's sessions, the last used first; reads through the index on `user_id`."""
        query = select(sessions).where(sessions.c.user_id == user_id, sessions.c.expires_at > at)
        rows = await self._transaction.execute(query.order_by(sessions.c.last_used_at.desc(), sessions.c.id))
        return [_session(row) for row in rows]

    async def end(self, session_id: UUID) -> None:
        await self._transaction.execute(delete(sessions).where(sessions.c.id == session_id))

    async def end_for_user(self, user_id: UserId, session_id: UUID) -> bool:
        """Ends a session of this user; returns whether there was one."""
        statement = delete(sessions).where(sessions.c.id == session_id, sessions.c.user_id == user_id)
        return (await self._transaction.execute(statement)).rowcount > 0

    async def end_all(self, user_id: UserId, keep: UUID | None = None) -> None:
        """Ends the user's sessions except `keep`.

        The account's row must be locked, so that none is opened at the same time. Deletes through the index on
        `user_id`.
        """
        statement = delete(sessions).where(sessions.c.user_id == user_id)
        await self._transaction.execute(statement if keep is None else statement.where(sessions.c.id != keep))

    async def end_least_recently_used(self, user_id: UserId, keep: int) -> None:
        """Ends all but the `keep` sessions that were used last. The account's row must be locked."""
        by_use = select(sessions.c.id).where(sessions.c.user_id == user_id).order_by(sessions.c.last_used_at.desc())
        await self._transaction.execute(delete(sessions).where(sessions.c.id.in_(by_use.offset(keep))))

    async def end_expired(self, at: datetime, limit: int) -> int:
        """Deletes the `limit` sessions that expired first, through the index on `expires_at`; returns how many."""
        return (await self._transaction.execute(delete_oldest(sessions.c.expires_at, at, limit))).rowcount


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
