"""Connections to the stores are encrypted, and refused if the certificate of the server is not what it has to be."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from chassis.database import redis_client
from chassis.database.engine import Database
from chassis.database.migrations import migrate
from chassis.errors import BrokerUnavailable, DatabaseUnavailable
from chassis.messaging.broker import Broker
from chassis.tls import client_context
from chassis_testing.broker import new_vhost
from chassis_testing.databases import empty_database
from chassis_testing.environment import environment_variable
from chassis_testing.tls import Authority, tls_proxy
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text

AUTHORITY = Authority()
Use = Callable[[str], Awaitable[None]]
"""Sends one command to a store, whose certificate the authorities of the argument verify."""
Store = Callable[[str], AbstractAsyncContextManager[Use]]
"""Serves a store with a certificate for the host name of the argument."""


@asynccontextmanager
async def postgres(host: str) -> AsyncIterator[Use]:
    async with empty_database() as settings:
        context = AUTHORITY.server_context(host)
        async with tls_proxy(settings.db_host, settings.db_port, context, is_postgres=True) as port:

            async def select(authorities: str) -> None:
                update = {"db_host": "localhost", "db_port": port, "db_ca": authorities}
                database = Database(settings.model_copy(update=update), "none")
                try:
                    async with database.begin() as transaction:
                        assert await transaction.scalar(text("SELECT 1")) == 1
                finally:
                    await database.close()

            yield select


@asynccontextmanager
async def redis(host: str) -> AsyncIterator[Use]:
    server = urlsplit(environment_variable("TEST_REDIS_URL"))
    async with tls_proxy(server.hostname or "", server.port or 6379, AUTHORITY.server_context(host)) as port:

        async def ping(authorities: str) -> None:
            async with redis_client.connect(f"rediss://localhost:{port}/0", 1, authorities) as client:
                assert await client.ping()

        yield ping


@asynccontextmanager
async def rabbitmq(host: str) -> AsyncIterator[Use]:
    async with new_vhost() as url:
        server = urlsplit(url)
        login = f"{server.username}:{server.password}"
        async with tls_proxy(server.hostname or "", server.port or 5672, AUTHORITY.server_context(host)) as port:

            async def publish(authorities: str) -> None:
                broker = Broker(f"amqps://{login}@localhost:{port}{server.path}", "order", authorities=authorities)
                try:
                    await broker.publish("order.placed.v1", uuid4(), b"{}")
                finally:
                    await broker.close()

            yield publish


STORES = pytest.mark.parametrize("store", [postgres, redis, rabbitmq])
REFUSED = (DatabaseUnavailable, RedisConnectionError, BrokerUnavailable)


@STORES
async def test_a_store_with_a_certificate_of_the_authority_is_used(store: Store) -> None:
    async with store("localhost") as use:
        await use(AUTHORITY.pem)


@STORES
@pytest.mark.parametrize("authorities", [Authority().pem, "system"])
async def test_a_certificate_of_another_authority_is_refused(store: Store, authorities: str) -> None:
    async with store("localhost") as use:
        with pytest.raises(REFUSED):
            await use(authorities)


@STORES
async def test_a_certificate_for_another_host_name_is_refused(store: Store) -> None:
    async with store("another.test") as use:
        with pytest.raises(REFUSED):
            await use(AUTHORITY.pem)


async def test_with_an_authority_no_database_without_tls_is_used() -> None:
    async with empty_database() as settings:
        database = Database(settings.model_copy(update={"db_ca": AUTHORITY.pem}), "none")
        with pytest.raises(DatabaseUnavailable):
            async with database.begin():
                pass
        await database.close()


async def test_a_migration_verifies_the_certificate_of_its_database() -> None:
    async with empty_database() as settings:
        context = AUTHORITY.server_context("localhost")
        async with tls_proxy(settings.db_host, settings.db_port, context, is_postgres=True) as port:
            update = {"db_host": "localhost", "db_port": port, "db_ca": Authority().pem}
            with pytest.raises(OSError, match="certificate verify failed"):
                await migrate("sample_service", settings.model_copy(update=update), timeout_seconds=0)


def test_the_context_of_an_authority_is_made_once_and_trusts_no_other() -> None:
    context = client_context(AUTHORITY.pem)

    assert client_context(AUTHORITY.pem) is context
    assert len(context.get_ca_certs()) == 1
