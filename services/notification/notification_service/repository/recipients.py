"""Stores the preferences of recipients, and which accounts were erased. The lock is an advisory lock per user."""

from collections.abc import Collection, Mapping
from datetime import datetime

from chassis.database.statements import Connection, Statement
from chassis.types.ids import UserId
from sqlalchemy import ARRAY, BigInteger, any_, bindparam, column, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from notification_service.domain.notifications import Channel, Kind
from notification_service.domain.preferences import Preferences
from notification_service.repository.tables import erased_accounts, preferences

_USER_IDS = bindparam("user_ids", type_=ARRAY(BigInteger))
_LOCK = Statement(
    select(func.pg_advisory_xact_lock_shared(column("user_id"))).select_from(
        func.unnest(_USER_IDS).table_valued("user_id").render_derived(name="locked")
    ),
    lambda _: None,
)
"""Locks the accounts in the order of the array."""
_ERASED = Statement(
    select(erased_accounts.c.user_id).where(erased_accounts.c.user_id == any_(_USER_IDS)),
    lambda row: UserId(row["user_id"]),
)
_PREFERENCES = Statement(
    select(preferences).where(preferences.c.user_id == any_(_USER_IDS)),
    lambda row: (UserId(row["user_id"]), Kind(row["kind"]), Channel(row["channel"]), bool(row["is_on"])),
)


class PreferenceReader:
    """Reads preferences, each time by one statement."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def preferences(self, user_id: UserId) -> Preferences:
        """Returns a user's preferences. By primary key."""
        return (await self.preferences_of([user_id]))[user_id]

    async def preferences_of(self, user_ids: Collection[UserId]) -> Mapping[UserId, Preferences]:
        """Returns the preferences of each user. By primary key."""
        ids = sorted(set(user_ids))
        choices: dict[UserId, dict[tuple[Kind, Channel], bool]] = {user_id: {} for user_id in ids}
        for user_id, kind, channel, is_on in await _PREFERENCES.all(self._connection, user_ids=ids):
            choices[user_id][kind, channel] = is_on
        return {user_id: Preferences(chosen) for user_id, chosen in choices.items()}


class RecipientRepository(PreferenceReader):
    """Reads and writes recipients within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    async def lock_account(self, user_id: UserId) -> bool:
        """Prevents the erasure of an account until the transaction ends. Returns False if it is erased already.

        The lock is shared: transactions that store something for the same account do not wait for each other.
        """
        return not await self.lock_accounts([user_id])

    async def lock_accounts(self, user_ids: Collection[UserId]) -> set[UserId]:
        """Prevents the erasure of accounts as `lock_account` does. Returns those that are erased already."""
        ids = sorted(set(user_ids))
        await _LOCK.all(self._transaction, user_ids=ids)
        return set(
            await _ERASED.all(self._transaction, user_ids=ids)
        )  # a later statement, which sees what it waited for

    async def erase(self, user_id: UserId, at: datetime) -> None:
        """Records the erasure of an account, and deletes its preferences.

        Waits for transactions that store something for this account. The record is permanent: later events find the
        account erased.
        """
        await self._transaction.execute(select(func.pg_advisory_xact_lock(user_id)))
        erased = insert(erased_accounts).values(user_id=user_id, erased_at=at)
        await self._transaction.execute(erased.on_conflict_do_nothing())
        await self._transaction.execute(delete(preferences).where(preferences.c.user_id == user_id))

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
