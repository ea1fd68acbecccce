"""The mark of a shop that is being restored: an annotation by which its reconciler closes and opens it. Pure.

docs/adr/0071-a-restore-closes-the-shop-by-an-annotation.md says why it is in the shop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from platform_operator.api.backups import RestorePhase
from platform_operator.api.conditions import ConditionReason, stored_condition
from platform_operator.api.kinds import GROUP

ANNOTATION_RESTORE = f"{GROUP}/restore"
"""Annotation of an EcommercePlatform: the PlatformRestore that closes it, and how far that is, as RestoreMark."""

OPEN = "open"
"""The value by which a person opens a shop whose databases may be inconsistent."""
_INCONSISTENT = "inconsistent"
_FORMER_INCONSISTENT = "mixed"
"""The word of earlier releases for the same."""


@dataclass(frozen=True)
class RestoreMark:
    """What the annotation of a shop says about the PlatformRestore that closes it."""

    name: str
    uid: str
    """The UID of the PlatformRestore; empty if the annotation cannot be read."""
    phase: RestorePhase
    inconsistent: bool = False
    """True if a Job that has ended may have replaced some databases and not others, and none has succeeded since."""

    @property
    def closes(self) -> bool:
        """True if the shop is closed: no service has pods."""
        return self.phase is not RestorePhase.OPENING

    @property
    def may_be_inconsistent(self) -> bool:
        """True if the databases may be inconsistent, or become so by a Job that may run."""
        return self.inconsistent or self.phase is RestorePhase.RESTORING

    def __str__(self) -> str:
        return "/".join((self.name, self.uid, self.phase, *([_INCONSISTENT] if self.inconsistent else [])))


def restore_mark(annotations: Mapping[str, str], status: Mapping[str, Any]) -> RestoreMark | None:
    """Returns the mark of a shop; None for one that no PlatformRestore closes or opens.

    One that cannot be read closes the shop, and its databases count as inconsistent: a shop is rather closed than open
    with half of its data. So does one that was removed while a Job may have run, or after one that has left
    inconsistent databases: then the status of the shop still says so.
    """
    text, stored = annotations.get(ANNOTATION_RESTORE), stored_condition(status, "Restoring")
    reason = stored["reason"] if stored else None
    if text in (None, OPEN) and reason == ConditionReason.RESTORING:  # until the restore, which may run, is looked at
        return RestoreMark("", "", RestorePhase.RESTORING, inconsistent=True)
    if text is None and reason == ConditionReason.RESTORE_INCOMPLETE:
        return _unreadable("")
    if text is None or text == OPEN:
        return None
    mark = _parse(text)
    return None if mark.phase is RestorePhase.SUCCEEDED else mark


def last_restore(annotations: Mapping[str, str]) -> RestoreMark | None:
    """Returns the mark of the restore that a shop serves; None if the annotation does not say it."""
    mark = _parse(annotations.get(ANNOTATION_RESTORE, ""))
    return mark if mark.phase is RestorePhase.SUCCEEDED else None


def _parse(text: str) -> RestoreMark:
    parts = text.split("/")
    if len(parts) >= 3 and parts[2] in set(RestorePhase) and parts[3:] in ([], [_INCONSISTENT], [_FORMER_INCONSISTENT]):
        return RestoreMark(parts[0], parts[1], RestorePhase(parts[2]), inconsistent=bool(parts[3:]))
    return _unreadable(parts[0])


def _unreadable(name: str) -> RestoreMark:
    return RestoreMark(name, "", RestorePhase.FAILED, inconsistent=True)
