"""Books are looked at again and again, however long they are, and without wearing the database out."""

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
async def books_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database whose statements may take a tenth of a second."""
    monkeypatch.setattr(engine, "_STATEMENT_TIMEOUT_SECONDS", 0.1)
    async with empty_database() as settings:
        opened = Database(settings, "0001")
        yield opened
        await opened.close()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that ships an invariant which takes a second, and holds."""
    folder = tmp_path / "long_books"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "invariants.sql").write_text(f"-- invariant: takes_long\n{SLOW} WHERE false OR pg_sleep(1) IS NULL;\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


async def test_books_may_take_longer_to_look_at_than_a_request_may(books_of: Database, package: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with books_of.begin() as transaction:
            await transaction.execute(text(SLOW))

    await InvariantMonitor(books_of, package).check()

    assert REGISTRY.get_sample_value("business_invariant_violations", {"invariant": "takes_long"}) == 0


async def test_who_looks_at_long_books_rests_long(books_of: Database, package: str) -> None:
    pauses = await _pauses(books_of, package, 2)

    assert min(pauses) >= invariants.pause_after(1.0)
    assert REGISTRY.get_sample_value("business_invariants_pause_seconds") in pauses
    assert [invariants.pause_after(seconds) for seconds in (0.1, 1.5, 60)] == [30, 30, 1200]


async def test_who_waited_for_a_database_in_vain_looks_again_as_soon_as_ever(package: str) -> None:
    """All services wait where a node starts anew: none is blind for minutes because it waited for seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        waiting = DatabaseSettings(
            db_host="127.0.0.1",
            db_port=silent.getsockname()[1],
            db_user="shop",
            db_password="shop",
            db_name="shop",
            db_connect_timeout_seconds=2,
        )
        unanswered = Database(waiting, "0001")
        pauses = await _pauses(unanswered, package, 3)
        await unanswered.close()

    assert pauses == [invariants.pause_after(0)] * 3


async def test_who_is_cut_off_looks_again_as_soon_as_ever_and_then_only_as_books_that_long_allow(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(engine, "_REPORT_TIMEOUT_SECONDS", 0.8)
    monkeypatch.setattr(invariants, "_PAUSE_FACTOR", 100)
    async with empty_database() as settings:
        hasty = Database(settings, "0001")
        pauses = await _pauses(hasty, package, 2)
        await hasty.close()

    assert pauses[0] == invariants.pause_after(0)
    assert pauses[1] >= invariants.pause_after(0.8) > pauses[0]


async def _pauses(database: Database, package: str, looks: int) -> list[float]:
    """The rest after each of so many looks, which follow each other at once."""
    rests: asyncio.Queue[float] = asyncio.Queue()

    async def rest(seconds: float) -> None:
        await rests.put(seconds)
        await asyncio.sleep(0)

    watching = asyncio.create_task(InvariantMonitor(database, package, rest).run())
    pauses = [await rests.get() for _ in range(looks)]
    watching.cancel()
    await asyncio.wait([watching])
    return pauses
