"""The creation of a backup: a cut, a dump of each database from its snapshot, and last the manifest.

What fails before the manifest deletes its files. What is killed leaves files that are not a backup, which a later prune
deletes.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chassis.observability import logs
from chassis.settings import DatabaseSettings

from platform_backup.destination import Destination
from platform_backup.encryption import BackupKey, encrypt
from platform_backup.errors import BackupError, DatabaseFailed, DestinationUnavailable, PostgresToolsTooOld
from platform_backup.manifest import DatabaseEntry, Manifest, backup_id, write_manifest
from platform_backup.postgres_tools import PostgresTools, Program
from platform_backup.snapshots import Snapshot, cut, require_tables

MANIFEST = "manifest.json"
_DUMP = ["--format=custom", "--compress=zstd:3", "--no-password"]
_DUMPS_AT_ONCE = 3
"""The dumps that run at the same time: each holds parts of its file in memory."""

log = logs.get_logger(__name__)


def now_in_utc() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop as a backup sees it: its databases by service, and the key and the destination of its backups."""

    name: str
    databases: Mapping[str, DatabaseSettings]
    key: BackupKey
    destination: Destination
    tools: PostgresTools
    version: str = "dev"
    """The release of the tool, for the manifest."""
    uid: str = ""
    """The UID of its EcommercePlatform, which a later shop of the same name does not have; empty if it has none."""
    created: datetime | None = None
    """When its EcommercePlatform was created: older backups without a UID are of a former shop. None if not known."""


@dataclass(slots=True)
class _Written:
    """What passed through `counted`."""

    size: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    async def counted(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for part in content:
            self.size += len(part)
            self.digest.update(part)
            yield part


async def create_backup(shop: Shop, suffix: str, now: Callable[[], datetime] = now_in_utc) -> Manifest:
    """Backs up all databases of a shop, without closing it, and returns the manifest.

    The snapshots are held until the last dump has ended, which keeps vacuum from removing rows of that time. Raises
    BackupError, after deleting what it has written.
    """
    started_at = now()
    backup = backup_id(started_at, suffix)
    tools_version = await shop.tools.major_version()
    log.info("the backup begins", backup=backup, databases=list(shop.databases))
    try:
        return await _create(shop, backup, started_at, tools_version, now)
    except Exception:
        await _discard(shop, backup)
        raise


async def _create(
    shop: Shop, backup: str, started_at: datetime, tools_version: int, now: Callable[[], datetime]
) -> Manifest:
    async with cut(shop.databases) as snapshots:
        _require_tools_for(snapshots, tools_version)
        entries = await _dump_all(shop, backup, snapshots)
    manifest = Manifest(
        id=backup,
        shop=shop.name,
        shop_uid=shop.uid,
        tool_version=shop.version,
        key_id=shop.key.id,
        started_at=started_at,
        finished_at=now(),
        databases=entries,
    )
    await shop.destination.write(f"{shop.name}/{backup}/{MANIFEST}", write_manifest(manifest, shop.key))
    log.info("the backup is whole", backup=backup, bytes=manifest.size, cut_spread_seconds=manifest.cut_spread_seconds)
    return manifest


async def _discard(shop: Shop, backup: str) -> None:
    """Deletes the files of a backup that has failed, so that its next attempt has their room.

    What cannot be deleted is not a backup, and a later prune deletes it. A manifest whose write had no answer may be
    there all the same: then the backup is whole, and is left.
    """
    folder = f"{shop.name}/{backup}/"
    try:
        paths = await shop.destination.list(folder)
        if f"{folder}{MANIFEST}" in paths:
            return
        for path in paths:
            await shop.destination.delete(path)
    except BackupError as error:
        log.warning("the files of a failed backup are not deleted", backup=backup, error=str(error))


def _require_tools_for(snapshots: Mapping[str, Snapshot], tools_version: int) -> None:
    for service, snapshot in snapshots.items():
        if snapshot.server_version > tools_version:
            raise PostgresToolsTooOld(
                f"the database of {service} is PostgreSQL {snapshot.server_version}, which pg_dump {tools_version} "
                "cannot dump: use an image with its pg_dump"
            )


async def _dump_all(shop: Shop, backup: str, snapshots: Mapping[str, Snapshot]) -> dict[str, DatabaseEntry]:
    """Dumps all databases, a few at a time. The first error stops the others, and is raised."""
    slots = asyncio.Semaphore(_DUMPS_AT_ONCE)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {
                service: group.create_task(_dump(shop, backup, service, snapshot, slots))
                for service, snapshot in snapshots.items()
            }
    except* Exception as errors:
        raise errors.exceptions[0] from None
    return {service: task.result() for service, task in tasks.items()}


async def _dump(shop: Shop, backup: str, service: str, snapshot: Snapshot, slots: asyncio.Semaphore) -> DatabaseEntry:
    file = f"{service}.dump"
    path = f"{shop.name}/{backup}/{file}"
    written = _Written()
    async with slots:
        arguments = [*_DUMP, f"--snapshot={snapshot.name}"]
        async with shop.tools.run("pg_dump", arguments, shop.databases[service]) as dump:
            content = _checked(dump, service, shop.databases[service], snapshot)
            encrypted = encrypt(content, shop.key, f"{backup}/{file}")
            try:
                await shop.destination.write(path, written.counted(encrypted))
            except DatabaseFailed as error:
                raise type(error)(f"the database of {service}: {error}", error.exit_status) from None
    stored = await shop.destination.size(path)
    if stored != written.size:
        raise DestinationUnavailable(f"{path} has {stored} bytes where {written.size} were written: back up again")
    log.info("a database is dumped", database=service, bytes=written.size)
    return DatabaseEntry(
        file=file,
        size=written.size,
        sha256=written.digest.hexdigest(),
        server_version=snapshot.server_version,
        revision=snapshot.revision,
        snapshot_at=snapshot.at,
        outbox=snapshot.outbox,
    )


async def _checked(dump: Program, service: str, database: DatabaseSettings, snapshot: Snapshot) -> AsyncIterator[bytes]:
    """Yields the output of pg_dump. Raises DatabaseFailed if the dump would lack rows of the snapshot.

    pg_dump writes its first byte when it has locked all tables, until it ends: what is so then remains so.
    """
    is_checked = False
    async for part in dump.output():
        if not is_checked:
            await require_tables(service, database, snapshot)
            is_checked = True
        yield part
