"""Creates an object for a shop, and waits until it has ended.

A PlatformBackup or a PlatformRestore that waits for a person does not end, so that is reported at once. For what ends
by itself, such as the databases of a new shop that are not ready, the command waits with it.
"""

from __future__ import annotations

import re
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from kubectl_ecommerce.commands.command import Report, Session, message_report
from kubectl_ecommerce.errors import (
    BackupFailedError,
    InterruptedCommandError,
    KubectlError,
    KubectlTimeoutError,
    NotFoundError,
    UnreachableError,
    UsageError,
)
from kubectl_ecommerce.kubectl import GROUP, Kubectl, Manifest
from kubectl_ecommerce.output import clean
from kubectl_ecommerce.runbooks import OPERATOR_NAMESPACE
from kubectl_ecommerce.shop import Shop
from kubectl_ecommerce.streams import write_message

REPORTS_WITHIN = 60.0
"""Seconds within which a running operator has reported about it."""
INTERVAL = 10.0
"""Seconds between two looks at what has not ended. It has begun by the first one if nothing is in its way."""
RETRY_AFTER = 5.0
"""Seconds until a cluster that does not answer is asked again."""
WAITS_FOR = (
    "DatabasesNotReady", "Upgrading", "BackupRunning", "BackupNotComplete", "Restoring", "OtherRestore",
    "RenderTimedOut",
)  # fmt: skip
"""The reasons of a pending one that end by themselves, so that it begins without a person."""
_Answer = TypeVar("_Answer")
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
    name = object_name(session, shop)
    manifest = {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": shop.namespace},
        "spec": {"platform": shop.name, **spec},
    }

    def wait(created: Created) -> Report:
        status = _until_succeeded(created)
        named = {kind[0].lower() + kind[1:]: name}
        return result_report(shop, {**named, "status": status}, describe(status))

    return create_and_report(session, shop, manifest, resource, wait)


def object_name(session: Session, shop: Shop, infix: str = "") -> str:
    """Returns the name of the object that a command creates: the one of its arguments, or of the shop and the time."""
    return session.arguments.name or f"{shop.name[:24].rstrip('-')}{infix}-{session.now:%Y%m%d-%H%M%S}"


def create_and_report(
    session: Session, shop: Shop, manifest: Manifest, resource: str, wait: Callable[[Created], Report]
) -> Report:
    """Creates an object, and returns the report of `wait`.

    With --dry-run it reports what would be created, and with --no-wait that it is created. Raises
    InterruptedCommandError, UsageError.
    """
    timeout = session.arguments.timeout
    seconds = seconds_of(timeout)  # a wrong one is refused before anything is created
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    if session.arguments.dry_run:
        session.kubectl.create(manifest, dry_run=True)
        return message_report(shop, f"{kind} {name} would be created (dry run: nothing was changed)")
    created = Created(session.kubectl, kind, resource, shop.namespace, name, timeout, time.monotonic() + seconds)
    try:
        session.kubectl.create(manifest, dry_run=False)
        return message_report(shop, f"{created} is created") if session.arguments.no_wait else wait(created)
    except KeyboardInterrupt:
        raise InterruptedCommandError(f"interrupted: {created.goes_on}") from None


def result_report(shop: Shop, data: Mapping[str, Any], text: str) -> Report:
    """Reports the result for a shop, in one line for people."""
    return Report({"namespace": shop.namespace, "name": shop.name, **data}, lambda _: f"{shop}: {clean(text)}\n")


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
class Created:
    """An object that a command has created, and waits for until a deadline."""

    kubectl: Kubectl
    kind: str
    resource: str
    namespace: str
    name: str
    timeout: str
    """How long to wait until it has ended, as the user wrote it."""
    deadline: float
    """When that is over, by the monotonic clock."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def goes_on(self) -> str:
        """Says that it goes on without the command, and how to see it."""
        return f"{self} goes on: see kubectl -n {self.namespace} describe {self.kind.lower()} {self.name}"

    @property
    def is_overdue(self) -> bool:
        return time.monotonic() >= self.deadline

    def has(self, jsonpath: str, seconds: float) -> bool:
        """Waits, and returns whether a path has a value then."""
        flags = (f"--for=jsonpath={jsonpath}", f"--timeout={seconds:.3f}s")
        try:
            self._answer(lambda: self.kubectl.run("wait", *self._address, *flags))
        except KubectlTimeoutError:
            return False
        return True

    def has_soon(self, jsonpath: str) -> bool:
        """Waits for INTERVAL, but not beyond the deadline, and returns whether a path has a value then."""
        return self.has(jsonpath, max(0.001, min(INTERVAL, self.deadline - time.monotonic())))

    def read(self) -> Manifest:
        return self._answer(lambda: self.kubectl.read(*self._address))

    @property
    def _address(self) -> tuple[str, ...]:
        return f"{self.resource}/{self.name}", "--namespace", self.namespace

    def _answer(self, ask: Callable[[], _Answer]) -> _Answer:
        """Returns the answer to a request. A cluster that does not answer is asked again until the deadline.

        Raises KubectlTimeoutError, and BackupFailedError for any other failure: the object goes on without the command.
        """
        reported = False
        while True:
            try:
                return ask()
            except KubectlTimeoutError:
                raise
            except NotFoundError:
                raise BackupFailedError(f"{self} was deleted before it has ended") from None
            except KubectlError as error:
                if not isinstance(error, UnreachableError) or self.is_overdue:
                    raise BackupFailedError(f"{error} {self.goes_on}") from None
                if not reported:
                    write_message(f"{error} {self} goes on; the cluster is asked again.")
                    reported = True
            time.sleep(RETRY_AFTER)


def _until_succeeded(created: Created) -> Manifest:
    """Returns the status with the result. Writes each change of the state to standard error until then.

    Raises BackupFailedError.
    """
    if not created.has("{.status.phase}", REPORTS_WITHIN):
        look = f"kubectl -n {OPERATOR_NAMESPACE} get pods"
        raise BackupFailedError(f"the operator has not reported about {created}: see {look}")
    stored = _until_ended(created)
    if stored["status"]["phase"] != "Succeeded":
        raise BackupFailedError(f"{created} is {_state(stored)}")
    return stored["status"]  # type: ignore[no-any-return]


def _until_ended(created: Created) -> Manifest:
    reported = ""
    while True:
        created.has_soon("{.status.completionTime}")
        stored = created.read()
        if "completionTime" in stored["status"]:
            return stored
        _require_begun(created, stored)
        if created.is_overdue:
            text = f"{created} has not ended within {created.timeout} and goes on"
            raise BackupFailedError(f"{text}: it is {_state(stored)}")
        if (reason := _reason(stored)) != reported:
            write_message(f"{created} is {_state(stored)}")
            reported = reason


def _require_begun(created: Created, stored: Manifest) -> None:
    """Raises BackupFailedError if it does not begin before a person has done something."""
    if stored["status"]["phase"] != "Pending" or _reason(stored) in WAITS_FOR:
        return
    delete = f"kubectl -n {created.namespace} delete {created.kind.lower()} {created.name}"
    text = f"{created} has not begun: it is {_state(stored)}"
    raise BackupFailedError(f"{text} It begins when this is corrected; to give it up: {delete}")


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
