"""`restore`: creates a PlatformRestore, waits for it, and reports its result."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.commands.waiting import add_arguments, create_and_wait
from kubectl_ecommerce.errors import UsageError
from kubectl_ecommerce.kubectl import RESTORES, Manifest

KIND = "PlatformRestore"


def run(session: Session) -> Report:
    chosen = _chosen(session.arguments)
    return create_and_wait(session, session.shop(), KIND, RESTORES, chosen, _describe)


def _chosen(arguments: Namespace) -> dict[str, Any]:
    """Returns the part of the spec that says which backup is restored. Raises UsageError."""
    if arguments.backup and arguments.of:
        raise UsageError("--of belongs to --id and --newest: a PlatformBackup is of a shop of its namespace")
    if arguments.backup:
        return {"backup": arguments.backup}
    place = {"id": arguments.id, "shop": arguments.of}
    return {"source": {field: value for field, value in place.items() if value}}


def _describe(status: Manifest) -> str:
    return (
        f"backup {status['backupId']} of {status.get('cutTime', 'an unknown time')} is restored; the shop was closed "
        f"for {status['closedSeconds']} s; its invariants: {status['invariants']}"
    )


def _add_arguments(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--backup", help="name of a PlatformBackup in the namespace of the shop")
    which.add_argument("--id", help="id of a backup in the destination of the shop's spec.backup")
    which.add_argument("--newest", action="store_true", help="the newest good backup in that destination")
    parser.add_argument("--of", metavar="NAMESPACE/SHOP", help="the shop that was backed up, if it is another one")
    add_arguments(parser, KIND)


RESTORE = Command(
    "restore",
    "replace the data of a shop with that of a backup",
    "Creates a PlatformRestore: the operator checks the backup, closes the shop, replaces all its databases with "
    "those of the backup, opens the shop, and reads its invariants. All data since the backup is lost. A backup that "
    "lacks a database of the shop is refused. --newest takes the newest good backup: a whole one that no verification "
    "has found broken; --id and --backup take the one that they name. Waits until the restore has ended, and says what "
    "goes on until then. Fails if it failed or cannot begin before a person has done something: the message then says "
    "whether the shop is closed, and what to do.",
    ("restore shop --backup before-the-sale", "restore shop -n shop --newest --of old/shop"),
    run,
    _add_arguments,
    changes=True,
)
