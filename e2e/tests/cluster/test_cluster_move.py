"""A shop moves to databases of CloudNativePG and back by a backup, as docs/operations.md describes it."""

import asyncio
import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from devtools.services import SERVICES
from devtools.shop_client import Person, Shop
from ecommerce_client.models.order import OrderResponse
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import CONTEXT, Namespace, Object, command, create_namespace, delete_namespace, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_ROOT = Path(__file__).parents[3]
_PORTS = {"builtin": 30081, "cnpg": 30082}
_SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}}
_CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "backups"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    command(str(_ROOT / "hack/cluster/install-cnpg"), timeout=1800)
    namespace = create_namespace("e2e-move")
    key = base64.b64encode(bytes(range(32))).decode()
    namespace.apply(_SECRET | {"stringData": {"BACKUP_KEY": key}}, _CLAIM)
    for name in _PORTS:
        namespace.apply(_platform(name), _node_port(name))
    for name in _PORTS:
        namespace.wait_ready(name, 900)
        _helm(namespace, "install", name)
    yield namespace
    delete_namespace("e2e-move", wait=False)


async def test_a_shop_moves_to_cloudnativepg_and_back_with_its_orders(namespace: Namespace) -> None:
    shop = Shop(shops.gateway_url(_PORTS["builtin"]))
    moved = Shop(shops.gateway_url(_PORTS["cnpg"]))
    async with shop, moved:
        secret = namespace.secret("builtin-admin")
        admin = await shop.log_in(secret["ADMIN_EMAIL"], secret["ADMIN_PASSWORD"])
        _, product = await shop.stocked_product(admin, 10)
        customer = await shop.register()
        orders = [await customer.buy((product, 1))]

        await asyncio.to_thread(_move, namespace, "builtin", "cnpg")
        customer = await _same_customer(moved, customer, orders)
        await moved.log_in(admin.email, admin.password)
        assert (await moved.stock(product)).available == 9
        orders.append(await customer.buy((product, 2)))

        await asyncio.to_thread(_move, namespace, "cnpg", "builtin")
        customer = await _same_customer(shop, customer, orders)
        assert (await shop.stock(product)).available == 7
        await customer.buy((product, 7))
    for name in _PORTS:
        namespace.wait_ready(name)


def _move(namespace: Namespace, old: str, new: str) -> None:
    """Closes the old shop, backs it up, and restores the backup into the new one, which is open afterwards."""
    began = time.monotonic()
    with _closed(namespace, old), _closed(namespace, new):
        created = namespace.kubectl("create", "job", f"{old}-now", f"--from=cronjob/{old}-backup", "--output", "name")
        _wait_complete(namespace, created.strip())
        job = _helm(namespace, "template", new, "--set=job={restore,--replace}", f"--set=backupsOf=e2e-move/{old}")
        restore = namespace.kubectl("create", "--filename", "-", "--output", "name", stdin=job).strip()
        _wait_complete(namespace, restore)
        print(f"{old} to {new}: closed, backed up and restored in {time.monotonic() - began:.0f} s")


@contextmanager
def _closed(namespace: Namespace, name: str) -> Iterator[None]:
    """Stops all services of a shop for the block, and waits until they are back after it."""
    selector = f"app.kubernetes.io/instance={name}"
    namespace.patch("ecp", name, {"spec": {"mode": "Observe"}})
    namespace.kubectl("scale", "deployment", "--selector", selector, "--replicas=0")
    services = f"{selector},app.kubernetes.io/component in ({','.join(SERVICES)})"
    eventually(lambda: not _running(namespace, services), 120, f"no service of {name} runs")
    yield
    namespace.kubectl("scale", "deployment", "--selector", selector, "--replicas=1")
    namespace.patch("ecp", name, {"spec": {"mode": "Manage"}})
    namespace.kubectl("rollout", "status", f"deployment/{name}-gateway", "--timeout=300s", timeout=310)


def _running(namespace: Namespace, selector: str) -> list[Object]:
    """Returns the pods that have not ended, unlike those of migrations, which have the label of their service too."""
    return [pod for pod in namespace.list("pods", selector) if pod["status"]["phase"] not in ("Succeeded", "Failed")]


def _wait_complete(namespace: Namespace, job: str) -> None:
    """Waits until a Job has ended. Raises AssertionError with what its pod says if it has failed."""

    def status() -> Object:
        found: Object = namespace.get(*job.split("/"))["status"]
        return found

    eventually(lambda: status().keys() & {"succeeded", "failed"}, 300, f"{job} ends")
    assert "succeeded" in status(), namespace.kubectl("logs", job)


async def _same_customer(shop: Shop, customer: Person, orders: list[OrderResponse]) -> Person:
    """Returns the customer of the other shop, who has the same password and these orders, newest last."""
    await shop.wait_until_healthy()
    same = await shop.log_in(customer.email, customer.password)
    assert [order.id for order in await same.orders()] == [order.id for order in reversed(orders)]
    return same


def _platform(name: str) -> Object:
    databases = {"provider": name, "storage": {"size": "1Gi"}, "resources": {"requests": {"cpu": "10m"}}}
    return shops.platform(name, databases=databases, services=shops.single_pods(), deletionPolicy="Delete")


def _node_port(name: str) -> Object:
    service = shops.node_port(name, _PORTS[name])
    return service | {"metadata": {"name": f"{name}-node-port"}}


def _helm(namespace: Namespace, action: str, name: str, *settings: str) -> str:
    """Installs charts/backup beside a shop, or renders a Job of it."""
    image: str = namespace.get("deployment", f"{name}-order")["spec"]["template"]["spec"]["containers"][0]["image"]
    values = {
        "shop": name,
        "keySecret": "key",
        "destination.volume.claim": "backups",
        "image.registry": image.partition("/")[0],
        "image.tag": image.rpartition(":")[2],
    }
    helm = f"helm --kube-context {CONTEXT} --namespace {namespace.name} {action} {name}-backup {_ROOT}/charts/backup"
    return command(*helm.split(), *(f"--set={key}={value}" for key, value in values.items()), *settings)
