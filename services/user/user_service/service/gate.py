"""Who proves a password may pass. Wrong ones are counted, and too many lock the address for a while.

An address that nobody has is treated like one that somebody has: as much work, the same answers, the same locks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chassis.database.engine import Database
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email
from user_service.domain.errors import Deactivated, TooManyAttempts, WrongCredentials
from user_service.domain.lockout import AddressDigest, Backoff, Failures, digest_of
from user_service.repository.accounts import AccountRepository, Credentials
from user_service.repository.failures import FailureRepository
from user_service.service.passwords import Passwords

LOCKOUTS = Counter("user_lockouts_total", "Wrong passwords that made an address wait")


@dataclass(frozen=True, slots=True, repr=False)
class Proof:
    """A password was right when it was looked at. `Gate.admit` says whether it still opens the account."""

    credentials: Credentials


class Gate:
    def __init__(
        self, database: Database, passwords: Passwords, backoff: Backoff, key: bytes, now: Callable[[], datetime]
    ) -> None:
        """`key` is what digests of addresses are made with."""
        self._database = database
        self._passwords = passwords
        self._backoff = backoff
        self._key = key
        self._now = now

    async def prove(self, email: Email, password: str) -> Proof:
        """Raises WrongCredentials, TooManyAttempts, TooBusy. No transaction waits for the hash.

        A locked address is refused after the same work, whether the password is right or not.
        """
        address, started = self.digest(email), self._now()
        async with self._database.begin() as transaction:
            found = await AccountRepository(transaction).by_email(email)
            failures = await FailureRepository(transaction).find(address)
        is_right = await self._passwords.verify(password, found.password_hash if found else None)
        _refuse_while_locked(failures, started)
        if found is None or not is_right:
            await self._count(address)
            raise WrongCredentials
        return Proof(found)

    async def admit(self, transaction: AsyncConnection, proof: Proof) -> Account:
        """The account that a proof opens, its row locked until the transaction ends. Raises WrongCredentials where its password or
        address was changed meanwhile, TooManyAttempts where others have locked it meanwhile, Deactivated.
        """
        proven = proof.credentials
        current = await AccountRepository(transaction).lock(proven.account.id)
        if current is None or _secrets(current) != _secrets(proven):
            raise WrongCredentials
        await self._clear_unless_locked(transaction, self.digest(current.account.email))
        if not current.account.is_active:
            raise Deactivated
        return current.account

    async def open(self, transaction: AsyncConnection, email: Email) -> None:
        """Forgets the wrong passwords of an address: its owner has proved themselves in another way, or is gone."""
        await FailureRepository(transaction).clear(self.digest(email))

    async def sweep(self) -> int:
        """Forgets failures that count no longer; says how many."""
        async with self._database.begin() as transaction:
            return await FailureRepository(transaction).forget(self._now() - self._backoff.remembered)

    def digest(self, email: Email) -> AddressDigest:
        return digest_of(email, self._key)

    async def _count(self, address: AddressDigest) -> None:
        """Raises TooManyAttempts where others have locked the address since we looked: then a wrong password must not be told from
        a right one.
        """
        now = self._now()
        async with self._database.begin() as transaction:
            repository = FailureRepository(transaction)
            failures = await repository.count(address, now, forgotten=now - self._backoff.remembered)
            wait = self._backoff.after(failures.count)
            if wait:
                await repository.set_lock(address, now + wait)
                LOCKOUTS.inc()
        _refuse_while_locked(failures, now)

    async def _clear_unless_locked(self, transaction: AsyncConnection, address: AddressDigest) -> None:
        repository = FailureRepository(transaction)
        failures = await repository.lock(address)
        _refuse_while_locked(failures, self._now())
        if failures is not None:
            await repository.clear(address)


def _secrets(credentials: Credentials) -> tuple[Email, str]:
    return credentials.account.email, credentials.password_hash


def _refuse_while_locked(failures: Failures | None, at: datetime) -> None:
    wait = failures.wait(at) if failures is not None else None
    if wait is not None:
        raise TooManyAttempts(wait)
