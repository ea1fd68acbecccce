"""A backup has each database as it was at the cut, and a restore brings all of them back, or changes none."""

import asyncio
import gc
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from chassis.database.engine import Database
from chassis.database.roles import grant_runtime_role
from chassis.messaging.resend import Selection, resend
from chassis.settings import DatabaseSettings
from chassis_testing.databases import empty_database
from chassis_testing.waiting import eventually
from platform_backup import create as creating_backups
from platform_backup import restore as restoring
from platform_backup.catalog import (
    find_backup,
    list_backups,
    newest_backup,
    newest_good_backup,
    prune,
    read_dump,
    verify_files,
)
from platform_backup.create import Shop, create_backup
from platform_backup.destination import Destination
from platform_backup.encryption import BackupKey
from platform_backup.errors import (
    BackupDamaged,
    BackupError,
    BackupNotFound,
    DatabaseFailed,
    DatabaseUnreachable,
    DestinationFull,
    DestinationUnavailable,
    RestoreIncomplete,
    RestoreInterrupted,
    RestoreRefused,
    WrongKey,
)
from platform_backup.manifest import DatabaseEntry, Manifest, OutboxPosition
from platform_backup.postgres_tools import Program
from platform_backup.restore import RESEND_MARGIN, restore_backup
from platform_backup.retention import Retention
from platform_backup.snapshots import connect, has_table, translate_errors
from received_events import receive, received
from sqlalchemy.ext.asyncio import AsyncConnection

NOW = datetime.now(UTC)
PUBLISHED = "INSERT INTO outbox_published VALUES ($1, $2, 'order.placed.v1', '', $3, $3)"


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def tables(database: DatabaseSettings) -> int:
    async with connect("test", database) as sql:
        count: int = await sql.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        return count


async def restore(shop: Shop, manifest: Manifest, *, replace: bool = False) -> None:
    await restore_backup(shop, manifest, {}, NOW, replace=replace)


async def test_a_restore_brings_back_the_rows_of_the_cut_and_no_others(
    shop: Shop, runtime: dict[str, DatabaseSettings]
) -> None:
    kept, late = uuid4(), uuid4()
    for database in shop.databases.values():
        await receive(database, kept)

    manifest = await create_backup(shop, "abcdef")
    for database in shop.databases.values():
        await receive(database, late)
    restored = await restore_backup(shop, manifest, runtime, NOW, replace=True)

    assert restored.databases == ["notification", "order", "product"]
    for database in shop.databases.values():
        assert await received(database) == {kept}


async def test_all_snapshots_are_of_before_the_first_dump(shop: Shop) -> None:
    """Rows that a running shop writes while the dumps take their time are not in the backup, in no database."""
    late = uuid4()
    blocker = shop.databases["notification"]
    async with connect("test", blocker) as sql:
        await sql.execute("BEGIN; LOCK TABLE inbox")
        creating = asyncio.create_task(create_backup(shop, "abcdef"))
        await until_a_dump_waits(blocker)
        for name in ("order", "product"):
            await receive(shop.databases[name], late)
        await sql.execute("INSERT INTO inbox (event_id) VALUES ($1)", late)
        await sql.execute("COMMIT")

    manifest = await creating
    await restore(shop, manifest, replace=True)

    for database in shop.databases.values():
        assert late not in await received(database)


@pytest.mark.parametrize(
    "migration",
    [
        "ALTER TABLE kept ADD COLUMN doubled int GENERATED ALWAYS AS (2 * id) STORED",
        "TRUNCATE kept",
        "ALTER TABLE kept RENAME TO former; CREATE TABLE kept (id) AS SELECT id FROM former; DROP TABLE former",
    ],
)
async def test_a_table_that_a_migration_replaces_between_the_cut_and_its_dump_fails_the_backup(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, migration: str
) -> None:
    """pg_dump would find it empty: no row of its new file is older than the snapshot."""
    only = replace(shop, databases={"order": shop.databases["order"]})
    async with connect("test", shop.databases["order"]) as sql:
        await sql.execute("CREATE TABLE kept (id) AS SELECT generate_series(1, 3)")
        migrate_before_the_dump(monkeypatch, sql, migration)

        with pytest.raises(DatabaseFailed, match=r"the database of order: .*replaced.* kept .*back up again"):
            await create_backup(only, "abcdef")

    assert await list_backups(only) == []
    monkeypatch.undo()
    assert await create_backup(only, "abcde0")


