"""A control plane on loopback: etcd, the API server, its controllers and its scheduler, and kwok for nodes and pods."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiohttp
import yaml
from chassis_testing.ports import free_port

from platform_operator.api.crd_generator import CRDS
from platform_operator.api.kinds import CRD, VOLUME_CLAIM, Kind, Manifest
from platform_operator.client import KubernetesClient, connect
from platform_operator.errors import ApiError

TOOLS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ecommerce-bench-operator/bin"
STAGES = TOOLS.parent / "stages.yaml"
"""The phases of simulated nodes and pods."""
START_TIMEOUT = 120.0
"""Seconds until it serves, and of each request: the machine may have other work."""
SHOPS_PER_NODE = 5
T = TypeVar("T")
NAMESPACE = Kind("v1", "Namespace", "namespaces")
_NODE = Kind("v1", "Node", "nodes")
_CLASS = Kind("storage.k8s.io/v1", "StorageClass", "storageclasses")
_VOLUME = Kind("v1", "PersistentVolume", "persistentvolumes")


@dataclass(frozen=True)
class ControlPlane:
    """A control plane that runs."""

    url: str
    kubeconfig: Path
    client: KubernetesClient


@asynccontextmanager
async def control_plane(folder: Path, shops: int) -> AsyncIterator[ControlPlane]:
    """Runs a control plane with its data in `folder`, and nodes for that many shops."""
    async with AsyncExitStack() as stack:
        processes = stack.enter_context(ExitStack())
        etcd, peer, port = free_port(), free_port(), free_port()
        url, kubeconfig = f"https://127.0.0.1:{port}", folder / "kubeconfig"
        token = secrets.token_hex(16)
        _write_credentials(folder, token)
        _write_kubeconfig(kubeconfig, url, token)
        processes.enter_context(run_process(folder, "etcd", _etcd(folder, etcd, peer)))
        processes.enter_context(run_process(folder, "kube-apiserver", _api_server(folder, etcd, port)))
        os.environ["KUBECONFIG"] = str(kubeconfig)
        connection = await stack.enter_async_context(await connect())
        client = KubernetesClient(connection, write_timeout=START_TIMEOUT, read_timeout=START_TIMEOUT)
        await _until_ready(url, token)
        for name, arguments in _controllers(folder, kubeconfig).items():
            processes.enter_context(run_process(folder, name, arguments))
        await _prepare(client, shops)
        binding = asyncio.create_task(_provision_volumes(client))
        stack.callback(binding.cancel)
        yield ControlPlane(url, kubeconfig, client)


@contextmanager
def run_process(
    folder: Path, name: str, command: Sequence[str | Path], environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process with its log in the folder until the context ends."""
    with (folder / f"{name}.log").open("ab") as log:
        started = subprocess.Popen(
            [*map(str, command)], stdout=log, stderr=log, env=os.environ | (environment or {}), cwd=folder
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _etcd(folder: Path, port: int, peer: int) -> list[str]:
    client, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    return [
        str(TOOLS / "etcd"), f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}", f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}", "--quota-backend-bytes=8000000000", "--unsafe-no-fsync",
    ]  # fmt: skip


