from collections.abc import AsyncIterator, Iterator

import pytest
from chassis_testing.databases import migrated_database
from product_harness import Catalogue, catalogue_with_neighbours


@pytest.fixture(scope="session")
async def running_service() -> AsyncIterator[Catalogue]:
    async with migrated_database("product_service") as database, catalogue_with_neighbours(database) as service:
        yield service


@pytest.fixture
def catalogue(running_service: Catalogue) -> Iterator[Catalogue]:
    """The running service; the faults of its fake neighbours are removed after each test."""
    yield running_service
    running_service.neighbours.faults.clear()
    running_service.neighbours.exact_stock_up_to = None
