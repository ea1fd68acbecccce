"""Recognizes writers that set a field of an object again whenever the operator has restored it.

Each restoration wakes the other writer, and its write wakes the operator. So an object whose field the same writer
takes again and again is restored at growing intervals, and the condition FieldFight names that writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from platform_operator.api.kinds import ObjectId, PlatformKey
from platform_operator.cache.observed import Children
from platform_operator.plan.comparison import Change, ChangeReason
from platform_operator.plan.inventory import Inventory

REPAIRS_OF_A_FIGHT = 3
"""Repairs of one field after which its other writer counts as an opponent. The first ones are made at once."""
FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(minutes=5)
FORGET_AFTER = timedelta(minutes=10)
"""The time after a repair in which the object has to keep the field for the fight to be over."""


FightKey = tuple[ObjectId, str, str]
"""The object, the other writer and the field."""


@dataclass(frozen=True, slots=True)
class FieldFight:
    """The repairs of one field that another writer takes."""

    id: ObjectId
    manager: str
    """The other writer's field manager. Empty if it removes the fields, so that none owns them."""
    field: str
    last_repair: datetime
    repairs: int = 1

    @property
    def key(self) -> FightKey:
        """Returns what makes two repairs the same fight: edits of several fields are not one."""
        return self.id, self.manager, self.field

    @property
    def next_repair(self) -> datetime:
        """When the object may be restored again."""
        if self.repairs < REPAIRS_OF_A_FIGHT:
            return self.last_repair
        doublings = min(self.repairs - REPAIRS_OF_A_FIGHT, 16)
        return self.last_repair + min(FIRST_DELAY * (1 << doublings), LONGEST_DELAY)


@dataclass
class FieldFights:
    """The fights over all platforms, since this process leads."""

    _fights: dict[PlatformKey, dict[FightKey, FieldFight]] = field(init=False, default_factory=dict)
    _watched_since: dict[PlatformKey, datetime] = field(init=False, default_factory=dict)

    def record(self, key: PlatformKey, change: Change, now: datetime) -> None:
        """Counts a repair of an object that lost fields."""
        if change.reason is not ChangeReason.LOST_FIELDS:
            return
        fights = self._fights.setdefault(key, {})
        repair = FieldFight(change.object.id, change.manager, change.field, now)
        before = fights.get(repair.key)
        fights[repair.key] = replace(repair, repairs=before.repairs + 1) if before else repair

    def tolerate(self, key: PlatformKey, inventory: Inventory, observed: Children, now: datetime) -> Inventory:
        """Returns the inventory as if objects whose repair has to wait still owned what was applied."""
        waiting = [fight.id for fight in self._current(key, now) if fight.next_repair > now]
        return inventory.with_owned({one: observed[one].owned_digest for one in waiting if one in observed})

    def opponents(self, key: PlatformKey, now: datetime) -> tuple[FieldFight, ...] | None:
        """Returns the fights that the status reports.

        Returns None while it is not known that there are none: the operator does not watch the platform long enough.
        """
        found = tuple(fight for fight in self._current(key, now) if fight.repairs >= REPAIRS_OF_A_FIGHT)
        began = self._watched_since.setdefault(key, now)
        return None if not found and now - began < FORGET_AFTER else found

    def next_look(self, key: PlatformKey, now: datetime) -> float | None:
        """Returns the seconds until an object may be repaired, or until the end of a fight has to be reported."""
        fights = [fight for fight in self._current(key, now) if fight.repairs >= REPAIRS_OF_A_FIGHT]
        times = [fight.next_repair if fight.next_repair > now else fight.last_repair + FORGET_AFTER for fight in fights]
        return (min(times) - now).total_seconds() if times else None

    def forget(self, key: PlatformKey) -> None:
        self._fights.pop(key, None)
        self._watched_since.pop(key, None)

    def _current(self, key: PlatformKey, now: datetime) -> Iterable[FieldFight]:
        fights: Mapping[FightKey, FieldFight] = self._fights.get(key, {})
        kept = {one: fight for one, fight in fights.items() if now - fight.last_repair < FORGET_AFTER}
        if fights:
            self._fights[key] = kept
        return kept.values()