def _api_server(folder: Path, etcd: int, port: int) -> list[str]:
    return [
        str(TOOLS / "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{etcd}", f"--secure-port={port}",
        "--bind-address=127.0.0.1", f"--cert-dir={folder / 'certificates'}", f"--token-auth-file={folder / 'tokens'}",
        "--authorization-mode=RBAC", "--service-cluster-ip-range=10.112.0.0/12", "--allow-privileged",
        "--service-account-issuer=https://bench", f"--service-account-signing-key-file={folder / 'accounts.key'}",
        f"--service-account-key-file={folder / 'accounts.key'}",
        # no controller removes the taint of a new node: node-lifecycle-controller is off
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition", "--endpoint-reconciler-type=none",
    ]  # fmt: skip


def _controllers(folder: Path, kubeconfig: Path) -> dict[str, list[str]]:
    access = f"--kubeconfig={kubeconfig}"
    manager = ["--leader-elect=false", f"--secure-port={free_port()}", "--kube-api-qps=500", "--kube-api-burst=1000"]
    manager.append("--controllers=*,-node-lifecycle-controller")  # simulated nodes send no heartbeats
    scheduler = ["--leader-elect=false", f"--secure-port={free_port()}"]
    return {
        "kube-controller-manager": [str(TOOLS / "kube-controller-manager"), access, *manager],
        "kube-scheduler": [str(TOOLS / "kube-scheduler"), access, *scheduler],
        "kwok": [
            str(TOOLS / "kwok"),
            access,
            f"--config={STAGES}",
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=0",
        ],
    }


def _write_credentials(folder: Path, token: str) -> None:
    (folder / "tokens").write_text(f"{token},bench,bench,system:masters\n")
    subprocess.run(["openssl", "genrsa", "-out", folder / "accounts.key", "2048"], check=True, capture_output=True)


def _write_kubeconfig(path: Path, url: str, token: str) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "bench", "user": {"token": token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": "default"}}],
    }
    path.write_text(yaml.safe_dump(config))


async def create_namespace(client: KubernetesClient, name: str) -> None:
    await create(client, NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


async def create(client: KubernetesClient, kind: Kind, namespace: str, manifest: Manifest) -> None:
    """Creates an object, once: it may be there when a request is sent again of which no answer came."""
    try:
        await retry(lambda: client.create(kind, namespace, manifest))
    except ApiError as error:
        if error.status != 409:
            raise


async def retry(request: Callable[[], Awaitable[T]]) -> T:
    """Sends a request until a busy API server answers it. Raises ApiError if it is refused."""
    while True:
        try:
            return await request()
        except ApiError as error:
            if error.status == 409 or not error.transient:
                raise
        await asyncio.sleep(0.2)


async def _until_ready(url: str, token: str) -> None:
    """Waits until the API server is ready: controllers that start before it has made its own roles end.

    Raises TimeoutError.
    """
    headers = {"Authorization": f"Bearer {token}"}
    async with asyncio.timeout(START_TIMEOUT), aiohttp.ClientSession(headers=headers) as session:
        while True:
            try:
                async with session.get(f"{url}/readyz", ssl=False) as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientError:
                pass  # it does not serve yet
            await asyncio.sleep(0.5)


async def _prepare(client: KubernetesClient, shops: int) -> None:
    for definition in CRDS.values():
        await client.apply(CRD, "", definition())
    storage = {"provisioner": "bench", "volumeBindingMode": "Immediate", "reclaimPolicy": "Delete"}
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    metadata = {"name": "bench", "annotations": default}
    await client.create(
        _CLASS, "", {"apiVersion": _CLASS.api_version, "kind": "StorageClass", "metadata": metadata, **storage}
    )
    for name in (f"node-{number}" for number in range(max(2, shops // SHOPS_PER_NODE))):
        capacity = {"cpu": "256", "memory": "2Ti", "pods": "1000"}
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        await client.create(
            _NODE, "", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
                        "status": {"capacity": capacity, "allocatable": capacity}},
        )  # fmt: skip
    await create_namespace(client, "ecommerce-system")


async def _provision_volumes(client: KubernetesClient) -> None:
    """Creates a volume for each claim, as the provisioner of a storage class would."""
    version = 0
    while True:
        try:
            async for type_, claim in client.watch(VOLUME_CLAIM, None, "", version):
                if type_ == "ADDED":
                    await retry(partial(client.apply, _VOLUME, "", _volume(claim)))
                version = int(claim["metadata"]["resourceVersion"])
        except ApiError:
            await asyncio.sleep(1)


def _volume(claim: Manifest) -> Manifest:
    metadata, spec = claim["metadata"], claim["spec"]
    reference = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "uid": metadata["uid"],
                 "name": metadata["name"], "namespace": metadata["namespace"]}  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pv-{metadata['uid']}"},
        "spec": {
            "capacity": spec["resources"]["requests"],
            "accessModes": spec["accessModes"],
            "storageClassName": "bench",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": reference,
            "hostPath": {"path": "/simulated"},
        },
    }
