"""What service tests share: real PostgreSQL, Redis and RabbitMQ from the test environment, and tokens of a test's own key.

The servers come from `make test-env-up`, which also prints the variables that are read here. A missing one fails the test.
"""

import asyncio
import fcntl
import json
import os
import random
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import asyncpg
import httpx
import jwt
from asyncpg.pool import PoolConnectionProxy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio
from jwt.algorithms import OKPAlgorithm
from shopapi.user.v1 import user_pb2, user_pb2_grpc
from starlette.types import ASGIApp

from chassis import events
from chassis.broker import declare_queue
from chassis.events import Event
from chassis.migrating import migrate
from chassis.process import Service, end
from chassis.settings import DatabaseSettings
from chassis.tokens import ALGORITHM, ISSUER, Role

Connection: TypeAlias = PoolConnectionProxy
"""To a database."""
UNKNOWN_ID = "018f0000-0000-7000-8000-000000000000"
"""Of nothing that a test makes, and the same in every run, so that a test can be named after it."""


def variable(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise LookupError(
            f'{name} is not set: run `eval "$(e2e/cluster/test-env env)"` after `make test-env-up`'
        ) from None


@asynccontextmanager
async def fresh_database(package: str) -> AsyncIterator[DatabaseSettings]:
    """A database of its own with a service's schema; dropped afterwards."""
    async with empty_database() as settings:
        await migrate(package, settings)
        yield settings


@asynccontextmanager
async def empty_database() -> AsyncIterator[DatabaseSettings]:
    """A database of its own without any table; dropped afterwards."""
    server = urlsplit(variable("TEST_POSTGRES_DSN"))
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(variable("TEST_POSTGRES_DSN"))
    await admin.execute(f'CREATE DATABASE "{name}"')
    try:
        yield DatabaseSettings(
            db_host=server.hostname or "",
            db_port=server.port or 5432,
            db_user=server.username or "",
            db_password=server.password or "",
            db_name=name,
            db_patience_seconds=30,  # a busy machine is not a full pool
        )
    finally:
        if name in _pools:
            await _pools.pop(name).close()
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await admin.close()


_pools: dict[str, asyncpg.Pool] = {}


@asynccontextmanager
async def sql(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """A test's own connection to such a database, past the service. It goes back to a pool, since opening one costs more than most
    of what is asked of it.
    """
    name = database.db_name
    if name not in _pools:
        _pools[name] = asyncpg.create_pool(
            host=database.db_host,
            port=database.db_port,
            user=database.db_user,
            password=database.db_password,
            database=name,
            min_size=0,
            max_size=20,
        )
        await _pools[name]
    async with _pools[name].acquire() as connection:
        yield connection


@asynccontextmanager
async def fresh_vhost() -> AsyncIterator[str]:
    """An AMQP URL with a virtual host of its own, so that tests share no queue; removed afterwards."""
    broker = urlsplit(variable("TEST_RABBITMQ_URL"))
    management = variable("TEST_RABBITMQ_MANAGEMENT_URL")
    vhost = f"test-{uuid4().hex[:12]}"
    async with httpx.AsyncClient(
        base_url=management,
        auth=(broker.username or "", broker.password or ""),
        limits=httpx.Limits(max_keepalive_connections=0),  # the server ends an idle connection as it is used again
    ) as client:
        (await client.put(f"/api/vhosts/{vhost}")).raise_for_status()
        try:
            yield f"amqp://{broker.netloc}/{vhost}"
        finally:
            (await client.delete(f"/api/vhosts/{vhost}")).raise_for_status()


_PORTS = range(20_000, 30_000)
"""Below what the kernel gives to outgoing connections, so that a server which is down for a moment finds its port free again."""
_claims: list[int] = []


def free_port() -> int:
    """A port of this machine that nobody listens on, and that nobody else is given here before this process ends."""
    claims = Path(tempfile.gettempdir()) / "ecommerce-test-ports"
    claims.mkdir(exist_ok=True)
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        claim = os.open(claims / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        if _is_granted(claim) and _is_free(port):
            _claims.append(claim)
            return port
        os.close(claim)


def _is_granted(claim: int) -> bool:
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Cable:
    """A TCP connection to a server that a test can cut, mend and slow down.

    `delay` is how long each piece takes on its way at most, in seconds.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = free_port()
        self.delay = 0.0

    def aim(self, host: str, port: int) -> None:
        """Where new connections lead from now on."""
        self._target = (host, port)

    async def mend(self) -> None:
        """Accepts connections, from the beginning or after a cut."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def drop(self) -> None:
        """Ends every connection in the middle of what it carries; new ones are accepted."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def cut(self) -> None:
        """Ends every connection and refuses new ones."""
        if self._server is not None:
            self._server.close()
        await self.drop()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer), return_exceptions=True)
        self._writers -= ends

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(random.uniform(0, self.delay))  # noqa: S311 - no secret
                writer.write(chunk)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def cable(host: str, port: int) -> AsyncIterator[Cable]:
    line = Cable(host, port)
    await line.mend()
    try:
        yield line
    finally:
        await line.cut()


class TokenIssuer:
    """Signs access tokens as the user service would, with a key of the test's own."""

    def __init__(self, kid: str = "test") -> None:
        self._key = Ed25519PrivateKey.generate()
        self._kid = kid

    def jwks(self) -> str:
        public = OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**public, "kid": self._kid, "alg": ALGORITHM, "use": "sig"}]})

    def token(self, user_id: int, role: Role = Role.CUSTOMER, expires_in: float = 600) -> str:
        claims = {"iss": ISSUER, "sub": str(user_id), "role": role.value, "exp": time.time() + expires_in}
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self._kid})

    def bearer(self, user_id: int, role: Role = Role.CUSTOMER, expires_in: float = 600) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user_id, role, expires_in)}"}


