"""The ids of the master keys on what was derived from them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from platform_operator.api.kinds import ANNOTATION_KEY_ID
from platform_operator.cache.observed import ObservedObject, StoredData

_SEPARATOR = "+"
"""Separates the ids of what was derived from two keys. An operator of a release that knows one key takes the whole for
the id of another, and changes nothing."""


def key_ids(seen: ObservedObject) -> tuple[str, ...]:
    """Returns the ids of the master keys that an object was derived from, first that in use; none if from none."""
    text = seen.state.annotations.get(ANNOTATION_KEY_ID, "") if isinstance(seen.state, StoredData) else ""
    return tuple(text.split(_SEPARATOR)) if text else ()


def join_ids(ids: Iterable[str]) -> str:
    """Returns the annotation of an object that was derived from these keys, each of which it names once."""
    return _SEPARATOR.join(dict.fromkeys(ids))
