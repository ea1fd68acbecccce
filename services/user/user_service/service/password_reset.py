"""Password reset by a mailed token."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from chassis.database.engine import Database
from chassis.observability import logs
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email
from user_service.domain.common_passwords import refuse_common
from user_service.domain.errors import TooManyMails
from user_service.domain.mail_tokens import Purpose, parse_mail_token
from user_service.repository.accounts import AccountRepository, Credentials
from user_service.repository.mail_requests import MailRequestRepository
from user_service.repository.sessions import SessionRepository
from user_service.service.ended_sessions import EndedSessionPublisher
from user_service.service.login_guard import LoginGuard
from user_service.service.mail_tokens import MAIL_REQUESTS, MailTokens
from user_service.service.passwords import PasswordHasher
from user_service.service.published_events import PublishedEvents

PASSWORD_RESETS = Counter("user_password_resets_total", "Passwords that were reset with a mail token")

log = logs.get_logger(__name__)


class PasswordResetService:
    def __init__(
        self,
        database: Database,
        passwords: PasswordHasher,
        guard: LoginGuard,
        mail_tokens: MailTokens,
        events: PublishedEvents,
        ended: EndedSessionPublisher,
        now: Callable[[], datetime],
        minimum_seconds: float,
    ) -> None:
        """`minimum_seconds` is the minimum response time of `request`."""
        self._database = database
        self._passwords = passwords
        self._guard = guard
        self._mail_tokens = mail_tokens
        self._events = events
        self._ended = ended
        self._now = now
        self._minimum_seconds = minimum_seconds

    async def request(self, email: Email) -> None:
        """Requests a mail with a token, if an active account has the address.

        Neither the answer nor its time reveals whether one has.
        """
        async with minimum_duration(self._minimum_seconds):
            outcome = await self._request(email)
        MAIL_REQUESTS.labels(Purpose.RESET_PASSWORD, outcome).inc()

    async def reset(self, token: str, new_password: str) -> None:
        """Sets the password of the token's user. Raises InvalidMailToken, PasswordTooCommon, TooBusy.

        What was started under the old password ends: the sessions, and a change of address which waits for its
        verification.
        """
        presented = parse_mail_token(token)
        async with self._database.begin() as transaction:  # an invalid token must not cost a hash
            _, account = await self._mail_tokens.validate(transaction, presented, Purpose.RESET_PASSWORD)
        refuse_common(new_password, account.email, account.display_name)
        password_hash = await self._passwords.hash(new_password)
        async with self._database.begin() as transaction:
            request, account = await self._mail_tokens.validate(transaction, presented, Purpose.RESET_PASSWORD)
            await AccountRepository(transaction).set_password(account.id, password_hash)
            ended = await SessionRepository(transaction).end_all(account.id, self._now())
            await MailRequestRepository(transaction).replace_email_changes(account, self._now())
            await self._guard.clear_failures(transaction, account.email)
            await self._mail_tokens.redeem(transaction, request, account)
            await self._events.record_password_change(transaction, account.id, self._now())
        await self._ended.publish(ended)
        PASSWORD_RESETS.inc()
        log.info("a password was reset", user_id=account.id)

    async def _request(self, email: Email) -> str:
        """Returns the outcome, as the metric names it."""
        async with self._database.begin() as transaction:
            found = await AccountRepository(transaction).find_by_email(email)
            account = await _lock_if_current(transaction, found, email)
            if account is None:
                return "no_account"
            try:
                request = await self._mail_tokens.request(transaction, account, Purpose.RESET_PASSWORD, email)
            except TooManyMails:
                return "too_many"
            await self._events.record_mail_request(transaction, request)
        return "accepted"


async def _lock_if_current(transaction: AsyncConnection, found: Credentials | None, email: Email) -> Account | None:
    """Returns the account with its row locked, or None if it is erased, deactivated, or has another address by now."""
    locked = await AccountRepository(transaction).lock(found.account.id) if found else None
    if locked is None or locked.account.email != email or not locked.account.is_active:
        return None
    return locked.account


@asynccontextmanager
async def minimum_duration(seconds: float) -> AsyncIterator[None]:
    """Makes a block take at least this many seconds, unless it fails. The remaining time is spent waiting."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    yield
    await asyncio.sleep(max(0.0, end - loop.time()))
