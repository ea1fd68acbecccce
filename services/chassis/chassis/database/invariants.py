"""Invariants: conditions that a service's data must always meet, as SQL queries for the rows that violate them.

A service ships them as `<package>/invariants.sql`: statements that each follow a line `-- invariant: <name>` and, in
comments below it, a description. InvariantMonitor runs the queries periodically and exports how many rows they return.
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

VIOLATIONS = Gauge("business_invariant_violations", "Rows that violate an invariant of this service", ["invariant"])
CHECKED = Gauge("business_invariants_checked_timestamp_seconds", "When the invariants were last checked")
PAUSE = Gauge("business_invariants_pause_seconds", "Time between a check of the invariants and the next one")

_MINIMUM_PAUSE_SECONDS = 30.0
_PAUSE_FACTOR = 20
"""A pause lasts this many times as long as the queries did, because tables grow and the load of the checks must not."""

_HEADING = re.compile(r"^-- invariant: ([a-z][a-z0-9_]*)$", re.MULTILINE)

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Invariant:
    """A query that returns the rows which violate a condition."""

    name: str
    query: str


def load_invariants(package: str) -> list[Invariant]:
    """Returns the invariants that a package ships, in the order of its file."""
    return parse_invariants((importlib.resources.files(package) / "invariants.sql").read_text())


def parse_invariants(text: str) -> list[Invariant]:
    """Returns the invariants of a file, in its order."""
    parts = _HEADING.split(text)
    return [Invariant(name, query.strip()) for name, query in zip(parts[1::2], parts[2::2], strict=True)]


class InvariantMonitor:
    """Checks the invariants of a service periodically."""

    def __init__(
        self, database: Database, package: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._database = database
        self._invariants = load_invariants(package)
        self._sleep = sleep
        self._query_seconds = 0.0
        """How long the queries of the current check took.

        It excludes the time to connect, which is no load on a database.
        """

    async def run(self) -> None:
        """Checks for ever: each half minute, or less often where the queries would take more than 1/20 of the time.

        The first check that fails is repeated after the minimum pause, because a failure says that the database is
        unavailable, not that the tables are large. If the next one fails too, the pause depends on its query time
        again.
        """
        failures = 0
        while True:
            self._query_seconds = 0.0
            try:
                await self.check()
                failures = 0
            except DatabaseUnavailable:  # `check` has logged it
                failures += 1
            pause = _MINIMUM_PAUSE_SECONDS if failures == 1 else pause_after(self._query_seconds)
            PAUSE.set(pause)
            await self._sleep(pause)

    async def check(self) -> None:
        """Exports how many rows violate each invariant, and logs the first row of each that is violated.

        An invariant that cannot be checked does not prevent the check of the others. Raises DatabaseUnavailable
        afterwards.
        """
        failed: DatabaseUnavailable | None = None
        for invariant in self._invariants:
            try:
                rows = await self.violations(invariant)
            except DatabaseUnavailable as error:
                log.warning("an invariant could not be checked", invariant=invariant.name, reason=str(error))
                failed = error
                continue
            VIOLATIONS.labels(invariant.name).set(len(rows))
            if rows:
                log.error("an invariant is broken", invariant=invariant.name, rows=len(rows), first=str(rows[0]))
        if failed is not None:
            raise failed
        CHECKED.set_to_current_time()

    async def violations(self, invariant: Invariant) -> list[dict[str, object]]:
        """Returns the rows that violate an invariant, from one snapshot of the database. Raises DatabaseUnavailable."""
        async with self._database.begin_report() as transaction:
            began = time.monotonic()
            try:
                found = await transaction.execute(text(invariant.query))
                return [dict(row) for row in found.mappings()]
            finally:
                self._query_seconds += time.monotonic() - began


def pause_after(query_seconds: float) -> float:
    """Returns how long to pause after a check, in seconds, from how long its queries took."""
    return max(_MINIMUM_PAUSE_SECONDS, _PAUSE_FACTOR * query_seconds)
