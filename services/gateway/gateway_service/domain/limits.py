"""How often a caller may ask, and how that is said (draft-ietf-httpapi-ratelimit-headers). Pure.

The limits are kept by the generic cell rate algorithm: a quota of 30 a minute lets 30 requests pass at once, and then one
every two seconds. All that is remembered of a caller is their debt: the time until their whole quota is there again.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Policy(StrEnum):
    """What is limited together."""

    AUTH = "auth"
    """Whatever tries a password or sends a mail."""
    READ = "read"
    WRITE = "write"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Quota:
    """`requests` in `seconds`."""

    requests: int
    seconds: int

    @property
    def window(self) -> int:
        """In microseconds, as debts are."""
        return self.seconds * 1_000_000

    @property
    def interval(self) -> int:
        """What one request costs, in microseconds."""
        return self.window // self.requests


Limits = Mapping[Policy, Quota]
"""A policy without a quota is not limited."""

DEFAULTS: Limits = {
    Policy.AUTH: Quota(30, 60),
    Policy.READ: Quota(600, 10),
    Policy.WRITE: Quota(120, 10),
    Policy.WEBHOOK: Quota(600, 10),
}
_QUOTA = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,4})")


def parse(text: str) -> Limits:
    """`auth=30/60,read=off` means 30 in 60 seconds, no limit, and the rest as by default; `off` alone: no limits. Raises ValueError."""
    if text.strip() == "off":
        return {}
    limits = dict(DEFAULTS)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, quota = (word.strip() for word in part.partition("="))
        if name not in list(Policy) or not (quota == "off" or _QUOTA.fullmatch(quota)):
            raise ValueError(f"write off, or {','.join(Policy)} as in auth=30/60,read=off")
        limits.pop(Policy(name), None)
        if quota != "off":
            requests, _, seconds = quota.partition("/")
            limits[Policy(name)] = Quota(int(requests), int(seconds))
    return limits


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass. `debt` is the caller's after it, in microseconds."""

    policy: Policy
    quota: Quota
    passes: bool
    debt: int

    @property
    def remaining(self) -> int:
        """How many more may pass at once."""
        return (self.quota.window - self.debt) // self.quota.interval

    @property
    def wait(self) -> float:
        """Seconds until one may pass again; for a request that may not."""
        return (self.debt + self.quota.interval - self.quota.window) / 1_000_000

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`t` is when the whole quota is there again or, to who was refused, when the next request may pass."""
        seconds = math.ceil(self.debt / 1_000_000) if self.passes else max(1, math.ceil(self.wait))
        return [
            (b"ratelimit-policy", f'"{self.policy}";q={self.quota.requests};w={self.quota.seconds}'.encode()),
            (b"ratelimit", f'"{self.policy}";r={self.remaining};t={seconds}'.encode()),
        ]
