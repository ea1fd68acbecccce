"""The use cases of mailed tokens: to prove an address, the first or a new one, and to set a password that was forgotten."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database.engine import Database
from chassis.messaging.outbox import Outbox
from chassis.observability import logs
from chassis.types.ids import UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email
from user_service.domain.errors import (
    AlreadyVerified,
    EmailTaken,
    InvalidMailToken,
    TooManyMails,
    UnknownMailRequest,
    UnknownUser,
)
from user_service.domain.mail import MailRequest, MailTerms, MailToken, Purpose, parse_mail_token, token_for
from user_service.repository.accounts import AccountRepository, Credentials
from user_service.repository.mail_requests import MailRequestRepository
from user_service.repository.sessions import SessionRepository
from user_service.service import events
from user_service.service.gate import Gate
from user_service.service.pacing import at_least
from user_service.service.passwords import Passwords

MAIL_REQUESTS = Counter("user_mail_requests_total", "Mailed tokens that were asked for", ["purpose", "outcome"])
PASSWORD_RESETS = Counter("user_password_resets_total", "Passwords that were set by a mailed token")
EMAILS_VERIFIED = Counter("user_emails_verified_total", "Addresses that were proved by a mailed token")

_KEPT_AFTER_EXPIRY = timedelta(days=1)

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class Letter:
    """A token, and the address that it must be mailed to: for a new address, not the account's."""

    email: Email
    token: MailToken


