from collections.abc import AsyncIterator, Iterator

import pytest
from chassis.database import invariants
from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor
from order_harness import Order, running_order
from order_service.app import SCHEMA


@pytest.fixture(scope="session")
async def running_service() -> AsyncIterator[Order]:
    """Whatever the tests have done to it, its books are true in the end."""
    async with running_order() as service:
        yield service
        database = Database(service.database, SCHEMA)
        books = InvariantMonitor(database, "order_service")
        broken = {each.name: await books.violations(each) for each in invariants.load_invariants("order_service")}
        await database.close()
        assert {name: rows for name, rows in broken.items() if rows} == {}


@pytest.fixture
def order(running_service: Order) -> Iterator[Order]:
    """The service, its neighbours answering and well stocked again after each test."""
    yield running_service
    running_service.products.is_away = False
    running_service.inventory.is_away = False
    running_service.inventory.loses_answers = False
    running_service.inventory.after_reserving = None
    running_service.inventory.left.clear()
    running_service.products.repriced.clear()
    running_service.products.gone.clear()
