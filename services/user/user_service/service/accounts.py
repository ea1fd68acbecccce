"""The use cases of accounts, one transaction each."""

from collections.abc import Callable, Sequence
from datetime import datetime

from chassis import logs
from chassis.database import Database
from chassis.kernel.ids import UserId
from chassis.tokens import Principal

from user_service.domain.accounts import Account, Email, NewAccount, Role
from user_service.domain.errors import UnknownUser
from user_service.repository.accounts import AccountRepository
from user_service.service.passwords import Passwords

log = logs.get(__name__)


class Accounts:
    def __init__(self, database: Database, passwords: Passwords, now: Callable[[], datetime]) -> None:
        self._database = database
        self._passwords = passwords
        self._now = now

    async def get(self, user_id: UserId) -> Account:
        """Raises UnknownUser."""
        async with self._database.begin() as transaction:
            account = await AccountRepository(transaction).by_id(user_id)
        if account is None:
            raise UnknownUser(user_id)
        return account

    async def get_as(self, principal: Principal, user_id: UserId) -> Account:
        """Oneself, or anybody for an admin. Raises UnknownUser, which does not tell whether there is such a user."""
        if principal.user_id != user_id and not principal.is_admin:
            raise UnknownUser(user_id)
        return await self.get(user_id)

    async def rename(self, user_id: UserId, display_name: str) -> Account:
        """Raises UnknownUser."""
        async with self._database.begin() as transaction:
            account = await AccountRepository(transaction).rename(user_id, display_name)
        if account is None:
            raise UnknownUser(user_id)
        return account

    async def page(self, offset: int, limit: int) -> tuple[Sequence[Account], int]:
        """In the order of registration; with how many there are in all."""
        async with self._database.begin() as transaction:
            return await AccountRepository(transaction).page(offset, limit)

    async def ensure_admin(self, email: Email, password: str) -> None:
        """The first admin exists afterwards. One that exists is left as it is, its password too. Several may try at once."""
        async with self._database.begin() as transaction:
            found = await AccountRepository(transaction).by_email(email)
        if found is not None:
            if found.account.role is not Role.ADMIN:
                log.warning("ADMIN_EMAIL belongs to a user who is no admin: set another", role=found.account.role.value)
            return
        password_hash = await self._passwords.hash(password)
        async with self._database.begin() as transaction:
            added = await AccountRepository(transaction).add(NewAccount(email, Role.ADMIN), password_hash, self._now())
        if added is not None:
            log.info("the first admin is registered", user_id=added.id)
