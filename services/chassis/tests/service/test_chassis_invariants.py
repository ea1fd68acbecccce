"""Invariants are checked periodically, however large the tables are, and without overloading the database."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from chassis.database import engine, invariants
from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor
from chassis.errors import DatabaseUnavailable
from chassis.settings import DatabaseSettings
from chassis_testing.databases import empty_database
from prometheus_client import REGISTRY
from sqlalchemy import text

SLOW = "SELECT pg_sleep(1)"


@pytest.fixture
async def database(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database whose ordinary statements time out after a tenth of a second."""
    monkeypatch.setattr(engine, "_STATEMENT_TIMEOUT_SECONDS", 0.1)
    async with empty_database() as settings:
        opened = Database(settings, "0001")
        yield opened
        await opened.close()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that ships one invariant, which holds, and takes a second to check."""
    folder = tmp_path / "slow_invariant"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "invariants.sql").write_text(f"-- invariant: takes_long\n{SLOW} WHERE false OR pg_sleep(1) IS NULL;\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


async def test_a_check_may_take_longer_than_an_ordinary_statement(database: Database, package: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with database.begin() as transaction:
            await transaction.execute(text(SLOW))

    await InvariantMonitor(database, package).check()

    assert REGISTRY.get_sample_value("business_invariant_violations", {"invariant": "takes_long"}) == 0


async def test_the_pause_grows_with_the_duration_of_the_check(database: Database, package: str) -> None:
    pauses = await pauses_after(2, database, package)

    assert min(pauses) >= invariants.pause_after(1.0)
    assert REGISTRY.get_sample_value("business_invariants_pause_seconds") in pauses
    assert [invariants.pause_after(seconds) for seconds in (0.1, 1.5, 60)] == [30, 30, 1200]


async def test_waiting_for_an_unavailable_database_does_not_lengthen_the_pause(package: str) -> None:
    """All services wait while a node restarts. None may skip its checks for minutes because it waited for seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = DatabaseSettings(
            db_host="127.0.0.1",
            db_port=silent.getsockname()[1],
            db_user="shop",
            db_password="shop",
            db_name="shop",
            db_connect_timeout_seconds=2,
        )
        unavailable = Database(settings, "0001")
        pauses = await pauses_after(3, unavailable, package)
        await unavailable.close()

    assert pauses == [invariants.pause_after(0)] * 3


async def test_only_the_second_timeout_in_sequence_lengthens_the_pause(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(engine, "_REPORT_TIMEOUT_SECONDS", 0.8)
    monkeypatch.setattr(invariants, "_PAUSE_FACTOR", 100)
    async with empty_database() as settings:
        impatient = Database(settings, "0001")
        pauses = await pauses_after(2, impatient, package)
        await impatient.close()

    assert pauses[0] == invariants.pause_after(0)
    assert pauses[1] >= invariants.pause_after(0.8) > pauses[0]


async def pauses_after(checks: int, database: Database, package: str) -> list[float]:
    """Returns the pause after each of several checks, in seconds, without pausing."""
    requested: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(seconds: float) -> None:
        await requested.put(seconds)
        await asyncio.sleep(0)

    monitoring = asyncio.create_task(InvariantMonitor(database, package, sleep).run())
    pauses = [await requested.get() for _ in range(checks)]
    monitoring.cancel()
    await asyncio.wait([monitoring])
    return pauses
