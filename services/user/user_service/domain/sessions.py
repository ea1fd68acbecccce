"""Sessions: each is a family of refresh tokens of which only the newest is valid.

A refresh token is the 16 bytes of its session's id, 16 random bytes and their authentication code. The session stores
only the hash of the newest token. Another one with a right code was issued once: it is being reused, and its session
ends. One with a wrong code was never issued: only the session's id was known, which is no secret, so nothing happens.
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
_ID_BYTES, RANDOM_BYTES, _CODE_BYTES = 16, 16, 16
_SECRET_BYTES = RANDOM_BYTES + _CODE_BYTES
_USER_AGENT_MAX = 200
MAX_SESSIONS = 100
"""The maximum per user at once: more devices than a person has, and few enough to list."""


class RefreshTokenState(Enum):
    VALID = auto()
    EXPIRED = auto()
    REUSED = auto()
    FORGED = auto()


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

    def state_of(self, presented: "RefreshToken", at: datetime, key: bytes) -> RefreshTokenState:
        """Returns the state of a token which names this session. `key` makes the authentication codes."""
        if not hmac.compare_digest(self.digest, presented.digest):
            return RefreshTokenState.REUSED if presented.is_authentic(key) else RefreshTokenState.FORGED
        return RefreshTokenState.VALID if at < self.expires_at else RefreshTokenState.EXPIRED


@dataclass(frozen=True, slots=True, repr=False)
class RefreshToken:
    session_id: UUID
    secret: bytes

    @property
    def digest(self) -> Digest:
        """The stored form. A fast hash is enough, since the secret is random."""
        return Digest(hashlib.sha256(self.secret).digest())

    def is_authentic(self, key: bytes) -> bool:
        """Returns whether this service has issued the token.

        False for a token of a release whose tokens had no code.
        """
        code = _refresh_code(self.session_id, self.secret[:RANDOM_BYTES], key)
        return hmac.compare_digest(code, self.secret[RANDOM_BYTES:])

    def text(self) -> str:
        return base64.urlsafe_b64encode(self.session_id.bytes + self.secret).decode()


def new_refresh_token(session_id: UUID, random_bytes: bytes, key: bytes) -> RefreshToken:
    """Returns a new token of a session, made of RANDOM_BYTES of randomness."""
    return RefreshToken(session_id, random_bytes + _refresh_code(session_id, random_bytes, key))


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
    if len(token) != _ID_BYTES + _SECRET_BYTES:
        raise InvalidRefreshToken
    return RefreshToken(UUID(bytes=token[:_ID_BYTES]), token[_ID_BYTES:])


def _refresh_code(session_id: UUID, random_bytes: bytes, key: bytes) -> bytes:
    """Returns the first half of an HMAC-SHA-256: 128 bits, which RFC 2104, 5 allows."""
    return hmac.digest(key, session_id.bytes + random_bytes, hashlib.sha256)[:_CODE_BYTES]
