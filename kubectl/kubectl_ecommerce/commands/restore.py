"""`restore`: creates a PlatformRestore, waits for it, and reports its result."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from kubectl_ecommerce.commands.command import Command, Report, Session, message_report
from kubectl_ecommerce.commands.waiting import Waiting
from kubectl_ecommerce.errors import UsageError
from kubectl_ecommerce.kubectl import GROUP, RESTORES, Manifest
from kubectl_ecommerce.shop import Shop


def run(session: Session) -> Report:
    arguments = session.arguments
    chosen = _chosen(arguments)
    shop = session.shop()
    name = arguments.name or f"{shop.name[:24].rstrip('-')}-{session.now:%Y%m%d-%H%M%S}"
    manifest = {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": "PlatformRestore",
        "metadata": {"name": name, "namespace": shop.namespace},
        "spec": {"platform": shop.name, **chosen},
    }
    session.kubectl.create(manifest, dry_run=arguments.dry_run)
    if arguments.dry_run:
        return message_report(shop, f"PlatformRestore {name} would be created (dry run: nothing was changed)")
    if arguments.no_wait:
        return message_report(shop, f"PlatformRestore {name} is created")
    waiting = Waiting(session.kubectl, "PlatformRestore", RESTORES, shop.namespace, name)
    return _report(shop, waiting.until_succeeded(arguments.timeout))


def _chosen(arguments: Namespace) -> dict[str, Any]:
    """Returns the part of the spec that says which backup is restored. Raises UsageError."""
    if arguments.backup and arguments.of:
        raise UsageError("--of belongs to --id and --newest: a PlatformBackup is of a shop of its namespace")
    if arguments.backup:
        return {"backup": arguments.backup}
    place = {"id": arguments.id, "shop": arguments.of}
    return {"source": {field: value for field, value in place.items() if value}}


def _report(shop: Shop, stored: Manifest) -> Report:
    name, status = stored["metadata"]["name"], stored["status"]
    text = (
        f"backup {status['backupId']} of {status.get('cutTime', 'an unknown time')} is restored; the shop was closed "
        f"for {status['closedSeconds']} s, and of its invariants {status['invariants']}"
    )
    data = {"namespace": shop.namespace, "name": shop.name, "platformRestore": name, "status": status}
    return Report(data, lambda _: f"{shop}: {text}\n")


def _add_arguments(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--backup", help="name of a PlatformBackup of the namespace")
    which.add_argument("--id", help="id of a backup in the destination of the shop's spec.backup")
    which.add_argument("--newest", action="store_true", help="the newest whole backup in that destination")
    parser.add_argument("--of", metavar="NAMESPACE/SHOP", help="the shop that was backed up, if it is another")
    parser.add_argument("--name", help="name of the PlatformRestore [that of the shop with the time]")
    parser.add_argument("--no-wait", action="store_true", help="create it, and do not wait until it has ended")
    parser.add_argument("--timeout", default="1h", metavar="TIME", help="time to wait once it has begun, like 30m [1h]")


RESTORE = Command(
    "restore",
    "replace the data of a shop by a backup",
    "Creates a PlatformRestore, by which the operator closes the shop, replaces all its databases by those of a "
    "backup, opens the shop, and reads its invariants. Waits until it has ended, and fails if it has failed or cannot "
    "begin: then the message says whether the shop is closed, and what to do. All data since the backup is lost.",
    ("restore shop --backup before-the-sale", "restore shop -n shop --newest --of old/shop"),
    run,
    _add_arguments,
    changes=True,
)
