"""Registration of users."""

from collections.abc import Callable
from datetime import datetime

from chassis.database.engine import Database
from prometheus_client import Counter

from user_service.domain.accounts import NewAccount
from user_service.domain.common_passwords import refuse_common
from user_service.domain.devices import Client
from user_service.domain.errors import EmailTaken
from user_service.domain.mail_tokens import Purpose
from user_service.repository.accounts import AccountRepository
from user_service.service.login_guard import LoginGuard
from user_service.service.mail_tokens import MAIL_REQUESTS, MailTokens
from user_service.service.passwords import PasswordHasher
from user_service.service.published_events import PublishedEvents
from user_service.service.sessions import SessionService, Tokens

REGISTRATIONS = Counter("user_registrations_total", "Accounts that were registered", ["role"])


class RegistrationService:
    def __init__(
        self,
        database: Database,
        passwords: PasswordHasher,
        guard: LoginGuard,
        sessions: SessionService,
        mail_tokens: MailTokens,
        events: PublishedEvents,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._guard = guard
        self._sessions = sessions
        self._mail_tokens = mail_tokens
        self._events = events
        self._now = now

    async def register(self, new: NewAccount, password: str, client: Client) -> Tokens:
        """Creates an account, its first session and the request to verify its address.

        Raises PasswordTooCommon, EmailTaken, TooBusy.
        """
        refuse_common(password, new.email, new.display_name)
        password_hash = await self._passwords.hash(password)
        async with self._database.begin() as transaction:
            added = await AccountRepository(transaction).add(new, password_hash, self._now())
            if added is None:
                raise EmailTaken
            account = added.account
            _, tokens = await self._sessions.open(transaction, account, client)
            await self._guard.remember_device(transaction, account, client)
            request = await self._mail_tokens.request(transaction, account, Purpose.VERIFY_EMAIL, account.email)
            await self._events.record_registration(transaction, account, request)
        REGISTRATIONS.labels(account.role.value).inc()
        MAIL_REQUESTS.labels(Purpose.VERIFY_EMAIL, "accepted").inc()
        return tokens
