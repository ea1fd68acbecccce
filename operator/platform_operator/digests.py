"""Digests of JSON values. Pure."""

from __future__ import annotations

import hashlib
import json


def digest(value: object) -> str:
    """Returns sixteen hex digits that stand for a JSON value. The order of keys does not matter."""
    return digest_of_text(canonical_json(value))


def canonical_json(value: object) -> str:
    """Returns a JSON value as text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
