"""A user service on a database of its own, called in-process."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from chassis.database import invariants
from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor
from chassis_testing.waiting import eventually
from user_harness import ADMIN_EMAIL, ADMIN_PASSWORD, Users, fast_hashes, is_ready, new_user_service
from user_service.app import SCHEMA
from user_service.settings import Settings


@pytest.fixture(scope="session")
async def serving_users() -> AsyncIterator[Users]:
    """The service that all tests share, with its first admin. Afterwards its database must not break an invariant."""
    async with AsyncExitStack() as stack:
        with fast_hashes():
            serving = await stack.enter_async_context(
                new_user_service(admin_email=ADMIN_EMAIL, admin_password=ADMIN_PASSWORD)
            )
        registering = asyncio.ensure_future(serving.service.background["first admin"]())
        await eventually(lambda: is_ready(serving.http))
        registering.cancel()
        yield serving
        await _assert_invariants_hold(serving.settings)


@pytest.fixture
def users(serving_users: Users) -> Iterator[Users]:
    """The shared service; its clock is reset after each test."""
    yield serving_users
    serving_users.clock.reset()


@pytest.fixture(scope="session")
def settings(serving_users: Users) -> Settings:
    return serving_users.settings


async def _assert_invariants_hold(settings: Settings) -> None:
    database = Database(settings, SCHEMA)
    monitor = InvariantMonitor(database, "user_service")
    broken = {
        invariant.name: await monitor.violations(invariant) for invariant in invariants.load_invariants("user_service")
    }
    await database.close()
    assert broken == {name: [] for name in broken}
