"""How long an address must wait after too many wrong passwords. Pure.

Failures are counted by a digest of the address as it was typed, whether or not an account has it: the answers for both are the
same, and no address of a stranger is kept.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType

from user_service.domain.accounts import Email

AddressDigest = NewType("AddressDigest", bytes)

_MOST_DOUBLINGS = 32
"""Beyond every ceiling that makes sense, and short of an overflow."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """`allowed` failures in a row are free; from then on each doubles the wait, from `first` up to `longest`."""

    allowed: int
    first: timedelta
    longest: timedelta

    @property
    def remembered(self) -> timedelta:
        """How long after the last failure the count begins anew: well after the longest wait, or else waiting would clear it."""
        return 4 * self.longest

    def after(self, failures: int) -> timedelta:
        """The wait once there were so many failures in a row."""
        if failures < self.allowed:
            return timedelta(0)
        doublings = min(failures - self.allowed, _MOST_DOUBLINGS)
        return min(self.longest, self.first * (1 << doublings))


@dataclass(frozen=True, slots=True)
class Failures:
    """What is counted against an address."""

    count: int
    last_at: datetime
    locked_until: datetime | None

    def wait(self, at: datetime) -> timedelta | None:
        """How long the address is still locked; None where it is not."""
        if self.locked_until is None or self.locked_until <= at:
            return None
        return self.locked_until - at


def digest_of(email: Email, key: bytes) -> AddressDigest:
    return AddressDigest(hmac.digest(key, email.encode(), hashlib.sha256))
