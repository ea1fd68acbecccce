"""The shop's first admin, from the settings. No start waits for it, since the database may come later; being ready does."""

import asyncio

from chassis.database.engine import Database
from chassis.errors import DatabaseUnavailable

from user_service.domain.accounts import Email
from user_service.service.accounts import Accounts

_RETRY_SECONDS = 1.0


class FirstAdmin:
    def __init__(self, accounts: Accounts, email: Email, password: str, database: Database) -> None:
        self._accounts = accounts
        self._email = email
        self._password = password
        self._database = database
        self._registered = False

    async def is_registered(self) -> bool:
        return self._registered

    async def register(self) -> None:
        """A loop for `background`: registers the admin once the database has its schema, and then rests."""
        while not self._registered:
            self._registered = await self._try()
            if not self._registered:
                await asyncio.sleep(_RETRY_SECONDS)
        await asyncio.Event().wait()

    async def _try(self) -> bool:
        if not await self._database.is_ready():
            return False
        try:
            await self._accounts.ensure_admin(self._email, self._password)
        except DatabaseUnavailable:
            return False
        return True
