"""`backup`: creates a PlatformBackup, waits for it, and reports its result."""

from __future__ import annotations

from argparse import ArgumentParser

from kubectl_ecommerce.commands.command import Command, Report, Session, message_report
from kubectl_ecommerce.commands.waiting import Waiting
from kubectl_ecommerce.kubectl import BACKUPS, GROUP, Manifest
from kubectl_ecommerce.shop import Shop


def run(session: Session) -> Report:
    shop, arguments = session.shop(), session.arguments
    name = arguments.name or f"{shop.name[:24].rstrip('-')}-{session.now:%Y%m%d-%H%M%S}"
    metadata = {"name": name, "namespace": shop.namespace}
    manifest = {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": "PlatformBackup",
        "metadata": metadata,
        "spec": {"platform": shop.name},
    }
    session.kubectl.create(manifest, dry_run=arguments.dry_run)
    if arguments.dry_run:
        return message_report(shop, f"PlatformBackup {name} would be created (dry run: nothing was changed)")
    if arguments.no_wait:
        return message_report(shop, f"PlatformBackup {name} is created")
    waiting = Waiting(session.kubectl, "PlatformBackup", BACKUPS, shop.namespace, name)
    return _report(shop, waiting.until_succeeded(arguments.timeout))


def _report(shop: Shop, stored: Manifest) -> Report:
    name, status = stored["metadata"]["name"], stored["status"]
    text = f"backup {status['backupId']} of {status.get('cutTime', 'an unknown time')} is whole ({status['size']})"
    data = {"namespace": shop.namespace, "name": shop.name, "platformBackup": name, "status": status}
    return Report(data, lambda _: f"{shop}: {text}\n")


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--name", help="name of the PlatformBackup [that of the shop with the time]")
    parser.add_argument("--no-wait", action="store_true", help="create it, and do not wait until it has ended")
    parser.add_argument("--timeout", default="1h", metavar="TIME", help="time to wait once it has begun, like 30m [1h]")


BACKUP = Command(
    "backup",
    "back up all databases of a shop now",
    "Creates a PlatformBackup, by which the operator backs up all databases at one cut while the shop serves, to the "
    "destination of its spec.backup. Waits until it has ended, and fails if it has failed or cannot begin. It deletes "
    "no other backup.",
    ("backup", "backup shop -n shop --name before-the-sale"),
    run,
    _add_arguments,
    changes=True,
)
