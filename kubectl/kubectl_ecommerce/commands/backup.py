"""`backup`: creates a PlatformBackup, waits for it, and reports its result."""

from __future__ import annotations

from argparse import ArgumentParser

from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.commands.waiting import add_arguments, create_and_wait
from kubectl_ecommerce.kubectl import BACKUPS, Manifest

KIND = "PlatformBackup"


def run(session: Session) -> Report:
    return create_and_wait(session, session.shop(), KIND, BACKUPS, {}, _describe)


def _describe(status: Manifest) -> str:
    return f"backup {status['backupId']} of {status.get('cutTime', 'an unknown time')} is whole ({status['size']})"


def _add_arguments(parser: ArgumentParser) -> None:
    add_arguments(parser, KIND)


BACKUP = Command(
    "backup",
    "back up all databases of a shop now",
    "Creates a PlatformBackup: the operator backs up all databases at one point in time, while the shop serves, to the "
    "destination of its spec.backup. Waits until the backup has ended, and fails if it failed or cannot begin. Deletes "
    "no other backup.",
    ("backup", "backup shop -n shop --name before-the-sale"),
    run,
    _add_arguments,
    changes=True,
)
