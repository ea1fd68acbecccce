"""Mail tokens: one-time tokens sent by mail, which verify an e-mail address or reset a password.

A token is the id of its request and a message authentication code over everything that the request is bound to: its
purpose, its user, the address that it is mailed to, and the state that it may change. So no secret is stored or
published in an event, a token of one user cannot affect another, and a token becomes invalid once it has had its
effect.
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

_ID_BYTES, _CODE_BYTES = 16, 32


class Purpose(StrEnum):
    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - no secret


@dataclass(frozen=True, slots=True)
class MailRequest:
    """A request to mail a token to `email`: the account's own address, or the one that is to replace it."""

    id: UUID
    user_id: UserId
    purpose: Purpose
    email: Email
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    replaced_at: datetime | None = None
    """When a newer request, or a change of the state that it was bound to, invalidated this one."""
    replaced_email: Email | None = None
    """The address that `email` has replaced, when the token was used."""

    def is_valid(self, at: datetime) -> bool:
        return self.used_at is None and self.replaced_at is None and at < self.expires_at


@dataclass(frozen=True, slots=True)
class MailTokenPolicy:
    """How long mail tokens are valid, and how many for one purpose an account may request within `window`."""

    verification_lifetime: timedelta
    reset_lifetime: timedelta
    max_requests: int
    window: timedelta

    def lifetime(self, purpose: Purpose) -> timedelta:
        return self.reset_lifetime if purpose is Purpose.RESET_PASSWORD else self.verification_lifetime


@dataclass(frozen=True, slots=True, repr=False)
class MailToken:
    request_id: UUID
    code: bytes

    def text(self) -> str:
        return base64.urlsafe_b64encode(self.request_id.bytes + self.code).decode()

    def matches(self, other: "MailToken") -> bool:
        """Compares the tokens in constant time."""
        return self.request_id == other.request_id and hmac.compare_digest(self.code, other.code)


def derive_mail_token(request: MailRequest, email: Email, password_hash: str, key: bytes) -> MailToken:
    """Returns the token of a request, valid while the account has this e-mail address.

    A password reset token is bound to the password's hash too, so a change of the password invalidates it; a
    verification token stays valid.
    """
    bound = [request.purpose, str(request.id), request.user_id, request.email, email]
    if request.purpose is Purpose.RESET_PASSWORD:
        bound.append(password_hash)
    return MailToken(request.id, hmac.digest(key, json.dumps(bound).encode(), hashlib.sha256))


def parse_mail_token(text: str) -> MailToken:
    """Raises InvalidMailToken if the text does not have the form of a token."""
    try:
        token = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InvalidMailToken from None
    if len(token) != _ID_BYTES + _CODE_BYTES:
        raise InvalidMailToken
    return MailToken(UUID(bytes=token[:_ID_BYTES]), token[_ID_BYTES:])
