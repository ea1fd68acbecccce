"""Drives the kind cluster that `make up` creates, through kubectl, as its users do."""

import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTEXT = "kind-ecommerce"
NODE = "ecommerce-control-plane"
OPERATOR_NAMESPACE = "ecommerce-system"

Object = dict[str, Any]


class CommandFailed(Exception):
    """A command failed; the message is its output."""


def command(*arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
    """Runs a command and returns its output. Raises CommandFailed."""
    done = subprocess.run(arguments, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def write_kubeconfig(file: Path) -> None:
    """Writes a kubeconfig that has only this cluster."""
    file.write_text(command("kubectl", "--context", CONTEXT, "config", "view", "--raw", "--minify"))


@dataclass(frozen=True)
class Namespace:
    """One namespace of the cluster."""

    name: str

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        return command(
            "kubectl", "--context", CONTEXT, "--namespace", self.name, *arguments, stdin=stdin, timeout=timeout
        )

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.kubectl("get", kind, name, "--output", "json"))
        return found

    def list(self, kinds: str, selector: str = "") -> list[Object]:
        arguments = ["get", kinds, "--output", "json", *(["--selector", selector] if selector else [])]
        found: list[Object] = json.loads(self.kubectl(*arguments))["items"]
        return found

    def apply(self, *objects: Object) -> None:
        objects_as_one = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(objects_as_one))

    def patch(self, kind: str, name: str, patch: Mapping[str, object]) -> None:
        self.kubectl("patch", kind, name, "--type", "merge", "--patch", json.dumps(patch))

    def secret(self, name: str) -> dict[str, str]:
        """Returns the content of a Secret."""
        data: dict[str, str] = self.get("secret", name).get("data", {})
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def run_python(self, deployment: str, script: str) -> str:
        """Runs a script in a pod of a service, with its environment and its packages, and returns what it prints."""
        return self.kubectl("exec", "--stdin", f"deployment/{deployment}", "--", "python", "-", stdin=script)

    def metrics(self, selector: str) -> dict[str, dict[str, float]]:
        """Returns the metrics of the selected pods, by pod and series; starting and terminating pods have none."""
        found = {}
        for pod in self.list("pods", selector):
            name = pod["metadata"]["name"]
            try:
                text = self.ask(name, 9464, "metrics")
            except CommandFailed:
                continue
            lines = (line.rpartition(" ") for line in text.splitlines() if line[:1] != "#")
            found[name] = {series: float(value) for series, _, value in lines}
        return found

    def ask(self, pod: str, port: int, path: str) -> str:
        """Sends GET to a pod through the API server and returns the answer's body. Raises CommandFailed."""
        return self.kubectl("get", "--raw", f"/api/v1/namespaces/{self.name}/pods/{pod}:{port}/proxy/{path}")

    def kill(self, pod: str) -> None:
        """Kills the pod's container with SIGKILL; the kubelet starts another."""
        (status,) = self.get("pod", pod)["status"]["containerStatuses"]
        container = status["containerID"].removeprefix("containerd://")
        command(
            "docker", "exec", NODE, "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", container
        )

    def wait_rolled_out(self, platform: str) -> None:
        """Waits until the operator has observed the current spec and every part of the shop is rolled out.

        The operator may need minutes: on a machine whose processors are busy with new pods, the API server answers too
        late for its Lease, and the operator starts again.
        """
        generation = self.get("ecp", platform)["metadata"]["generation"]
        observed = f"--for=jsonpath={{.status.observedGeneration}}={generation}"
        self.kubectl("wait", f"ecp/{platform}", observed, "--timeout=300s", timeout=310)
        self.wait_ready(platform)

    def wait_ready(self, platform: str, seconds: int = 420) -> None:
        self.kubectl("wait", f"ecp/{platform}", "--for=condition=Ready", f"--timeout={seconds}s", timeout=seconds + 10)


def create_namespace(name: str) -> Namespace:
    """Creates a namespace at the restricted Pod Security level, as every shop has, after a terminating one of the same
    name is gone.
    """
    cluster = Namespace("default")
    phase = cluster.kubectl("get", "namespace", name, "--ignore-not-found", "--output", "jsonpath={.status.phase}")
    if phase == "Terminating":
        cluster.kubectl("wait", f"namespace/{name}", "--for=delete", "--timeout=180s", timeout=200)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = Namespace(name)
    namespace.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    return namespace


def delete_namespace(name: str, *, wait: bool = True) -> None:
    """Deletes a namespace and waits until it is gone, about 40 s for a shop; with `wait=False` it returns at once."""
    waiting = "--timeout=180s" if wait else "--wait=false"
    Namespace("default").kubectl("delete", "namespace", name, "--ignore-not-found", waiting, timeout=200)


def eventually(check: Callable[[], object], within: float, what: str) -> None:
    """Waits until `check` holds; raises AssertionError with `what` after `within` seconds."""
    give_up = time.monotonic() + within
    while not check():
        assert time.monotonic() < give_up, f"not within {within} s: {what}"
        time.sleep(0.1)


def audit_log(since: str) -> Iterator[Object]:
    """Yields the entries of the API server's audit log since a time (RFC 3339, UTC), one per request."""
    text = command("docker", "exec", NODE, "sh", "-c", "cat /var/log/kubernetes/audit*.log")
    for line in text.splitlines():
        entry = json.loads(line)
        if entry["requestReceivedTimestamp"] >= since:
            yield entry


def writes(entries: Iterator[Object], user: str) -> list[str]:
    """Returns the writes by users whose name has this suffix, as `verb resource namespace/name`, without Lease
    renewals.
    """
    return [
        f"{entry['verb']} {_path(entry.get('objectRef', {}))}"
        for entry in entries
        if entry["verb"] in ("create", "update", "patch", "delete", "deletecollection")
        and entry["user"]["username"].endswith(user)
        and entry.get("objectRef", {}).get("resource") != "leases"
    ]


def _path(reference: Mapping[str, str]) -> str:
    parts: Sequence[str] = [reference.get(part, "") for part in ("resource", "subresource", "namespace", "name")]
    return "/".join(part for part in parts if part)


def now() -> str:
    return command("docker", "exec", NODE, "date", "-u", "+%Y-%m-%dT%H:%M:%S.%6NZ").strip()
