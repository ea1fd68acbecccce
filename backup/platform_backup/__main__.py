"""The command `python -m platform_backup`: create, list, verify, check, restore and prune the backups of a shop.

Its settings are environment variables (platform_backup.settings). The last line of its output is what it did, as JSON;
the lines before are the log. It exits with 0 if it has succeeded, 78 if the settings are wrong, 2 if the arguments are
wrong, and 1 otherwise. A failure is one line on stderr, and in a pod the termination message: a reason and what to do.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chassis.errors import DatabaseUnavailable, RuntimeRoleRefused, SettingsError
from chassis.observability import logs
from chassis.settings import load

from platform_backup.catalog import (
    find_backup,
    list_backups,
    newest_backup,
    newest_good_backup,
    prune,
    require_databases,
    require_files,
)
from platform_backup.create import Shop, create_backup
from platform_backup.destination import open_destination
from platform_backup.errors import BackupError, DatabaseFailed, DestinationFull
from platform_backup.manifest import Manifest
from platform_backup.postgres_tools import PostgresTools
from platform_backup.restore import restore_backup
from platform_backup.retention import Retention, StoredBackup
from platform_backup.scratch_server import ScratchServer
from platform_backup.settings import (
    BackupSettings,
    read_databases,
    read_invariants,
    read_runtime_roles,
    read_services,
)
from platform_backup.snapshots import choose_passwords
from platform_backup.verification import verify_backup

log = logs.get_logger(__name__)

TERMINATION_LOG = Path("/dev/termination-log")
MAX_MESSAGE = 500
"""Characters of an error in the termination message: escaped as JSON, they fit into the 4096 bytes of it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command."""
    chosen = _parser().parse_args(arguments)
    settings = load(BackupSettings)
    logs.configure("backup", settings.tenant, settings.log_level)
    try:
        answer = asyncio.run(_run(chosen, settings))
    except SettingsError as error:
        _fail("SettingsWrong", str(error), os.EX_CONFIG)
    except BackupError as error:
        _fail(error.reason, str(error), 1)
    except (DatabaseUnavailable, RuntimeRoleRefused) as error:
        _fail(DatabaseFailed.reason, str(error), 1)
    else:
        _terminate_with(_shortened(answer))
        sys.stdout.write(json.dumps(answer) + "\n")


async def _run(chosen: argparse.Namespace, settings: BackupSettings) -> dict[str, Any] | list[Any]:
    needs_databases = chosen.command in {"create", "restore"}
    shop = Shop(
        name=settings.backup_shop,
        uid=settings.backup_shop_uid,
        created=settings.shop_created,
        databases=await choose_passwords(read_databases(settings.backup_databases)) if needs_databases else {},
        key=settings.key,
        destination=open_destination(settings),
        tools=PostgresTools(settings.backup_postgres_bin),
        version=settings.backup_version,
    )
    now = datetime.now(UTC)
    retention = Retention(settings.backup_keep, timedelta(days=settings.backup_keep_days))
    if chosen.command == "create":
        return await _create(shop, retention)
    if chosen.command == "prune":
        return {"deleted": await prune(shop, retention, now)}
    if chosen.command == "list":
        return [_listed(backup) for backup in await list_backups(shop)]
    manifest = await _find(shop, chosen, now)
    if chosen.command == "check":
        require_databases(manifest, read_services(settings.backup_databases))
        await require_files(shop, manifest)
        return _summary(manifest)
    if chosen.command == "verify":
        invariants, services = read_invariants(settings.backup_invariants), read_services(settings.backup_databases)
        server = ScratchServer(shop.tools, Path(settings.backup_scratch))
        return {
            **_summary(manifest),
            "invariants": await verify_backup(shop, manifest, services, invariants, server, now),
        }
    roles = read_runtime_roles(settings.backup_runtime_roles)
    restored = await restore_backup(shop, manifest, roles, now, chosen.only, replace=chosen.replace)
    warning = {"warning": restored.warning} if restored.warning else {}
    return {**_summary(manifest), "restored": restored.databases, "resent": restored.resent, **warning}


async def _find(shop: Shop, chosen: argparse.Namespace, now: datetime) -> Manifest:
    if chosen.id:
        return await find_backup(shop, chosen.id)
    return await (newest_backup(shop, now) if chosen.command == "verify" else newest_good_backup(shop, now))


async def _create(shop: Shop, retention: Retention) -> dict[str, object]:
    """Backs up the shop, then prunes. In a full destination it prunes first, and tries once more if that made room.

    So a lower retention has an effect there. The newest good backups are kept, as after each backup.
    """
    made_room: list[str] = []
    try:
        manifest = await create_backup(shop, secrets.token_hex(3))
    except DestinationFull as error:
        log.warning("the destination is full: the backups that are no longer kept are deleted", error=str(error))
        made_room, _ = await _prune_if_possible(shop, retention)
        if not made_room:
            raise
        manifest = await create_backup(shop, secrets.token_hex(3))
    deleted, failure = await _prune_if_possible(shop, retention, manifest.id)
    return {**_summary(manifest), "deleted": made_room + deleted, **({"pruneFailed": failure} if failure else {})}


async def _prune_if_possible(shop: Shop, retention: Retention, made: str = "") -> tuple[list[str], str]:
    """Prunes, but never the backup `made`. Returns the ids of what is deleted, and why if it failed.

    A failure is logged, and is no reason for the Job to repeat the backup.
    """
    try:
        return await prune(shop, retention, datetime.now(UTC), made), ""
    except BackupError as error:
        log.warning("old backups are not deleted", reason=error.reason, error=str(error))
        return [], f"{error.reason}: {error}"


def _listed(backup: StoredBackup) -> dict[str, object]:
    of = {"shopUid": backup.shop_uid} if backup.shop_uid else {}
    verified = {"restorable": backup.is_restorable} if backup.is_restorable is not None else {}
    return {"id": backup.id, "whole": backup.is_whole, **verified, **of}


def _summary(manifest: Manifest) -> dict[str, object]:
    return {
        "id": manifest.id,
        "cut": manifest.cut_at.isoformat(timespec="milliseconds"),
        "spreadSeconds": round(manifest.cut_spread_seconds, 3),
        "bytes": manifest.size,
        "databases": {service: entry.revision for service, entry in manifest.databases.items()},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="platform_backup", description="Back up and restore the databases of a shop.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("create", help="back up all databases, then delete the backups that are no longer kept")
    commands.add_parser("list", help="list the backups, also those that are not whole")
    commands.add_parser("prune", help="delete the backups that are no longer kept")
    for name, kind, text in (
        ("verify", "whole", "restore a backup into a scratch server, and check its invariants there"),
        (
            "check",
            "good",
            "check that a backup has all databases, that its manifest opens with the key, and how large its files are",
        ),
        ("restore", "good", "restore the databases of a closed shop, and send the events since the backup again"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("id", nargs="?", help=f"the backup; by default the newest {kind} one")
    command.add_argument("--only", action="append", default=[], metavar="SERVICE", help="only the database of this one")
    command.add_argument("--replace", action="store_true", help="delete what the databases have")
    return parser


def _fail(reason: str, message: str, status: int) -> None:
    sys.stderr.write(f"platform_backup: {reason}: {message}\n")
    _terminate_with(json.dumps({"reason": reason, "message": message[:MAX_MESSAGE]}))
    raise SystemExit(status)


def _shortened(answer: dict[str, Any] | list[Any]) -> str:
    """Returns an answer as JSON, with the number of what was deleted or listed: Kubernetes keeps 4096 bytes."""
    if isinstance(answer, list):
        return json.dumps({"backups": len(answer)})
    short = dict(answer)
    if "deleted" in answer:
        short["deleted"] = len(answer["deleted"])
    if "pruneFailed" in answer:
        short["pruneFailed"] = answer["pruneFailed"][:MAX_MESSAGE]
    return json.dumps(short)


def _terminate_with(message: str) -> None:
    """Leaves a message in the status of the pod, if this is one."""
    if TERMINATION_LOG.exists() and os.access(TERMINATION_LOG, os.W_OK):
        TERMINATION_LOG.write_text(message)


if __name__ == "__main__":
    main()