async def test_a_migration_that_leaves_the_rows_where_they_are_does_not_disturb_a_backup(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = replace(shop, databases={"order": shop.databases["order"]})
    event = uuid4()
    await receive(shop.databases["order"], event)
    async with connect("test", shop.databases["order"]) as sql:
        migration = "CREATE TABLE later (id int); CREATE TEMP TABLE t (id int); ALTER TABLE inbox ADD COLUMN later int"
        migrate_before_the_dump(monkeypatch, sql, migration)
        manifest = await create_backup(only, "abcdef")
        monkeypatch.undo()

    await restore(only, manifest, replace=True)

    assert await received(shop.databases["order"]) == {event}
    assert not await owns_table(shop.databases["order"], "later")


def migrate_before_the_dump(monkeypatch: pytest.MonkeyPatch, sql: asyncpg.Connection, migration: str) -> None:
    """Executes a migration when the snapshots of a backup are taken, and no dump has begun."""
    dump_all = creating_backups._dump_all

    async def migrate_and_dump(*arguments: Any) -> dict[str, DatabaseEntry]:
        await sql.execute(migration)
        return await dump_all(*arguments)

    monkeypatch.setattr(creating_backups, "_dump_all", migrate_and_dump)


async def owns_table(database: DatabaseSettings, name: str) -> bool:
    async with connect("test", database) as sql:
        return await has_table(sql, name)


async def until_a_dump_waits(database: DatabaseSettings) -> None:
    """Waits until another connection waits for a lock in this database."""
    waiting = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )
    async with connect("test", database) as sql:

        async def waits() -> bool:
            return bool(await sql.fetchval(waiting))

        await eventually(waits)


async def test_the_manifest_has_the_schema_and_the_outbox_of_the_snapshot(shop: Shop) -> None:
    async with connect("test", shop.databases["order"]) as sql:
        await sql.execute(
            "INSERT INTO outbox (id, type, body) SELECT gen_random_uuid(), 'a', '' FROM generate_series(1, 3)"
        )
        await sql.execute(PUBLISHED, 40, uuid4(), NOW)
        revision = await sql.fetchval("SELECT version_num FROM alembic_version")

    manifest = await create_backup(shop, "abcdef")

    entry = manifest.databases["order"]
    assert (entry.outbox, entry.revision) == (OutboxPosition(last_sequence=40, waiting=3), revision)
    assert manifest.cut_spread_seconds < RESEND_MARGIN.total_seconds()
    assert await find_backup(shop, manifest.id) == manifest


async def test_published_events_since_before_the_cut_are_sent_again(shop: Shop) -> None:
    before, old = uuid4(), uuid4()
    async with connect("test", shop.databases["order"]) as sql:
        await sql.execute(PUBLISHED, 1, old, NOW - RESEND_MARGIN - timedelta(minutes=1))
        await sql.execute(PUBLISHED, 2, before, NOW - RESEND_MARGIN / 2)
        await sql.execute("INSERT INTO outbox (id, type, body) VALUES ($1, 'order.placed.v1', '')", uuid4())

    manifest = await create_backup(shop, "abcdef")
    restored = await restore_backup(shop, manifest, {}, datetime.now(UTC), replace=True)

    assert restored.resent["order"] == 1
    async with connect("test", shop.databases["order"]) as sql:
        assert await sql.fetchval("SELECT count(*) FROM outbox") == 2
        assert await sql.fetchval("SELECT id FROM outbox WHERE resent_at IS NOT NULL") == before
        assert await sql.fetchval("SELECT id FROM outbox_published") == old


async def test_one_lost_database_is_restored_and_the_others_send_their_events_again(shop: Shop) -> None:
    manifest = await create_backup(shop, "abcdef")
    late = uuid4()
    async with connect("test", shop.databases["order"]) as sql:
        await sql.execute(PUBLISHED, 1, late, datetime.now(UTC))
    async with empty_database() as empty:
        repaired = replace(shop, databases={**shop.databases, "notification": empty})

        now = datetime.now(UTC) + timedelta(seconds=1)
        restored = await restore_backup(repaired, manifest, {}, now, ["notification"])

        assert restored.databases == ["notification"]
        assert await tables(empty) == await tables(shop.databases["notification"])
    async with connect("test", shop.databases["order"]) as sql:
        assert await sql.fetchval("SELECT id FROM outbox WHERE resent_at IS NOT NULL") == late


