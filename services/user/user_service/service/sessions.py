"""The use cases of sessions: register, log in, refresh, log out, look at them and end them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from chassis.database.engine import Database
from chassis.messaging.outbox import Outbox
from chassis.types.ids import UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email, NewAccount
from user_service.domain.errors import (
    Deactivated,
    EmailTaken,
    InvalidRefreshToken,
    RefreshTokenReused,
    SessionEnded,
    TooManyAttempts,
    UnknownSession,
    WrongCredentials,
)
from user_service.domain.sessions import (
    MAX_SESSIONS,
    SECRET_BYTES,
    RefreshToken,
    Session,
    Verdict,
    parse_refresh_token,
)
from user_service.repository.accounts import AccountRepository
from user_service.repository.sessions import SessionRepository
from user_service.service import events
from user_service.service.gate import Gate
from user_service.service.mail import MailedTokens
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
        outbox: Outbox,
        passwords: Passwords,
        gate: Gate,
        mailed: MailedTokens,
        signer: Signer,
        lifetime: timedelta,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`lifetime` is how long a session lives without being refreshed."""
        self._database = database
        self._outbox = outbox
        self._passwords = passwords
        self._gate = gate
        self._mailed = mailed
        self._signer = signer
        self._lifetime = lifetime
        self._now = now
        self._new_id = new_id
        self._random_bytes = random_bytes

    async def register(self, new: NewAccount, password: str, user_agent: str | None = None) -> Tokens:
        """An account, its first session, and the event that tells of it. Raises EmailTaken, TooBusy."""
        password_hash = await self._passwords.hash(password)
        async with self._database.begin() as transaction:
            added = await AccountRepository(transaction).add(new, password_hash, self._now())
            if added is None:
                raise EmailTaken
            account = added.account
            tokens = await self._open(transaction, account, user_agent)
            payload = events.registered(await self._mailed.request_first(transaction, account))
            await self._outbox.record(transaction, self._new_id(), str(account.id), payload, account.created_at)
        self._outbox.wake()
        REGISTRATIONS.labels(account.role.value).inc()
        return tokens

    async def log_in(self, email: Email, password: str, user_agent: str | None = None) -> Tokens:
        """Raises WrongCredentials, TooManyAttempts, Deactivated, TooBusy."""
        try:
            proof = await self._gate.prove(email, password)
            async with self._database.begin() as transaction:
                tokens = await self._open(transaction, await self._gate.admit(transaction, proof), user_agent)
        except (WrongCredentials, TooManyAttempts, Deactivated) as refusal:
            LOGINS.labels(_OUTCOMES[type(refusal)]).inc()
            raise
        LOGINS.labels("accepted").inc()
        return tokens

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

    async def caller(self, user_id: UserId, session_id: UUID | None) -> Account:
        """The account behind an access token, as it is now and not when the token was signed. Raises SessionEnded.

        A token without a session was signed by an older release: there its account alone counts.
        """
        async with self._database.begin() as transaction:
            account = await AccountRepository(transaction).by_id(user_id)
            is_over = session_id is not None and not await SessionRepository(transaction).is_live(
                session_id, user_id, self._now()
            )
        if account is None or not account.is_active or is_over:
            raise SessionEnded
        return account

    async def live_of(self, user_id: UserId) -> list[Session]:
        """The last used one first."""
        async with self._database.begin() as transaction:
            return await SessionRepository(transaction).live_of(user_id, self._now())

    async def end(self, user_id: UserId, session_id: UUID) -> None:
        """Raises UnknownSession, also for somebody else's."""
        async with self._database.begin() as transaction:
            if not await SessionRepository(transaction).end_one_of(user_id, session_id):
                raise UnknownSession(session_id)

    async def sweep(self) -> int:
        """Forgets sessions that have expired; says how many."""
        async with self._database.begin() as transaction:
            return await SessionRepository(transaction).end_expired(self._now())

    async def _open(self, transaction: AsyncConnection, account: Account, user_agent: str | None) -> Tokens:
        """Ends the one that was left alone longest where there are MAX_SESSIONS. The account's row must be locked, or new: whoever ends
        all its sessions must not miss this one.
        """
        now = self._now()
        token = RefreshToken(uuid4(), self._random_bytes(SECRET_BYTES))
        session = Session(token.session_id, account.id, token.digest, now + self._lifetime, now, now, user_agent)
        repository = SessionRepository(transaction)
        await repository.end_oldest_of(account.id, MAX_SESSIONS - 1)
        await repository.add(session)
        return self._tokens(account, token, now)

    async def _rotate(self, transaction: AsyncConnection, old: RefreshToken) -> tuple[Verdict | None, Tokens | None]:
        repository, now = SessionRepository(transaction), self._now()
        session = await repository.lock(old.session_id)
        if session is None:
            return None, None
        verdict = session.judge(old, now)
        account = await AccountRepository(transaction).by_id(session.user_id)
        if verdict is not Verdict.GOOD or account is None or not account.is_active:
            await repository.end(session.id)
            return verdict, None
        new = RefreshToken(session.id, self._random_bytes(SECRET_BYTES))
        await repository.rotate(session.id, new.digest, now, now + self._lifetime)
        return verdict, self._tokens(account, new, now)

    def _tokens(self, account: Account, refresh_token: RefreshToken, at: datetime) -> Tokens:
        seconds = int(self._signer.lifetime.total_seconds())
        access_token = self._signer.access_token(account, refresh_token.session_id, at)
        return Tokens(access_token, refresh_token.text(), seconds, account)


_OUTCOMES: dict[type[Exception], str] = {
    WrongCredentials: "refused",
    TooManyAttempts: "locked",
    Deactivated: "deactivated",
}
