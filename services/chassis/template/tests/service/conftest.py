from collections.abc import AsyncIterator

import pytest
from chassis import testing
from sample_harness import Samples, running_service


@pytest.fixture(scope="session")
async def samples() -> AsyncIterator[Samples]:
    async with testing.fresh_database("sample_service") as database, running_service(database) as service:
        yield service
