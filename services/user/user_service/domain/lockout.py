"""Lockout after too many wrong passwords: of an e-mail address on one network, so that strangers cannot lock it out.

Failures are counted by a digest of the address as it was typed, whether or not an account has it. So the answers do not
reveal whether an account exists, and no address of a person without an account is stored.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType

from user_service.domain.accounts import Email
from user_service.domain.devices import Network

LoginDigest = NewType("LoginDigest", bytes)
"""A keyed digest under which failed logins for an address are counted: those from all networks, or from one."""

_MAX_DOUBLINGS = 32
"""Beyond every maximum wait that makes sense, and too few to overflow a timedelta."""


@dataclass(frozen=True, slots=True)
class LockoutPolicy:
    """Decides how long an address is locked, on one network or on all that its account has never used.

    `allowed` failures in a row lock it for `initial_wait`; each further one doubles the wait, up to `max_wait`.
    """

    allowed: int
    initial_wait: timedelta
    max_wait: timedelta

    @property
    def retention(self) -> timedelta:
        """How long failures count after the last one.

        It is much longer than the maximum wait, since otherwise waiting out a lock would reset the count.
        """
        return 4 * self.max_wait

    def wait_after(self, failures: int) -> timedelta:
        """Returns how long to lock the address after this number of failures in a row."""
        if failures < self.allowed:
            return timedelta(0)
        doublings = min(failures - self.allowed, _MAX_DOUBLINGS)
        return min(self.max_wait, self.initial_wait * (1 << doublings))


@dataclass(frozen=True, slots=True)
class LockoutPolicies:
    """How many failures lock an address on the network that they come from, and on all unknown networks.

    The second bound is much higher, and its wait stays short: it slows guessing from many networks (NIST SP 800-63B,
    3.2.2: at most 100 in a row), and does not affect the networks from which the account has logged in before.
    """

    network: LockoutPolicy
    account: LockoutPolicy

    @property
    def retention(self) -> timedelta:
        return max(self.network.retention, self.account.retention)


@dataclass(frozen=True, slots=True)
class LoginFailures:
    """Wrong passwords in a row for one e-mail address."""

    count: int
    last_at: datetime
    locked_until: datetime | None

    def remaining_lock(self, at: datetime) -> timedelta | None:
        """Returns how long the address is still locked, or None if it is not."""
        if self.locked_until is None or self.locked_until <= at:
            return None
        return self.locked_until - at


def email_digest(email: Email, key: bytes) -> LoginDigest:
    """Returns the HMAC-SHA-256 under which failures for an address from all networks are stored."""
    return LoginDigest(hmac.digest(key, email.encode(), hashlib.sha256))


def network_digest(email: Email, network: Network, key: bytes) -> LoginDigest:
    """Returns the HMAC-SHA-256 under which failures for an address from one network are stored."""
    return LoginDigest(hmac.digest(key, f"{email}\0{network}".encode(), hashlib.sha256))
