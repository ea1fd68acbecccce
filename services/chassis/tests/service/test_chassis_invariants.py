"""Books are looked at again and again, however long they are, and without wearing the database out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from chassis import database, invariants, testing
from chassis.database import Database
from chassis.invariants import Books
from chassis.problems import DatabaseUnavailable
from prometheus_client import REGISTRY
from sqlalchemy import text

SLOW = "SELECT pg_sleep(1)"


@pytest.fixture
async def books_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database whose statements may take a tenth of a second."""
    monkeypatch.setattr(database, "_STATEMENT_SECONDS", 0.1)
    async with testing.empty_database() as settings:
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

    await Books(books_of, package).check()

    assert REGISTRY.get_sample_value("business_invariant_violations", {"invariant": "takes_long"}) == 0


async def test_who_looks_at_long_books_rests_long(books_of: Database, package: str) -> None:
    rested: asyncio.Queue[float] = asyncio.Queue()

    async def rest(seconds: float) -> None:
        await rested.put(seconds)
        await asyncio.sleep(0)

    watching = asyncio.create_task(Books(books_of, package, rest).watch())
    pauses = [await rested.get() for _ in range(2)]
    watching.cancel()

    assert min(pauses) >= invariants.pause_after(1.0)
    assert REGISTRY.get_sample_value("business_invariants_pause_seconds") in pauses
    assert [invariants.pause_after(seconds) for seconds in (0.1, 1.5, 60)] == [30, 30, 1200]
