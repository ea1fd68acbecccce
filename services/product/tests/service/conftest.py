from collections.abc import AsyncIterator, Iterator

import pytest
from chassis_testing.databases import migrated_database
from product_harness import Shop, shop_with_neighbours


@pytest.fixture(scope="session")
async def running_service() -> AsyncIterator[Shop]:
    async with migrated_database("product_service") as database, shop_with_neighbours(database) as service:
        yield service


@pytest.fixture
def shop(running_service: Shop) -> Iterator[Shop]:
    """The service, its neighbours answering again after each test."""
    yield running_service
    running_service.neighbours.before.clear()