class FakeUserService(user_pb2_grpc.UserServiceServicer):
    """The user service at its gRPC boundary: one key, and users that are called by their number."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer

    async def GetUser(self, request: user_pb2.GetUserRequest, context: object) -> user_pb2.GetUserResponse:  # noqa: N802
        return user_pb2.GetUserResponse(user_id=request.user_id, display_name=f"User {request.user_id}")

    async def GetContact(self, request: user_pb2.GetContactRequest, context: object) -> user_pb2.GetContactResponse:  # noqa: N802
        user_id = request.user_id
        return user_pb2.GetContactResponse(
            user_id=user_id, email=f"user{user_id}@example.com", display_name=f"User {user_id}", locale="en"
        )

    async def GetMailToken(  # noqa: N802
        self, request: user_pb2.GetMailTokenRequest, context: object
    ) -> user_pb2.GetMailTokenResponse:
        return user_pb2.GetMailTokenResponse(token=f"token-of-{request.request_id}", email="proved@example.com")

    async def GetSigningKeys(  # noqa: N802
        self, request: user_pb2.GetSigningKeysRequest, context: object
    ) -> user_pb2.GetSigningKeysResponse:
        return user_pb2.GetSigningKeysResponse(jwks=self._issuer.jwks())


@asynccontextmanager
async def grpc_server(*registrations: Callable[[aio.Server], None]) -> AsyncIterator[str]:
    """A real gRPC server for fakes of neighbours; gives its address."""
    server = aio.server()
    for register in registrations:
        register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def client(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


async def eventually(check: Callable[[], Awaitable[bool]], within: float = 30.0) -> None:
    """Waits until `check` holds; fails after `within` seconds. For effects that arrive as events."""
    async with asyncio.timeout(within):
        while not await check():  # noqa: ASYNC110 - the effect is in another process's database
            await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Running:
    http: httpx.AsyncClient
    rpc_port: int


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[Running]:
    """A composed service with its gRPC server and background loops running; HTTP is called in process."""
    loops = [asyncio.create_task(_loop(start)) for start in service.background.values()]
    if service.rpc is not None:
        await service.rpc.start()
    try:
        async with client(service.http) as http:
            yield Running(http, service.rpc.port if service.rpc else 0)
    finally:
        if service.rpc is not None:
            await service.rpc.stop(0)
        await end(*loops)
        for close in service.closers:
            await close()


async def publish(broker_url: str, sent: Sequence[Event]) -> None:
    """Sends events as their producer's relay would, one after the other."""
    async with _exchange(broker_url, events.topology().exchange) as exchange:
        for event in sent:
            await exchange.publish(aio_pika.Message(events.encode(event)), event.type.name)


async def publish_raw(broker_url: str, exchange: str, routing_key: str, body: bytes) -> None:
    async with _exchange(broker_url, exchange) as opened:
        await opened.publish(aio_pika.Message(body), routing_key)


@asynccontextmanager
async def _exchange(broker_url: str, name: str) -> AsyncIterator[aio_pika.abc.AbstractExchange]:
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        yield await channel.get_exchange(name)


async def next_message(broker_url: str, queue_name: str, within: float = 30.0) -> bytes:
    """The next message of a queue, taken off it."""
    async with asyncio.timeout(within), await aio_pika.connect(broker_url) as connection:
        queue = await (await connection.channel()).get_queue(queue_name)
        async with queue.iterator() as messages:
            async for message in messages:
                await message.ack()
                return message.body
    raise LookupError(f"nothing came on {queue_name}")


@asynccontextmanager
async def receiving(broker_url: str, service: str) -> AsyncIterator[Callable[[], Awaitable[Event]]]:
    """Stands in for a consumer: declares its queue first, so that nothing sent from now on is missed."""
    async with await aio_pika.connect(broker_url) as connection:
        await declare_queue(await connection.channel(), service)

    async def next_event() -> Event:
        return events.decode(await next_message(broker_url, service))

    yield next_event


async def _loop(start: Callable[[], Awaitable[None]]) -> None:
    await start()
