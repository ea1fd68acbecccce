"""The shop's first admin, from the settings. No start waits for it: the database may come later."""

import asyncio
from collections.abc import Awaitable, Callable

from chassis.database import Database
from chassis.problems import DatabaseUnavailable

from user_service.domain.accounts import Email
from user_service.service.accounts import Accounts

_RETRY_SECONDS = 1.0


def first_admin(accounts: Accounts, email: Email, password: str, database: Database) -> Callable[[], Awaitable[None]]:
    """A loop for `background` that registers the admin once the database has its schema, and then rests."""

    async def loop() -> None:
        while not await _is_registered(accounts, email, password, database):  # noqa: ASYNC110 - the database is another process
            await asyncio.sleep(_RETRY_SECONDS)
        await asyncio.Event().wait()

    return loop


async def _is_registered(accounts: Accounts, email: Email, password: str, database: Database) -> bool:
    if not await database.is_ready():
        return False
    try:
        await accounts.ensure_admin(email, password)
    except DatabaseUnavailable:
        return False
    return True
