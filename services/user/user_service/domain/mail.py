"""One-time tokens that are mailed: to prove an address, or to set a new password. Pure.

A token is the id of its request and a message authentication code over everything that the request is bound to: its purpose, its
user, the address that it is mailed to, and the state that it may change. So nothing secret is stored or sent as an event, a token
of one user can do nothing to another, and what a token was made for makes it worthless once it has happened.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from chassis.types.ids import UserId

from user_service.domain.accounts import Email
from user_service.domain.errors import InvalidMailToken

_NAME_BYTES, _CODE_BYTES = 16, 32


class Purpose(StrEnum):
    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - no secret


@dataclass(frozen=True, slots=True)
class MailRequest:
    """Somebody wants a token mailed to `email`: the account's own address, or the one that shall replace it."""

    id: UUID
    user_id: UserId
    purpose: Purpose
    email: Email
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    replaced_at: datetime | None = None
    """When a newer request, or a change of what it was bound to, took its place."""

    def is_live(self, at: datetime) -> bool:
        return self.used_at is None and self.replaced_at is None and at < self.expires_at


@dataclass(frozen=True, slots=True)
class MailTerms:
    """How long tokens are good, and how many of a purpose an account may ask for within `window`."""

    verification: timedelta
    reset: timedelta
    most: int
    window: timedelta

    def lifetime(self, purpose: Purpose) -> timedelta:
        return self.reset if purpose is Purpose.RESET_PASSWORD else self.verification


@dataclass(frozen=True, slots=True, repr=False)
class MailToken:
    request_id: UUID
    code: bytes

    def text(self) -> str:
        return base64.urlsafe_b64encode(self.request_id.bytes + self.code).decode()

    def belongs_to(self, other: "MailToken") -> bool:
        """Compared in constant time."""
        return self.request_id == other.request_id and hmac.compare_digest(self.code, other.code)


def token_for(request: MailRequest, email: Email, password_hash: str, key: bytes) -> MailToken:
    """The token of a request, while the account has this address and this password's hash. A token that verifies an address
    outlives a change of the password; one that sets a password does not.
    """
    bound = [request.purpose, str(request.id), request.user_id, request.email, email]
    if request.purpose is Purpose.RESET_PASSWORD:
        bound.append(password_hash)
    return MailToken(request.id, hmac.digest(key, json.dumps(bound).encode(), hashlib.sha256))


def parse_mail_token(text: str) -> MailToken:
    """Raises InvalidMailToken."""
    try:
        token = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InvalidMailToken from None
    if len(token) != _NAME_BYTES + _CODE_BYTES:
        raise InvalidMailToken
    return MailToken(UUID(bytes=token[:_NAME_BYTES]), token[_NAME_BYTES:])
