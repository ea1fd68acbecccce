"""Rate limits, and the headers that report them (draft-ietf-httpapi-ratelimit-headers).

The limits follow the generic cell rate algorithm: a quota of 30 a minute allows 30 requests at once, and then one every
two seconds. The only state of a caller is its debt: the time until its whole quota is available again.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class RateLimitPolicy(StrEnum):
    """The groups of routes that share a quota."""

    AUTH = "auth"
    """Requests that check a password or send a mail."""
    READ = "read"
    WRITE = "write"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Quota:
    """Allows `requests` in `seconds`."""

    requests: int
    seconds: int

    @property
    def window(self) -> int:
        """The length of the window in microseconds, the unit of debts."""
        return self.seconds * 1_000_000

    @property
    def interval(self) -> int:
        """The debt of one request, in microseconds."""
        return self.window // self.requests


Quotas = Mapping[RateLimitPolicy, Quota]
"""A policy without a quota is not limited."""

DEFAULT_QUOTAS: Quotas = {
    RateLimitPolicy.AUTH: Quota(30, 60),
    RateLimitPolicy.READ: Quota(600, 10),
    RateLimitPolicy.WRITE: Quota(120, 10),
    RateLimitPolicy.WEBHOOK: Quota(600, 10),
}
_QUOTA = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,4})")


def parse_quotas(text: str) -> Quotas:
    """Parses the quotas that differ from the defaults.

    `auth=30/60,read=off` means 30 requests in 60 seconds for `auth`, and no limit for `read`; `off` alone means no
    limits. Raises ValueError if the text is malformed.
    """
    if text.strip() == "off":
        return {}
    quotas = dict(DEFAULT_QUOTAS)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, quota = (token.strip() for token in part.partition("="))
        if name not in list(RateLimitPolicy) or not (quota == "off" or _QUOTA.fullmatch(quota)):
            raise ValueError(f"write off, or {','.join(RateLimitPolicy)} as in auth=30/60,read=off")
        quotas.pop(RateLimitPolicy(name), None)
        if quota != "off":
            requests, _, seconds = quota.partition("/")
            quotas[RateLimitPolicy(name)] = Quota(int(requests), int(seconds))
    return quotas


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """The result of counting one request. `debt` is the caller's debt after it, in microseconds."""

    policy: RateLimitPolicy
    quota: Quota
    is_allowed: bool
    debt: int

    @property
    def remaining(self) -> int:
        """How many more requests are allowed at once."""
        return (self.quota.window - self.debt) // self.quota.interval

    @property
    def retry_after(self) -> float:
        """Seconds until a request is allowed again, if this one is not allowed."""
        return (self.debt + self.quota.interval - self.quota.window) / 1_000_000

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Returns the headers.

        `t` is when the whole quota is available again or, after a refusal, the next request allowed.
        """
        seconds = math.ceil(self.debt / 1_000_000) if self.is_allowed else max(1, math.ceil(self.retry_after))
        return [
            (b"ratelimit-policy", f'"{self.policy}";q={self.quota.requests};w={self.quota.seconds}'.encode()),
            (b"ratelimit", f'"{self.policy}";r={self.remaining};t={seconds}'.encode()),
        ]
