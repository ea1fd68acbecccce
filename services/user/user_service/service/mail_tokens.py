"""Mail tokens: requested, fetched by the service which sends the mail, and redeemed by their recipient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database.engine import Database
from chassis.database.pruning import prune_in_batches
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account, Email
from user_service.domain.errors import InvalidMailToken, TooManyMails, UnknownMailRequest
from user_service.domain.mail_tokens import MailRequest, MailToken, MailTokenPolicy, Purpose, derive_mail_token
from user_service.repository.accounts import AccountRepository, Credentials
from user_service.repository.mail_requests import MailRequestRepository
from user_service.service.login_guard import LoginGuard

MAIL_REQUESTS = Counter("user_mail_requests_total", "Mail tokens that were requested", ["purpose", "outcome"])

_KEPT_AFTER_EXPIRY = timedelta(days=1)


@dataclass(frozen=True, slots=True, repr=False)
class IssuedMailToken:
    """A token and the address that it must be mailed to, which for a change of address is not the account's."""

    email: Email
    token: MailToken


class MailTokens:
    def __init__(
        self,
        database: Database,
        guard: LoginGuard,
        policy: MailTokenPolicy,
        keys: Sequence[bytes],
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        """The first of `keys` makes the authentication codes of new tokens; those of the others are valid too."""
        self._database = database
        self._guard = guard
        self._policy = policy
        self._keys = keys
        self._now = now
        self._new_id = new_id

    async def request(
        self, transaction: AsyncConnection, account: Account, purpose: Purpose, email: Email
    ) -> MailRequest:
        """Adds a request for a token, which replaces the open one.

        The account's row must be locked, or new. Raises TooManyMails.
        """
        repository, now = MailRequestRepository(transaction), self._now()
        created = await repository.creation_times(account.id, purpose, now - self._policy.window)
        if len(created) >= self._policy.max_requests:
            raise TooManyMails(created[-self._policy.max_requests] + self._policy.window - now)
        expires_at = now + self._policy.lifetime(purpose)
        request = MailRequest(self._new_id(), account.id, purpose, email, now, expires_at)
        await repository.replace_open(account.id, now, purpose)
        await repository.add(request)
        return request

    async def issue(self, request_id: UUID) -> IssuedMailToken:
        """Returns the token of a request, for its mail. Raises UnknownMailRequest."""
        async with self._database.begin() as transaction:
            request = await MailRequestRepository(transaction).find(request_id)
            owner = await AccountRepository(transaction).find_credentials(request.user_id) if request else None
        if request is None or owner is None or not owner.account.is_active or not request.is_valid(self._now()):
            raise UnknownMailRequest
        return IssuedMailToken(request.email, _token(request, owner, self._keys[0]))

    async def replaced_email(self, request_id: UUID) -> Email:
        """Returns the address that a change of address has replaced. Raises UnknownMailRequest."""
        async with self._database.begin() as transaction:
            request = await MailRequestRepository(transaction).find(request_id)
        if request is None or request.replaced_email is None:
            raise UnknownMailRequest
        return request.replaced_email

    async def validate(
        self, transaction: AsyncConnection, presented: MailToken, purpose: Purpose
    ) -> tuple[MailRequest, Account]:
        """Returns the request of a token and its account, the account's row locked. Raises InvalidMailToken."""
        repository = MailRequestRepository(transaction)
        unlocked = await repository.find(presented.request_id)
        owner = await AccountRepository(transaction).lock(unlocked.user_id) if unlocked else None
        request = await repository.find(presented.request_id)  # read again, since only now its owner is locked
        if request is None or owner is None or request.purpose is not purpose or not request.is_valid(self._now()):
            raise InvalidMailToken
        tokens = [_token(request, owner, key) for key in self._keys]
        if not owner.account.is_active or not any(token.matches(presented) for token in tokens):
            raise InvalidMailToken
        return request, owner.account

    async def redeem(self, transaction: AsyncConnection, request: MailRequest, account: Account) -> None:
        """Marks the request as used, and its address as verified: the mail has reached the owner.

        If the address replaces another, what was mailed to the old one becomes invalid. Raises EmailTaken.
        """
        now = self._now()
        replaced = account.email if request.email != account.email else None
        await MailRequestRepository(transaction).mark_used(request.id, now, replaced)
        if replaced is not None:
            await MailRequestRepository(transaction).replace_open(account.id, now, *Purpose)
            await self._guard.clear_failures(transaction, account.email)
        await AccountRepository(transaction).set_verified_email(account.id, request.email, now)

    async def delete_expired(self) -> None:
        """Deletes requests one day after their tokens expired."""
        before = self._now() - _KEPT_AFTER_EXPIRY
        await prune_in_batches(
            self._database, lambda transaction, limit: MailRequestRepository(transaction).delete_expired(before, limit)
        )


def _token(request: MailRequest, owner: Credentials, key: bytes) -> MailToken:
    return derive_mail_token(request, owner.account.email, owner.password_hash, key)
