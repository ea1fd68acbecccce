from collections.abc import AsyncIterator, Iterator

import pytest
from order_harness import Order, running_order


@pytest.fixture(scope="session")
async def running_service() -> AsyncIterator[Order]:
    async with running_order() as service:
        yield service


@pytest.fixture
def order(running_service: Order) -> Iterator[Order]:
    """The service, its neighbours answering and well stocked again after each test."""
    yield running_service
    running_service.products.is_away = False
    running_service.inventory.is_away = False
    running_service.inventory.loses_answers = False
    running_service.inventory.after_reserving = None
    running_service.inventory.left.clear()
