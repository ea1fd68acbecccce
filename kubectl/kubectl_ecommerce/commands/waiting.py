"""Waits for a PlatformBackup or a PlatformRestore, which has no end while it cannot begin."""

from __future__ import annotations

from dataclasses import dataclass

from kubectl_ecommerce.errors import BackupFailedError, KubectlTimeoutError
from kubectl_ecommerce.kubectl import Kubectl, Manifest
from kubectl_ecommerce.runbooks import OPERATOR_NAMESPACE

REPORTS_WITHIN = "1m"
"""Time within which a running operator has reported about it."""
BEGINS_WITHIN = "10s"
"""Time within which it begins if nothing is in its way."""


@dataclass(frozen=True)
class Waiting:
    """Waits for one object."""

    kubectl: Kubectl
    kind: str
    resource: str
    namespace: str
    name: str

    def until_succeeded(self, timeout: str) -> Manifest:
        """Returns it with its result. Raises BackupFailedError."""
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
        return stored

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
