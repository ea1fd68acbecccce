"""Management of accounts: profiles, access, passwords, export and erasure. One transaction per use case."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis.database.engine import Database
from chassis.http.cursors import CursorPaging
from chassis.observability import logs
from chassis.types.ids import UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import (
    AccessUpdate,
    Account,
    AccountPosition,
    AccountSearch,
    Email,
    NewAccount,
    ProfileUpdate,
    Role,
)
from user_service.domain.common_passwords import refuse_common
from user_service.domain.devices import Client, DeviceUse
from user_service.domain.errors import LastAdmin, NotAllowed, PasswordRequired, TooManyUsers, UnknownUser
from user_service.domain.lockout import LoginFailures
from user_service.domain.mail_tokens import MailRequest, Purpose
from user_service.domain.sessions import Session
from user_service.repository.accounts import AccountReader, AccountRepository, PublicNameRepository
from user_service.repository.devices import DeviceRepository
from user_service.repository.login_failures import LoginFailureRepository
from user_service.repository.mail_requests import MailRequestRepository
from user_service.repository.sessions import SessionRepository
from user_service.service.ended_sessions import EndedSessionPublisher
from user_service.service.login_guard import LoginGuard
from user_service.service.passwords import PasswordHasher
from user_service.service.published_events import PublishedEvents

PASSWORD_CHANGES = Counter("user_password_changes_total", "Passwords that were changed with the current password")
ERASURES = Counter("user_erasures_total", "Accounts that were erased")

MAX_NAMES = 1000
"""How many names one call may ask for: more than any page of another service has."""

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AccountExport:
    """All data that this service stores about a user, except secrets."""

    account: Account
    sessions: Sequence[Session]
    mail_requests: Sequence[MailRequest]
    failures: LoginFailures | None
    devices: Sequence[DeviceUse]


class AccountService:
    def __init__(
        self,
        database: Database,
        passwords: PasswordHasher,
        guard: LoginGuard,
        events: PublishedEvents,
        ended: EndedSessionPublisher,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._guard = guard
        self._events = events
        self._ended = ended
        self._now = now

    async def get(self, user_id: UserId) -> Account:
        """Returns the account. Raises UnknownUser."""
        async with self._database.read() as connection:
            return _existing(await AccountReader(connection).find(user_id), user_id)

    async def public_name(self, user_id: UserId) -> str:
        """Returns the name that other users see, also of an erased user. Raises UnknownUser."""
        names = await self.public_names([user_id])
        if user_id not in names:
            raise UnknownUser(user_id)
        return names[user_id]

    async def public_names(self, user_ids: Sequence[UserId]) -> Mapping[UserId, str]:
        """Returns the names that other users see, also of erased users, without users that never existed.

        Raises TooManyUsers.
        """
        if len(user_ids) > MAX_NAMES:
            raise TooManyUsers(len(user_ids), MAX_NAMES)
        async with self._database.read() as connection:
            return await PublicNameRepository(connection).find_all(user_ids)

    async def search(
        self, search: AccountSearch, paging: CursorPaging[AccountPosition]
    ) -> tuple[Sequence[Account], int]:
        """Returns one page of accounts in the order of registration, and the total."""
        async with self._database.begin() as transaction:
            repository = AccountRepository(transaction)
            page = await repository.search(search, paging.offset, paging.limit, paging.after)
            return page, await repository.count(search) if paging.counted is None else paging.counted

    async def update_profile(self, user_id: UserId, profile: ProfileUpdate) -> Account:
        """Changes a user's own profile. Raises UnknownUser."""
        async with self._database.begin() as transaction:
            return _existing(await AccountRepository(transaction).update_profile(user_id, profile), user_id)

    async def update_as_admin(
        self, actor_id: UserId, user_id: UserId, profile: ProfileUpdate, access: AccessUpdate
    ) -> Account:
        """Applies an admin's changes to an account, all or none.

        A user who gets another role, or is deactivated, must log in again.

        Raises UnknownUser, NotAllowed, LastAdmin.
        """
        ended: list[UUID] = []
        async with self._database.begin() as transaction:
            repository = AccountRepository(transaction)
            before = await _lock(repository, user_id)
            after = before.with_access(access)
            if before.is_active_admin and not after.is_active_admin:
                await _require_another_admin(repository, user_id)
            await _require_admin(repository, actor_id)
            await repository.set_access(after)
            if before.must_log_in_again(after):
                ended = await SessionRepository(transaction).end_all(user_id, self._now())
            if not after.is_active:
                await MailRequestRepository(transaction).replace_open(user_id, self._now(), *Purpose)
            updated = _existing(await repository.update_profile(user_id, profile), user_id)
        await self._ended.publish(ended)
        if after != before:
            log.info(
                "an account's access was changed",
                user_id=user_id,
                by=actor_id,
                role=after.role,
                is_active=after.is_active,
            )
        return updated

    async def change_password(
        self, user_id: UserId, session_id: UUID | None, current: str, new: str, client: Client
    ) -> None:
        """Changes a password and ends all sessions but `session_id`.

        Mail tokens which reset the old password, or are for an address that is to replace the account's, become
        invalid.

        Raises UnknownUser, PasswordTooCommon, WrongCredentials, TooManyAttempts, TooBusy.
        """
        account = await self.get(user_id)
        refuse_common(new, account.email, account.display_name)
        verified = await self._guard.verify(account.email, current, client)
        password_hash = await self._passwords.hash(new)
        async with self._database.begin() as transaction:
            await self._guard.authorize(transaction, verified)
            await AccountRepository(transaction).set_password(user_id, password_hash)
            ended = await SessionRepository(transaction).end_all(user_id, self._now(), keep=session_id)
            await MailRequestRepository(transaction).replace_open(user_id, self._now(), Purpose.RESET_PASSWORD)
            await MailRequestRepository(transaction).replace_email_changes(account, self._now())
            await self._events.record_password_change(transaction, user_id, self._now())
        await self._ended.publish(ended)
        PASSWORD_CHANGES.inc()
        log.info("a password was changed", user_id=user_id)

    async def export(self, user_id: UserId) -> AccountExport:
        """Returns all data stored about a user. Raises UnknownUser."""
        async with self._database.begin() as transaction:
            account = _existing(await AccountRepository(transaction).find(user_id), user_id)
            return AccountExport(
                account,
                await SessionRepository(transaction).list_active(user_id, self._now()),
                await MailRequestRepository(transaction).list_for_user(user_id),
                await LoginFailureRepository(transaction).find(self._guard.digest(account.email)),
                await DeviceRepository(transaction).list_for_user(user_id),
            )

    async def erase_own(self, user_id: UserId, password: str, client: Client) -> None:
        """Erases a user's own account.

        Raises UnknownUser, WrongCredentials, TooManyAttempts, TooBusy, LastAdmin.
        """
        verified = await self._guard.verify((await self.get(user_id)).email, password, client)
        async with self._database.begin() as transaction:
            account = await self._guard.authorize(transaction, verified)
            if account.is_active_admin:
                await _require_another_admin(AccountRepository(transaction), user_id)
            ended = await self._erase(transaction, account)
        await self._after_erasure(user_id, ended, by=user_id)

    async def erase_as_admin(self, actor_id: UserId, user_id: UserId) -> None:
        """Erases the account of another user.

        Raises UnknownUser, NotAllowed, LastAdmin, and PasswordRequired for the actor's own account.
        """
        if actor_id == user_id:
            raise PasswordRequired
        async with self._database.begin() as transaction:
            repository = AccountRepository(transaction)
            account = await _lock(repository, user_id)
            if account.is_active_admin:
                await _require_another_admin(repository, user_id)
            await _require_admin(repository, actor_id)
            ended = await self._erase(transaction, account)
        await self._after_erasure(user_id, ended, by=actor_id)

    async def ensure_first_admin(self, email: Email, password: str) -> None:
        """Registers the first admin, unless the shop has or had an admin. Several replicas may call it at once.

        An admin who exists keeps their password and everything else. The first admin gets no verification mail: the
        address comes from the operator of the shop, and counts as verified.
        """
        async with self._database.begin() as transaction:
            found = await AccountRepository(transaction).find_by_email(email)
            had_admin = await AccountRepository(transaction).has_ever_had_admin()
        if found is not None and found.account.role is not Role.ADMIN:
            log.warning("ADMIN_EMAIL belongs to a user who is no admin: set another", role=found.account.role.value)
        if found is not None or had_admin:
            return
        password_hash = await self._passwords.hash(password)
        async with self._database.begin() as transaction:
            now = self._now()
            added = await AccountRepository(transaction).add(NewAccount(email, Role.ADMIN), password_hash, now, now)
        if added is not None:
            log.info("the first admin is registered", user_id=added.account.id)

    async def replace_generated_password(self, email: Email, previous: str, new: str) -> None:
        """Gives an admin who still has the previous generated password the new one.

        Several replicas may call it at once. All others keep their passwords. Sessions stay open; mail tokens which
        reset the password become invalid.
        """
        async with self._database.begin() as transaction:
            found = await AccountRepository(transaction).find_by_email(email)
        if found is None or found.account.role is not Role.ADMIN:
            return
        if not await self._passwords.verify(previous, found.password_hash):
            return
        user_id, password_hash = found.account.id, await self._passwords.hash(new)
        async with self._database.begin() as transaction:
            locked = await AccountRepository(transaction).lock(user_id)
            if locked is None or locked.password_hash != found.password_hash:
                return
            await AccountRepository(transaction).set_password(user_id, password_hash)
            await MailRequestRepository(transaction).replace_open(user_id, self._now(), Purpose.RESET_PASSWORD)
            await self._events.record_password_change(transaction, user_id, self._now())
        PASSWORD_CHANGES.inc()
        log.info("the generated password of the first admin was rotated", user_id=user_id)

    async def _erase(self, transaction: AsyncConnection, account: Account) -> list[UUID]:
        """Erases all but the id of an account, whose row must be locked. Returns the sessions that ended.

        The event for the other services is recorded in the same transaction.
        """
        now = self._now()
        await self._guard.clear_failures(transaction, account.email)
        ended = await SessionRepository(transaction).end_all(account.id, now)
        await MailRequestRepository(transaction).delete_for_user(account.id)
        await DeviceRepository(transaction).delete_for_user(account.id)
        await AccountRepository(transaction).erase(account.id, now)
        await self._events.record_erasure(transaction, account.id, now)
        return ended

    async def _after_erasure(self, user_id: UserId, ended: Sequence[UUID], by: UserId) -> None:
        await self._ended.publish(ended)
        ERASURES.inc()
        log.info("an account was erased", user_id=user_id, by=by)


def _existing(account: Account | None, user_id: UserId) -> Account:
    if account is None:
        raise UnknownUser(user_id)
    return account


async def _lock(repository: AccountRepository, user_id: UserId) -> Account:
    locked = await repository.lock(user_id)
    return _existing(locked.account if locked else None, user_id)


async def _require_another_admin(repository: AccountRepository, user_id: UserId) -> None:
    """Raises LastAdmin. Transactions which remove admins at the same time wait for each other here."""
    if not await repository.has_another_active_admin(user_id):
        raise LastAdmin(user_id)


async def _require_admin(repository: AccountRepository, actor_id: UserId) -> None:
    """Raises NotAllowed. The account decides and not the access token, which stays valid after its user was demoted."""
    actor = await repository.find(actor_id)
    if actor is None or not actor.is_active_admin:
        raise NotAllowed
