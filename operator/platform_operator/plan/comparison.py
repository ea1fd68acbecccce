"""Decides whether an object is applied, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from platform_operator.cache.managed_fields import ForeignField, readable_path, sets_field
from platform_operator.cache.observed import Children, ObservedObject
from platform_operator.plan.inventory import DesiredObject, Inventory


class ChangeReason(StrEnum):
    """Why an object is applied. A label of metrics."""

    NOT_APPLIED_YET = "NotAppliedYet"
    """The operator has not applied it, or does not know that it did."""
    CONTENT_CHANGED = "ContentChanged"
    """Its content differs from what was applied: the spec, the charts or the operator's version changed."""
    ABSENT = "Absent"
    """It was applied and is gone."""
    LOST_FIELDS = "LostFields"
    """It was applied, and another writer changed or removed fields of it."""


@dataclass(frozen=True, slots=True)
class Change:
    """An object to apply, and why."""

    object: DesiredObject
    reason: ChangeReason
    manager: str = ""
    """The field manager that took a field. Empty for other reasons, and if fields were removed so that none owns them.
    """
    field: str = ""
    """The field that it took, the newest if there are several."""

    @property
    def is_repair(self) -> bool:
        """Tells whether the change restores what was applied before, rather than bringing something new."""
        return self.reason in (ChangeReason.ABSENT, ChangeReason.LOST_FIELDS)

    @property
    def cause(self) -> str:
        """Continues a sentence that begins with the object: `was deleted`."""
        match self.reason:
            case ChangeReason.NOT_APPLIED_YET:
                return "has not been applied yet"
            case ChangeReason.CONTENT_CHANGED:
                return "has other content than what was applied"
            case ChangeReason.ABSENT:
                return "was deleted"
            case ChangeReason.LOST_FIELDS if self.manager:
                return f"field {self.field} was taken by {self.manager}"
            case ChangeReason.LOST_FIELDS:
                return "fields were removed"

    def __str__(self) -> str:
        return f"{self.object.id}: {self._explanation()}"

    def _explanation(self) -> str:
        match self.reason:
            case ChangeReason.NOT_APPLIED_YET:
                return "applied for the first time"
            case ChangeReason.CONTENT_CHANGED:
                return "applied with new content"
            case ChangeReason.ABSENT:
                return f"{self.cause} and has been created again"
            case ChangeReason.LOST_FIELDS if self.manager:
                return f"{self.cause} and has been restored"
            case ChangeReason.LOST_FIELDS:
                return f"{self.cause} and have been restored"


def compare(desired: DesiredObject, inventory: Inventory, observed: Children) -> Change | None:
    """Returns the change that makes an object as desired; None if it is already, or cannot be changed now."""
    seen, applied = observed.get(desired.id), inventory.objects.get(desired.id)
    if seen is not None and seen.deleting:
        return None  # applying does not stop a deletion; it is created again afterwards
    if applied is None:
        return Change(desired, ChangeReason.NOT_APPLIED_YET)
    if applied.digest != desired.digest:
        return Change(desired, ChangeReason.CONTENT_CHANGED)
    if seen is None:
        return Change(desired, ChangeReason.ABSENT)
    if applied.owned_digest != seen.owned_digest:
        return _lost_fields(desired, seen)
    return None


def _lost_fields(desired: DesiredObject, seen: ObservedObject) -> Change:
    taken = _taken_field(desired, seen)
    if taken is None:
        return Change(desired, ChangeReason.LOST_FIELDS)
    return Change(desired, ChangeReason.LOST_FIELDS, taken.manager, readable_path(taken.path))


def _taken_field(desired: DesiredObject, seen: ObservedObject) -> ForeignField | None:
    """Returns the newest field that another manager owns although the operator states it. Needs the manifest."""
    if not desired.json or not seen.foreign_fields:
        return None
    manifest = desired.manifest
    return next((one for one in seen.foreign_fields if sets_field(manifest, one.path)), None)