async def test_the_service_role_has_its_privileges_and_no_more(
    shop: Shop, runtime: dict[str, DatabaseSettings]
) -> None:
    manifest = await create_backup(shop, "abcdef")
    async with empty_database() as empty:
        role = empty.model_copy(
            update={"db_user": runtime["order"].db_user, "db_password": runtime["order"].db_password}
        )
        target = replace(shop, databases={"order": empty})

        await restore_backup(target, manifest, {"order": role}, NOW, ["order"])

        async with connect("test", role) as sql:
            await sql.execute("INSERT INTO inbox (event_id) VALUES ($1)", uuid4())
            await sql.execute("INSERT INTO outbox (id, type, body) VALUES ($1, 'a', '')", uuid4())
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await sql.execute("UPDATE alembic_version SET version_num = '0'")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await sql.execute("CREATE TABLE own (id int)")


async def test_a_replaced_database_has_nothing_of_before(shop: Shop) -> None:
    manifest = await create_backup(shop, "abcdef")
    async with connect("test", shop.databases["order"]) as sql:
        await sql.execute("CREATE TABLE of_a_later_release (id int)")
        schema = await sql.fetchrow("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'public'")

    await restore(shop, manifest, replace=True)

    async with connect("test", shop.databases["order"]) as sql:
        assert not await sql.fetchval("SELECT to_regclass('of_a_later_release')")
        assert await sql.fetchrow("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'public'") == schema
    again = await create_backup(shop, "abcde0")
    await restore(shop, again, replace=True)


async def test_a_database_with_tables_is_refused_unless_told(shop: Shop) -> None:
    kept = uuid4()
    manifest = await create_backup(shop, "abcdef")
    await receive(shop.databases["order"], kept)

    with pytest.raises(RestoreRefused, match="--replace"):
        await restore(shop, manifest)

    assert await received(shop.databases["order"]) == {kept}


async def test_a_database_that_is_used_is_refused(shop: Shop) -> None:
    manifest = await create_backup(shop, "abcdef")

    async with connect("test", shop.databases["product"]):
        with pytest.raises(RestoreRefused, match="database of product: close the shop first"):
            await restore(shop, manifest, replace=True)


async def test_a_client_that_comes_while_the_files_are_verified_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = uuid4()
    manifest = await create_backup(shop, "abcdef")
    await receive(shop.databases["order"], kept)

    async with AsyncExitStack() as stack:

        async def verify_and_connect(*arguments: Any) -> None:
            await verify_files(*arguments)
            await stack.enter_async_context(connect("test", shop.databases["product"]))

        monkeypatch.setattr(restoring, "verify_files", verify_and_connect)
        with pytest.raises(RestoreRefused, match="database of product: close the shop first"):
            await restore(shop, manifest, replace=True)

    assert await received(shop.databases["order"]) == {kept}


