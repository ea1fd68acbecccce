from collections.abc import AsyncIterator

import pytest
from chassis_testing.databases import migrated_database
from sample_harness import SampleClient, running_service


@pytest.fixture(scope="session")
async def client() -> AsyncIterator[SampleClient]:
    async with migrated_database("sample_service") as database, running_service(database) as running:
        yield running
