"""The backups of a destination: finding, verifying and deleting them."""

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import datetime

from chassis.observability import logs

from platform_backup.create import MANIFEST, Shop
from platform_backup.encryption import decrypt
from platform_backup.errors import BackupDamaged, BackupNotFound, RestoreRefused, WrongKey
from platform_backup.manifest import (
    Manifest,
    Verification,
    read_manifest,
    read_verification,
    stated_uid,
    time_of,
    write_verification,
)
from platform_backup.retention import Retention, StoredBackup, expired

VERIFICATION = "verification.json"

log = logs.get_logger(__name__)


async def list_backups(shop: Shop) -> list[StoredBackup]:
    """Returns all backups of a shop, the oldest first, also those that are not whole. Raises Destination…."""
    sizes: dict[str, dict[str, int]] = defaultdict(dict)
    for path, size in (await shop.destination.list(f"{shop.name}/")).items():
        backup, _, file = path.removeprefix(f"{shop.name}/").partition("/")
        sizes[backup][file] = size
    return [
        await _stored(shop, backup, at, files)
        for backup, files in sorted(sizes.items())
        if (at := time_of(backup)) is not None
    ]


async def _stored(shop: Shop, backup: str, at: datetime, sizes: dict[str, int]) -> StoredBackup:
    text = await _manifest_text(shop, backup) if MANIFEST in sizes else None
    if text is None:
        return StoredBackup(backup, at, MANIFEST in sizes, is_whole=False)
    try:
        entries = _manifest(shop, backup, text).databases.values()
    except (BackupDamaged, WrongKey) as error:
        log.warning("a backup is not whole", backup=backup, reason=str(error))
        return StoredBackup(backup, at, has_manifest=True, is_whole=False, shop_uid=stated_uid(text))
    is_whole = all(sizes.get(entry.file) == entry.size for entry in entries)
    is_restorable = await _is_restorable(shop, backup) if VERIFICATION in sizes else None
    return StoredBackup(backup, at, True, is_whole, stated_uid(text), is_restorable)


async def _is_restorable(shop: Shop, backup: str) -> bool | None:
    """Returns what the last verification has found; None if that is not known."""
    text = await shop.destination.read(f"{shop.name}/{backup}/{VERIFICATION}")
    if text is None:
        return None
    try:
        verification = read_verification(text, shop.key)
    except (BackupDamaged, WrongKey) as error:
        log.warning("the result of a verification is not read", backup=backup, reason=str(error))
        return None
    return not verification.failure if (verification.shop, verification.id) == (shop.name, backup) else None


async def record_verification(shop: Shop, manifest: Manifest, now: datetime, failure: str = "") -> None:
    """Writes the result of a verification beside the manifest, in place of a former one.

    Raises BackupNotFound if the backup was deleted since: it has no result then, and its loss is no damage.
    """
    if await _manifest_text(shop, manifest.id) is None:
        raise BackupNotFound(f"{manifest.id} was deleted while it was verified: verify a newer backup")
    verification = Verification(
        id=manifest.id, shop=manifest.shop, key_id=shop.key.id, verified_at=now, failure=failure
    )
    path = f"{manifest.shop}/{manifest.id}/{VERIFICATION}"
    await shop.destination.write(path, write_verification(verification, shop.key))


async def find_backup(shop: Shop, backup: str) -> Manifest:
    """Returns the manifest of a backup. Raises BackupNotFound, BackupDamaged, WrongKey, Destination…."""
    text = await _manifest_text(shop, backup)
    if text is None:
        raise BackupNotFound(
            f"{shop.name} has no backup {backup} with a manifest: it does not exist, or was stopped before it was whole"
        )
    return _manifest(shop, backup, text)


async def _manifest_text(shop: Shop, backup: str) -> bytes | None:
    return await shop.destination.read(f"{shop.name}/{backup}/{MANIFEST}")


def _manifest(shop: Shop, backup: str, text: bytes) -> Manifest:
    manifest = read_manifest(text, shop.key)
    if (manifest.shop, manifest.id) != (shop.name, backup):
        raise BackupDamaged(
            f"{shop.name}/{backup} has the manifest of {manifest.shop}/{manifest.id}: restore it from there"
        )
    return manifest


async def newest_backup(shop: Shop, now: datetime) -> Manifest:
    """Returns the manifest of the newest whole backup of the shop, for a verification. Raises BackupNotFound."""
    whole = [backup for backup in await list_backups(shop) if backup.is_whole]
    own = [backup for backup in whole if backup.belongs_to(shop.uid, shop.created)]
    return await _newest_of(shop, own, now)


