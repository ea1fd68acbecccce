"""Statements on sessions. A session is one row; the lock of that row orders all its changes.

Each statement that ends sessions also records them in `ended_sessions`, so that their access tokens are refused.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database.pruning import delete_oldest
from chassis.types.ids import UserId
from sqlalchemy import ColumnElement, Row, and_, delete, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.sessions import Digest, Session
from user_service.repository.tables import ended_sessions, sessions


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

    async def end(self, session_id: UUID, at: datetime) -> list[UUID]:
        return await self._end(sessions.c.id == session_id, at)

    async def end_for_user(self, user_id: UserId, session_id: UUID, at: datetime) -> list[UUID]:
        """Ends a session of this user; returns its id if there was one."""
        return await self._end(and_(sessions.c.id == session_id, sessions.c.user_id == user_id), at)

    async def end_all(self, user_id: UserId, at: datetime, keep: UUID | None = None) -> list[UUID]:
        """Ends the user's sessions except `keep`; returns their ids.

        The account's row must be locked, so that none is opened at the same time. Deletes through the index on
        `user_id`.
        """
        of_user = sessions.c.user_id == user_id
        return await self._end(of_user if keep is None else and_(of_user, sessions.c.id != keep), at)

    async def end_least_recently_used(self, user_id: UserId, keep: int, at: datetime) -> list[UUID]:
        """Ends all but the `keep` sessions that were used last; returns their ids.

        The account's row must be locked.
        """
        by_use = select(sessions.c.id).where(sessions.c.user_id == user_id).order_by(sessions.c.last_used_at.desc())
        return await self._end(sessions.c.id.in_(by_use.offset(keep)), at)

    async def end_expired(self, at: datetime, limit: int) -> int:
        """Deletes the `limit` sessions that expired first, through the index on `expires_at`; returns how many.

        No access token outlives its session, so they are not recorded as ended.
        """
        return (await self._transaction.execute(delete_oldest(sessions.c.expires_at, at, limit))).rowcount

    async def claim_unpublished(
        self, ended_after: datetime, published_before: datetime, at: datetime, limit: int
    ) -> list[UUID]:
        """Returns ended sessions that were not published since `published_before`, and marks them as published at `at`.

        The mark holds if the transaction is committed. Rows that another process has claimed are skipped. Reads
        through the index `ended_sessions_by_time`.
        """
        is_due = or_(ended_sessions.c.published_at.is_(None), ended_sessions.c.published_at < published_before)
        due = (
            select(ended_sessions.c.id)
            .where(ended_sessions.c.ended_at > ended_after, is_due)
            .order_by(ended_sessions.c.published_at.nulls_first())
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        claimed = update(ended_sessions).where(ended_sessions.c.id.in_(due)).values(published_at=at)
        return list(await self._transaction.scalars(claimed.returning(ended_sessions.c.id)))

    async def forget_ended(self, before: datetime, limit: int) -> int:
        """Deletes the `limit` oldest records of sessions that ended before a time, through `ended_sessions_by_time`.

        Returns how many it deleted.
        """
        return (await self._transaction.execute(delete_oldest(ended_sessions.c.ended_at, before, limit))).rowcount

    async def _end(self, condition: ColumnElement[bool], at: datetime) -> list[UUID]:
        """Deletes sessions and records them as ended, in one statement; returns their ids."""
        ended = delete(sessions).where(condition).returning(sessions.c.id).cte("ended")
        record = insert(ended_sessions).from_select(["id", "ended_at"], select(ended.c.id, literal(at)))
        return list(await self._transaction.scalars(record.returning(ended_sessions.c.id)))


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
