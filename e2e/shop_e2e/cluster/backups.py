"""Takes and restores backups of a shop by resources, and says how long each phase took."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from shop_e2e.cluster import s3_server
from shop_e2e.cluster.kubectl import CONTEXT, CommandFailed, Namespace, Object, eventually
from shop_e2e.faults.order_load import OrderLoad

API_VERSION = "platform.ecommerce.dev/v1beta1"
KEY_SECRET = "backup-key"
VOLUME: Object = {"volume": {"claimName": "backups"}}
_ANNOTATION = "platform.ecommerce.dev/restore"
_ENDED_WITHIN = 420.0
_LOOKS = 20
"""The looks, for some seconds together, after which no pass that began before is under way."""
_CLOSED = ("RestoreIncomplete", "RestoreFailed")
"""The reasons of Ready after a restore that has failed."""


def policy(destination: Object) -> Object:
    """Returns a `spec.backup` whose schedule does not come while a test runs."""
    return {
        "schedule": "0 0 29 2 *",
        "verifySchedule": "0 0 29 2 *",
        "verifyStorage": "1Gi",
        "destination": destination,
        "encryptionKeySecretRef": {"name": KEY_SECRET},
    }


def secret(name: str, **content: str) -> Object:
    """Returns a Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": content}


def new_key() -> str:
    """Returns a key for backups, or a master key, as a Secret has it."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def bucket_secrets(key: str) -> tuple[Object, Object]:
    """Returns the Secrets of backups in the bucket of a test: with their key, and with credentials, of which any do."""
    access = {"BACKUP_S3_ACCESS_KEY_ID": "any", "BACKUP_S3_SECRET_ACCESS_KEY": "any"}
    return secret(KEY_SECRET, BACKUP_KEY=key), secret(s3_server.SECRET, **access)


def volume_claim(name: str) -> Object:
    """Returns a PersistentVolumeClaim for backups."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def take(namespace: Namespace, name: str, platform: str = "shop") -> Object:
    """Takes a backup by a PlatformBackup, and returns its status once it has ended."""
    begin(namespace, "PlatformBackup", name, platform=platform)
    return status_at_end(namespace, "PlatformBackup", name)


def restore(namespace: Namespace, name: str, platform: str = "shop", **spec: object) -> Object:
    """Restores by a PlatformRestore, and returns its status once it has ended."""
    begin(namespace, "PlatformRestore", name, platform=platform, **spec)
    return status_at_end(namespace, "PlatformRestore", name)


@dataclass(frozen=True)
class LoadedBackup:
    """A backup that was taken while orders were placed."""

    load: OrderLoad
    status: Object
    before: frozenset[UUID]
    """The orders that were accepted before it began."""
    cut: frozenset[UUID]
    """Those, and the ones that were accepted until it had ended."""

    @classmethod
    async def take(cls, load: OrderLoad, namespace: Namespace, name: str, platform: str = "shop") -> LoadedBackup:
        """Takes a backup by a PlatformBackup while the load runs, which goes on until more orders are accepted."""
        await load.recovered()
        before = frozenset(load.accepted)
        status = await asyncio.to_thread(take, namespace, name, platform)
        assert status["phase"] == "Succeeded", reason(status)
        cut = frozenset(load.accepted)
        await load.recovered()
        return cls(load, status, before, cut)

    async def assert_restored(self, status: Object) -> None:
        """Asserts that a PlatformRestore with this status has restored it: the shop has the orders of the cut."""
        assert reason(status)[:2] == ("Succeeded", "Succeeded"), reason(status)
        assert (status["backupId"], status["invariants"]) == (self.status["backupId"], "all hold")
        await self.load.shop.wait_until_healthy()
        stored = {order.id for order in await self.load.stored_orders()}
        assert self.before <= stored <= self.cut, "the orders are those of the cut"
        assert self.load.accepted - self.cut, "orders were placed after the backup"
        self.load.accepted = stored
        await self.load.assert_consistent()


def open_shop(namespace: Namespace, platform: str = "shop") -> None:
    """Opens a shop that a failed restore, which was deleted, has left closed."""
    annotations = namespace.get("ecp", platform)["metadata"].get("annotations", {})
    mark = annotations.get(_ANNOTATION, "")
    if not mark or mark.endswith("/Succeeded"):
        return
    ready = "{.status.conditions[?(@.type=='Ready')].reason}"
    eventually(
        lambda: namespace.kubectl("get", "ecp", platform, "--output", f"jsonpath={ready}") in _CLOSED,
        _ENDED_WITHIN,
        "the operator says that the shop stays closed",
    )
    namespace.kubectl("annotate", "ecp", platform, f"{_ANNOTATION}=open", "--overwrite")
    namespace.wait_ready(platform)


def forget_restores(namespace: Namespace, platform: str = "shop") -> None:
    """Removes what a shop keeps of a restore: the annotation with its name, and the condition Restoring."""
    namespace.kubectl("annotate", "ecp", platform, f"{_ANNOTATION}-")
    absent = 0

    def is_forgotten() -> bool:
        nonlocal absent
        types = [one["type"] for one in namespace.get("ecp", platform)["status"]["conditions"]]
        absent = 0 if "Restoring" in types else absent + 1
        if not absent:
            path = f"/status/conditions/{types.index('Restoring')}"
            removal = [{"op": "test", "path": f"{path}/type", "value": "Restoring"}, {"op": "remove", "path": path}]
            arguments = ("--subresource", "status", "--type", "json", "--patch", json.dumps(removal))
            with suppress(CommandFailed):  # the conditions have changed since
                namespace.kubectl("patch", "ecp", platform, *arguments)
        return absent > _LOOKS  # a pass that began before may write it once more

    eventually(is_forgotten, 60, "the status has no condition Restoring")


def begin(namespace: Namespace, kind: str, name: str, **spec: object) -> None:
    """Creates a PlatformBackup or a PlatformRestore."""
    namespace.apply({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})


def status_at_end(namespace: Namespace, kind: str, name: str) -> Object:
    """Waits until a PlatformBackup or a PlatformRestore has ended, prints the seconds of each phase, and returns its
    status.
    """
    began, phase, status = time.monotonic(), "", {}
    seconds: dict[str, float] = {}
    with _watched(namespace, kind, name) as statuses:
        for status in statuses:
            if status.get("phase", "") != phase:
                phase = status["phase"]
                seconds[phase] = time.monotonic() - began
            if "completionTime" in status:
                break
    print(f"{kind} {name}:", ", ".join(f"{one} after {after:.1f} s" for one, after in seconds.items()))
    assert "completionTime" in status, f"{kind} {name} has not ended: {status}"
    return dict(status)


def reason(status: Object) -> tuple[str, str, str]:
    """Returns the phase of a PlatformBackup or a PlatformRestore, and the reason and the message of it."""
    (condition,) = status["conditions"]
    return status["phase"], condition["reason"], condition["message"]


@contextmanager
def _watched(namespace: Namespace, kind: str, name: str) -> Iterator[Iterator[Object]]:
    """Gives the statuses of an object as they come, for a limited time."""
    output = ("--output", "jsonpath={.status}{'\\n'}", "--watch", f"--request-timeout={_ENDED_WITHIN}s")
    arguments = ("kubectl", "--context", CONTEXT, "--namespace", namespace.name, "get", kind.lower(), name, *output)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield (json.loads(line) for line in process.stdout if line.strip())
        finally:
            process.terminate()
