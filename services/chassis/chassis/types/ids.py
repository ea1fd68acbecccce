"""Identifiers: 64-bit integers for users, products and categories; UUIDv7 for what gets its id outside its database."""

import secrets
import time
from typing import NewType
from uuid import UUID

UserId = NewType("UserId", int)
ProductId = NewType("ProductId", int)
OrderId = NewType("OrderId", UUID)

MAX_ID = 2**63 - 1
"""The largest value of PostgreSQL's bigint."""


def uuid7() -> UUID:
    """Returns a time-ordered UUID (RFC 9562, section 5.7), so that new rows are added at the end of their index."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return UUID(int=value)