async def test_a_client_is_not_taken_for_a_connection_of_the_restore_to_another_server(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each service has a server, and each server counts its processes from 1."""
    manifest = await create_backup(shop, "abcdef")
    async with connect("test", shop.databases["product"]) as client:
        pid = client.get_server_pid()

        async def process_of(_: Shop, __: Manifest, service: str, *, replace: bool) -> int:
            return pid if service == "order" and replace else 0

        monkeypatch.setattr(restoring, "_require_ready", process_of)
        with pytest.raises(RestoreRefused, match="database of product: close the shop first"):
            await restore(shop, manifest, replace=True)


async def test_events_that_the_other_services_have_deleted_are_warned_of(shop: Shop) -> None:
    """They keep what they have published for a week, so one database of an older backup lacks what came between."""
    manifest = await create_backup(shop, "abcdef")
    early, late = manifest.cut_at + timedelta(days=6), manifest.cut_at + timedelta(days=8)

    in_time = await restore_backup(shop, manifest, {}, early, ["order"], replace=True)
    whole = await restore_backup(shop, manifest, {}, late, replace=True)
    too_late = await restore_backup(shop, manifest, {}, late, ["order"], replace=True)

    assert (in_time.warning, whole.warning) == ("", "")
    assert "notification, product delete the events that they have published after OUTBOX_RET" in too_late.warning
    assert "order lacks what they deleted" in too_late.warning


async def test_a_client_that_is_about_to_leave_is_awaited(shop: Shop) -> None:
    """PostgreSQL lists the connections of a backup for a moment after it is whole."""
    manifest = await create_backup(shop, "abcdef")
    await receive(shop.databases["order"], uuid4())
    async with connect("test", shop.databases["product"]) as leaving:
        asyncio.get_running_loop().call_later(0.5, leaving.terminate)
        await restore(shop, manifest, replace=True)
    assert await received(shop.databases["order"]) == set()


async def test_a_login_without_rights_to_statistics_sees_other_clients(
    shop: Shop, runtime: dict[str, DatabaseSettings]
) -> None:
    """PostgreSQL hides the kind of the other connections from such a login."""
    async with connect("test", shop.databases["order"]), connect("test", runtime["order"]) as sql:
        hidden = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type IS NULL"
        assert await sql.fetchval(hidden) == 1

        assert await sql.fetchval(restoring._OTHER_CLIENTS, []) == 1


async def test_statistics_come_last_and_may_fail(
    shop: Shop, runtime: dict[str, DatabaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All privileges are granted and all events resent before the statistics of all databases are collected at once."""
    done: list[str] = []
    all_at_once = asyncio.Barrier(3)
    grant, resend = grant_runtime_role, restoring.resend_since

    async def record_grant(*arguments: Any) -> None:
        await grant(*arguments)
        done.append("grant")

    async def record_resend(*arguments: Any) -> dict[str, int]:
        done.append("resend")
        return await resend(*arguments)

    execute = asyncpg.Connection.execute

    async def fail(connection: asyncpg.Connection, statement: str, *arguments: Any, **options: float | None) -> Any:
        if statement != "ANALYZE":
            return await execute(connection, statement, *arguments, **options)
        done.append(statement)
        assert options == {"timeout": 600}
        await all_at_once.wait()
        raise TimeoutError

    manifest = await create_backup(shop, "abcdef")
    monkeypatch.setattr(restoring, "grant_runtime_role", record_grant)
    monkeypatch.setattr(restoring, "resend_since", record_resend)
    monkeypatch.setattr(asyncpg.Connection, "execute", fail)

    restored = await restore_backup(shop, manifest, runtime, NOW, replace=True)

    assert restored.databases == ["notification", "order", "product"]
    assert done == ["grant"] * 3 + ["resend"] + ["ANALYZE"] * 3


async def test_an_error_of_the_driver_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = await create_backup(shop, "abcdef")
    monkeypatch.setattr(restoring, "_OTHER_CLIENTS", "SELECT $1::int[] FROM missing")

    with pytest.raises(DatabaseFailed, match=r"database of notification: .*missing"):
        await restore(shop, manifest, replace=True)


@pytest.mark.parametrize("length", [1, 1000])
async def test_the_script_has_no_setting_that_an_older_server_refuses(length: int) -> None:
    """A row that looks like the setting stays, however the script is cut into parts."""
    line = b"SET transaction_timeout = 0;\n"
    script = b"SET lock_timeout = 0;\n" + line + b"SET client_encoding = 'UTF8';\nCOPY t FROM stdin;\n" + line

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(script), length):
            yield script[start : start + length]

    changed = b"".join([part async for part in restoring._for_any_server(parts())])

    assert changed == script.replace(line, restoring._TIMEOUT_IF_KNOWN, 1)


async def test_a_row_that_a_database_refuses_is_not_in_the_message(shop: Shop) -> None:
    async with shop.tools.run("psql", restoring._PSQL, shop.databases["order"], stdin=True) as session:
        with pytest.raises(DatabaseFailed, match="violates not-null constraint") as refused:
            await restoring._await_answer(
                session, b"CREATE TEMP TABLE t (mail text, id int NOT NULL);\nINSERT INTO t VALUES ('a@b.example');\n"
            )

    assert "a@b.example" not in str(refused.value)


