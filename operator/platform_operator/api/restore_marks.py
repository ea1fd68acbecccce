"""The mark of a shop that is being restored: an annotation by which its reconciler closes and opens it. Pure.

docs/adr/0071-a-restore-closes-the-shop-by-an-annotation.md says why it is in the shop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from platform_operator.api.backups import RestorePhase
from platform_operator.api.kinds import GROUP

ANNOTATION_RESTORE = f"{GROUP}/restore"
"""Annotation of an EcommercePlatform: the PlatformRestore that closes it, and how far that is, as RestoreMark."""


@dataclass(frozen=True)
class RestoreMark:
    """What the annotation of a shop says about the PlatformRestore that closes it."""

    name: str
    uid: str
    """The UID of the PlatformRestore; empty if the annotation cannot be read."""
    phase: RestorePhase

    @property
    def closes(self) -> bool:
        """True if the shop is closed: no service has pods."""
        return self.phase is not RestorePhase.OPENING

    def __str__(self) -> str:
        return f"{self.name}/{self.uid}/{self.phase}"


def restore_mark(annotations: Mapping[str, str]) -> RestoreMark | None:
    """Returns the mark of a shop; None for one that no PlatformRestore closes.

    One that cannot be read closes the shop: a shop is rather closed than open with half of its data.
    """
    if ANNOTATION_RESTORE not in annotations:
        return None
    parts = annotations[ANNOTATION_RESTORE].split("/")
    if len(parts) == 3 and parts[2] in set(RestorePhase):
        return RestoreMark(parts[0], parts[1], RestorePhase(parts[2]))
    return RestoreMark(parts[0], "", RestorePhase.FAILED)
