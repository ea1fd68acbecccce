"""Collects what explains a shop: its objects, Events and logs, and what the operator says of it, all redacted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from kubectl_ecommerce.errors import KubectlError, NoSuchKindError
from kubectl_ecommerce.kubectl import CLUSTERS, Kubectl, Manifest
from kubectl_ecommerce.redaction import Redactor
from kubectl_ecommerce.shop import Shop

OBJECTS = (
    "deployments.apps", "statefulsets.apps", "replicasets.apps", "controllerrevisions.apps", "jobs.batch", "pods",
    "services", "configmaps", "persistentvolumeclaims", "horizontalpodautoscalers.autoscaling",
    "ingresses.networking.k8s.io", "networkpolicies.networking.k8s.io", "poddisruptionbudgets.policy",
)  # fmt: skip
"""The objects of a shop, but for its Secrets."""
OPERATOR_OBJECTS = ("deployments.apps", "pods")
PARALLEL = 8
"""Logs that are read at the same time."""


@dataclass
class Bundle:
    """The files of a bundle, and what could not be collected."""

    files: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """The reason why each of these things is not in the bundle."""


@dataclass(frozen=True)
class Collector:
    """Fills a bundle. What cannot be read is noted in the bundle and does not stop the rest."""

    kubectl: Kubectl
    shop: Shop
    operator_namespace: str
    lines: int
    """Lines of each log, the newest."""
    bundle: Bundle = field(default_factory=Bundle)

    def collect(self) -> Bundle:
        """Returns the bundle."""
        namespace, redactor = self.shop.namespace, self._redactor()
        self._write("platform.json", redactor.manifest(self.shop.manifest))
        labels = f"app.kubernetes.io/instance={self.shop.name}"
        objects = self._list(OBJECTS, namespace, labels, "objects")
        for kind in CLUSTERS.values():
            objects += self._list((kind,), namespace, labels, f"objects/{kind}")
        for kind, items in sorted(_by_kind(objects).items()):
            self._write(f"objects/{kind}.json", [redactor.manifest(one) for one in items])
        for name in ("events", "resourcequotas", "platformbackups", "platformrestores"):
            self._write(f"{name}.json", [redactor.manifest(one) for one in self._list((name,), namespace, "", name)])
        self._logs(redactor, namespace, _of(objects, "Pod"), "logs", "")
        self._operator(redactor)
        return Bundle(self.bundle.files, {name: redactor.text(why) for name, why in self.bundle.missing.items()})

    def _operator(self, redactor: Redactor) -> None:
        """Adds the operator's objects, and of its log the lines about this shop or about none."""
        namespace, labels = self.operator_namespace, "app.kubernetes.io/name=ecommerce-operator"
        objects = self._list(OPERATOR_OBJECTS, namespace, labels, "operator/objects")
        objects += self._list(("leases.coordination.k8s.io",), namespace, "", "operator/leases")
        for kind, items in sorted(_by_kind(objects).items()):
            self._write(f"operator/{kind}.json", [redactor.manifest(one) for one in items])
        self._logs(redactor, namespace, _of(objects, "Pod"), "operator/logs", str(self.shop))

    def _redactor(self) -> Redactor:
        """Reads the Secrets, of which the bundle gets the names and the names of their keys."""
        secrets = self._list(("secrets",), self.shop.namespace, "", "secrets")
        self._write("secrets.json", [_outline(one) for one in secrets])
        return Redactor(secrets)

    def _list(self, kinds: Sequence[str], namespace: str, labels: str, name: str) -> list[Manifest]:
        selector = ("--selector", labels) if labels else ()
        try:
            found = self.kubectl.read(",".join(kinds), "--namespace", namespace, *selector)
        except KubectlError as error:
            if isinstance(error, NoSuchKindError) and {*kinds} <= {*CLUSTERS.values()}:
                return []  # the add-on is not installed
            if len(kinds) > 1:  # one kind that is forbidden or not served fails the request for all
                return [item for kind in kinds for item in self._list((kind,), namespace, labels, f"{name}/{kind}")]
            self.bundle.missing[name] = str(error)
            return []
        return list(found["items"])

    def _write(self, path: str, content: object) -> None:
        self.bundle.files[path] = json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def _logs(self, redactor: Redactor, namespace: str, pods: Sequence[Manifest], folder: str, about: str) -> None:
        wanted = [*_containers(pods)]
        with ThreadPoolExecutor(PARALLEL) as threads:
            try:
                texts = [*threads.map(lambda one: self._log(namespace, folder, one), wanted)]
            except KeyboardInterrupt:
                threads.shutdown(wait=False, cancel_futures=True)  # else all other logs would be read first
                raise
        for log, text in zip(wanted, texts, strict=True):
            lines = [line for line in text.splitlines(keepends=True) if not about or _concerns(line, about)]
            self.bundle.files[f"{folder}/{log.path}"] = redactor.text("".join(lines))

    def _log(self, namespace: str, folder: str, log: _Log) -> str:
        flags = ("--previous",) if log.previous else ()
        container = ("--container", log.container, "--tail", str(self.lines), *flags)
        try:
            return self.kubectl.run("logs", log.pod, "--namespace", namespace, *container)
        except KubectlError as error:
            self.bundle.missing[f"{folder}/{log.path}"] = str(error)
            return ""


@dataclass(frozen=True)
class _Log:
    """The log of a container: of this run, or of the one before."""

    pod: str
    container: str
    previous: bool

    @property
    def path(self) -> str:
        return f"{self.pod}/{self.container}{'.previous' if self.previous else ''}.log"


def _containers(pods: Sequence[Manifest]) -> Iterator[_Log]:
    for pod in pods:
        status: dict[str, Any] = pod.get("status") or {}
        counts = {
            one["name"]: one.get("restartCount", 0)
            for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        }
        for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
            yield _Log(pod["metadata"]["name"], container["name"], previous=False)
            if counts.get(container["name"]):
                yield _Log(pod["metadata"]["name"], container["name"], previous=True)


def _concerns(line: str, shop: str) -> bool:
    """Returns whether a line of the operator's log is about a shop, or about no shop."""
    try:
        platform = json.loads(line).get("platform")
    except (ValueError, AttributeError):
        platform = None
    return platform in (None, "", shop)


def _outline(secret: Manifest) -> dict[str, Any]:
    """Returns what a bundle has of a Secret."""
    metadata = secret["metadata"]
    return {
        "name": metadata["name"],
        "type": secret.get("type", ""),
        "created": metadata.get("creationTimestamp", ""),
        "keys": sorted(secret.get("data") or {}),
    }


def _by_kind(objects: Sequence[Manifest]) -> dict[str, list[Manifest]]:
    kinds: dict[str, list[Manifest]] = {}
    for one in objects:
        kinds.setdefault(str(one["kind"]).lower(), []).append(one)
    return kinds


def _of(objects: Sequence[Manifest], kind: str) -> list[Manifest]:
    return [one for one in objects if one["kind"] == kind]
