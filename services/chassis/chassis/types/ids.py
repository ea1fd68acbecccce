"""Identifiers. Users, products and categories are 64-bit integers; what is made at a distance from its database is a UUIDv7."""

import secrets
import time
from typing import NewType
from uuid import UUID

UserId = NewType("UserId", int)
ProductId = NewType("ProductId", int)
OrderId = NewType("OrderId", UUID)

MAX_ID = 2**63 - 1


def uuid7() -> UUID:
    """A time-ordered UUID (RFC 9562, section 5.7): new rows land at the end of their index."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return UUID(int=value)
