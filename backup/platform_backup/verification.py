"""Verifies a backup: restores it into a scratch server, and checks the invariants of the services there.

Each database is dropped before the next one is restored, so the folder of the server has to hold the largest one.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import asyncpg
from chassis.database.invariants import Invariant
from chassis.observability import logs
from chassis.settings import DatabaseSettings

from platform_backup.catalog import record_verification
from platform_backup.create import Shop
from platform_backup.errors import (
    BackupDamaged,
    BackupNotRestorable,
    DatabaseFailed,
    DatabaseUnreachable,
    InvariantBroken,
    PostgresToolsTooOld,
    RestoreIncomplete,
    RestoreInterrupted,
    ScratchServerFailed,
)
from platform_backup.manifest import Manifest
from platform_backup.restore import analyze, restore_dumps
from platform_backup.scratch_server import ScratchServer
from platform_backup.snapshots import connect, revision_of, translate_errors

_QUERY_TIMEOUT_SECONDS = 3600.0
_OF_THE_SERVER = re.compile(
    "No space left on device|Disk quota exceeded|[Oo]ut of memory|Cannot allocate memory|closed the connection"
    r"|crash of another|in recovery mode|ended with -\d"
)
"""What a restore says if its server or its programs ended for another cause than the backup, such as by a signal."""
_OF_ANOTHER_RELEASE = (asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError, asyncpg.UndefinedTableError)
_AT_THE_CUT = """
    CREATE SCHEMA at_the_cut;
    CREATE FUNCTION at_the_cut.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$SELECT timestamptz '{at}'$$;
    SET search_path = at_the_cut, pg_catalog, public;
    SET default_transaction_read_only = on;
"""
"""Makes `now()` the time of the snapshot: an invariant such as *refunded within ten minutes* is about that time."""

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Violation:
    """Rows that violate an invariant."""

    service: str
    invariant: str
    rows: int

    def __str__(self) -> str:
        return f"{self.invariant} of {self.service} ({self.rows} row{'s' * (self.rows > 1)})"


async def verify_backup(
    shop: Shop,
    manifest: Manifest,
    services: Collection[str],
    invariants: Mapping[str, list[Invariant]],
    server: ScratchServer,
    now: datetime,
) -> dict[str, int]:
    """Restores a backup, and returns how many invariants held, by service. `services` are those that have a database.

    What came of it is recorded beside the manifest. Raises BackupDamaged, BackupNotRestorable and InvariantBroken for
    a backup that is not restorable, and other BackupErrors if that could not be found out.
    """
    try:
        checked = await _verify(shop, manifest, services, invariants, server)
    except (BackupDamaged, BackupNotRestorable, InvariantBroken) as error:
        await record_verification(shop, manifest, now, f"{error.reason}: {error}")
        raise
    await record_verification(shop, manifest, now)
    return checked


async def _verify(
    shop: Shop,
    manifest: Manifest,
    services: Collection[str],
    invariants: Mapping[str, list[Invariant]],
    server: ScratchServer,
) -> dict[str, int]:
    if missing := sorted(set(services) - set(manifest.databases)):
        raise BackupNotRestorable(
            f"{manifest.id} has no database of {', '.join(missing)}, which the shop has: take a new backup"
        )
    checked: dict[str, int] = {}
    violations: list[Violation] = []
    async with server.run() as login:
        for service in sorted(manifest.databases):
            checked[service], broken = await _verify_database(
                shop, manifest, service, invariants.get(service, []), login
            )
            violations += broken
    if violations:
        raise InvariantBroken(
            f"{manifest.id} was restored and violates {', '.join(map(str, violations))}: see the log, and the "
            "invariants of the shop"
        )
    return checked


async def _verify_database(
    shop: Shop, manifest: Manifest, service: str, invariants: list[Invariant], login: DatabaseSettings
) -> tuple[int, list[Violation]]:
    """Raises BackupDamaged, BackupNotRestorable, ScratchServerFailed."""
    try:
        return await _restore_and_check(shop, manifest, service, invariants, login)
    except (DatabaseFailed, RestoreIncomplete) as error:
        if not _is_of_the_server(error):
            raise
        raise ScratchServerFailed(
            f"the server into which {service} is restored failed, for want of room or memory perhaps: {error}"
        ) from error


def _is_of_the_server(error: DatabaseFailed | RestoreIncomplete) -> bool:
    is_lost = isinstance(error, DatabaseUnreachable | RestoreInterrupted)
    return is_lost or _OF_THE_SERVER.search(str(error)) is not None


async def _restore_and_check(
    shop: Shop, manifest: Manifest, service: str, invariants: list[Invariant], login: DatabaseSettings
) -> tuple[int, list[Violation]]:
    database = login.model_copy(update={"db_name": service})
    async with connect("the verification", login) as connection:
        _require_version(service, connection, manifest)
        await translate_errors("the verification", connection.execute(f'CREATE DATABASE "{service}"'))
        await _restore(shop, manifest, service, database)
        async with connect(service, database) as restored:
            result = await _check(restored, manifest, service, invariants)
        await translate_errors(service, connection.execute(f'DROP DATABASE "{service}" WITH (FORCE)'))
    return result


def _require_version(service: str, connection: asyncpg.Connection, manifest: Manifest) -> None:
    server, needed = connection.get_server_version().major, manifest.databases[service].server_version
    if server < needed:
        raise PostgresToolsTooOld(
            f"the database of {service} is of PostgreSQL {needed}, and this image has {server}: use a newer image"
        )


async def _restore(shop: Shop, manifest: Manifest, service: str, database: DatabaseSettings) -> None:
    """Raises BackupDamaged and BackupNotRestorable, and the errors of a restore that are of the server."""
    try:
        await restore_dumps(replace(shop, databases={service: database}), manifest, [service])
    except (DatabaseFailed, RestoreIncomplete) as error:
        if _is_of_the_server(error):
            raise
        raise BackupNotRestorable(f"{manifest.id} cannot be restored: {error}") from error
    await analyze(service, database)


async def _check(
    connection: asyncpg.Connection, manifest: Manifest, service: str, invariants: list[Invariant]
) -> tuple[int, list[Violation]]:
    """Returns how many invariants were checked, and those that are violated."""
    entry = manifest.databases[service]
    if (revision := await translate_errors(service, revision_of(connection))) != entry.revision:
        raise BackupNotRestorable(
            f"{manifest.id}: the restored database of {service} has the revision {revision}, and had {entry.revision}"
        )
    await translate_errors(service, connection.execute(_AT_THE_CUT.format(at=entry.snapshot_at.isoformat())))
    checked, violations = 0, []
    for invariant in invariants:
        try:
            rows = await translate_errors(service, connection.fetch(invariant.query, timeout=_QUERY_TIMEOUT_SECONDS))
        except DatabaseFailed as error:
            if not isinstance(error.__cause__, _OF_ANOTHER_RELEASE):
                raise
            reason = "the backup is of another release"
            log.warning("an invariant is not checked", database=service, invariant=invariant.name, reason=reason)
            continue
        checked += 1
        if rows:
            violations.append(Violation(service, invariant.name, len(rows)))
            first = str(dict(rows[0]))
            log.error("an invariant is broken", database=service, invariant=invariant.name, rows=len(rows), first=first)
        else:
            log.info("an invariant holds", database=service, invariant=invariant.name)
    return checked, violations
