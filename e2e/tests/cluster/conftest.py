from collections.abc import AsyncIterator, Iterator

import pytest
from devtools.shop_client import Person, Shop
from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_HELM, _CLOUDNATIVEPG = "test_cluster_helm.py", "test_cluster_cloudnativepg.py"
_WITH_SHOPS_OF_THEIR_OWN = ("test_cluster_deletion.py", "test_cluster_operator_fleet.py", _HELM)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs undisturbed tests last, when fewer tests wait for them."""
    items.sort(key=lambda item: item.get_closest_marker("undisturbed") is not None)


class OneAtATimePerShop(LoadScopeScheduling):  # type: ignore[misc]  # xdist tells no types
    """A scheduler: one worker runs the tests of the sample shop in order; the others run the files that need no shop or
    create their own.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].replace(_CLOUDNATIVEPG, _HELM)  # their shops have the same node port
        is_elsewhere = "tests/cluster/" not in file or file.endswith(_WITH_SHOPS_OF_THEIR_OWN)
        return file if is_elsewhere else "the sample shop"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneAtATimePerShop:
    return OneAtATimePerShop(config, log)


@pytest.fixture(scope="session")
def lifted_limits() -> Iterator[None]:
    """Lifts the sample shop's rate limits for the session, since all requests come from one address, and keeps its
    autoscalers from adding pods: those that start would take the processors on which the tests run.
    """
    sample = Namespace("shop")
    sample.wait_ready("shop")
    shops.limit_pods(sample, 1)
    sample.patch("ecp", "shop", {"spec": {"services": {"gateway": {"env": {"RATE_LIMITS": "off"}}}}})
    shops.wait_for_gateways(sample)
    yield
    sample.patch("ecp", "shop", {"spec": {"services": {"gateway": {"env": None}}}})
    shops.limit_pods(sample, shops.MOST_PODS)


@pytest.fixture
def namespace(lifted_limits: None) -> Namespace:
    """The sample shop's namespace; the shop is Ready before every test."""
    sample = Namespace("shop")
    sample.wait_ready("shop")
    return sample


@pytest.fixture
async def shop(namespace: Namespace) -> AsyncIterator[Shop]:
    async with Shop(shops.gateway_url()) as gateway:
        yield gateway


@pytest.fixture
async def admin(namespace: Namespace, shop: Shop) -> Person:
    """The first admin, whose account the operator created."""
    secret = namespace.secret("shop-admin")
    return await shop.log_in(secret["ADMIN_EMAIL"], secret["ADMIN_PASSWORD"])
