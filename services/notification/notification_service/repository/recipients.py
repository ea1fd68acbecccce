"""Stores the preferences of recipients, and which accounts were erased. The lock is an advisory lock per user."""

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
    """Reads and writes recipients within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def lock_account(self, user_id: UserId) -> bool:
        """Prevents the erasure of an account until the transaction ends. Returns False if it is erased already.

        The lock is shared: transactions that store something for the same account do not wait for each other.
        """
        await self._transaction.execute(select(func.pg_advisory_xact_lock_shared(user_id)))
        is_erased = select(exists().where(erased_accounts.c.user_id == user_id))
        return not await self._transaction.scalar(is_erased)

    async def erase(self, user_id: UserId, at: datetime) -> None:
        """Records the erasure of an account, and deletes its preferences.

        Waits for transactions that store something for this account. The record is permanent: later events find the
        account erased.
        """
        await self._transaction.execute(select(func.pg_advisory_xact_lock(user_id)))
        erased = insert(erased_accounts).values(user_id=user_id, erased_at=at)
        await self._transaction.execute(erased.on_conflict_do_nothing())
        await self._transaction.execute(delete(preferences).where(preferences.c.user_id == user_id))

    async def preferences(self, user_id: UserId) -> Preferences:
        """Returns a user's preferences. By primary key."""
        rows = await self._transaction.execute(select(preferences).where(preferences.c.user_id == user_id))
        return Preferences({(Kind(row.kind), Channel(row.channel)): row.is_on for row in rows})

    async def update_preferences(self, user_id: UserId, choices: Mapping[tuple[Kind, Channel], bool]) -> None:
        """Stores a user's choices. Those that are not in `choices` stay as they are."""
        rows = [
            {"user_id": user_id, "kind": kind, "channel": channel, "is_on": is_on}
            for (kind, channel), is_on in sorted(choices.items())
        ]
        new = insert(preferences).values(rows)
        key = [preferences.c.user_id, preferences.c.kind, preferences.c.channel]
        await self._transaction.execute(
            new.on_conflict_do_update(index_elements=key, set_={"is_on": new.excluded.is_on})
        )
