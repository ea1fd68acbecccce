"""Says how far a fleet has come."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """Says how many of all shops or tenants are done, whenever the number has changed, with the seconds until then."""

    def __init__(self, of: int, say: Callable[[object], None]) -> None:
        self._of = of
        self._say = say
        self._began = time.monotonic()
        self._done = -1

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def report(self, done: int) -> bool:
        """Returns whether all are done."""
        if done != self._done:
            self._say(f"{self.seconds:6.0f} s  {done} of {self._of}")
            self._done = done
        return done == self._of