async def test_one_database_that_fails_leaves_all_as_they_were(
    shop: Shop, runtime: dict[str, DatabaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login of one database may not create anything. It fails when the other one has all of its dump."""
    manifest = await create_backup(shop, "abcdef")
    order_is_filled, fill = asyncio.Event(), restoring._fill

    async def order_first(
        shop: Shop, manifest: Manifest, service: str, session: Program, *, replace: bool = False
    ) -> None:
        if service == "product":
            await order_is_filled.wait()
        await fill(shop, manifest, service, session, replace=replace)
        order_is_filled.set()

    monkeypatch.setattr(restoring, "_fill", order_first)
    async with empty_database() as order, empty_database() as product:
        refused = product.model_copy(
            update={"db_user": runtime["order"].db_user, "db_password": runtime["order"].db_password}
        )
        target = replace(shop, databases={"order": order, "product": refused})

        with pytest.raises(DatabaseFailed, match=r"database of product: .*permission denied"):
            await restore_backup(target, manifest, {}, NOW, ["order", "product"])

        assert await tables(order) == 0


REFUSED_AT_COMMIT = (
    b"CREATE TEMP TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (1), (1);\n"
)
LOST_BEFORE_COMMIT = b"SELECT pg_terminate_backend(pg_backend_pid());\n"
KILLED_BEFORE_COMMIT = b"\\! kill -KILL $PPID\n"


@pytest.mark.parametrize(
    ("service", "statement", "error", "said", "restored"),
    [
        ("notification", REFUSED_AT_COMMIT, DatabaseFailed, "the database of notification is not restored", set()),
        ("order", REFUSED_AT_COMMIT, RestoreIncomplete, "notification is restored already", {"notification"}),
        ("notification", LOST_BEFORE_COMMIT, RestoreInterrupted, "whether the database of notification is r", set()),
        ("order", LOST_BEFORE_COMMIT, RestoreInterrupted, "notification is restored already", {"notification"}),
        ("order", KILLED_BEFORE_COMMIT, RestoreInterrupted, "whether the database of order is r", {"notification"}),
    ],
)
async def test_a_commit_that_is_refused_is_told_from_one_without_an_answer(
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    statement: bytes,
    error: type[BackupError],
    said: str,
    restored: set[str],
) -> None:
    late, commit = uuid4(), restoring._await_answer
    manifest = await create_backup(shop, "abcdef")
    for database in shop.databases.values():
        await receive(database, late)
    left = sorted(shop.databases)

    async def commit_after_the_statement(session: Program, sent: bytes) -> None:
        if sent == b"COMMIT;\n" and left.pop(0) == service:
            sent = statement + sent
        await commit(session, sent)

    monkeypatch.setattr(restoring, "_await_answer", commit_after_the_statement)
    with pytest.raises(error, match=said) as failed:
        await restore(shop, manifest, replace=True)

    assert failed.type is error, "its name is the reason that is reported"
    assert {name for name, database in shop.databases.items() if late not in await received(database)} == restored


def end_clients(database: DatabaseSettings) -> Callable[[], Awaitable[bool]]:
    """Ends the other connections of a database, as a server does that is stopped. Returns whether there were any."""
    statement = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    )

    async def end() -> bool:
        async with connect("test", database) as sql:
            return bool(await sql.fetchval(statement))

    return end


async def test_a_database_that_is_stopped_during_the_restore_is_told_from_one_that_refuses_the_dump(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, late = await create_backup(shop, "abcdef"), uuid4()
    for database in shop.databases.values():
        await receive(database, late)

    async def read(there: Shop, of: Manifest, service: str) -> AsyncIterator[bytes]:
        async for part in read_dump(there, of, service):
            if service == "order":
                await eventually(end_clients(shop.databases["order"]))
            yield part

    monkeypatch.setattr(restoring, "read_dump", read)
    with pytest.raises(DatabaseFailed, match="the database of order: psql ended with 2") as failed:
        await restore(shop, manifest, replace=True)

    assert failed.type is DatabaseUnreachable
    assert all([late in await received(database) for database in shop.databases.values()])
    monkeypatch.undo()
    await restore(shop, manifest, replace=True)
    assert not any([late in await received(database) for database in shop.databases.values()])


@pytest.mark.parametrize("error", [ConnectionRefusedError(), asyncpg.CannotConnectNowError("it is starting up")])
async def test_a_database_that_is_stopped_after_the_commits_is_restored_again(
    shop: Shop, runtime: dict[str, DatabaseSettings], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    manifest = await create_backup(shop, "abcdef")

    async def stopped(*_: Any) -> None:
        raise error

    monkeypatch.setattr(restoring, "grant_runtime_role", stopped)
    with pytest.raises(RestoreInterrupted, match="did not get its privileges"):
        await restore_backup(shop, manifest, runtime, NOW, replace=True)


@pytest.mark.parametrize(
    ("code", "error"), [("cannot_connect_now", RestoreInterrupted), ("insufficient_privilege", RestoreIncomplete)]
)
async def test_a_statement_after_the_commits_that_a_starting_server_refuses_is_told_from_one_without_rights(
    shop: Shop, runtime: dict[str, DatabaseSettings], monkeypatch: pytest.MonkeyPatch, code: str, error: type
) -> None:
    manifest = await create_backup(shop, "abcdef")

    async def refused(connection: AsyncConnection, *_: Any) -> None:
        await connection.exec_driver_sql(f"DO $$ BEGIN RAISE {code}; END $$")

    monkeypatch.setattr(restoring, "grant_runtime_role", refused)
    with pytest.raises(RestoreIncomplete, match="did not get its privileges") as failed:
        await restore_backup(shop, manifest, runtime, NOW, replace=True)

    assert failed.type is error


async def test_a_resend_that_a_wrong_schema_prevents_is_told_from_one_whose_connection_is_lost(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the schema is no better at the next attempt, so the operator must not retry it."""
    manifest = await create_backup(shop, "abcdef")

    async def of_another_schema(database: Database, selection: Selection) -> AsyncIterator[int]:
        async with connect("order", shop.databases["order"]) as sql:
            await sql.execute("ALTER TABLE outbox_published RENAME COLUMN recorded_at TO recorded")
        async for moved in resend(database, selection):
            yield moved

    async def lost(database: Database, _: Selection) -> AsyncIterator[int]:
        async with database.begin() as transaction:
            await transaction.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        yield 0

    for prepare, error in ((of_another_schema, RestoreIncomplete), (lost, RestoreInterrupted)):
        monkeypatch.setattr(restoring, "resend", prepare)
        with pytest.raises(RestoreIncomplete, match="order does not send its events again") as failed:
            await restore(shop, manifest, replace=True)
        assert failed.type is error


async def test_a_connection_that_has_ended_between_two_statements_is_lost(shop: Shop) -> None:
    """The first statement may find it closed or about to be closed: asyncpg has an error for each."""
    order = shop.databases["order"]
    async with connect("order", order) as sql:
        await eventually(end_clients(order))
        with pytest.raises(DatabaseUnreachable):
            await translate_errors("order", sql.fetchval("SELECT 1"))
        with pytest.raises(DatabaseUnreachable):
            await translate_errors("order", sql.fetchval("SELECT 1"))


@pytest.mark.parametrize(("port", "password", "error"), [(1, "", DatabaseUnreachable), (0, "wrong", DatabaseFailed)])
async def test_a_database_that_is_away_is_told_from_one_that_refuses_the_login(
    shop: Shop, port: int, password: str, error: type[BackupError]
) -> None:
    order = shop.databases["order"]
    wrong = order.model_copy(update={"db_port": port or order.db_port, "db_password": password or order.db_password})
    with pytest.raises(DatabaseFailed, match="database of order does not answer") as failed:
        async with connect("order", wrong):
            pass
    assert failed.type is error


async def test_a_database_that_wants_a_login_that_the_driver_does_not_have_is_not_away(shop: Shop) -> None:
    """It wants the same at the next attempt."""

    async def want_kerberos(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # the request for TLS
        writer.write(b"N")
        await reader.read(1024)  # the startup message
        writer.write(b"R" + struct.pack("!ii", 8, 2))
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(want_kerberos, "127.0.0.1", 0) as server:
        address = {"db_host": "127.0.0.1", "db_port": server.sockets[0].getsockname()[1]}
        with pytest.raises(DatabaseFailed, match="unsupported authentication method") as failed:
            async with connect("order", shop.databases["order"].model_copy(update=address)):
                pass
    assert failed.type is DatabaseFailed


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), DatabaseUnreachable),
        (ssl.SSLEOFError(), DatabaseUnreachable),
        (ssl.SSLZeroReturnError(), DatabaseUnreachable),
        (ssl.SSLCertVerificationError(), DatabaseFailed),
        (ssl.SSLError(1, "tlsv1 alert protocol version"), DatabaseFailed),
    ],
)
async def test_a_database_that_is_full_is_told_from_one_whose_tls_is_wrong(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, refusal: Exception, error: type[BackupError]
) -> None:
    async def refuse(**_: object) -> None:
        raise refusal

    monkeypatch.setattr(asyncpg, "connect", refuse)
    with pytest.raises(DatabaseFailed, match="database of order does not answer") as failed:
        async with connect("order", shop.databases["order"]):
            pass
    assert failed.type is error


