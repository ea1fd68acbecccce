from collections.abc import AsyncIterator, Iterator

import pytest
from devtools.shop_client import Person, Shop
from shop_e2e.cluster.kubectl import Namespace
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

URL = "http://127.0.0.1:8080"


_WITH_SHOPS_OF_THEIR_OWN = ("test_cluster_deletion.py", "test_cluster_helm.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What bears no company comes last, when fewer tests are left to wait for."""
    items.sort(key=lambda item: item.get_closest_marker("undisturbed") is not None)


class OneAtATimePerShop(LoadScopeScheduling):  # type: ignore[misc]  # xdist tells no types
    """One process tests the sample shop, in order; others, meanwhile, what needs none or makes its own, a file at a time."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        is_elsewhere = "tests/cluster/" not in file or file.endswith(_WITH_SHOPS_OF_THEIR_OWN)
        return file if is_elsewhere else "the sample shop"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneAtATimePerShop:
    return OneAtATimePerShop(config, log)


@pytest.fixture(scope="session")
def lifted_limits() -> Iterator[None]:
    """All of a suite's people come from one address: the sample shop does not count them meanwhile."""
    sample = Namespace("shop")
    sample.wait_ready("shop")
    sample.patch("ecp", "shop", {"spec": {"services": {"gateway": {"env": {"RATE_LIMITS": "off"}}}}})
    sample.wait_rolled_out("shop")
    yield
    sample.patch("ecp", "shop", {"spec": {"services": {"gateway": None}}})


@pytest.fixture
def namespace(lifted_limits: None) -> Namespace:
    """The sample shop's, which every test finds Ready."""
    sample = Namespace("shop")
    sample.wait_ready("shop")
    return sample


@pytest.fixture
async def shop(namespace: Namespace) -> AsyncIterator[Shop]:
    async with Shop(URL) as gateway:
        yield gateway


@pytest.fixture
async def admin(namespace: Namespace, shop: Shop) -> Person:
    """The first admin, whom the operator made."""
    secret = namespace.secret("shop-admin")
    return await shop.log_in(secret["ADMIN_EMAIL"], secret["ADMIN_PASSWORD"])
