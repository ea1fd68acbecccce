"""Decides which surge window of a spec is open, and when the next change is. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from platform_operator.api.conditions import TIME_FORMAT
from platform_operator.api.spec import Spec
from platform_operator.api.surge import SurgeWindow


@dataclass(frozen=True)
class Window:
    """A surge window, as instants. It contains its beginning and not its end."""

    begins: datetime
    ends: datetime
    factor: float

    def dump(self) -> dict[str, Any]:
        times = {"from": self.begins, "until": self.ends}
        factor = int(self.factor) if self.factor.is_integer() else self.factor
        return {name: time.astimezone(UTC).strftime(TIME_FORMAT) for name, time in times.items()} | {"factor": factor}


@dataclass(frozen=True)
class Surge:
    """The windows of a spec, as one looks at them at one time."""

    now: Window | None = None
    """The open window; of several, the one with the greatest factor."""
    next: Window | None = None
    """The window that begins next."""
    boundary: datetime | None = None
    """When a window begins or ends next."""

    @property
    def factor(self) -> float:
        return self.now.factor if self.now else 1.0

    def dump(self) -> dict[str, Any]:
        """Returns `status.surge`."""
        return {name: one.dump() for name, one in (("now", self.now), ("next", self.next)) if one}


def surge_at(spec: Spec, now: datetime) -> Surge:
    """Returns the open window and the next one."""
    windows = sorted(_windows(spec), key=lambda one: (one.begins, -one.factor))
    is_open = [one for one in windows if one.begins <= now < one.ends]
    ahead = [one for one in windows if one.begins > now]
    boundaries = (time for one in windows for time in (one.begins, one.ends) if time > now)
    return Surge(
        max(is_open, key=lambda one: one.factor, default=None), next(iter(ahead), None), min(boundaries, default=None)
    )


def greatest_factor(spec: Spec) -> float:
    """Returns the greatest factor of all windows, past ones included."""
    return max((one.factor for one in spec.surge), default=1.0)


def _windows(spec: Spec) -> Iterator[Window]:
    for one in spec.surge:
        yield Window(_instant(one, one.from_), _instant(one, one.until), one.factor)


def _instant(window: SurgeWindow, text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=ZoneInfo(window.time_zone or "UTC"))
