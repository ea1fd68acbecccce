"""A broker of three nodes that the RabbitMQ cluster operator runs: orders go on while one of its nodes is killed."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools.services import SERVICES
from devtools.shop_client import Shop
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, create_namespace, delete_namespace, eventually
from shop_e2e.faults.order_load import OrderLoad

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_INSTALL = Path(__file__).parents[3] / "hack/cluster/install-rabbitmq-operator"
_NODES = tuple(f"shop-rabbitmq-server-{node}" for node in range(3))
_PORT = 30082


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    subprocess.run([_INSTALL], check=True, timeout=1200)
    yield create_namespace("e2e-broker-nodes")
    delete_namespace("e2e-broker-nodes", wait=False)


async def test_no_order_and_no_event_is_lost_when_a_node_of_the_broker_is_killed(namespace: Namespace) -> None:
    tiny = {"requests": {"cpu": "10m"}, "limits": {"memory": "384Mi"}}
    services = {service: {"replicas": 1, "resources": tiny} for service in SERVICES}
    services["gateway"] |= {"env": {"RATE_LIMITS": "off"}}
    store = {"requests": {"cpu": "10m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}}
    broker = {"requests": {"cpu": "50m", "memory": "224Mi"}, "limits": {"memory": "512Mi"}}
    platform = shops.platform(
        "shop",
        profile="medium",
        deletionPolicy="Delete",
        services=services,
        databases={"resources": store, "storage": {"size": "1Gi"}},
        broker={"provider": "rabbitmq-operator", "resources": broker, "storage": {"size": "1Gi"}},
    )
    namespace.apply(platform, shops.node_port("shop", _PORT))
    namespace.wait_ready("shop", 600)
    secret = namespace.secret("shop-admin")
    async with Shop(shops.gateway_url(_PORT)) as shop:
        await shop.wait_until_healthy()
        admin = await shop.log_in(secret["ADMIN_EMAIL"], secret["ADMIN_PASSWORD"])
        _, product = await shop.stocked_product(admin, 1_000_000)
        load = OrderLoad(shop, product)
        async with load.running():
            await load.recovered()
            for node in _NODES:
                await _kill(namespace, load, node)
        await load.assert_consistent()
        await (await shop.register()).buy((product, 1))
    eventually(lambda: not _dead_letters(namespace), 60, "no event is a dead letter")
    namespace.kubectl("delete", "ecp", "shop", "--wait", timeout=180)
    eventually(lambda: not namespace.list("rabbitmqclusters,persistentvolumeclaims"), 120, "nothing of it is left")


async def _kill(namespace: Namespace, load: OrderLoad, node: str) -> None:
    """Kills a node, and returns when orders are accepted again and the node is back."""
    refused, accepted, began = len(load.failures), len(load.accepted), time.monotonic()
    await asyncio.to_thread(namespace.kubectl, "delete", "pod", node, "--force", "--grace-period=0")
    await load.recovered()
    flowing = time.monotonic() - began
    await asyncio.to_thread(namespace.wait_ready, "shop")
    print(
        f"{node}: orders flow after {flowing:.1f} s, the node is back after {time.monotonic() - began:.1f} s, "
        f"{len(load.failures) - refused} orders refused, {len(load.accepted) - accepted} accepted until then"
    )


def _dead_letters(namespace: Namespace) -> list[str]:
    """Returns the series of queues of dead letters that are not empty; each node counts the queues that it leads."""
    texts = [namespace.ask(node, 15692, "metrics/detailed?family=queue_coarse_metrics") for node in _NODES]
    series = (line.rpartition(" ") for text in texts for line in text.splitlines() if "queue_messages{" in line)
    return [name for name, _, value in series if '.dead"' in name and float(value) > 0]
