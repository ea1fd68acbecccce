"""Publication of the sessions that have ended, so that the gateway refuses their access tokens.

The transaction that ends a session records it. After the commit the session is published at once; a background loop
publishes what a crash or an unavailable Redis left, and repeats all of it, since Redis may lose its data at any time.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database.engine import Database
from chassis.database.pruning import prune_in_batches
from chassis.observability import logs
from prometheus_client import Counter

from user_service.clients.ended_session_store import EndedSessionStore
from user_service.repository.sessions import SessionRepository

ENDED = Counter("user_sessions_ended_total", "Sessions that ended before they expired")
UNPUBLISHED = Counter("user_ended_sessions_unpublished_total", "Attempts to publish ended sessions that Redis refused")

_REPEAT_INTERVAL = timedelta(seconds=30)
"""How long a session is missing at most if Redis has lost its data or evicted the key."""
_BATCH = 1000
_CLOCK_SKEW = timedelta(minutes=1)
"""How far the clocks of two services may differ."""

log = logs.get_logger(__name__)


class EndedSessionPublisher:
    def __init__(
        self, database: Database, store: EndedSessionStore, token_lifetime: timedelta, now: Callable[[], datetime]
    ) -> None:
        """`token_lifetime` is how long an access token is valid."""
        self._database = database
        self._store = store
        self._lifetime = token_lifetime + _CLOCK_SKEW
        self._now = now

    async def publish(self, session_ids: Sequence[UUID]) -> None:
        """Publishes sessions after the commit of the transaction that ended them. Never raises.

        If Redis is unavailable, `publish_pending` publishes them later.
        """
        if not session_ids:
            return
        ENDED.inc(len(session_ids))
        await self._add(session_ids)

    async def publish_pending(self) -> None:
        """Publishes the recorded sessions that were not published yet, and those that were published a while ago."""
        claimed = _BATCH
        while claimed == _BATCH:
            claimed = await self._publish_batch()

    async def delete_expired(self) -> None:
        """Deletes the records of sessions whose access tokens have all expired."""
        before = self._now() - self._lifetime
        await prune_in_batches(
            self._database, lambda transaction, limit: SessionRepository(transaction).forget_ended(before, limit)
        )

    async def _publish_batch(self) -> int:
        """Publishes sessions before the commit that marks them, so a crash in between repeats them. Returns how many.

        Without a confirmation of Redis the mark is rolled back.
        """
        now = self._now()
        try:
            async with self._database.begin() as transaction:
                due = await SessionRepository(transaction).claim_unpublished(
                    now - self._lifetime, now - _REPEAT_INTERVAL, now, _BATCH
                )
                await self._add_or_raise(due)
        except _NotConfirmed:
            return 0
        return len(due)

    async def _add_or_raise(self, session_ids: Sequence[UUID]) -> None:
        if session_ids and not await self._add(session_ids):
            raise _NotConfirmed

    async def _add(self, session_ids: Sequence[UUID]) -> bool:
        is_confirmed = await self._store.add(session_ids, self._lifetime)
        if not is_confirmed:
            UNPUBLISHED.inc()
            log.warning("ended sessions are not published yet: Redis does not respond", sessions=len(session_ids))
        return is_confirmed


class _NotConfirmed(Exception):
    """Redis did not confirm that it has the sessions."""
