"""The id of the master key on what was derived from it. Pure."""

from __future__ import annotations

from platform_operator.api.kinds import ANNOTATION_KEY_ID
from platform_operator.cache.observed import ObservedObject, StoredData


def key_id(seen: ObservedObject) -> str:
    """Returns the id of the master key that an object was derived from; empty if it was derived from none."""
    return seen.state.annotations.get(ANNOTATION_KEY_ID, "") if isinstance(seen.state, StoredData) else ""
