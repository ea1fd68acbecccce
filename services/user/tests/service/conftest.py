"""A user service on a database of its own, called in-process."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from chassis import testing
from chassis.process import Service
from chassis.settings import DatabaseSettings
from user_service.app import Settings, build

ADMIN_EMAIL, ADMIN_PASSWORD = "admin@example.com", "an admin's password"


@pytest.fixture(scope="session")
async def database() -> AsyncIterator[DatabaseSettings]:
    async with testing.fresh_database("user_service") as settings:
        yield settings


@pytest.fixture(scope="session")
def settings(database: DatabaseSettings) -> Settings:
    return Settings(
        **database.model_dump(),
        grpc_port=0,
        jwt_secret="0123456789abcdef0123456789abcdef",
        admin_email=ADMIN_EMAIL,
        admin_password=ADMIN_PASSWORD,
    )


@pytest.fixture(scope="session")
async def service(settings: Settings) -> AsyncIterator[Service]:
    built = await build(settings)
    assert built.rpc is not None
    await built.rpc.start()
    yield built
    await built.rpc.stop(0)
    for close in built.closers:
        await close()


@pytest.fixture(scope="session")
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with testing.client(service.http) as client:
        yield client


@pytest.fixture(scope="session")
async def first_admin(service: Service) -> AsyncIterator[dict[str, str]]:
    """The credentials of the admin from the settings, once they work."""
    running = asyncio.ensure_future(service.background["first admin"]())
    credentials = {"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD}

    async def is_registered() -> bool:
        async with testing.client(service.http) as client:
            return (await client.post("/api/v1/auth/login", json=credentials)).status_code == 200

    await testing.eventually(is_registered)
    yield credentials
    running.cancel()