class MailedTokens:
    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        passwords: Passwords,
        gate: Gate,
        terms: MailTerms,
        key: bytes,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        pace: float,
    ) -> None:
        """`key` is what tokens are made with; `pace` is how many seconds `forgot` takes, whoever is asked for."""
        self._database = database
        self._outbox = outbox
        self._passwords = passwords
        self._gate = gate
        self._terms = terms
        self._key = key
        self._now = now
        self._new_id = new_id
        self._pace = pace

    async def forgot(self, email: Email) -> None:
        """Has a token mailed to an address that an account has. Neither the answer nor its time tells whether one has."""
        async with at_least(self._pace):
            outcome = await self._request_reset(email)
        MAIL_REQUESTS.labels(Purpose.RESET_PASSWORD, outcome).inc()

    async def reset(self, token: str, new_password: str) -> None:
        """Sets the password of the token's user, and ends all that was begun under the old one: their sessions, and a change of address
        that waits for its proof. Raises InvalidMailToken, TooBusy.
        """
        presented = parse_mail_token(token)
        async with self._database.begin() as transaction:
            await self._redeemable(transaction, presented, Purpose.RESET_PASSWORD)  # nobody hashes for a bad token
        password_hash = await self._passwords.hash(new_password)
        async with self._database.begin() as transaction:
            request, account = await self._redeemable(transaction, presented, Purpose.RESET_PASSWORD)
            await AccountRepository(transaction).set_password(account.id, password_hash)
            await SessionRepository(transaction).end_all_of(account.id)
            await MailRequestRepository(transaction).replace_changes_of(account, self._now())
            await self._gate.open(transaction, account.email)
            await self._redeem(transaction, request, account)
        PASSWORD_RESETS.inc()
        log.info("a password was reset", user_id=account.id)

    async def send_verification(self, user_id: UserId) -> None:
        """Mails another token to the address that waits to be verified. Raises AlreadyVerified, TooManyMails, UnknownUser."""
        async with self._database.begin() as transaction:
            account = await _locked(transaction, user_id)
            email = await self._unverified(transaction, account)
            await self._request_by_event(transaction, account, Purpose.VERIFY_EMAIL, email)
        self._outbox.wake()
        MAIL_REQUESTS.labels(Purpose.VERIFY_EMAIL, "accepted").inc()

    async def change_email(self, user_id: UserId, email: Email, password: str) -> None:
        """Mails a token to a new address, which takes the old one's place once it is verified.

        Raises WrongCredentials, TooManyAttempts, EmailTaken, TooManyMails, UnknownUser, TooBusy.
        """
        async with self._database.begin() as transaction:
            current = await AccountRepository(transaction).by_id(user_id)
        if current is None:
            raise UnknownUser(user_id)
        proof = await self._gate.prove(current.email, password)
        async with self._database.begin() as transaction:
            account = await self._gate.admit(transaction, proof)
            if await AccountRepository(transaction).is_taken(email):
                raise EmailTaken
            await self._request_by_event(transaction, account, Purpose.VERIFY_EMAIL, email)
        self._outbox.wake()
        MAIL_REQUESTS.labels(Purpose.VERIFY_EMAIL, "accepted").inc()

    async def verify(self, token: str) -> None:
        """Proves the address that the token was mailed to. Raises InvalidMailToken, and EmailTaken where somebody else has
        registered with a new address meanwhile.
        """
        presented = parse_mail_token(token)
        async with self._database.begin() as transaction:
            request, account = await self._redeemable(transaction, presented, Purpose.VERIFY_EMAIL)
            await self._redeem(transaction, request, account)
        EMAILS_VERIFIED.inc()

    async def request_first(self, transaction: AsyncConnection, account: Account) -> MailRequest:
        """The request that verifies the address of a new account; the caller tells of it with the registration."""
        MAIL_REQUESTS.labels(Purpose.VERIFY_EMAIL, "accepted").inc()
        return await self._request(transaction, account, Purpose.VERIFY_EMAIL, account.email)

    async def letter(self, request_id: UUID) -> Letter:
        """What a request wants mailed. Raises UnknownMailRequest."""
        async with self._database.begin() as transaction:
            request = await MailRequestRepository(transaction).find(request_id)
            owner = await AccountRepository(transaction).find(request.user_id) if request else None
        if request is None or owner is None or not owner.account.is_active or not request.is_live(self._now()):
            raise UnknownMailRequest
        return Letter(request.email, self._token(request, owner))

    async def sweep(self) -> int:
        """Forgets requests a day after their tokens expired; says how many."""
        async with self._database.begin() as transaction:
            return await MailRequestRepository(transaction).forget_expired(self._now() - _KEPT_AFTER_EXPIRY)

    async def _request_reset(self, email: Email) -> str:
        async with self._database.begin() as transaction:
            found = await AccountRepository(transaction).by_email(email)
            account = await _still_there(transaction, found, email)
            if account is None:
                return "no_account"
            try:
                await self._request_by_event(transaction, account, Purpose.RESET_PASSWORD, email)
            except TooManyMails:
                return "too_many"
        self._outbox.wake()
        return "accepted"

    async def _request_by_event(
        self, transaction: AsyncConnection, account: Account, purpose: Purpose, email: Email
    ) -> None:
        request = await self._request(transaction, account, purpose, email)
        payload = events.mail_requested(request)
        await self._outbox.record(transaction, self._new_id(), str(account.id), payload, request.created_at)

    async def _request(
        self, transaction: AsyncConnection, account: Account, purpose: Purpose, email: Email
    ) -> MailRequest:
        """Replaces what was open. The account's row must be locked, or new. Raises TooManyMails."""
        repository, now = MailRequestRepository(transaction), self._now()
        made = await repository.made_since(account.id, purpose, now - self._terms.window)
        if len(made) >= self._terms.most:
            raise TooManyMails(made[-self._terms.most] + self._terms.window - now)
        expires_at = now + self._terms.lifetime(purpose)
        request = MailRequest(self._new_id(), account.id, purpose, email, now, expires_at)
        await repository.replace_open_of(account.id, now, purpose)
        await repository.add(request)
        return request

    async def _unverified(self, transaction: AsyncConnection, account: Account) -> Email:
        """The new address that waits for its proof, or else the account's own. Raises AlreadyVerified."""
        waiting = await MailRequestRepository(transaction).open_of(account.id, Purpose.VERIFY_EMAIL)
        if waiting is not None and waiting.email != account.email and waiting.is_live(self._now()):
            return waiting.email
        if account.email_verified:
            raise AlreadyVerified
        return account.email

    async def _redeemable(
        self, transaction: AsyncConnection, presented: MailToken, purpose: Purpose
    ) -> tuple[MailRequest, Account]:
        """The request of a token, its account's row locked. Raises InvalidMailToken unless the token is good this very moment."""
        repository = MailRequestRepository(transaction)
        named = await repository.find(presented.request_id)
        owner = await AccountRepository(transaction).lock(named.user_id) if named else None
        request = await repository.find(presented.request_id)  # as it is now that its owner is locked
        if request is None or owner is None or request.purpose is not purpose or not request.is_live(self._now()):
            raise InvalidMailToken
        if not owner.account.is_active or not self._token(request, owner).belongs_to(presented):
            raise InvalidMailToken
        return request, owner.account

    async def _redeem(self, transaction: AsyncConnection, request: MailRequest, account: Account) -> None:
        """The token has reached its owner, so the address is theirs. What was mailed to another address is good no longer."""
        now = self._now()
        await MailRequestRepository(transaction).use(request.id, now)
        if request.email != account.email:
            await MailRequestRepository(transaction).replace_open_of(account.id, now, *Purpose)
            await self._gate.open(transaction, account.email)
        await AccountRepository(transaction).set_verified_email(account.id, request.email, now)

    def _token(self, request: MailRequest, owner: Credentials) -> MailToken:
        return token_for(request, owner.account.email, owner.password_hash, self._key)


async def _locked(transaction: AsyncConnection, user_id: UserId) -> Account:
    found = await AccountRepository(transaction).lock(user_id)
    if found is None:
        raise UnknownUser(user_id)
    return found.account


async def _still_there(transaction: AsyncConnection, found: Credentials | None, email: Email) -> Account | None:
    """The account, its row locked; None for one that is away, deactivated, or has another address by now."""
    locked = await AccountRepository(transaction).lock(found.account.id) if found else None
    if locked is None or locked.account.email != email or not locked.account.is_active:
        return None
    return locked.account
