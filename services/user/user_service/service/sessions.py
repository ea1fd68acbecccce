"""Sessions: log in, refresh, log out, list sessions and end them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from chassis.database.engine import Database
from chassis.database.pruning import prune_in_batches
from chassis.types.ids import UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email
from user_service.domain.devices import Client
from user_service.domain.errors import (
    AccountDeactivated,
    InvalidRefreshToken,
    RefreshTokenReused,
    SessionEnded,
    TooManyAttempts,
    UnknownSession,
    WrongCredentials,
)
from user_service.domain.sessions import (
    MAX_SESSIONS,
    RANDOM_BYTES,
    RefreshToken,
    RefreshTokenState,
    Session,
    new_refresh_token,
    parse_refresh_token,
)
from user_service.repository.accounts import AccountRepository
from user_service.repository.sessions import SessionRepository
from user_service.service.ended_sessions import EndedSessionPublisher
from user_service.service.login_guard import LoginGuard
from user_service.service.published_events import PublishedEvents
from user_service.service.signing import Signer

LOGINS = Counter("user_logins_total", "Login attempts", ["outcome"])
REUSES = Counter("user_refresh_token_reuses_total", "Sessions ended because a refresh token was used twice")


@dataclass(frozen=True, slots=True, repr=False)
class Tokens:
    access_token: str
    refresh_token: str
    expires_in: int
    """Seconds until the access token expires."""
    user: Account


class SessionService:
    def __init__(
        self,
        database: Database,
        guard: LoginGuard,
        signer: Signer,
        events: PublishedEvents,
        ended: EndedSessionPublisher,
        lifetime: timedelta,
        now: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
        key: bytes,
    ) -> None:
        """`lifetime` is how long a session lives without being refreshed. `key` authenticates refresh tokens."""
        self._database = database
        self._guard = guard
        self._signer = signer
        self._events = events
        self._ended = ended
        self._lifetime = lifetime
        self._now = now
        self._random_bytes = random_bytes
        self._key = key

    async def log_in(self, email: Email, password: str, client: Client) -> Tokens:
        """Opens a session; of MAX_SESSIONS it ends the least recently used one.

        Raises WrongCredentials, TooManyAttempts, AccountDeactivated, TooBusy.
        """
        try:
            verified = await self._guard.verify(email, password, client)
            async with self._database.begin() as transaction:
                account = await self._guard.authorize(transaction, verified)
                ended = await SessionRepository(transaction).end_least_recently_used(
                    account.id, MAX_SESSIONS - 1, self._now()
                )
                session_id, tokens = await self.open(transaction, account, client)
                if await self._guard.remember_device(transaction, account, client):
                    await self._events.record_new_device(transaction, account.id, session_id, self._now())
        except (WrongCredentials, TooManyAttempts, AccountDeactivated) as refusal:
            LOGINS.labels(_OUTCOMES[type(refusal)]).inc()
            raise
        await self._ended.publish(ended)
        LOGINS.labels("accepted").inc()
        return tokens

    async def open(self, transaction: AsyncConnection, account: Account, client: Client) -> tuple[UUID, Tokens]:
        """Opens a session; returns its id too.

        The account's row must be locked, or new, so that a transaction which ends all sessions cannot miss this one.
        """
        now = self._now()
        token = self._new_token(uuid4())
        session = Session(token.session_id, account.id, token.digest, now + self._lifetime, now, now, client.user_agent)
        await SessionRepository(transaction).add(session)
        return session.id, self._tokens(account, token, now)

    async def refresh(self, refresh_token: str) -> Tokens:
        """Exchanges a refresh token for new tokens. Raises InvalidRefreshToken, RefreshTokenReused."""
        presented = parse_refresh_token(refresh_token)
        async with self._database.begin() as transaction:
            state, tokens = await self._rotate(transaction, presented)
        if tokens is None and state not in (None, RefreshTokenState.FORGED):
            await self._ended.publish([presented.session_id])
        if state is RefreshTokenState.REUSED:  # raised after the commit, since a rollback would keep the session
            REUSES.inc()
            raise RefreshTokenReused
        if tokens is None:
            raise InvalidRefreshToken
        return tokens

    async def log_out(self, refresh_token: str) -> None:
        """Ends the token's session. Any other text is ignored (RFC 7009, 2.2), also a wrong secret for a session."""
        try:
            presented = parse_refresh_token(refresh_token)
        except InvalidRefreshToken:
            return
        async with self._database.begin() as transaction:
            repository, now = SessionRepository(transaction), self._now()
            session = await repository.lock(presented.session_id)
            if session is None or session.state_of(presented, now, self._key) is RefreshTokenState.FORGED:
                return
            ended = await repository.end(session.id, now)
        await self._ended.publish(ended)

    async def authenticate(self, user_id: UserId, session_id: UUID | None) -> Account:
        """Returns the account of an access token as it is now, not as it was when the token was signed.

        Raises SessionEnded.

        A token without a session id was signed by an older release: only its account is checked then.
        """
        async with self._database.begin() as transaction:
            account = await AccountRepository(transaction).find(user_id)
            has_ended = session_id is not None and not await SessionRepository(transaction).is_active(
                session_id, user_id, self._now()
            )
        if account is None or not account.is_active or has_ended:
            raise SessionEnded
        return account

    async def list_active(self, user_id: UserId) -> list[Session]:
        """Returns the user's sessions, the last used first."""
        async with self._database.begin() as transaction:
            return await SessionRepository(transaction).list_active(user_id, self._now())

    async def end(self, user_id: UserId, session_id: UUID) -> None:
        """Ends a session of the user. Raises UnknownSession, also if the session is another user's."""
        async with self._database.begin() as transaction:
            ended = await SessionRepository(transaction).end_for_user(user_id, session_id, self._now())
        if not ended:
            raise UnknownSession(session_id)
        await self._ended.publish(ended)

    async def delete_expired(self) -> None:
        """Deletes expired sessions."""
        now = self._now()
        await prune_in_batches(
            self._database, lambda transaction, limit: SessionRepository(transaction).end_expired(now, limit)
        )

    async def _rotate(
        self, transaction: AsyncConnection, presented: RefreshToken
    ) -> tuple[RefreshTokenState | None, Tokens | None]:
        """Replaces a valid refresh token, and ends the session of any other that this service has issued.

        Returns no state if the token has no session.
        """
        repository, now = SessionRepository(transaction), self._now()
        session = await repository.lock(presented.session_id)
        if session is None:
            return None, None
        state = session.state_of(presented, now, self._key)
        if state is RefreshTokenState.FORGED:
            return state, None
        account = await AccountRepository(transaction).find(session.user_id)
        if state is not RefreshTokenState.VALID or account is None or not account.is_active:
            await repository.end(session.id, now)
            return state, None
        new = self._new_token(session.id)
        await repository.rotate(session.id, new.digest, now, now + self._lifetime)
        return state, self._tokens(account, new, now)

    def _new_token(self, session_id: UUID) -> RefreshToken:
        return new_refresh_token(session_id, self._random_bytes(RANDOM_BYTES), self._key)

    def _tokens(self, account: Account, refresh_token: RefreshToken, at: datetime) -> Tokens:
        seconds = int(self._signer.lifetime.total_seconds())
        access_token = self._signer.access_token(account, refresh_token.session_id, at)
        return Tokens(access_token, refresh_token.text(), seconds, account)


_OUTCOMES: dict[type[Exception], str] = {
    WrongCredentials: "refused",
    TooManyAttempts: "locked",
    AccountDeactivated: "deactivated",
}
