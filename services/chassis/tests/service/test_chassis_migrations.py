"""A release migrates the database of an older one, and an older one runs on the schema of a newer one."""

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from chassis.database.migrations import migrate
from chassis.errors import DataLost, SchemaAhead
from chassis.runtime.command import EXIT_DATA_LOST
from chassis.settings import DatabaseSettings
from chassis_testing.databases import connect_to, empty_database

NEWEST = "SELECT version_num FROM alembic_version"


@pytest.fixture
async def database() -> AsyncIterator[DatabaseSettings]:
    async with empty_database() as settings:
        yield settings


class Releases:
    """Packages with migrations, each of which adds a table named for its revision."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def package(self, name: str, **oldest_code: str) -> str:
        """Makes a package whose revisions, in this order, state these codes. One that ends with `broken` fails."""
        name = f"{name}_{uuid4().hex[:8]}"  # Python imports a name once
        versions = self._folder / name / "migrations" / "versions"
        versions.mkdir(parents=True)
        (self._folder / name / "__init__.py").touch()
        run = "from chassis.database.migrations import run_environment\n\nrun_environment()\n"
        (versions.parent / "env.py").write_text(run)
        (versions.parent / "__init__.py").touch()
        before = None
        for revision, oldest in oldest_code.items():
            number = revision.removeprefix("r").removesuffix("_broken")
            statement = "SELECT 1 / 0" if revision.endswith("_broken") else f"CREATE TABLE t{number} ()"
            (versions / f"{number}.py").write_text(
                f"from alembic import op\n\nrevision, down_revision = {number!r}, {before!r}\n"
                f"oldest_code = {oldest!r}\n\n\ndef upgrade() -> None:\n    op.execute({statement!r})\n"
            )
            before = number
        importlib.invalidate_caches()
        return name


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Releases:
    monkeypatch.syspath_prepend(tmp_path)
    return Releases(tmp_path)


@pytest.fixture
def old(releases: Releases) -> str:
    return releases.package("old_release", r0001="0001", r0002="0001")


async def newest(database: DatabaseSettings) -> str:
    async with connect_to(database) as connection:
        return str(await connection.fetchval(NEWEST))


async def test_a_release_that_was_rolled_back_to_runs_on_the_newer_schema(
    database: DatabaseSettings, releases: Releases, old: str
) -> None:
    new = releases.package("new_release", r0001="0001", r0002="0001", r0003="0002")
    for release, schema in ((old, "0002"), (new, "0003"), (old, "0003"), (new, "0003"), (old, "0003")):
        await migrate(release, database)
        assert await newest(database) == schema


async def test_what_the_newest_revision_states_counts_also_several_releases_later(
    database: DatabaseSettings, releases: Releases, old: str
) -> None:
    new = releases.package("much_newer", r0001="0001", r0002="0001", r0003="0002", r0004="0002", r0005="0003")
    await migrate(new, database, revision="0004")
    await migrate(old, database)
    await migrate(new, database)
    with pytest.raises(SchemaAhead, match=r"schema 0005, which code of schema 0003 or later may run on.* has 0002"):
        await migrate(old, database)


async def test_a_schema_that_says_nothing_is_not_run_on(database: DatabaseSettings, old: str) -> None:
    await migrate(old, database)
    async with connect_to(database) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '0009'")
    with pytest.raises(SchemaAhead, match="the database has schema 0009"):
        await migrate(old, database)
    assert await newest(database) == "0009"


async def test_a_schema_of_a_release_that_stored_nothing_is_recorded(
    database: DatabaseSettings, releases: Releases, old: str
) -> None:
    new = releases.package("recording_release", r0001="0001", r0002="0001", r0003="0002")
    await migrate(new, database)
    async with connect_to(database) as connection:
        await connection.execute("DROP TABLE schema_compatibility")
    await migrate(new, database)
    await migrate(old, database)


async def test_a_migration_that_fails_states_nothing(database: DatabaseSettings, releases: Releases, old: str) -> None:
    broken = releases.package("broken_release", r0001="0001", r0002="0001", r0003="0002", r0004_broken="0004")
    with pytest.raises(Exception, match="division by zero"):
        await migrate(broken, database)
    await migrate(old, database)
    async with connect_to(database) as connection:
        assert await connection.fetchval("SELECT max(revision) FROM schema_compatibility") == "0003"


@pytest.fixture
async def owned(database: DatabaseSettings) -> AsyncIterator[DatabaseSettings]:
    """A database whose owner has the password `former`, with the settings of a migration that has `next`."""
    owner = f"test_{uuid4().hex}"
    async with connect_to(database) as superuser:
        await superuser.execute(f"CREATE ROLE {owner} LOGIN PASSWORD 'former'")
        await superuser.execute(f"ALTER DATABASE {database.db_name} OWNER TO {owner}")
    yield database.model_copy(update={"db_user": owner, "db_password": "next"})
    async with connect_to(database) as superuser:
        await superuser.execute(f"REASSIGN OWNED BY {owner} TO CURRENT_USER")
        await superuser.execute(f"DROP ROLE {owner}")


async def accepted(database: DatabaseSettings) -> set[str]:
    """Returns the passwords that open a database."""
    return {password for password in ("former", "next", "other") if await opens(database, password)}


async def opens(database: DatabaseSettings, password: str) -> bool:
    address = {"host": database.db_host, "port": database.db_port, "database": database.db_name}
    try:
        connection = await asyncpg.connect(**address, user=database.db_user, password=password)
    except asyncpg.InvalidPasswordError:
        return False
    await connection.close()
    return True


async def test_a_migration_replaces_the_former_password_of_the_owner_and_logs_in_with_the_next(
    owned: DatabaseSettings, old: str
) -> None:
    assert await accepted(owned) == {"former"}
    for _ in range(2):
        await migrate(old, owned, former_password="former")
        assert (await newest(owned), await accepted(owned)) == ("0002", {"next"})
    await migrate(old, owned)


async def test_two_migrations_at_once_replace_the_password_of_the_owner(owned: DatabaseSettings, old: str) -> None:
    await asyncio.gather(*(migrate(old, owned, former_password="former") for _ in range(3)))
    assert await accepted(owned) == {"next"}


async def test_an_owner_with_neither_password_keeps_its_own(owned: DatabaseSettings, old: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await migrate(old, owned, timeout_seconds=0, former_password="other")
    assert await accepted(owned) == {"former"}


async def tables(database: DatabaseSettings) -> int:
    async with connect_to(database) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))


async def test_an_empty_database_that_was_migrated_before_stays_empty(database: DatabaseSettings, old: str) -> None:
    with pytest.raises(DataLost, match=f"{database.db_name} was migrated at 2026-01-31T08:00:00Z and has no schema"):
        await migrate(old, database, migrated_at="2026-01-31T08:00:00Z")
    assert await tables(database) == 0


async def test_a_database_that_was_migrated_before_and_has_its_schema_is_migrated(
    database: DatabaseSettings, releases: Releases, old: str
) -> None:
    new = releases.package("later_release", r0001="0001", r0002="0001", r0003="0002")
    await migrate(old, database)
    await migrate(new, database, migrated_at="2026-01-31T08:00:00Z")
    assert await newest(database) == "0003"


async def test_a_migration_of_a_database_that_lost_its_data_exits_with_a_status_of_its_own(
    database: DatabaseSettings, old: str, tmp_path: Path
) -> None:
    (tmp_path / old / "service").mkdir()  # where `resend` would be
    (tmp_path / old / "service" / "__init__.py").touch()
    variables = {name.upper(): str(value) for name, value in database.model_dump().items()}
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs in this loop
        [sys.executable, "-c", f"from chassis.runtime.command import run; run({old!r}, ['migrate'])"],
        env={**os.environ, **variables, "DB_MIGRATED_AT": "2026-01-31T08:00:00Z", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_DATA_LOST
    assert "has no schema now: its data is lost" in done.stderr
    assert await tables(database) == 0