async def test_a_dump_that_is_no_longer_needed_is_not_read_any_more(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of its reader is no error of a task that no one awaits."""
    lost, loop, is_read = list[dict[str, Any]](), asyncio.get_running_loop(), asyncio.Event()

    async def read(*_: object) -> AsyncIterator[bytes]:
        try:
            is_read.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise BackupDamaged("it cannot be read") from None
        yield b""

    manifest = await create_backup(shop, "abcdef")
    monkeypatch.setattr(restoring, "read_dump", read)
    gc.collect()  # reports what other tests have left behind
    loop.set_exception_handler(lambda _, context: lost.append(context))
    try:
        async with shop.tools.run("psql", restoring._PSQL, shop.databases["order"], stdin=True) as session:
            filling = asyncio.create_task(restoring._fill(shop, manifest, "order", session, replace=False))
            await is_read.wait()
            filling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await filling
        gc.collect()
    finally:
        loop.set_exception_handler(None)

    assert lost == []


async def test_a_database_that_does_not_answer_stops_the_backup(shop: Shop, folder: Path) -> None:
    gone = shop.databases["product"].model_copy(update={"db_port": 1})

    with pytest.raises(DatabaseFailed, match="database of product does not answer"):
        await create_backup(replace(shop, databases={**shop.databases, "product": gone}), "abcdef")

    assert files_below(folder) == []


async def test_a_backup_that_fails_deletes_what_it_has_written(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would otherwise take the room that its next attempt needs. Another backup of the time is left alone."""
    other = await create_backup(shop, "abcdef")
    write = Destination.write

    async def fail(destination: Destination, path: str, content: AsyncIterator[bytes] | bytes) -> None:
        if path.endswith("/manifest.json"):
            raise DestinationFull("no room")
        await write(destination, path, content)

    monkeypatch.setattr(Destination, "write", fail)
    with pytest.raises(DestinationFull):
        await create_backup(shop, "abcde0")

    assert {file.parent.name for file in files_below(folder)} == {other.id}


async def test_a_backup_whose_last_write_had_no_answer_is_left(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Destination.write

    async def lose_the_answer(destination: Destination, path: str, content: AsyncIterator[bytes] | bytes) -> None:
        await write(destination, path, content)
        if path.endswith("/manifest.json"):
            raise DestinationUnavailable("no answer")

    monkeypatch.setattr(Destination, "write", lose_the_answer)
    with pytest.raises(DestinationUnavailable):
        await create_backup(shop, "abcdef")

    assert [backup.is_whole for backup in await list_backups(shop)] == [True]


async def test_an_unknown_service_is_refused(shop: Shop) -> None:
    manifest = await create_backup(shop, "abcdef")

    with pytest.raises(RestoreRefused, match="no database of invoice"):
        await restore_backup(shop, manifest, {}, NOW, ["invoice"], replace=True)


@pytest.mark.parametrize("damage", ["truncated", "changed", "exchanged", "missing"])
async def test_a_damaged_file_is_never_restored(shop: Shop, folder: Path, damage: str) -> None:
    manifest = await create_backup(shop, "abcdef")
    file = folder / manifest.id / "product.dump"
    content = file.read_bytes()
    match damage:
        case "truncated":
            file.write_bytes(content[:-100])
        case "changed":
            file.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
        case "exchanged":
            other = await create_backup(shop, "abcde0")
            file.write_bytes((folder / other.id / "product.dump").read_bytes())
        case _:
            file.unlink()
    late = uuid4()
    await receive(shop.databases["notification"], late)

    with pytest.raises(BackupDamaged):
        await restore(shop, manifest, replace=True)

    assert await received(shop.databases["notification"]) == {late}


async def test_a_damaged_file_of_another_service_is_not_read(shop: Shop, folder: Path) -> None:
    manifest = await create_backup(shop, "abcdef")
    (folder / manifest.id / "product.dump").unlink()

    restored = await restore_backup(shop, manifest, {}, NOW, ["order"], replace=True)

    assert restored.databases == ["order"]


async def test_another_key_reads_nothing(shop: Shop, folder: Path) -> None:
    manifest = await create_backup(shop, "abcdef")
    other = replace(shop, key=BackupKey(b"x" * 32))

    with pytest.raises(WrongKey, match=shop.key.id):
        await find_backup(other, manifest.id)
    assert [backup.is_whole for backup in await list_backups(other)] == [False]
    assert all(b"inbox" not in file.read_bytes() for file in files_below(folder))


async def test_files_without_a_manifest_are_no_backup(shop: Shop, folder: Path) -> None:
    whole = await create_backup(shop, "abcdef")
    half = await create_backup(shop, "abcde0", lambda: NOW + timedelta(days=1))
    (folder / half.id / "manifest.json").unlink()

    with pytest.raises(BackupNotFound, match="stopped before it was whole"):
        await find_backup(shop, half.id)
    assert await newest_backup(shop, NOW) == whole
    await verify_files(shop, whole, whole.databases)


async def test_pruning_deletes_all_but_the_newest(shop: Shop, folder: Path) -> None:
    made = [await create_backup(shop, f"{day}", lambda day=day: NOW - timedelta(days=day)) for day in (4, 3, 2)]  # type: ignore[misc]
    (folder / made[-1].id / "order.dump").write_bytes(b"cut off")

    assert await prune(shop, Retention(1), NOW) == [made[0].id]

    assert {file.parent.name for file in files_below(folder)} == {made[1].id, made[2].id}
    assert await newest_backup(shop, NOW) == made[1]


async def test_a_later_shop_of_the_name_neither_counts_nor_prunes_nor_restores_by_chance(shop: Shop) -> None:
    former, later = replace(shop, uid="former"), replace(shop, uid="later")
    old = [await create_backup(former, "a"), await create_backup(former, "b")]
    new = await create_backup(later, "c")
    assert (new.shop_uid, await newest_backup(former, NOW), await newest_backup(later, NOW)) == ("later", old[1], new)

    assert await prune(later, Retention(1), NOW + timedelta(days=900)) == []
    other_key = replace(later, key=BackupKey(b"o" * 32))
    await create_backup(other_key, "d")
    assert await prune(other_key, Retention(1), NOW + timedelta(days=900)) == [new.id], (
        "whose key it is does not matter"
    )
    assert {backup.id for backup in await list_backups(former) if backup.is_whole} == {one.id for one in old}

    await create_backup(later, "e")
    with pytest.raises(RestoreRefused, match=f"backups of 2 shops of this name: name one.*{old[1].id} .of former"):
        await newest_good_backup(later, NOW)


async def test_a_manifest_of_an_earlier_release_has_no_uid_and_counts_as_the_shops(shop: Shop, folder: Path) -> None:
    before = await create_backup(shop, "a")
    assert b"shop_uid" not in (folder / before.id / "manifest.json").read_bytes(), "an earlier release refuses it"
    assert await newest_backup(replace(shop, uid="later"), NOW) == before
    assert await newest_good_backup(replace(shop, uid="later"), NOW) == before


async def test_a_backup_without_a_uid_is_restored_if_it_is_younger_than_the_shop(shop: Shop) -> None:
    created = NOW - timedelta(days=2)
    of_today = replace(shop, uid="today", created=created)
    await create_backup(of_today, "a", lambda: created)
    newest = await create_backup(shop, "b", lambda: NOW - timedelta(days=1))
    assert await newest_good_backup(of_today, NOW) == newest
    with pytest.raises(RestoreRefused, match="backups of 2 shops"):
        await newest_good_backup(replace(of_today, created=NOW), NOW)

    await create_backup(shop, "c", lambda: created - timedelta(days=1))
    with pytest.raises(RestoreRefused, match=r"backups of 2 shops of this name: name one.*of unknown UID.*of today"):
        await newest_good_backup(of_today, NOW)
    assert await newest_backup(of_today, NOW) == newest, "a verification takes none of a former shop"
