"""Statements on what is known of recipients: their preferences, and whether they are gone. Lock: one advisory lock per user."""

from collections.abc import Mapping
from datetime import datetime

from chassis.types.ids import UserId
from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from notification_service.domain.notifications import Channel, Kind
from notification_service.domain.preferences import Preferences
from notification_service.repository.tables import erased_accounts, preferences


class RecipientRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def hold(self, user_id: UserId) -> bool:
        """Whether the account still exists, as far as we were told; it is not erased while this transaction lasts."""
        await self._transaction.execute(select(func.pg_advisory_xact_lock_shared(user_id)))
        gone = select(exists().where(erased_accounts.c.user_id == user_id))
        return not await self._transaction.scalar(gone)

    async def erase(self, user_id: UserId, at: datetime) -> None:
        """Waits for what others store for this account now, and drops its preferences. For good: later news find it gone."""
        await self._transaction.execute(select(func.pg_advisory_xact_lock(user_id)))
        gone = insert(erased_accounts).values(user_id=user_id, erased_at=at)
        await self._transaction.execute(gone.on_conflict_do_nothing())
        await self._transaction.execute(delete(preferences).where(preferences.c.user_id == user_id))

    async def preferences(self, user_id: UserId) -> Preferences:
        """By primary key."""
        rows = await self._transaction.execute(select(preferences).where(preferences.c.user_id == user_id))
        return Preferences({(Kind(row.kind), Channel(row.channel)): row.is_on for row in rows})

    async def choose(self, user_id: UserId, chosen: Mapping[tuple[Kind, Channel], bool]) -> None:
        """What is not in `chosen` stays as it is."""
        rows = [
            {"user_id": user_id, "kind": kind, "channel": channel, "is_on": is_on}
            for (kind, channel), is_on in sorted(chosen.items())
        ]
        new = insert(preferences).values(rows)
        key = [preferences.c.user_id, preferences.c.kind, preferences.c.channel]
        await self._transaction.execute(
            new.on_conflict_do_update(index_elements=key, set_={"is_on": new.excluded.is_on})
        )
