from collections.abc import AsyncIterator, Iterator

import pytest
from order_harness import OrderApp, find_violations, running_app


@pytest.fixture(scope="session")
async def shared_app() -> AsyncIterator[OrderApp]:
    """The order service that all tests share; after them, its database must violate no invariant."""
    async with running_app() as app:
        yield app
        assert await find_violations(app.database) == {}


@pytest.fixture
def app(shared_app: OrderApp) -> Iterator[OrderApp]:
    """The order service; its neighbours are available and well stocked again after each test."""
    yield shared_app
    shared_app.products.is_unavailable = False
    shared_app.products.prices.clear()
    shared_app.products.withdrawn.clear()
    shared_app.inventory.is_unavailable = False
    shared_app.inventory.loses_responses = False
    shared_app.inventory.after_reserving = None
    shared_app.inventory.stock.clear()
    shared_app.payments.is_unavailable = False
    shared_app.payments.before_answering = None
    shared_app.payments.states.clear()
    shared_app.inventory.maxima.clear()
