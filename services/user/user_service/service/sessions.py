"""The use cases of sessions: register, log in, refresh, log out."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from chassis.database import Database
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email, NewAccount
from user_service.domain.errors import EmailTaken, InvalidRefreshToken, RefreshTokenReused, WrongCredentials
from user_service.domain.sessions import SECRET_BYTES, RefreshToken, Session, Verdict, parse_refresh_token
from user_service.repository.accounts import AccountRepository
from user_service.repository.sessions import SessionRepository
from user_service.service.passwords import Passwords
from user_service.service.signing import Signer

REGISTRATIONS = Counter("user_registrations_total", "Accounts that were registered", ["role"])
LOGINS = Counter("user_logins_total", "Attempts to log in", ["outcome"])
REUSES = Counter("user_refresh_token_reuses_total", "Sessions ended because a refresh token was used twice")


@dataclass(frozen=True, slots=True, repr=False)
class Tokens:
    access_token: str
    refresh_token: str
    expires_in: int
    """Seconds until the access token expires."""
    user: Account


class Sessions:
    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        signer: Signer,
        lifetime: timedelta,
        now: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`lifetime` is how long a session lives without being refreshed."""
        self._database = database
        self._passwords = passwords
        self._signer = signer
        self._lifetime = lifetime
        self._now = now
        self._random_bytes = random_bytes

    async def register(self, new: NewAccount, password: str) -> Tokens:
        """An account and its first session. Raises EmailTaken, TooBusy."""
        password_hash = await self._passwords.hash(password)
        async with self._database.begin() as transaction:
            account = await AccountRepository(transaction).add(new, password_hash, self._now())
            if account is None:
                raise EmailTaken
            tokens = await self._open(transaction, account)
        REGISTRATIONS.labels(account.role.value).inc()
        return tokens

    async def log_in(self, email: Email, password: str) -> Tokens:
        """Raises WrongCredentials, TooBusy. No transaction waits for the hash."""
        async with self._database.begin() as transaction:
            found = await AccountRepository(transaction).by_email(email)
        is_right = await self._passwords.verify(password, found.password_hash if found else None)
        LOGINS.labels("accepted" if is_right else "refused").inc()
        if found is None or not is_right:
            raise WrongCredentials
        async with self._database.begin() as transaction:
            return await self._open(transaction, found.account)

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for old. Raises InvalidRefreshToken, RefreshTokenReused."""
        presented = parse_refresh_token(refresh_token)
        async with self._database.begin() as transaction:
            verdict, tokens = await self._rotate(transaction, presented)
        if verdict is Verdict.REUSED:  # raised after the commit, or else the session would live on
            REUSES.inc()
            raise RefreshTokenReused
        if tokens is None:
            raise InvalidRefreshToken
        return tokens

    async def log_out(self, refresh_token: str) -> None:
        """Ends the token's session; a token without one is left alone (RFC 7009, 2.2)."""
        try:
            presented = parse_refresh_token(refresh_token)
        except InvalidRefreshToken:
            return
        async with self._database.begin() as transaction:
            await SessionRepository(transaction).end(presented.session_id)

    async def sweep(self) -> int:
        """Forgets sessions that have expired; says how many."""
        async with self._database.begin() as transaction:
            return await SessionRepository(transaction).end_expired(self._now())

    async def _open(self, transaction: AsyncConnection, account: Account) -> Tokens:
        now = self._now()
        token = RefreshToken(uuid4(), self._random_bytes(SECRET_BYTES))
        session = Session(token.session_id, account.id, token.digest, now + self._lifetime)
        await SessionRepository(transaction).add(session)
        return self._tokens(account, token, now)

    async def _rotate(self, transaction: AsyncConnection, old: RefreshToken) -> tuple[Verdict | None, Tokens | None]:
        repository, now = SessionRepository(transaction), self._now()
        session = await repository.lock(old.session_id)
        if session is None:
            return None, None
        verdict = session.judge(old, now)
        account = await AccountRepository(transaction).by_id(session.user_id)
        if verdict is not Verdict.GOOD or account is None:
            await repository.end(session.id)
            return verdict, None
        new = RefreshToken(session.id, self._random_bytes(SECRET_BYTES))
        await repository.rotate(session.id, new.digest, now + self._lifetime)
        return verdict, self._tokens(account, new, now)

    def _tokens(self, account: Account, refresh_token: RefreshToken, at: datetime) -> Tokens:
        seconds = int(self._signer.lifetime.total_seconds())
        return Tokens(self._signer.access_token(account, at), refresh_token.text(), seconds, account)
