"""The same charts serve without the operator."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from shop_e2e import shops
from shop_e2e.client import Shop
from shop_e2e.kubectl import CONTEXT, Namespace, command, create_namespace, delete_namespace

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[3]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    yield create_namespace("e2e-helm")
    delete_namespace("e2e-helm")


async def test_helm_install_alone_gives_a_shop_that_takes_an_order(namespace: Namespace, tmp_path: Path) -> None:
    values = tmp_path / "secrets.yaml"
    values.write_text(command(str(ROOT / "charts/secrets")))
    sample = Namespace("shop").get("deployment", "shop-order")
    image = sample["spec"]["template"]["spec"]["containers"][0]["image"]
    settings = {
        "global.image.registry": image.split("/")[0],
        "global.image.tag": image.rpartition(":")[2],
        "global.storeRegistry": "localhost:5001/library/",
        **{f"{component}.resources.requests.cpu": "10m" for component in _components()},
    }
    namespace.apply(shops.node_port("mine", 30082))

    command(
        "helm", "--kube-context", CONTEXT, "--namespace", namespace.name, "install", "mine", str(ROOT / "charts/platform"),
        "--values", str(values), "--wait", "--timeout", "6m", *(f"--set-string={key}={value}" for key, value in settings.items()),
        timeout=400,
    )  # fmt: skip

    admin = namespace.secret("mine-admin")
    async with Shop("http://127.0.0.1:18082") as shop:
        _, product = await shop.stocked_product(await shop.log_in(admin["ADMIN_EMAIL"], admin["ADMIN_PASSWORD"]), 5)
        order = await (await shop.register()).order((product, 2))
    assert order["status"] == "pending"


def _components() -> list[str]:
    databases = [f"{service}-db" for service in shops.SERVICES if service != "gateway"]
    return [*shops.SERVICES, *databases, "redis", "rabbitmq"]
