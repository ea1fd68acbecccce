"""Sessions: a family of refresh tokens of which only the newest is good. Pure.

A refresh token is 16 bytes that name its session and 32 bytes (256 bits) of secret. The session keeps the hash of the
newest secret alone, so any other secret for a session that exists was good once: it is being used again.
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
_NAME_BYTES, SECRET_BYTES = 16, 32
_USER_AGENT_MAX = 200
MAX_SESSIONS = 100
"""Of one user at once: more than anybody has devices, and few enough to list."""


class Verdict(Enum):
    GOOD = auto()
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
    """What the client called itself when it logged in, so that people know their sessions apart."""

    def judge(self, presented: "RefreshToken", at: datetime) -> Verdict:
        if not hmac.compare_digest(self.digest, presented.digest):
            return Verdict.REUSED
        return Verdict.GOOD if at < self.expires_at else Verdict.EXPIRED


@dataclass(frozen=True, slots=True, repr=False)
class RefreshToken:
    session_id: UUID
    secret: bytes

    @property
    def digest(self) -> Digest:
        """What is stored. The secret is random, so a fast hash will do."""
        return Digest(hashlib.sha256(self.secret).digest())

    def text(self) -> str:
        return base64.urlsafe_b64encode(self.session_id.bytes + self.secret).decode()


def readable_user_agent(header: str | None) -> str | None:
    """What is kept of a User-Agent header: its printable ASCII (RFC 9110, 10.1.5), and not all of a long one."""
    text = "".join(character for character in header or "" if " " <= character <= "~").strip()
    return text[:_USER_AGENT_MAX] or None


def parse_refresh_token(text: str) -> RefreshToken:
    """Raises InvalidRefreshToken."""
    try:
        token = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InvalidRefreshToken from None
    if len(token) != _NAME_BYTES + SECRET_BYTES:
        raise InvalidRefreshToken
    return RefreshToken(UUID(bytes=token[:_NAME_BYTES]), token[_NAME_BYTES:])
