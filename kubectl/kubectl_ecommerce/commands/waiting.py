"""Creates an object for a shop, and waits until it has ended.

A PlatformBackup or a PlatformRestore that cannot begin does not end, so that is reported at once.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_ecommerce.commands.command import Report, Session, message_report
from kubectl_ecommerce.errors import BackupFailedError, KubectlTimeoutError
from kubectl_ecommerce.kubectl import GROUP, Kubectl, Manifest
from kubectl_ecommerce.runbooks import OPERATOR_NAMESPACE
from kubectl_ecommerce.shop import Shop

REPORTS_WITHIN = "1m"
"""Time within which a running operator has reported about it."""
BEGINS_WITHIN = "10s"
"""Time within which it begins if nothing is in its way."""


def create_and_wait(
    session: Session,
    shop: Shop,
    kind: str,
    resource: str,
    spec: Mapping[str, Any],
    describe: Callable[[Manifest], str],
) -> Report:
    """Creates an object for a shop, and reports what `describe` says of its status when it has succeeded.

    Raises BackupFailedError.
    """
    name = object_name(session, shop)
    manifest = {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": shop.namespace},
        "spec": {"platform": shop.name, **spec},
    }

    def wait() -> Report:
        waiting = _Waiting(session.kubectl, kind, resource, shop.namespace, name)
        status = waiting.until_succeeded(session.arguments.timeout)
        named = {kind[0].lower() + kind[1:]: name}
        return result_report(shop, {**named, "status": status}, describe(status))

    return create_and_report(session, shop, manifest, wait)


def object_name(session: Session, shop: Shop, infix: str = "") -> str:
    """Returns the name of the object that a command creates: the one of its arguments, or of the shop and the time."""
    return session.arguments.name or f"{shop.name[:24].rstrip('-')}{infix}-{session.now:%Y%m%d-%H%M%S}"


def create_and_report(session: Session, shop: Shop, manifest: Manifest, wait: Callable[[], Report]) -> Report:
    """Creates an object, and returns the report of `wait`.

    With --dry-run it reports what would be created, and with --no-wait that it is created.
    """
    created = f"{manifest['kind']} {manifest['metadata']['name']}"
    session.kubectl.create(manifest, dry_run=session.arguments.dry_run)
    if session.arguments.dry_run:
        return message_report(shop, f"{created} would be created (dry run: nothing was changed)")
    if session.arguments.no_wait:
        return message_report(shop, f"{created} is created")
    return wait()


def result_report(shop: Shop, data: Mapping[str, Any], text: str) -> Report:
    """Reports the result for a shop, in one line for people."""
    return Report({"namespace": shop.namespace, "name": shop.name, **data}, lambda _: f"{shop}: {text}\n")


def add_arguments(parser: ArgumentParser, kind: str) -> None:
    """Adds --name, --no-wait and --timeout."""
    parser.add_argument("--name", help=f"name of the {kind} [the name of the shop and the time]")
    parser.add_argument("--no-wait", action="store_true", help=f"create the {kind} and do not wait until it has ended")
    parser.add_argument(
        "--timeout", default="1h", metavar="TIME", help="how long to wait after it has begun, such as 30m [1h]"
    )


@dataclass(frozen=True)
class _Waiting:
    """Waits for one object."""

    kubectl: Kubectl
    kind: str
    resource: str
    namespace: str
    name: str

    def until_succeeded(self, timeout: str) -> Manifest:
        """Returns its status with its result. Raises BackupFailedError."""
        if not self._has("phase", REPORTS_WITHIN):
            look = f"kubectl -n {OPERATOR_NAMESPACE} get pods"
            raise BackupFailedError(f"the operator has not reported about {self.kind} {self.name}: see {look}")
        if not self._has("completionTime", BEGINS_WITHIN):
            self._must_have_begun()
            if not self._has("completionTime", timeout):
                text = f"{self.kind} {self.name} has not ended within {timeout} and goes on"
                raise BackupFailedError(f"{text}: it is {_state(self._read())}")
        stored = self._read()
        if stored["status"]["phase"] != "Succeeded":
            raise BackupFailedError(f"{self.kind} {self.name} is {_state(stored)}")
        return stored["status"]  # type: ignore[no-any-return]

    def _must_have_begun(self) -> None:
        stored = self._read()
        if stored["status"]["phase"] == "Pending":
            delete = f"kubectl -n {self.namespace} delete {self.kind.lower()} {self.name}"
            text = f"{self.kind} {self.name} has not begun: it is {_state(stored)}"
            raise BackupFailedError(f"{text} It begins when this is corrected; to give it up: {delete}")

    def _has(self, field: str, timeout: str) -> bool:
        """Waits, and returns whether the status has a field then."""
        condition = (f"--for=jsonpath={{.status.{field}}}", f"--timeout={timeout}")
        try:
            self.kubectl.run("wait", f"{self.resource}/{self.name}", "--namespace", self.namespace, *condition)
        except KubectlTimeoutError:
            return False
        return True

    def _read(self) -> Manifest:
        return self.kubectl.read(self.resource, self.name, "--namespace", self.namespace)


def _state(stored: Manifest) -> str:
    """Returns the phase with its reason and message."""
    status = stored["status"]
    causes = [one for one in status.get("conditions") or () if one["type"] == "Complete"]
    return " ".join([status["phase"], *(f"with {one['reason']}: {one['message']}" for one in causes)])
