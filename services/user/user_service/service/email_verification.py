"""Verification of e-mail addresses by a mailed token: the first address, and one that replaces it."""

from collections.abc import Callable
from datetime import datetime

from chassis.database.engine import Database
from chassis.types.ids import UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email
from user_service.domain.devices import Client
from user_service.domain.errors import AlreadyVerified, EmailTaken, UnknownUser
from user_service.domain.mail_tokens import Purpose, parse_mail_token
from user_service.repository.accounts import AccountRepository
from user_service.repository.mail_requests import MailRequestRepository
from user_service.service.login_guard import LoginGuard
from user_service.service.mail_tokens import MAIL_REQUESTS, MailTokens
from user_service.service.published_events import PublishedEvents

EMAILS_VERIFIED = Counter("user_emails_verified_total", "E-mail addresses that were verified with a mail token")


class EmailVerificationService:
    def __init__(
        self,
        database: Database,
        guard: LoginGuard,
        mail_tokens: MailTokens,
        events: PublishedEvents,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._guard = guard
        self._mail_tokens = mail_tokens
        self._events = events
        self._now = now

    async def request(self, user_id: UserId) -> None:
        """Requests another mail to the address that waits for verification.

        Raises AlreadyVerified, TooManyMails, UnknownUser.
        """
        async with self._database.begin() as transaction:
            locked = await AccountRepository(transaction).lock(user_id)
            if locked is None:
                raise UnknownUser(user_id)
            email = await self._unverified_email(transaction, locked.account)
            await self._request(transaction, locked.account, email)
        MAIL_REQUESTS.labels(Purpose.VERIFY_EMAIL, "accepted").inc()

    async def change_email(self, user_id: UserId, email: Email, password: str, client: Client) -> None:
        """Requests a mail to a new address, which replaces the old one once it is verified.

        Raises WrongCredentials, TooManyAttempts, EmailTaken, TooManyMails, UnknownUser, TooBusy.
        """
        async with self._database.begin() as transaction:
            current = await AccountRepository(transaction).find(user_id)
        if current is None:
            raise UnknownUser(user_id)
        verified = await self._guard.verify(current.email, password, client)
        async with self._database.begin() as transaction:
            account = await self._guard.authorize(transaction, verified)
            if await AccountRepository(transaction).is_email_taken(email):
                raise EmailTaken
            await self._request(transaction, account, email)
        MAIL_REQUESTS.labels(Purpose.VERIFY_EMAIL, "accepted").inc()

    async def verify(self, token: str) -> None:
        """Verifies the address that the token was mailed to.

        Raises InvalidMailToken, and EmailTaken if another user has registered with a new address since the change was
        requested.
        """
        presented = parse_mail_token(token)
        async with self._database.begin() as transaction:
            request, account = await self._mail_tokens.validate(transaction, presented, Purpose.VERIFY_EMAIL)
            await self._mail_tokens.redeem(transaction, request, account)
            if request.email != account.email:
                await self._events.record_email_change(transaction, request, self._now())
        EMAILS_VERIFIED.inc()

    async def _request(self, transaction: AsyncConnection, account: Account, email: Email) -> None:
        request = await self._mail_tokens.request(transaction, account, Purpose.VERIFY_EMAIL, email)
        await self._events.record_mail_request(transaction, request)

    async def _unverified_email(self, transaction: AsyncConnection, account: Account) -> Email:
        """Returns the new address that waits for verification, or else the account's own. Raises AlreadyVerified."""
        waiting = await MailRequestRepository(transaction).find_open(account.id, Purpose.VERIFY_EMAIL)
        if waiting is not None and waiting.email != account.email and waiting.is_valid(self._now()):
            return waiting.email
        if account.email_verified:
            raise AlreadyVerified
        return account.email
