"""Sessions: each is a family of refresh tokens of which only the newest is valid.

A refresh token is the 16 bytes of its session's id and 32 bytes (256 bits) of secret. The session stores only the hash
of the newest secret, so any other secret for an existing session was valid once: the token is being reused.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import NewType
from uuid import UUID

from chassis.types.ids import UserId

from user_service.domain.errors import InvalidRefreshToken

Digest = NewType("Digest", bytes)
_ID_BYTES, SECRET_BYTES = 16, 32
_USER_AGENT_MAX = 200
MAX_SESSIONS = 100
"""The maximum per user at once: more devices than a person has, and few enough to list."""


class RefreshTokenState(Enum):
    VALID = auto()
    EXPIRED = auto()
    REUSED = auto()


@dataclass(frozen=True, slots=True)
class Session:
    id: UUID
    user_id: UserId
    digest: Digest
    expires_at: datetime
    created_at: datetime
    last_used_at: datetime
    user_agent: str | None = None
    """The client's name at login, so that users can tell their sessions apart."""

    def state_of(self, presented: "RefreshToken", at: datetime) -> RefreshTokenState:
        """Returns the state of a token which names this session."""
        if not hmac.compare_digest(self.digest, presented.digest):
            return RefreshTokenState.REUSED
        return RefreshTokenState.VALID if at < self.expires_at else RefreshTokenState.EXPIRED


@dataclass(frozen=True, slots=True, repr=False)
class RefreshToken:
    session_id: UUID
    secret: bytes

    @property
    def digest(self) -> Digest:
        """The stored form. A fast hash is enough, since the secret is random."""
        return Digest(hashlib.sha256(self.secret).digest())

    def text(self) -> str:
        return base64.urlsafe_b64encode(self.session_id.bytes + self.secret).decode()


def printable_user_agent(header: str | None) -> str | None:
    """Returns the printable ASCII of a User-Agent header (RFC 9110, 10.1.5), cut to 200 characters.

    Returns None if nothing is left.
    """
    text = "".join(character for character in header or "" if " " <= character <= "~").strip()
    return text[:_USER_AGENT_MAX] or None


def parse_refresh_token(text: str) -> RefreshToken:
    """Raises InvalidRefreshToken if the text does not have the form of a token."""
    try:
        token = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InvalidRefreshToken from None
    if len(token) != _ID_BYTES + SECRET_BYTES:
        raise InvalidRefreshToken
    return RefreshToken(UUID(bytes=token[:_ID_BYTES]), token[_ID_BYTES:])
