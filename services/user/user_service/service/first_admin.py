"""Registration of the shop's first admin, from the settings.

The process starts without the admin, since the database may come up later; readiness waits for the registration.
"""

import asyncio

from chassis.database.engine import Database
from chassis.errors import DatabaseUnavailable

from user_service.domain.accounts import Email
from user_service.service.accounts import AccountService

_RETRY_SECONDS = 1.0


class FirstAdminRegistration:
    def __init__(
        self, accounts: AccountService, email: Email, password: str, database: Database, previous: str = ""
    ) -> None:
        """`previous` is the password that is replaced by `password`, where an admin still has it."""
        self._accounts = accounts
        self._email = email
        self._password = password
        self._database = database
        self._previous = previous
        self._registered = False

    async def is_registered(self) -> bool:
        return self._registered

    async def run(self) -> None:
        """Registers the admin once the database has its schema, and then waits for ever.

        It never returns, since the end of a background loop counts as a failure.
        """
        while not self._registered:
            self._registered = await self._try_register()
            if not self._registered:
                await asyncio.sleep(_RETRY_SECONDS)
        await asyncio.Event().wait()

    async def _try_register(self) -> bool:
        if not await self._database.is_ready():
            return False
        try:
            await self._accounts.ensure_first_admin(self._email, self._password)
            if self._previous:
                await self._accounts.replace_generated_password(self._email, self._previous, self._password)
        except DatabaseUnavailable:
            return False
        return True
