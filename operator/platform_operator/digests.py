"""Digests of JSON values. Pure."""

from __future__ import annotations

import hashlib
import json


def digest(value: object) -> str:
    """Returns sixteen hex digits that stand for a JSON value. The order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
