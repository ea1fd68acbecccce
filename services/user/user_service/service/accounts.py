"""The use cases of accounts, one transaction each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis.database.engine import Database
from chassis.messaging.outbox import Outbox
from chassis.observability import logs
from chassis.types.ids import UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email, NewAccount, Profile, Role, Search, Standing
from user_service.domain.errors import LastAdmin, NotAllowed, UnknownUser
from user_service.domain.lockout import Failures
from user_service.domain.mail import MailRequest, Purpose
from user_service.domain.sessions import Session
from user_service.repository.accounts import AccountRepository
from user_service.repository.failures import FailureRepository
from user_service.repository.mail_requests import MailRequestRepository
from user_service.repository.sessions import SessionRepository
from user_service.service import events
from user_service.service.gate import Gate
from user_service.service.passwords import Passwords

PASSWORD_CHANGES = Counter("user_password_changes_total", "Passwords that were changed by who knew the old one")
ERASURES = Counter("user_erasures_total", "Accounts that were erased")

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that this service holds about a person, but for what is secret."""

    account: Account
    sessions: Sequence[Session]
    mail_requests: Sequence[MailRequest]
    failures: Failures | None


class Accounts:
    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        passwords: Passwords,
        gate: Gate,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._passwords = passwords
        self._gate = gate
        self._now = now
        self._new_id = new_id

    async def get(self, user_id: UserId) -> Account:
        """Raises UnknownUser."""
        async with self._database.begin() as transaction:
            return _known(await AccountRepository(transaction).by_id(user_id), user_id)

    async def shown_name(self, user_id: UserId) -> str:
        """What everybody may see of a user, erased or not. Raises UnknownUser."""
        async with self._database.begin() as transaction:
            name = await AccountRepository(transaction).shown_name(user_id)
        if name is None:
            raise UnknownUser(user_id)
        return name

    async def page(self, search: Search, offset: int, limit: int) -> tuple[Sequence[Account], int]:
        """In the order of registration; with how many there are in all."""
        async with self._database.begin() as transaction:
            return await AccountRepository(transaction).page(search, offset, limit)

    async def change_profile(self, user_id: UserId, profile: Profile) -> Account:
        """Raises UnknownUser."""
        async with self._database.begin() as transaction:
            return _known(await AccountRepository(transaction).change_profile(user_id, profile), user_id)

    async def manage(self, actor_id: UserId, user_id: UserId, profile: Profile, standing: Standing) -> Account:
        """What an admin makes of an account: all of it, or nothing. Who gets another role, or is deactivated, must log in again.

        Raises UnknownUser, NotAllowed, LastAdmin.
        """
        async with self._database.begin() as transaction:
            repository = AccountRepository(transaction)
            before = await self._lock(transaction, user_id)
            after = before.managed(standing)
            if before.is_active_admin and not after.is_active_admin:
                await _keep_an_admin(repository, user_id)
            await _require_admin(repository, actor_id)
            await repository.set_standing(after)
            if before.loses_access_to(after):
                await SessionRepository(transaction).end_all_of(user_id)
            if not after.is_active:
                await MailRequestRepository(transaction).replace_open_of(user_id, self._now(), *Purpose)
            managed = _known(await repository.change_profile(user_id, profile), user_id)
        if before.managed(standing) != before:
            log.info("an account was managed", user_id=user_id, by=actor_id, role=after.role, is_active=after.is_active)
        return managed

    async def change_password(self, user_id: UserId, session_id: UUID | None, current: str, new: str) -> None:
        """Ends all sessions but the one that this comes from. Tokens that reset the old password, and those for an address that shall
        replace the account's, are worthless then.

        Raises UnknownUser, WrongCredentials, TooManyAttempts, TooBusy.
        """
        account = await self.get(user_id)
        proof = await self._gate.prove(account.email, current)
        password_hash = await self._passwords.hash(new)
        async with self._database.begin() as transaction:
            await self._gate.admit(transaction, proof)
            await AccountRepository(transaction).set_password(user_id, password_hash)
            await SessionRepository(transaction).end_all_of(user_id, spared=session_id)
            await MailRequestRepository(transaction).replace_open_of(user_id, self._now(), Purpose.RESET_PASSWORD)
            await MailRequestRepository(transaction).replace_changes_of(account, self._now())
        PASSWORD_CHANGES.inc()
        log.info("a password was changed", user_id=user_id)

    async def holdings(self, user_id: UserId) -> Holdings:
        """Raises UnknownUser."""
        async with self._database.begin() as transaction:
            account = _known(await AccountRepository(transaction).by_id(user_id), user_id)
            return Holdings(
                account,
                await SessionRepository(transaction).live_of(user_id, self._now()),
                await MailRequestRepository(transaction).of(user_id),
                await FailureRepository(transaction).find(self._gate.digest(account.email)),
            )

    async def erase(self, actor_id: UserId, user_id: UserId) -> None:
        """Oneself, or anybody for an admin. Nothing is left here but the id, and the others are told in the same transaction.

        Raises UnknownUser, NotAllowed, LastAdmin.
        """
        now = self._now()
        async with self._database.begin() as transaction:
            repository = AccountRepository(transaction)
            account = await self._lock(transaction, user_id)
            if account.is_active_admin:
                await _keep_an_admin(repository, user_id)
            if actor_id != user_id:
                await _require_admin(repository, actor_id)
            await self._gate.open(transaction, account.email)
            await SessionRepository(transaction).end_all_of(user_id)
            await MailRequestRepository(transaction).forget_of(user_id)
            await repository.erase(user_id, now)
            await self._outbox.record(transaction, self._new_id(), str(user_id), events.erased(user_id, now), now)
        self._outbox.wake()
        ERASURES.inc()
        log.info("an account was erased", user_id=user_id, by=actor_id)

    async def ensure_admin(self, email: Email, password: str) -> None:
        """The shop has an admin afterwards, or had one before: then it is left as it is, password and all. Several may try at once.

        Nobody mails the first admin a welcome: who runs the shop vouches for the address.
        """
        async with self._database.begin() as transaction:
            found = await AccountRepository(transaction).by_email(email)
            had_one = await AccountRepository(transaction).has_had_an_admin()
        if found is not None and found.account.role is not Role.ADMIN:
            log.warning("ADMIN_EMAIL belongs to a user who is no admin: set another", role=found.account.role.value)
        if found is not None or had_one:
            return
        password_hash = await self._passwords.hash(password)
        async with self._database.begin() as transaction:
            now = self._now()
            added = await AccountRepository(transaction).add(NewAccount(email, Role.ADMIN), password_hash, now, now)
        if added is not None:
            log.info("the first admin is registered", user_id=added.account.id)

    async def _lock(self, transaction: AsyncConnection, user_id: UserId) -> Account:
        locked = await AccountRepository(transaction).lock(user_id)
        return _known(locked.account if locked else None, user_id)


def _known(account: Account | None, user_id: UserId) -> Account:
    if account is None:
        raise UnknownUser(user_id)
    return account


async def _keep_an_admin(repository: AccountRepository, user_id: UserId) -> None:
    """Of several that would remove the last admins at once, each waits for the one before. Raises LastAdmin."""
    if not await repository.has_another_active_admin(user_id):
        raise LastAdmin(user_id)


async def _require_admin(repository: AccountRepository, actor_id: UserId) -> None:
    """Access tokens outlive what they say: only the account itself tells whether its owner is an admin now. Raises NotAllowed."""
    actor = await repository.by_id(actor_id)
    if actor is None or not actor.is_active_admin:
        raise NotAllowed
