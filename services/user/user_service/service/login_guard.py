"""The login guard: verifies passwords, counts wrong ones, and locks an e-mail address for a while after too many.

An address without an account is treated like one with an account: the same work, the same answers, the same locks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chassis.database.engine import Database
from chassis.database.pruning import prune_in_batches
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email
from user_service.domain.errors import AccountDeactivated, TooManyAttempts, WrongCredentials
from user_service.domain.lockout import EmailDigest, LockoutPolicy, LoginFailures, email_digest
from user_service.repository.accounts import AccountRepository, Credentials
from user_service.repository.login_failures import LoginFailureRepository
from user_service.service.passwords import PasswordHasher

LOCKOUTS = Counter("user_lockouts_total", "Wrong passwords that locked an e-mail address")


@dataclass(frozen=True, slots=True, repr=False)
class VerifiedCredentials:
    """Credentials of which the password was right when it was verified.

    `LoginGuard.authorize` checks whether it still is.
    """

    credentials: Credentials


class LoginGuard:
    def __init__(
        self,
        database: Database,
        passwords: PasswordHasher,
        policy: LockoutPolicy,
        key: bytes,
        now: Callable[[], datetime],
    ) -> None:
        """`key` makes the digests of e-mail addresses."""
        self._database = database
        self._passwords = passwords
        self._policy = policy
        self._key = key
        self._now = now

    async def verify(self, email: Email, password: str) -> VerifiedCredentials:
        """Verifies a password.

        Raises WrongCredentials, TooManyAttempts, TooBusy. No transaction is open during the hash.

        A locked address is refused after the same work, whether the password is right or not.
        """
        digest, started_at = self.digest(email), self._now()
        async with self._database.begin() as transaction:
            found = await AccountRepository(transaction).find_by_email(email)
            failures = await LoginFailureRepository(transaction).find(digest)
        is_right = await self._passwords.verify(password, found.password_hash if found else None)
        _refuse_if_locked(failures, started_at)
        if found is None or not is_right:
            await self._count_failure(digest)
            raise WrongCredentials
        return VerifiedCredentials(found)

    async def authorize(self, transaction: AsyncConnection, verified: VerifiedCredentials) -> Account:
        """Returns the account of verified credentials, its row locked until the transaction ends.

        Raises WrongCredentials if the password or the address was changed since the verification, TooManyAttempts if
        other attempts have locked the address since then, AccountDeactivated.
        """
        current = await AccountRepository(transaction).lock(verified.credentials.account.id)
        if current is None or _secrets(current) != _secrets(verified.credentials):
            raise WrongCredentials
        await self._clear_unless_locked(transaction, self.digest(current.account.email))
        if not current.account.is_active:
            raise AccountDeactivated
        return current.account

    async def clear_failures(self, transaction: AsyncConnection, email: Email) -> None:
        """Deletes the failures of an address and its lock.

        Called when the owner is authenticated in another way, or erased.
        """
        await LoginFailureRepository(transaction).clear(self.digest(email))

    async def delete_expired(self) -> int:
        """Deletes failures that no longer count; returns how many."""
        before = self._now() - self._policy.retention
        return await prune_in_batches(
            self._database, lambda transaction, limit: LoginFailureRepository(transaction).delete_before(before, limit)
        )

    def digest(self, email: Email) -> EmailDigest:
        return email_digest(email, self._key)

    async def _count_failure(self, digest: EmailDigest) -> None:
        """Counts a failure, and locks the address if there are too many.

        Raises TooManyAttempts if other attempts have locked the address since it was read: then the answer must not
        reveal whether the password was wrong.
        """
        now = self._now()
        async with self._database.begin() as transaction:
            repository = LoginFailureRepository(transaction)
            failures = await repository.add(digest, now, stale_before=now - self._policy.retention)
            wait = self._policy.wait_after(failures.count)
            if wait:
                await repository.set_lock(digest, now + wait)
                LOCKOUTS.inc()
        _refuse_if_locked(failures, now)

    async def _clear_unless_locked(self, transaction: AsyncConnection, digest: EmailDigest) -> None:
        repository = LoginFailureRepository(transaction)
        failures = await repository.lock(digest)
        _refuse_if_locked(failures, self._now())
        if failures is not None:
            await repository.clear(digest)


def _secrets(credentials: Credentials) -> tuple[Email, str]:
    return credentials.account.email, credentials.password_hash


def _refuse_if_locked(failures: LoginFailures | None, at: datetime) -> None:
    remaining = failures.remaining_lock(at) if failures is not None else None
    if remaining is not None:
        raise TooManyAttempts(remaining)
