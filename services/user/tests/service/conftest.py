"""A user service on a database of its own, called in-process."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest
from chassis.database import invariants
from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor
from chassis.runtime.process import Service
from chassis_testing.waiting import eventually
from user_harness import ADMIN_EMAIL, ADMIN_PASSWORD, Users, fresh_users, is_ready, quick_hashes
from user_service.app import SCHEMA, Settings


@pytest.fixture(scope="session")
async def serving_users() -> AsyncIterator[Users]:
    """The service that tests share, with its first admin. What they leave behind must agree with the invariants."""
    async with AsyncExitStack() as stack:
        with quick_hashes():
            serving = await stack.enter_async_context(
                fresh_users(admin_email=ADMIN_EMAIL, admin_password=ADMIN_PASSWORD)
            )
        registering = asyncio.ensure_future(serving.service.background["first admin"]())
        await eventually(lambda: is_ready(serving.http))
        registering.cancel()
        yield serving
        await _books_are_in_order(serving.settings)


@pytest.fixture
def users(serving_users: Users) -> Iterator[Users]:
    """The service, its clock right again after each test."""
    yield serving_users
    serving_users.clock.ahead = timedelta(0)


@pytest.fixture(scope="session")
def settings(serving_users: Users) -> Settings:
    return serving_users.settings


@pytest.fixture(scope="session")
def service(serving_users: Users) -> Service:
    return serving_users.service


@pytest.fixture(scope="session")
def http(serving_users: Users) -> httpx.AsyncClient:
    return serving_users.http


@pytest.fixture(scope="session")
def first_admin(serving_users: Users) -> dict[str, str]:
    """The credentials of the admin from the settings."""
    return {"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD}


async def _books_are_in_order(settings: Settings) -> None:
    database = Database(settings, SCHEMA)
    books = InvariantMonitor(database, "user_service")
    broken = {
        invariant.name: await books.violations(invariant) for invariant in invariants.load_invariants("user_service")
    }
    await database.close()
    assert broken == {name: [] for name in broken}
