"""Between the services of a shop and its stores nothing is sent unencrypted, and no client trusts another authority."""

import pytest
from chassis_testing.tls import Authority
from devtools.services import SERVICES
from shop_e2e.cluster.kubectl import Namespace

pytestmark = pytest.mark.cluster

_WITH_DATABASE = tuple(name for name, service in SERVICES.items() if service.database)
_CONNECT = {
    "DB": """
import asyncio, os
from chassis.database.engine import Database
from chassis.errors import DatabaseUnavailable
from chassis.settings import DatabaseSettings, read

async def connect():
    database = Database(read(DatabaseSettings, os.environ), "none")
    try:
        async with database.begin():
            print("connected")
    except DatabaseUnavailable as error:
        print(error.__cause__)
    finally:
        await database.close()

asyncio.run(connect())
""",
    "REDIS": """
import asyncio, os
from chassis.database.redis_client import connect
from redis.exceptions import ConnectionError

async def ping():
    async with connect(os.environ["REDIS_URL"], 1, os.environ["REDIS_CA"]) as client:
        try:
            await client.ping()
            print("connected")
        except ConnectionError as error:
            print(error)

asyncio.run(ping())
""",
    "RABBITMQ": """
import asyncio, os
import aio_pika
from aio_pika.exceptions import AMQPConnectionError
from chassis.tls import client_context

async def connect():
    try:
        tls = client_context(os.environ["RABBITMQ_CA"])
        async with await aio_pika.connect(os.environ["RABBITMQ_URL"], ssl_context=tls):
            print("connected")
    except AMQPConnectionError as error:
        print(error)

asyncio.run(connect())
""",
}
"""Scripts that connect to a store as its services do."""
_LOG_IN_WITHOUT_TLS = """
import asyncio, os
import asyncpg

async def log_in():
    names = {"host": "DB_HOST", "user": "DB_USER", "password": "DB_PASSWORD", "database": "DB_NAME"}
    try:
        await asyncpg.connect(**{name: os.environ[variable] for name, variable in names.items()}, ssl=False)
        print("connected")
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        print(error)

asyncio.run(log_in())
"""
_ASK_WITHOUT_TLS = """
import asyncio, os
from urllib.parse import urlsplit

async def ask():
    url = urlsplit(os.environ["%s_URL"])
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(%r)
    try:
        print(await reader.read(100))
    except ConnectionResetError:
        print(b"")

asyncio.run(ask())
"""
_TLS_ALERT = r"b'\x15\x03"


@pytest.mark.parametrize("service", _WITH_DATABASE)
def test_no_database_accepts_a_password_without_tls(namespace: Namespace, service: str) -> None:
    assert "no encryption" in namespace.run_python(f"shop-{service}", _LOG_IN_WITHOUT_TLS)


@pytest.mark.parametrize(
    ("service", "store", "request_"),
    [("gateway", "REDIS", b"PING\r\n"), ("order", "RABBITMQ", b"AMQP\x00\x00\x09\x01")],
)
def test_redis_and_rabbitmq_answer_nothing_without_tls(
    namespace: Namespace, service: str, store: str, request_: bytes
) -> None:
    answer = namespace.run_python(f"shop-{service}", _ASK_WITHOUT_TLS % (store, request_))

    assert answer.strip() == "b''" or answer.startswith(_TLS_ALERT)


@pytest.mark.parametrize(("service", "store"), [("order", "DB"), ("gateway", "REDIS"), ("order", "RABBITMQ")])
def test_a_service_connects_with_the_authority_of_the_shop_and_with_no_other(
    namespace: Namespace, service: str, store: str
) -> None:
    other = f"import os\nos.environ['{store}_CA'] = {Authority().pem!r}\n"

    assert "connected" in namespace.run_python(f"shop-{service}", _CONNECT[store])
    assert "certificate verify failed" in namespace.run_python(f"shop-{service}", other + _CONNECT[store])