async def newest_good_backup(shop: Shop, now: datetime) -> Manifest:
    """Returns the manifest of the newest backup of any shop of the name that may be restored, if that is clear.

    One that a verification has found not to be restorable is passed over. Raises BackupNotFound, and RestoreRefused
    where the name has had several shops: a new one may have been backed up while it was still empty.
    """
    whole = [backup for backup in await list_backups(shop) if backup.is_whole]
    newest = {backup.owner(shop.uid, shop.created): backup.id for backup in whole}
    if len(newest) > 1:
        raise RestoreRefused(
            f"{shop.name} has backups of {len(newest)} shops of this name: name one. The newest of each: "
            + ", ".join(f"{backup} (of {uid or 'unknown UID'})" for uid, backup in newest.items())
        )
    return await _newest_of(shop, whole, now, good=True)


async def _newest_of(shop: Shop, whole: list[StoredBackup], now: datetime, *, good: bool = False) -> Manifest:
    """Returns the newest one that is not from the future, and that is `good` if so asked. Raises BackupNotFound."""
    _report_ahead(whole, now)
    skipped: list[str] = []
    for backup in reversed(whole):
        if backup.is_ahead(now):
            skipped.append(f"{backup.id} is from the future")
        elif good and not backup.is_good:
            log.warning("a backup is passed over: its verification has failed", backup=backup.id)
            skipped.append(f"the verification of {backup.id} has failed")
        else:
            return await find_backup(shop, backup.id)
    if skipped:
        raise BackupNotFound(f"{shop.name} has no backup to choose: {', '.join(skipped)}. Name the one that you want")
    raise BackupNotFound(f"{shop.name} has no whole backup that this key can read")


def _report_ahead(backups: Iterable[StoredBackup], now: datetime) -> None:
    for backup in backups:
        if backup.is_ahead(now):
            advice = "correct the clocks of the nodes; delete it if it is in the way"
            log.warning(
                "a backup is from the future, and does not count as the newest", backup=backup.id, advice=advice
            )


def require_databases(manifest: Manifest, services: Iterable[str]) -> None:
    """Raises RestoreRefused unless a backup has a database of each of these services, those of the shop."""
    if missing := sorted(set(services) - set(manifest.databases)):
        raise RestoreRefused(
            f"the backup {manifest.id} has no database of {', '.join(missing)}, which the shop has and a restore would "
            "leave as it is: choose another backup, or name each service to restore with --only"
        )


async def require_files(shop: Shop, manifest: Manifest) -> None:
    """Raises BackupDamaged unless all files of a backup exist with their size. It reads none of them."""
    folder = f"{manifest.shop}/{manifest.id}/"
    sizes = await shop.destination.list(folder)
    entries = manifest.databases.values()
    if damaged := sorted(entry.file for entry in entries if sizes.get(folder + entry.file) != entry.size):
        raise BackupDamaged(f"{manifest.id}: {', '.join(damaged)} is missing or cut off: restore another backup")


async def verify_files(shop: Shop, manifest: Manifest, services: Iterable[str]) -> None:
    """Reads the files of these services: their digests, and that each decrypts to its end. Raises BackupDamaged."""
    for service in services:
        async for _ in read_dump(shop, manifest, service):
            pass


async def read_dump(shop: Shop, manifest: Manifest, service: str) -> AsyncIterator[bytes]:
    """Yields the dump of a database.

    Raises BackupDamaged, at the latest at the end: what was yielded may be used only if there was no error.
    """
    entry = manifest.databases[service]
    digest = hashlib.sha256()

    async def digested() -> AsyncIterator[bytes]:
        async for part in shop.destination.stream(f"{manifest.shop}/{manifest.id}/{entry.file}"):
            digest.update(part)
            yield part

    async for part in decrypt(digested(), shop.key, f"{manifest.id}/{entry.file}"):
        yield part
    if digest.hexdigest() != entry.sha256:
        raise BackupDamaged(f"{entry.file} is not the file of the manifest: restore another backup")


async def prune(shop: Shop, retention: Retention, now: datetime, own: str = "") -> list[str]:
    """Deletes the backups that the retention does not keep, and returns their ids. It keeps `own`, that of this run.

    The manifest goes first: a backup that is half deleted is none.
    """
    stored = await list_backups(shop)
    _report_ahead(stored, now)
    chosen = expired(stored, retention, now, shop.uid, shop.created, own)
    for backup in chosen:
        folder = f"{shop.name}/{backup.id}/"
        paths = await shop.destination.list(folder)
        for path in sorted(paths, key=lambda path: not path.endswith(f"/{MANIFEST}")):
            await shop.destination.delete(path)
        log.info("a backup is deleted", backup=backup.id)
    return [backup.id for backup in chosen]
