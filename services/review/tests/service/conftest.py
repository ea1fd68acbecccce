from collections.abc import AsyncIterator

import pytest
from chassis_testing.databases import migrated_database
from review_harness import Shop, broken, running_shop


@pytest.fixture(scope="session")
async def running_service() -> AsyncIterator[Shop]:
    async with migrated_database("review_service") as database, running_shop(database) as service:
        yield service


@pytest.fixture
async def shop(running_service: Shop) -> AsyncIterator[Shop]:
    """The service, its neighbours answering again after each test, and its books looked at."""
    yield running_service
    running_service.products.before = running_service.orders.before = running_service.users.before = None
    assert await broken(running_service.books) == {}
