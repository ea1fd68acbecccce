"""The login guard: verifies passwords, counts wrong ones, and locks an e-mail address for a while after too many.

Failures are counted for the address on the caller's network, so that strangers cannot lock a user out, and with a much
higher bound for the address on all networks (docs/adr/0024).

An address without an account is treated like one with an account: the same work, the same answers, the same locks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis.database.engine import Database
from chassis.database.pruning import prune_in_batches
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email
from user_service.domain.devices import Client, Device, device_of
from user_service.domain.errors import AccountDeactivated, TooManyAttempts, WrongCredentials
from user_service.domain.lockout import (
    LockoutPolicies,
    LockoutPolicy,
    LoginDigest,
    LoginFailures,
    email_digest,
    network_digest,
)
from user_service.repository.accounts import AccountRepository, Credentials
from user_service.repository.devices import DeviceRepository
from user_service.repository.login_failures import LoginFailureRepository
from user_service.service.passwords import PasswordHasher

LOCKOUTS = Counter(
    "user_lockouts_total", "Wrong passwords that locked an e-mail address, on one network or on unknown ones", ["scope"]
)
_DEVICE_RETENTION = timedelta(days=90)
"""How long a device is known after its last login."""


@dataclass(frozen=True, slots=True, repr=False)
class VerifiedCredentials:
    """Credentials of which the password was right when it was verified.

    `LoginGuard.authorize` checks whether it still is.
    """

    credentials: Credentials
    client: Client


@dataclass(frozen=True, slots=True)
class _Digests:
    """The keys of the two counts of one attempt."""

    network: LoginDigest
    account: LoginDigest


class LoginGuard:
    def __init__(
        self,
        database: Database,
        passwords: PasswordHasher,
        policies: LockoutPolicies,
        key: bytes,
        now: Callable[[], datetime],
    ) -> None:
        """`key` makes the digests of e-mail addresses and devices."""
        self._database = database
        self._passwords = passwords
        self._policies = policies
        self._key = key
        self._now = now

    async def verify(self, email: Email, password: str, client: Client) -> VerifiedCredentials:
        """Verifies a password.

        Raises WrongCredentials, TooManyAttempts, TooBusy. No transaction is open during the hash.

        A locked address is refused after the same work, whether the password is right or not.
        """
        digests, started_at = self._digests(email, client), self._now()
        async with self._database.begin() as transaction:
            found = await AccountRepository(transaction).find_by_email(email)
            is_known = found is not None and await self._knows_network(transaction, found.account, client)
            failures = await LoginFailureRepository(transaction).find(digests.network)
            of_account = await LoginFailureRepository(transaction).find(digests.account)
        is_right = await self._passwords.verify(password, found.password_hash if found else None)
        _refuse_if_locked(failures, started_at)
        _refuse_if_locked(None if is_known else of_account, started_at)
        if found is None or not is_right:
            await self._count_failure(digests, is_known)
            raise WrongCredentials
        return VerifiedCredentials(found, client)

    async def authorize(self, transaction: AsyncConnection, verified: VerifiedCredentials) -> Account:
        """Returns the account of verified credentials, its row locked until the transaction ends.

        Raises WrongCredentials if the password or the address was changed since the verification, TooManyAttempts if
        other attempts have locked the address since then, AccountDeactivated.
        """
        current = await AccountRepository(transaction).lock(verified.credentials.account.id)
        if current is None or _secrets(current) != _secrets(verified.credentials):
            raise WrongCredentials
        await self._clear_unless_locked(transaction, current.account, verified.client)
        if not current.account.is_active:
            raise AccountDeactivated
        return current.account

    async def remember_device(self, transaction: AsyncConnection, account: Account, client: Client) -> bool:
        """Stores that the user has logged in with a device; returns whether it is new, and not the user's first.

        The account's row must be locked, or new.
        """
        return await DeviceRepository(transaction).remember(account.id, self._device(account, client), self._now())

    async def clear_failures(self, transaction: AsyncConnection, email: Email) -> None:
        """Deletes the failures of an address from all networks, and its locks.

        Called when the owner is authenticated in another way, or erased.
        """
        await LoginFailureRepository(transaction).clear_all(self.digest(email))

    async def delete_expired(self) -> None:
        """Deletes failures that no longer count, and devices that were not used for long."""
        unused_since, before = self._now() - _DEVICE_RETENTION, self._now() - self._policies.retention
        await prune_in_batches(
            self._database,
            lambda transaction, limit: DeviceRepository(transaction).delete_unused_since(unused_since, limit),
        )
        await prune_in_batches(
            self._database, lambda transaction, limit: LoginFailureRepository(transaction).delete_before(before, limit)
        )

    def digest(self, email: Email) -> LoginDigest:
        return email_digest(email, self._key)

    def _digests(self, email: Email, client: Client) -> _Digests:
        return _Digests(network_digest(email, client.network, self._key), self.digest(email))

    def _device(self, account: Account, client: Client) -> Device:
        return device_of(account.id, client, self._key)

    async def _knows_network(self, transaction: AsyncConnection, account: Account, client: Client) -> bool:
        network = self._device(account, client).network_digest
        return await DeviceRepository(transaction).knows_network(account.id, network)

    async def _count_failure(self, digests: _Digests, is_known: bool) -> None:
        """Counts a failure, and locks the address if there are too many.

        Raises TooManyAttempts if other attempts have locked the address since it was read: then the answer must not
        reveal whether the password was wrong.
        """
        now = self._now()
        async with self._database.begin() as transaction:
            failures = await self._add_failure(transaction, digests.network, self._policies.network, digests.account)
            of_account = await self._add_failure(transaction, digests.account, self._policies.account)
        _refuse_if_locked(failures, now)
        _refuse_if_locked(None if is_known else of_account, now)

    async def _add_failure(
        self,
        transaction: AsyncConnection,
        digest: LoginDigest,
        policy: LockoutPolicy,
        account: LoginDigest | None = None,
    ) -> LoginFailures:
        """Returns the failures with this one; `locked_until` is as it was before."""
        repository, now = LoginFailureRepository(transaction), self._now()
        failures = await repository.add(digest, now, now - self._policies.retention, account)
        wait = policy.wait_after(failures.count)
        if wait:
            await repository.set_lock(digest, now + wait)
            LOCKOUTS.labels("account" if account is None else "network").inc()
        return failures

    async def _clear_unless_locked(self, transaction: AsyncConnection, account: Account, client: Client) -> None:
        """Deletes the failures from the client's network and the count of all networks.

        Raises TooManyAttempts. Rows are locked in the order in which failures are counted.
        """
        repository, now = LoginFailureRepository(transaction), self._now()
        digests = self._digests(account.email, client)
        failures = await repository.lock(digests.network)
        of_account = await repository.lock(digests.account)
        is_known = await self._knows_network(transaction, account, client)
        _refuse_if_locked(failures, now)
        _refuse_if_locked(None if is_known else of_account, now)
        if failures is not None:
            await repository.clear(digests.network)
        if of_account is not None:
            await repository.clear(digests.account)


def _secrets(credentials: Credentials) -> tuple[Email, str]:
    return credentials.account.email, credentials.password_hash


def _refuse_if_locked(failures: LoginFailures | None, at: datetime) -> None:
    remaining = failures.remaining_lock(at) if failures is not None else None
    if remaining is not None:
        raise TooManyAttempts(remaining)
