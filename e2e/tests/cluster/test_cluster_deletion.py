"""Deleting a platform leaves what its deletionPolicy says, and a recreated platform adopts what was kept."""

from collections.abc import Iterator

import pytest
from devtools.shop_client import Shop
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, create_namespace, delete_namespace, eventually

pytestmark = pytest.mark.cluster

EVERYTHING = (
    "all,serviceaccounts,secrets,configmaps,networkpolicies,poddisruptionbudgets,"
    "persistentvolumeclaims,horizontalpodautoscalers,ingresses"
)
SALT = "ConfigMap/kept-salt"
OF_THE_NAMESPACE = {"ServiceAccount/default", "ConfigMap/kube-root-ca.crt", "Service/gateway-node-port"}


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    yield create_namespace("e2e-deletion")
    delete_namespace("e2e-deletion", wait=False)


async def test_a_deleted_platform_leaves_what_its_deletion_policy_says(namespace: Namespace) -> None:
    namespace.apply(shops.platform("kept", deletionPolicy="Retain"), shops.node_port("kept", 30081))
    namespace.wait_ready("kept")
    async with Shop(shops.gateway_url(30081)) as shop:
        await shop.wait_until_healthy()
        customer = await shop.register()

    namespace.kubectl("delete", "ecp", "kept", "--wait")
    eventually(
        lambda: {name.split("/")[0] for name in _left(namespace) - {SALT}} == {"PersistentVolumeClaim", "Secret"},
        120,
        "only volumes, credentials and their salt are left",
    )
    kept = _left(namespace)
    assert SALT in kept

    namespace.apply(shops.platform("kept", deletionPolicy="Delete"))
    namespace.wait_ready("kept")
    async with Shop(shops.gateway_url(30081)) as shop:
        await shop.wait_until_healthy()
        assert (await shop.log_in(customer.email, customer.password)).id == customer.id
    assert kept <= _left(namespace), "the volumes and what opens them were created again"

    namespace.kubectl("delete", "ecp", "kept", "--wait")
    eventually(lambda: not _left(namespace), 120, "nothing is left")


def _left(namespace: Namespace) -> set[str]:
    objects = namespace.list(EVERYTHING)
    return {f"{one['kind']}/{one['metadata']['name']}" for one in objects} - OF_THE_NAMESPACE
