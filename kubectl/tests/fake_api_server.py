"""An API server on a port, as far as kubectl and the plugin need one: discovery, objects, merge patches, logs, exec."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Manifest = dict[str, Any]

KINDS: dict[str, dict[str, str]] = {
    "v1": {
        "Pod": "pods", "Event": "events", "ConfigMap": "configmaps", "Secret": "secrets", "Service": "services",
        "PersistentVolumeClaim": "persistentvolumeclaims", "Namespace": "namespaces", "ResourceQuota": "resourcequotas",
    },
    "apps/v1": {
        "Deployment": "deployments", "StatefulSet": "statefulsets", "ControllerRevision": "controllerrevisions",
        "ReplicaSet": "replicasets",
    },
    "batch/v1": {"Job": "jobs", "CronJob": "cronjobs"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "networking.k8s.io/v1": {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"},
    "coordination.k8s.io/v1": {"Lease": "leases"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "postgresql.cnpg.io/v1": {"Cluster": "clusters"},
    "rabbitmq.com/v1beta1": {"RabbitmqCluster": "rabbitmqclusters"},
    "platform.ecommerce.dev/v1beta1": {
        "EcommercePlatform": "ecommerceplatforms",
        "PlatformBackup": "platformbackups",
        "PlatformRestore": "platformrestores",
    },
    "platform.ecommerce.dev/v1alpha1": {"Tenant": "tenants"},
}  # fmt: skip
"""The kinds that are served, with their plurals, by apiVersion."""
_STDOUT, _STDERR, _STATUS = b"\x01", b"\x02", b"\x03"
"""Channels of exec."""
_EXIT_CODE = {
    "status": "Failure", "reason": "NonZeroExitCode", "metadata": {}, "message": "command terminated with exit code 2",
    "details": {"causes": [{"reason": "ExitCode", "message": "2"}]},
}  # fmt: skip


@dataclass
class FakeApiServer:
    """The state of the cluster, and what was asked of it."""

    url: str = ""

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Makes the cluster an empty one."""
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        """The keys are plural, namespace and name."""
        self.logs: dict[tuple[str, str], str] = {}
        """The keys are pod and container; those of the run before have `container/previous`."""
        self.kinds: dict[str, dict[str, str]] = copy.deepcopy(KINDS)
        self.forbidden: set[str] = set()
        """Plurals that the caller may not read or write."""
        self.unavailable = 0
        """How many of the next requests for objects are answered with 503."""
        self.invalid = ""
        """Why every write is refused, if it is."""
        self.patches: list[Manifest] = []
        self.executed: list[tuple[str, list[str]]] = []
        """The pod and the command of each exec."""
        self.failing_commands: dict[str, str] = {}
        """Words of commands that fail, with what they write to standard error."""
        self.status_of_created: Manifest = {}
        """The status that the operator writes to what is created, before anyone reads it."""

    def add(self, manifest: Manifest, kind: str = "", api_version: str = "") -> Manifest:
        """Stores an object. Returns what is stored."""
        stored: Manifest = {"apiVersion": api_version, "kind": kind} | copy.deepcopy(manifest)
        metadata = stored["metadata"]
        key = (self._plurals[stored["kind"]], metadata.get("namespace", ""), metadata["name"])
        return self.objects.setdefault(key, stored)

    @property
    def _plurals(self) -> dict[str, str]:
        return {kind: plural for kinds in KINDS.values() for kind, plural in kinds.items()}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if (found := self._discovery(request.path)) is not None:
            return web.json_response(found)
        parts = request.path.strip("/").split("/")
        resource = parts[2:] if parts[0] == "api" else parts[3:]
        if not resource:
            return _error(404, "NotFound", "the server could not find the requested resource")
        return await self._resource(request, resource)

    def _discovery(self, path: str) -> Manifest | None:
        groups = sorted({version for version in self.kinds if "/" in version})
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(version) for version in groups]}
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version not in self.kinds:
            return None
        resources = [
            {
                "name": plural, "singularName": kind.lower(), "kind": kind,
                "verbs": ["create", "get", "list", "patch"], "namespaced": kind not in ("Namespace", "Tenant"),
            }
            for kind, plural in self.kinds[version].items()
        ]  # fmt: skip
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}

    async def _resource(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name, subresource = [*parts, "", ""][:3]
        if self.unavailable:
            self.unavailable -= 1
            return _error(503, "ServiceUnavailable", "etcdserver: leader changed")
        if plural in self.forbidden:
            return _error(403, "Forbidden", f'{plural} is forbidden: User "clerk" cannot {request.method} it')
        if not name and request.method == "POST":
            return await self._create(request)
        if not name:
            return web.json_response(self._list(plural, namespace, request.query))
        stored = self.objects.get((plural, namespace, name))
        if stored is None:
            return _error(404, "NotFound", f'{plural} "{name}" not found')
        if subresource == "log":
            return self._log(name, request.query)
        if subresource == "exec":
            return await self._exec(request, name)
        if request.method == "PATCH":
            return await self._patch(request, stored)
        return web.json_response(stored)

    def _list(self, plural: str, namespace: str, query: Any) -> Manifest:
        labels = dict(one.split("=", 1) for one in query.get("labelSelector", "").split(",") if "=" in one)
        fields = dict(one.split("=", 1) for one in query.get("fieldSelector", "").split(",") if "=" in one)
        items = [
            manifest
            for (kind, where, _), manifest in sorted(self.objects.items())
            if kind == plural
            and (not namespace or where == namespace)
            and labels.items() <= manifest["metadata"].get("labels", {}).items()
            and all(_value_at(manifest, path) == value for path, value in fields.items())
        ]
        kind, version = next((kind, one) for one in KINDS for kind, name in KINDS[one].items() if name == plural)
        return {"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items}

    async def _create(self, request: web.Request) -> web.StreamResponse:
        if self.invalid:
            return _error(422, "Invalid", self.invalid)
        created = json.loads(await request.read())
        if request.query.get("dryRun") != "All":
            self.add(created | {"status": self.status_of_created})
        return web.json_response(created, status=201)

    async def _patch(self, request: web.Request, stored: Manifest) -> web.StreamResponse:
        if self.invalid:
            return _error(422, "Invalid", self.invalid)
        patch = json.loads(await request.read())
        changed = _merged(stored, patch)
        if request.query.get("dryRun") != "All":
            self.patches.append(patch)
            stored.clear()
            stored.update(changed)
        return web.json_response(changed)

    def _log(self, pod: str, query: Any) -> web.StreamResponse:
        container = query.get("container", "") + ("/previous" if query.get("previous") == "true" else "")
        if (pod, container) not in self.logs:
            return _error(400, "BadRequest", f'container "{container}" in pod "{pod}" has no log')
        return web.Response(text=self.logs[pod, container])

    async def _exec(self, request: web.Request, pod: str) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io",))
        await socket.prepare(request)
        self.executed.append((pod, request.query.getall("command")))
        command = request.query.getall("command")
        failure = next((text for part, text in self.failing_commands.items() if part in command), None)
        if failure is None:
            await socket.send_bytes(_STDOUT + b"3 events are resent\n")
            await socket.send_bytes(_STATUS + json.dumps({"status": "Success", "metadata": {}}).encode())
        else:
            await socket.send_bytes(_STDERR + f"{failure}\n".encode())
            await socket.send_bytes(_STATUS + json.dumps(_EXIT_CODE).encode())
        await socket.close()
        return socket


def _group(version: str) -> Manifest:
    name, _, number = version.partition("/")
    preferred = {"groupVersion": version, "version": number}
    return {"name": name, "versions": [preferred], "preferredVersion": preferred}


def _value_at(manifest: Manifest, path: str) -> object:
    value: Any = manifest
    for name in path.split("."):
        value = value.get(name, {}) if isinstance(value, dict) else {}
    return value


def _merged(target: Any, patch: Any) -> Any:
    """Returns what a JSON merge patch (RFC 7386) makes of a value."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _error(code: int, reason: str, message: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return web.json_response(status | {"reason": reason, "message": message}, status=code)


@contextmanager
def served(server: FakeApiServer) -> Iterator[FakeApiServer]:
    """Serves requests from a thread, until the context ends."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def serve() -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", server.handle)
        runner = web.AppRunner(application, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await stopped.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()
