from collections.abc import AsyncIterator, Iterator

import pytest
from chassis import testing
from review_harness import Shop, running_shop


@pytest.fixture(scope="session")
async def running_service() -> AsyncIterator[Shop]:
    async with testing.fresh_database("review_service") as database, running_shop(database) as service:
        yield service


@pytest.fixture
def shop(running_service: Shop) -> Iterator[Shop]:
    """The service, its neighbours answering again after each test."""
    yield running_service
    running_service.products.before = running_service.orders.before = None
