"""Creates an object for a shop, and waits until it has ended.

A PlatformBackup or a PlatformRestore that waits for a person does not end, so that is reported at once. For what ends
by itself, such as the databases of a new shop that are not ready, the command waits with it.
"""

from __future__ import annotations

import re
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_ecommerce.commands.command import Report, Session, message_report
from kubectl_ecommerce.errors import BackupFailedError, KubectlTimeoutError, UsageError
from kubectl_ecommerce.kubectl import GROUP, Kubectl, Manifest
from kubectl_ecommerce.output import clean
from kubectl_ecommerce.runbooks import OPERATOR_NAMESPACE
from kubectl_ecommerce.shop import Shop

REPORTS_WITHIN = 60.0
"""Seconds within which a running operator has reported about it."""
INTERVAL = 10.0
"""Seconds between two looks at what has not ended. It has begun by the first one if nothing is in its way."""
WAITS_FOR = (
    "DatabasesNotReady", "Upgrading", "BackupRunning", "BackupNotComplete", "Restoring", "OtherRestore",
    "RenderTimedOut",
)  # fmt: skip
"""The reasons of a pending one that end by themselves, so that it begins without a person."""
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def create_and_wait(
    session: Session,
    shop: Shop,
    kind: str,
    resource: str,
    spec: Mapping[str, Any],
    describe: Callable[[Manifest], str],
) -> Report:
    """Creates an object for a shop, and reports what `describe` says of its status when it has succeeded.

    Raises BackupFailedError, UsageError.
    """
    timeout = session.arguments.timeout
    seconds = seconds_of(timeout)  # a wrong one is refused before anything is created
    name = object_name(session, shop)
    manifest = {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": shop.namespace},
        "spec": {"platform": shop.name, **spec},
    }

    def wait() -> Report:
        waiting = _Waiting(session.kubectl, kind, resource, shop.namespace, name, timeout, seconds)
        status = waiting.until_succeeded()
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
        "--timeout", default="1h", metavar="TIME", help="how long to wait until it has ended, such as 30m [1h]"
    )


def seconds_of(time_text: str) -> float:
    """Returns the seconds of a time as kubectl writes it, such as 1h30m. Raises UsageError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", time_text)
    if not parts or "".join(number + unit for number, unit in parts) != time_text:
        raise UsageError(f"{time_text} is not a time: write it like 30m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


@dataclass(frozen=True)
class _Waiting:
    """Waits for one object."""

    kubectl: Kubectl
    kind: str
    resource: str
    namespace: str
    name: str
    timeout: str
    """How long to wait until it has ended, as the user wrote it."""
    seconds: float
    """The same in seconds."""

    def until_succeeded(self) -> Manifest:
        """Returns its status with its result. Writes each change of its state to standard error until then.

        Raises BackupFailedError.
        """
        if not self._has("phase", REPORTS_WITHIN):
            look = f"kubectl -n {OPERATOR_NAMESPACE} get pods"
            raise BackupFailedError(f"the operator has not reported about {self.kind} {self.name}: see {look}")
        stored = self._until_ended()
        if stored["status"]["phase"] != "Succeeded":
            raise BackupFailedError(f"{self.kind} {self.name} is {_state(stored)}")
        return stored["status"]  # type: ignore[no-any-return]

    def _until_ended(self) -> Manifest:
        deadline, reported = time.monotonic() + self.seconds, ""
        while True:
            self._has("completionTime", min(INTERVAL, max(0.001, deadline - time.monotonic())))
            stored = self._read()
            if "completionTime" in stored["status"]:
                return stored
            self._require_begun(stored)
            if time.monotonic() >= deadline:
                text = f"{self.kind} {self.name} has not ended within {self.timeout} and goes on"
                raise BackupFailedError(f"{text}: it is {_state(stored)}")
            if (reason := _reason(stored)) != reported:
                sys.stderr.write(clean(f"{self.kind} {self.name} is {_state(stored)}") + "\n")
                reported = reason

    def _require_begun(self, stored: Manifest) -> None:
        """Raises BackupFailedError if it does not begin before a person has done something."""
        if stored["status"]["phase"] != "Pending" or _reason(stored) in WAITS_FOR:
            return
        delete = f"kubectl -n {self.namespace} delete {self.kind.lower()} {self.name}"
        text = f"{self.kind} {self.name} has not begun: it is {_state(stored)}"
        raise BackupFailedError(f"{text} It begins when this is corrected; to give it up: {delete}")

    def _has(self, field: str, seconds: float) -> bool:
        """Waits, and returns whether the status has a field then."""
        condition = (f"--for=jsonpath={{.status.{field}}}", f"--timeout={seconds:.3f}s")
        try:
            self.kubectl.run("wait", f"{self.resource}/{self.name}", "--namespace", self.namespace, *condition)
        except KubectlTimeoutError:
            return False
        return True

    def _read(self) -> Manifest:
        return self.kubectl.read(self.resource, self.name, "--namespace", self.namespace)


def _reason(stored: Manifest) -> str:
    return str(_complete(stored)["reason"])


def _state(stored: Manifest) -> str:
    """Returns the phase with its reason and message."""
    complete = _complete(stored)
    return f"{stored['status']['phase']} with {complete['reason']}: {complete['message']}"


def _complete(stored: Manifest) -> Manifest:
    """Returns the condition Complete, which the operator writes together with the phase."""
    (condition,) = (one for one in stored["status"]["conditions"] if one["type"] == "Complete")
    return condition  # type: ignore[no-any-return]
