"""The restore of a backup into the databases of a shop that is closed.

Each database gets its dump in one transaction, and all are committed, one after the other, when all are complete. Then
the published events since the cut are resent, so that consumers whose snapshot was taken before an event arrived
receive it (docs/adr/0057).
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
from chassis.database.engine import Database, database_tls, database_url
from chassis.database.roles import RuntimeRole, grant_runtime_role
from chassis.errors import DatabaseUnavailable, RuntimeRoleRefused
from chassis.messaging.resend import MAX_AGE, Selection, resend
from chassis.observability import logs
from chassis.settings import BackendSettings, DatabaseSettings
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from platform_backup.catalog import read_dump, require_databases, verify_files
from platform_backup.create import Shop
from platform_backup.errors import (
    DatabaseFailed,
    DatabaseUnreachable,
    RestoreIncomplete,
    RestoreInterrupted,
    RestoreRefused,
)
from platform_backup.manifest import Manifest
from platform_backup.postgres_tools import Program
from platform_backup.snapshots import DRIVER_ERRORS, connect, has_table, is_connection_lost, translate_errors

RESEND_MARGIN = timedelta(hours=2)
"""How long before the cut the resent events begin.

Longer than an event is retried (about an hour, docs/adr/0025): those that were published before and not received yet
waited for a retry, or in the queue of a service that was down.
"""
_PUBLISHED_EVENTS_KEPT = timedelta(seconds=BackendSettings.model_fields["outbox_retention_seconds"].default)
_RESTORE = ["--no-owner", "--no-privileges", "--file=-"]
_PSQL = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse"]
"""Terse, since the details of an error and its context quote rows, and the message reaches the log."""
_EMPTY_SCHEMA = b"""
SET lock_timeout = '30s';
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
ALTER SCHEMA public OWNER TO pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
"""
"""The schema of a database as PostgreSQL creates it, without any object."""
_OBJECTS = """
    SELECT count(*) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = pg_class.oid AND d.deptype = 'e')
"""
_OTHER_CLIENTS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND usesysid IS NOT NULL
      AND coalesce(backend_type, 'client backend') = 'client backend'
      AND pid <> pg_backend_pid() AND pid <> ALL($1::int[])
"""
"""Counts the clients but those of the given processes. A role without rights sees `backend_type` as null."""
_TRANSACTION_TIMEOUT = b"SET transaction_timeout = 0;\n"
_TIMEOUT_IF_KNOWN = b"""SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout';
"""
_AFTER_THE_TIMEOUTS = b"SET client_encoding"
_LONGEST_PREAMBLE = 1 << 16
_LEAVING_SECONDS, _LEAVING_INTERVAL_SECONDS = 3.0, 0.1
_ANALYZE_TIMEOUT_SECONDS = 600.0
_STATEMENT_REFUSED = 3
"""The exit status of psql after an error that the server answered."""
_DATABASE_ERRORS = (*DRIVER_ERRORS, SQLAlchemyError, DatabaseUnavailable, RuntimeRoleRefused)

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    databases: list[str]
    resent: dict[str, int]
    """How many published events each service sends again."""
    warning: str = ""
    """What the restored databases may lack; empty if nothing."""


async def restore_backup(
    shop: Shop,
    manifest: Manifest,
    roles: Mapping[str, DatabaseSettings],
    now: datetime,
    only: Collection[str] = (),
    *,
    replace: bool = False,
) -> Restored:
    """Restores a backup into the databases of the shop, or only those of some services; `roles` are their logins.

    First all files are verified, and the databases must exist, be used by no one, and be empty, unless `replace`
    deletes what they have. Raises BackupError; unless its message says otherwise, nothing has changed then.

    Statistics are collected last, since a shop can be opened without them, but not without privileges and events. They
    are collected before the shop is opened, since its first queries would read whole tables, and in all databases at
    once, as the dumps are. ANALYZE reads a sample, whose size does not grow with a table: the timeout ends one
    that is stuck, and autovacuum analyzes its tables later.
    """
    services = _chosen(shop, manifest, only)
    own = {service: await _require_ready(shop, manifest, service, replace=replace) for service in services}
    warning = _warning_of_deleted_events(shop, manifest, services, now)
    if warning:
        log.warning(warning, backup=manifest.id)
    await verify_files(shop, manifest, services)
    log.info("the files of the backup are whole", backup=manifest.id)
    for service in services:
        await _require_unused(shop, service, own[service])
    await restore_dumps(shop, manifest, services, replace=replace)
    for service in services:
        if service in roles:
            await _grant(service, shop.databases[service], roles[service])
    try:
        resent = await resend_since(shop.databases, manifest.cut_at - RESEND_MARGIN, now)
    except DatabaseFailed as error:
        raise _incomplete(error, f"the databases are restored, but not all events are sent again: {error}") from error
    await asyncio.gather(*(analyze(service, shop.databases[service]) for service in services))
    return Restored(services, resent, warning)


