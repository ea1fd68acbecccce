"""Stores the preferences of recipients, and which accounts were erased. The lock is an advisory lock per user."""

from collections.abc import Collection, Mapping
from datetime import datetime

from chassis.database.statements import Connection, Record, Statement, as_read
from chassis.types.ids import UserId
from sqlalchemy import ARRAY, BigInteger, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from notification_service.domain.notifications import Channel, Kind
from notification_service.domain.preferences import Preferences, Recipient
from notification_service.repository.tables import erased_accounts, preferences


def _choice(row: Record) -> tuple[tuple[Kind, Channel], bool]:
    return (Kind(row["kind"]), Channel(row["channel"])), row["is_on"]


_USER_IDS = bindparam("user_ids", type_=ARRAY(BigInteger))
_USERS = func.unnest(_USER_IDS).table_valued("user_id").render_derived(name="users")
_LOCK = Statement(select(func.pg_advisory_xact_lock_shared(_USERS.c.user_id)), lambda _: None)
"""Locks the accounts in the order of the array."""
_RECIPIENTS = Statement(
    select(
        _USERS.c.user_id,
        erased_accounts.c.user_id.is_not(None).label("is_erased"),
        preferences.c.kind,
        preferences.c.channel,
        preferences.c.is_on,
    )
    .select_from(_USERS)
    .outerjoin(erased_accounts, erased_accounts.c.user_id == _USERS.c.user_id)
    .outerjoin(preferences, preferences.c.user_id == _USERS.c.user_id),
    as_read,
)
"""Returns a row for each choice of each user, and one without a choice for a user who has made none."""
_PREFERENCES = Statement(select(preferences).where(preferences.c.user_id == bindparam("user_id")), _choice)


class PreferenceReader:
    """Reads the preferences of a user, in a transaction or without one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def preferences(self, user_id: UserId) -> Preferences:
        """Returns a user's preferences. By primary key."""
        return Preferences(dict(await _PREFERENCES.all(self._connection, user_id=user_id)))


class RecipientRepository(PreferenceReader):
    """Reads and writes recipients within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    async def lock(self, user_ids: Collection[UserId]) -> Mapping[UserId, Recipient]:
        """Prevents the erasure of accounts until the transaction ends, and returns their users. By primary keys.

        The lock is shared: transactions that store something for the same account do not wait for each other. The users
        are read by a later statement, which sees what the lock has waited for.
        """
        ids = sorted(set(user_ids))
        await _LOCK.all(self._transaction, user_ids=ids)
        rows = await _RECIPIENTS.all(self._transaction, user_ids=ids)
        choices: dict[UserId, dict[tuple[Kind, Channel], bool]] = {user_id: {} for user_id in ids}
        for row in rows:
            if row["kind"] is not None:
                chosen, is_on = _choice(row)
                choices[row["user_id"]][chosen] = is_on
        erased = {row["user_id"] for row in rows if row["is_erased"]}
        return {user_id: Recipient(user_id in erased, Preferences(choices[user_id])) for user_id in ids}

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
