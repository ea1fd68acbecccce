from collections.abc import AsyncIterator

import pytest
from chassis_testing.databases import migrated_database
from review_harness import RunningReviewService, run_review_service, violations


@pytest.fixture(scope="session")
async def running_service() -> AsyncIterator[RunningReviewService]:
    async with migrated_database("review_service") as settings, run_review_service(settings) as service:
        yield service


@pytest.fixture
async def service(running_service: RunningReviewService) -> AsyncIterator[RunningReviewService]:
    """The running service. After each test its neighbours are available again, and its invariants are checked."""
    yield running_service
    running_service.products.before = running_service.orders.before = running_service.users.before = None
    assert await violations(running_service.database) == {}
