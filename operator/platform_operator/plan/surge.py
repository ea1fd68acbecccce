"""Decides which surge window of a spec is open, and when a window opens or ends next. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_operator.api.conditions import TIME_FORMAT
from platform_operator.api.spec import Spec


@dataclass(frozen=True)
class ResolvedWindow:
    """A surge window with its times resolved to UTC. It contains its beginning and not its end."""

    begins: datetime
    ends: datetime
    factor: float

    def dump(self) -> dict[str, Any]:
        factor = int(self.factor) if self.factor.is_integer() else self.factor
        times = {"from": self.begins, "until": self.ends}
        return {name: time.strftime(TIME_FORMAT) for name, time in times.items()} | {"factor": factor}


@dataclass(frozen=True)
class Surge:
    """The state of a spec's windows at one time."""

    now: ResolvedWindow | None = None
    """The open window; of several, the one with the greatest factor."""
    next: ResolvedWindow | None = None
    """The window that begins next."""
    next_change: datetime | None = None
    """The time at which a window begins or ends next."""

    @property
    def factor(self) -> float:
        return self.now.factor if self.now else 1.0

    def dump(self) -> dict[str, Any]:
        """Returns `status.surge`."""
        return {name: one.dump() for name, one in (("now", self.now), ("next", self.next)) if one}


def surge_at(spec: Spec, now: datetime) -> Surge:
    """Returns the open window, the next one, and when that changes."""
    windows = sorted(_windows(spec), key=lambda one: (one.begins, -one.factor))
    is_open = [one for one in windows if one.begins <= now < one.ends]
    ahead = [one for one in windows if one.begins > now]
    changes = (time for one in windows for time in (one.begins, one.ends) if time > now)
    return Surge(
        max(is_open, key=lambda one: one.factor, default=None), next(iter(ahead), None), min(changes, default=None)
    )


def greatest_factor(spec: Spec) -> float:
    """Returns the greatest factor of all windows, including past ones; 1 if there is none."""
    return max((one.factor for one in spec.surge), default=1.0)


def _windows(spec: Spec) -> Iterator[ResolvedWindow]:
    for one in spec.surge:
        yield ResolvedWindow(one.begins, one.ends, one.factor)
