"""What must always be true of a service's books, as SQL: each query returns the rows that break it, and none is the truth.

A service ships them as `<package>/invariants.sql`: statements that each follow a line `-- invariant: <name>`, with the promise in
the comments below it. `broken` runs them; the process does so now and then and exports what it finds.
"""

import asyncio
import importlib.resources
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import Gauge
from sqlalchemy import text

from chassis.database.engine import Database
from chassis.errors import DatabaseUnavailable
from chassis.observability import logs

VIOLATIONS = Gauge(
    "business_invariant_violations", "Rows that break an invariant of this service's books", ["invariant"]
)
CHECKED = Gauge("business_invariants_checked_timestamp_seconds", "When the invariants were last looked at")
PAUSE = Gauge("business_invariants_pause_seconds", "How long after a look at the invariants the next one begins")

_EVERY_SECONDS = 30.0
_LEISURE = 20
"""Books grow for years: whoever looks at all of them rests twenty times as long as that took."""

_HEADING = re.compile(r"^-- invariant: ([a-z][a-z0-9_]*)$", re.MULTILINE)
log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Invariant:
    name: str
    query: str


def load_invariants(package: str) -> list[Invariant]:
    """The invariants that a package ships, in the order of its file."""
    parts = _HEADING.split((importlib.resources.files(package) / "invariants.sql").read_text())
    return [Invariant(name, query.strip()) for name, query in zip(parts[1::2], parts[2::2], strict=True)]


def pause_after(seconds: float) -> float:
    """How long to rest, in seconds, from a look whose queries took so many."""
    return max(_EVERY_SECONDS, _LEISURE * seconds)


class InvariantMonitor:
    """A service's books, and what must be true of them."""

    def __init__(
        self, database: Database, package: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._database = database
        self._invariants = load_invariants(package)
        self._sleep = sleep
        self._asked_for = 0.0
        """Seconds that the queries of a look took. To wait for a database that is away burdens none."""

    async def run(self) -> None:
        """Looks again and again: every half minute, and less often where that would be more than a twentieth of the time.

        A look that fails tells how the database is, not how long the books are: the next one follows as soon as ever, and
        rests as long as its queries took only if it fails as well.
        """
        failures = 0
        while True:
            self._asked_for = 0.0
            try:
                await self.check()
                failures = 0
            except DatabaseUnavailable:  # said already
                failures += 1
            pause = _EVERY_SECONDS if failures == 1 else pause_after(self._asked_for)
            PAUSE.set(pause)
            await self._sleep(pause)

    async def check(self) -> None:
        """Exports how many rows break each invariant, and logs the first of them. One that cannot be looked at does not hide the rest.

        Raises DatabaseUnavailable.
        """
        failed: DatabaseUnavailable | None = None
        for invariant in self._invariants:
            try:
                rows = await self.violations(invariant)
            except DatabaseUnavailable as error:
                log.warning("an invariant could not be looked at", invariant=invariant.name, reason=str(error))
                failed = error
                continue
            VIOLATIONS.labels(invariant.name).set(len(rows))
            if rows:
                log.error("an invariant is broken", invariant=invariant.name, rows=len(rows), first=str(rows[0]))
        if failed is not None:
            raise failed
        CHECKED.set_to_current_time()

    async def violations(self, invariant: Invariant) -> list[dict[str, object]]:
        """The rows that break it. All of a query sees one snapshot."""
        async with self._database.begin_report() as transaction:
            began = time.monotonic()
            try:
                found = await transaction.execute(text(invariant.query))
                return [dict(row) for row in found.mappings()]
            finally:
                self._asked_for += time.monotonic() - began