def _warning_of_deleted_events(shop: Shop, manifest: Manifest, services: Collection[str], now: datetime) -> str:
    """Returns which events a part of the databases may lack, of services that are not restored; empty if none.

    How long a service keeps its events is its own setting: this is by the default.
    """
    others = sorted(set(shop.databases) - set(services))
    if not others or now - manifest.cut_at + RESEND_MARGIN <= _PUBLISHED_EVENTS_KEPT:
        return ""
    return (
        f"the backup is of {manifest.cut_at:%Y-%m-%d %H:%M} UTC, and {', '.join(others)} delete the events that they "
        f"have published after OUTBOX_RETENTION_SECONDS ({_PUBLISHED_EVENTS_KEPT.days} days by default): "
        f"{', '.join(services)} lacks what they deleted. Check the invariants of the shop, or restore all databases"
    )


def _chosen(shop: Shop, manifest: Manifest, only: Collection[str]) -> list[str]:
    if not only:
        require_databases(manifest, shop.databases)
    services = sorted(only or manifest.databases)
    unknown = [service for service in services if service not in manifest.databases]
    if unknown:
        raise RestoreRefused(f"the backup {manifest.id} has no database of {', '.join(unknown)}")
    missing = [service for service in services if service not in shop.databases]
    if missing:
        raise RestoreRefused(f"there is no login for the database of {', '.join(missing)}: mount its Secret")
    return services


async def _require_ready(shop: Shop, manifest: Manifest, service: str, *, replace: bool) -> int:
    """Raises RestoreRefused unless the database may be restored. Returns the process of this connection."""
    async with connect(service, shop.databases[service]) as connection:
        server, needed = connection.get_server_version().major, manifest.databases[service].server_version
        if server < needed:
            raise RestoreRefused(f"the database of {service} is PostgreSQL {server}, and the backup is of {needed}")
        await _require_no_clients(service, connection, [])
        if not replace and (objects := await translate_errors(service, connection.fetchval(_OBJECTS))):
            raise RestoreRefused(
                f"the database of {service} has {objects} tables and sequences: add --replace to delete all of them"
            )
        pid: int = connection.get_server_pid()
        return pid


async def _require_unused(shop: Shop, service: str, own: int) -> None:
    async with connect(service, shop.databases[service]) as connection:
        await _require_no_clients(service, connection, [own])


async def _require_no_clients(service: str, connection: asyncpg.Connection, own: Collection[int]) -> None:
    """Raises RestoreRefused if there are other clients than these processes, which may end a moment after us.

    PostgreSQL lists a client for a moment after it has left, such as one of a backup that is whole.
    """
    deadline = time.monotonic() + _LEAVING_SECONDS
    while clients := await translate_errors(service, connection.fetchval(_OTHER_CLIENTS, own)):
        if time.monotonic() > deadline:
            raise RestoreRefused(f"{clients} other connections use the database of {service}: close the shop first")
        await asyncio.sleep(_LEAVING_INTERVAL_SECONDS)


async def restore_dumps(shop: Shop, manifest: Manifest, services: Collection[str], *, replace: bool = False) -> None:
    """Restores all databases in open transactions, then commits them. Raises the first error. No database is changed by
    one that comes before the commits."""
    async with AsyncExitStack() as stack:
        sessions = {
            service: await stack.enter_async_context(shop.tools.run("psql", _PSQL, shop.databases[service], stdin=True))
            for service in services
        }
        try:
            async with asyncio.TaskGroup() as group:
                for service, session in sessions.items():
                    group.create_task(_fill(shop, manifest, service, session, replace=replace))
        except* Exception as errors:
            raise errors.exceptions[0] from None
        committed: list[str] = []
        for service, session in sessions.items():
            await _commit(service, session, committed)
            committed.append(service)


async def _fill(shop: Shop, manifest: Manifest, service: str, session: Program, *, replace: bool) -> None:
    """Executes the dump of a database in a transaction, which stays open."""
    try:
        await session.write(b"BEGIN;\n")
        if replace:
            await session.write(_EMPTY_SCHEMA)
        async with shop.tools.run("pg_restore", _RESTORE, stdin=True) as program:
            feeding = asyncio.create_task(_feed(program, shop, manifest, service))
            try:
                async for script in _for_any_server(program.output()):
                    await session.write(script)
                await feeding
            except DatabaseFailed:
                if feeding.done():
                    feeding.result()  # the dump could not be read, which is why the program failed
                raise
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
        await _await_answer(session, b"")
    except DatabaseFailed as error:
        raise type(error)(f"the database of {service}: {error}", error.exit_status) from None
    log.info("a database is restored", database=service)


