"""The charts install a working shop without the operator."""

import json
from collections.abc import Iterator

import pytest
from devtools.shop_client import Shop
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, create_namespace, delete_namespace

pytestmark = pytest.mark.cluster


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    yield create_namespace("e2e-helm")
    delete_namespace("e2e-helm", wait=False)


async def test_helm_install_alone_creates_a_shop_that_takes_an_order(namespace: Namespace) -> None:
    namespace.apply(shops.node_port("mine", 30082))

    shops.helm_install(namespace, "mine")

    admin = namespace.secret("mine-admin")
    async with Shop(shops.gateway_url(30082)) as shop:
        await shop.wait_until_healthy()
        _, product = await shop.stocked_product(await shop.log_in(admin["ADMIN_EMAIL"], admin["ADMIN_PASSWORD"]), 5)
        order = await (await shop.register()).order((product, 2))
    assert order.status == "pending"
    assert _users(namespace) == {shops.ASSIGNED_USER["runAsUser"]}, "the images run under any user id"


def _users(namespace: Namespace) -> set[int]:
    pods = json.loads(namespace.kubectl("get", "pods", "--output", "json"))["items"]
    return {pod["spec"]["securityContext"]["runAsUser"] for pod in pods}
