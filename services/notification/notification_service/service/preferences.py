"""The use cases of a user's preferences."""

from collections.abc import Mapping

from chassis.database.engine import Database
from chassis.types.ids import UserId

from notification_service.domain.errors import AccountErased
from notification_service.domain.notifications import Channel, Kind
from notification_service.domain.preferences import Preferences
from notification_service.repository.recipients import PreferenceReader, RecipientRepository


class PreferenceService:
    """Reads and updates the preferences of users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: UserId) -> Preferences:
        async with self._database.read() as connection:
            return await PreferenceReader(connection).preferences(user_id)

    async def update(self, user_id: UserId, choices: Mapping[tuple[Kind, Channel], bool]) -> Preferences:
        """Stores a user's choices, and returns all preferences. Raises AccountErased."""
        async with self._database.begin() as transaction:
            recipients = RecipientRepository(transaction)
            if (await recipients.lock([user_id]))[user_id].is_erased:
                raise AccountErased
            await recipients.update_preferences(user_id, choices)
            return await recipients.preferences(user_id)