async def _for_any_server(script: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields a script that servers before PostgreSQL 17 accept too: they do not know transaction_timeout.

    Changes only what comes before `SET client_encoding`, so never a row.
    """
    preamble = b""
    async for part in script:
        preamble += part
        if _AFTER_THE_TIMEOUTS in preamble or len(preamble) > _LONGEST_PREAMBLE:
            break
    timeouts, mark, rest = preamble.partition(_AFTER_THE_TIMEOUTS)
    yield timeouts.replace(_TRANSACTION_TIMEOUT, _TIMEOUT_IF_KNOWN) + mark + rest if mark else preamble
    async for part in script:
        yield part


async def _feed(program: Program, shop: Shop, manifest: Manifest, service: str) -> None:
    """Writes the dump to pg_restore. Its error ends the program's input, and is raised to the caller that waits."""
    try:
        async for part in read_dump(shop, manifest, service):
            await program.write(part)
    finally:
        program.close_input()


async def _commit(service: str, session: Program, committed: Sequence[str]) -> None:
    """Commits a database after those that are `committed`.

    Raises DatabaseFailed if PostgreSQL refuses the first one, so that none has changed, and RestoreIncomplete if it
    refuses a later one. Raises RestoreInterrupted if the connection is lost or psql is killed: whether a database is
    committed is not known then.
    """
    try:
        await _await_answer(session, b"COMMIT;\n")
    except DatabaseFailed as error:
        is_refused = error.exit_status == _STATEMENT_REFUSED
        if is_refused and not committed:
            text = f"PostgreSQL refused to commit, and the database of {service} is not restored, nor is another"
            raise DatabaseFailed(f"{text}: {error}") from None
        others = f"{', '.join(committed)} is restored already" if committed else "no other one is restored"
        advice = f"{error}; {others}: run the restore again with --replace"
        if is_refused:
            text = f"PostgreSQL refused to commit, and the database of {service} is not restored"
            raise RestoreIncomplete(f"{text}: {advice}") from None
        text = f"COMMIT had no answer, and whether the database of {service} is restored is not known"
        raise RestoreInterrupted(f"{text}: {advice}") from None
    session.close_input()
    with suppress(DatabaseFailed):  # it is committed, however psql ends
        await session.succeeded()


async def _await_answer(session: Program, statement: bytes) -> None:
    """Executes a statement and waits until psql has executed all that was written to it."""
    token = secrets.token_hex(16).encode()
    await session.write(statement + b"\\echo " + token + b"\n")
    while (await session.read_line()).strip() != token:
        pass


async def _grant(service: str, database: DatabaseSettings, role: DatabaseSettings) -> None:
    """Grants the service's role its privileges, which a dump does not have. Raises RestoreIncomplete."""
    engine = create_async_engine(database_url(database), connect_args={"ssl": database_tls(database)})
    try:
        async with engine.connect() as connection:
            await grant_runtime_role(connection, database, RuntimeRole(role.db_user, role.db_password))
    except _DATABASE_ERRORS as error:
        raise _incomplete(
            error,
            f"the role {role.db_user} did not get its privileges in the database of {service}, which is restored: "
            f"{_first_line(error)}; run the restore again with --replace",
        ) from error
    finally:
        await engine.dispose()


async def analyze(service: str, database: DatabaseSettings) -> None:
    """Collects statistics. Without them queries are slow until autovacuum does it, so a failure is only logged."""
    try:
        async with connect(service, database) as connection:
            await translate_errors(service, connection.execute("ANALYZE", timeout=_ANALYZE_TIMEOUT_SECONDS))
    except DatabaseFailed as error:
        log.warning("a database has no statistics: run ANALYZE in it", database=service, reason=str(error))


async def resend_since(databases: Mapping[str, DatabaseSettings], since: datetime, now: datetime) -> dict[str, int]:
    """Moves the published events since then back into the outboxes, of all databases that have one.

    Those that are too old for the consumers to recognize stay. Idempotent. Raises DatabaseFailed, RestoreIncomplete.
    """
    selection = Selection(max(since, now - MAX_AGE), now)
    resent: dict[str, int] = {}
    for service, settings in databases.items():
        async with connect(service, settings) as connection:
            if not await translate_errors(service, has_table(connection, "outbox_published")):
                continue
        database = Database(settings, schema="")
        try:
            resent[service] = sum([moved async for moved in resend(database, selection)])
        except _DATABASE_ERRORS as error:
            raise _incomplete(
                error,
                f"the databases are restored, but {service} does not send its events again: {_first_line(error)}; run "
                "the restore again with --replace",
            ) from error
        finally:
            await database.close()
    return resent


def _incomplete(error: Exception, text: str) -> RestoreIncomplete:
    """Returns that a restore has failed after it may have committed a database, and whether it lost a connection."""
    return RestoreInterrupted(text) if _is_connection_lost(error) else RestoreIncomplete(text)


def _is_connection_lost(error: BaseException | None) -> bool:
    """Decides by the causes, too: the chassis raises DatabaseUnavailable for a schema that is not migrated as well."""
    while error is not None:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        if isinstance(error, DatabaseUnreachable) or is_connection_lost(error):
            return True
        error = error.__cause__
    return False


def _first_line(error: BaseException) -> str:
    """Returns an error without the statement and the rows that the lines below the first one quote."""
    return (str(error) or type(error).__name__).splitlines()[0]
