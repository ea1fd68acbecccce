"""The programs of PostgreSQL get the login of a database, verify its server, and say why they failed."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from chassis.settings import DatabaseSettings
from chassis_testing.tls import Authority
from chassis_testing.waiting import eventually
from platform_backup.errors import DatabaseFailed
from platform_backup.postgres_tools import PostgresTools, Program

DATABASE = DatabaseSettings(db_host="db", db_port=5433, db_user="app", db_password="secret", db_name="orders")


class ReaderFailed(Exception):
    """The consumer of a program's output has failed."""


def tools_with(folder: Path, script: str) -> PostgresTools:
    """Returns tools whose pg_dump is this script."""
    program = folder / "pg_dump"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return PostgresTools(str(folder))


async def output(tools: PostgresTools, database: DatabaseSettings) -> str:
    async with tools.run("pg_dump", [], database) as program:
        return b"".join([part async for part in program.output()]).decode()


async def test_the_server_is_verified_by_the_authority_of_the_database(tmp_path: Path) -> None:
    show = tools_with(tmp_path, 'echo "$PGHOST $PGPORT $PGUSER $PGDATABASE $PGSSLMODE"; cat "$PGSSLROOTCERT"')
    authority = Authority().pem

    shown = await output(show, DATABASE.model_copy(update={"db_ca": authority}))

    assert shown == f"db 5433 app orders verify-full\n{authority}"


async def test_the_authorities_of_the_system_are_named_as_libpq_names_them(tmp_path: Path) -> None:
    show = tools_with(tmp_path, 'echo "$PGSSLMODE $PGSSLROOTCERT"')

    assert await output(show, DATABASE.model_copy(update={"db_ca": "system"})) == "verify-full system\n"
    assert await output(show, DATABASE) == " \n"


async def test_a_program_notices_that_the_node_of_its_server_is_gone(tmp_path: Path) -> None:
    """A real connection with these parameters is in the tests of backups."""
    show = tools_with(tmp_path, 'echo "$1 $PGHOST"')

    shown = await output(show, DATABASE)

    assert shown == (
        "--dbname=keepalives_idle=30 keepalives_interval=10 keepalives_count=3 tcp_user_timeout=120000 db\n"
    )


async def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    fails = tools_with(tmp_path, "echo part; echo 'no such snapshot' >&2; exit 3")

    with pytest.raises(DatabaseFailed, match="pg_dump ended with 3 and said: no such snapshot"):
        await output(fails, DATABASE)


async def test_a_program_ends_with_its_block(tmp_path: Path) -> None:
    process_id = tmp_path / "pid"
    waits = tools_with(tmp_path, f"echo $$ > {process_id}; echo ready; exec sleep 600")

    async with waits.run("pg_dump", [], DATABASE) as program:
        assert await program.read_line() == b"ready\n"

    state = await asyncio.create_subprocess_exec("kill", "-0", process_id.read_text().strip(), stderr=-3)
    assert await state.wait() != 0


async def test_a_program_whose_output_no_one_reads_is_killed(tmp_path: Path) -> None:
    """The reader of asyncio pauses when its buffer is full, and the process never counts as ended."""
    endless = tools_with(tmp_path, "exec cat /dev/zero")

    async def run_until_the_reader_fails() -> None:
        async with endless.run("pg_dump", [], DATABASE) as program:
            async for part in program.output():
                assert part
                await eventually(is_paused(program))
                raise ReaderFailed

    with pytest.raises(ReaderFailed):
        await asyncio.wait_for(run_until_the_reader_fails(), timeout=30)


def is_paused(program: Program) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return bool(getattr(program._process.stdout, "_paused"))  # noqa: B009 # the type of asyncio lacks it

    return check


async def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseFailed, match=f"no pg_dump in {tmp_path}"):
        await output(PostgresTools(str(tmp_path)), DATABASE)
