"""A broker of three nodes that the RabbitMQ cluster operator runs: orders go on while one of its nodes is killed."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools.shop_client import Person, Shop
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
    store = {"requests": {"cpu": "10m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}}
    broker = {"requests": {"cpu": "50m", "memory": "224Mi"}, "limits": {"memory": "512Mi"}}
    platform = shops.platform(
        "shop",
        profile="medium",
        deletionPolicy="Delete",
        services=shops.single_pods(),
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
        customer = await shop.register()
        async with load.running():
            await load.recovered()
            for node in _NODES:
                await _kill(namespace, load, node, customer)
        await load.assert_consistent()
        await asyncio.to_thread(shops.wait_consistent, namespace, "shop")
    eventually(lambda: not _dead_letters(namespace), 60, "no event is a dead letter")
    namespace.kubectl("delete", "ecp", "shop", "--wait", timeout=180)
    eventually(lambda: not namespace.list("rabbitmqclusters,persistentvolumeclaims"), 120, "nothing of it is left")


async def _kill(namespace: Namespace, load: OrderLoad, node: str, customer: Person) -> None:
    """Kills a node, buys once by events that the others carry, and returns when the node is back."""
    refused, accepted, load.longest_pause, began = len(load.failures), len(load.accepted), 0.0, time.monotonic()
    await asyncio.to_thread(namespace.kubectl, "delete", "pod", node, "--force", "--grace-period=0")
    await customer.buy((load.product, 1))
    bought = time.monotonic() - began
    await load.recovered()
    await asyncio.to_thread(namespace.wait_ready, "shop")
    print(
        f"{node}: {len(load.failures) - refused} orders refused, {len(load.accepted) - accepted} accepted, the longest "
        f"pause between two {load.longest_pause:.1f} s; an order is paid and confirmed after {bought:.1f} s, the node "
        f"is back after {time.monotonic() - began:.1f} s"
    )


def _dead_letters(namespace: Namespace) -> list[str]:
    """Returns the series of queues of dead letters that are not empty; each node counts the queues that it leads."""
    texts = [namespace.ask(node, 15692, "metrics/detailed?family=queue_coarse_metrics") for node in _NODES]
    series = (line.rpartition(" ") for text in texts for line in text.splitlines() if "queue_messages{" in line)
    return [name for name, _, value in series if '.dead"' in name and float(value) > 0]
