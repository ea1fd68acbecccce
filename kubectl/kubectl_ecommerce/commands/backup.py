"""`backup`: creates a PlatformBackup, waits for it, and reports its result."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import dataclass

from kubectl_ecommerce.commands.command import Command, Report, Session, message_report
from kubectl_ecommerce.errors import BackupFailedError, KubectlTimeoutError
from kubectl_ecommerce.kubectl import BACKUPS, GROUP, Kubectl, Manifest
from kubectl_ecommerce.runbooks import OPERATOR_NAMESPACE
from kubectl_ecommerce.shop import Shop

REPORTS_WITHIN = "1m"
"""Time within which a running operator has reported about a PlatformBackup."""
BEGINS_WITHIN = "10s"
"""Time within which a PlatformBackup begins if nothing is in its way."""


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
    return _report(shop, _Waiting(session.kubectl, shop.namespace, name).until_ended(arguments.timeout))


@dataclass(frozen=True)
class _Waiting:
    """Waits for a PlatformBackup, which has no end while it cannot begin."""

    kubectl: Kubectl
    namespace: str
    name: str

    def until_ended(self, timeout: str) -> Manifest:
        """Returns it with its result. Raises BackupFailedError."""
        if not self._has("phase", REPORTS_WITHIN):
            look = f"kubectl -n {OPERATOR_NAMESPACE} get pods"
            raise BackupFailedError(f"the operator has not reported about PlatformBackup {self.name}: see {look}")
        if not self._has("completionTime", BEGINS_WITHIN):
            self._must_have_begun()
            if not self._has("completionTime", timeout):
                text = f"PlatformBackup {self.name} has not ended within {timeout} and goes on"
                raise BackupFailedError(f"{text}: it is {_state(self._read())}")
        return self._read()

    def _must_have_begun(self) -> None:
        stored = self._read()
        if stored["status"]["phase"] == "Pending":
            delete = f"kubectl -n {self.namespace} delete platformbackup {self.name}"
            text = f"PlatformBackup {self.name} has not begun: it is {_state(stored)}"
            raise BackupFailedError(f"{text} It begins when this is corrected; to give it up: {delete}")

    def _has(self, field: str, timeout: str) -> bool:
        """Waits, and returns whether the status has a field then."""
        condition = (f"--for=jsonpath={{.status.{field}}}", f"--timeout={timeout}")
        try:
            self.kubectl.run("wait", f"{BACKUPS}/{self.name}", "--namespace", self.namespace, *condition)
        except KubectlTimeoutError:
            return False
        return True

    def _read(self) -> Manifest:
        return self.kubectl.read(BACKUPS, self.name, "--namespace", self.namespace)


def _state(stored: Manifest) -> str:
    """Returns the phase with its reason and message."""
    status = stored["status"]
    causes = [one for one in status.get("conditions") or () if one["type"] == "Complete"]
    return " ".join([status["phase"], *(f"with {one['reason']}: {one['message']}" for one in causes)])


def _report(shop: Shop, stored: Manifest) -> Report:
    """Raises BackupFailedError."""
    name, status = stored["metadata"]["name"], stored["status"]
    if status["phase"] != "Succeeded":
        raise BackupFailedError(f"PlatformBackup {name} is {_state(stored)}")
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
