from collections.abc import AsyncIterator, Iterator

import pytest
from shop_e2e.client import Person, Shop
from shop_e2e.kubectl import Namespace

URL = "http://127.0.0.1:8080"


@pytest.fixture(scope="session", autouse=True)
def lifted_limits() -> Iterator[None]:
    """All of a suite's people come from one address: the sample shop does not count them meanwhile."""
    sample = Namespace("shop")
    sample.wait_ready("shop")
    sample.patch("ecp", "shop", {"spec": {"services": {"gateway": {"env": {"RATE_LIMITS": "off"}}}}})
    sample.wait_rolled_out("shop")
    yield
    sample.patch("ecp", "shop", {"spec": {"services": {"gateway": None}}})


@pytest.fixture
def namespace() -> Namespace:
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
