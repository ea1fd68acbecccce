"""The harness of the user service's tests: its clients, its database and its events."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import httpx
import pytest
from chassis.messaging import events
from chassis.messaging.events import Event
from chassis.runtime.process import Service, cancel_all
from chassis.settings import DatabaseSettings
from chassis.types.ids import UserId
from chassis_testing.callers import KNOWN_CALLERS
from chassis_testing.databases import SqlConnection, connect_to, migrated_database
from chassis_testing.environment import environment_variable
from chassis_testing.services import http_client
from google.protobuf.message import Message
from user_service.app import build
from user_service.domain.accounts import Email
from user_service.domain.mail_tokens import MailRequest, Purpose, derive_mail_token
from user_service.service import passwords as hashing
from user_service.service.passwords import PasswordHasher
from user_service.service.signing import derive_key
from user_service.settings import Settings

PASSWORD = "correct horse battery staple"
ADMIN_EMAIL, ADMIN_PASSWORD = "admin@example.com", "an admin's password"
SECRET = "0123456789abcdef0123456789abcdef"
UNREACHABLE_BROKER = "amqp://guest@127.0.0.1:1/"


class Clock:
    """The real time, moved on by the test."""

    minute = timedelta(minutes=1)

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def seeded_random() -> random.Random:
    """Returns a random generator and prints its seed, so that a failed race can be repeated."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown with the failure
    return random.Random(seed)


async def run_concurrently(rng: random.Random, *calls: Callable[[], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    """Returns the answers to calls that start within a few milliseconds, in random order."""

    async def call(start: Callable[[], Awaitable[httpx.Response]], after: float) -> httpx.Response:
        await asyncio.sleep(after)
        return await start()

    return await asyncio.gather(*(call(start, rng.uniform(0, 0.004)) for start in calls))


async def is_ready(http: httpx.AsyncClient) -> bool:
    """Returns whether the service is ready, which includes that the first admin is registered."""
    try:
        return (await http.get("/ready")).is_success
    except httpx.TransportError:
        return False


def new_email() -> str:
    return f"{uuid4().hex}@example.com"


def problem_code(answer: httpx.Response, status: int) -> str:
    """Returns the code of a problem, which must have this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return str(answer.json()["code"])


@dataclass(frozen=True)
class Person:
    """A user with an account and a session."""

    tokens: dict[str, Any]
    password: str

    @property
    def id(self) -> int:
        return int(self.tokens["user"]["id"])

    @property
    def email(self) -> str:
        return str(self.tokens["user"]["email"])

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}


@dataclass
class PausedCall:
    """A call which waits between two steps: `reached` is set when it waits, and `release` lets it continue."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    is_used: bool = False


@dataclass(frozen=True)
class Users:
    """The user service's API, database and events."""

    http: httpx.AsyncClient
    settings: Settings
    service: Service
    clock: Clock

    @property
    def rpc_address(self) -> str:
        assert self.service.rpc is not None
        return f"127.0.0.1:{self.service.rpc.port}"

    async def register(self, **fields: str) -> Person:
        body = {"email": new_email(), "password": PASSWORD, **fields}
        answer = await self.http.post("/api/v1/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        return Person(answer.json()["data"], body["password"])

    async def log_in(self, email: str, password: str = PASSWORD, **headers: str) -> httpx.Response:
        credentials = {"email": email, "password": password}
        return await self.http.post("/api/v1/auth/login", json=credentials, headers=headers)

    async def new_session(self, email: str, password: str = PASSWORD, **headers: str) -> Person:
        answer = await self.log_in(email, password, **headers)
        assert answer.status_code == 200, answer.text
        return Person(answer.json()["data"], password)

    async def new_admin(self) -> Person:
        """Returns an admin for this test alone; made by SQL, since all tests share the first admin."""
        person = await self.register()
        async with self.sql() as sql:
            await sql.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
        return await self.new_session(person.email)

    async def refresh(self, token: str) -> httpx.Response:
        return await self.http.post("/api/v1/auth/refresh", json={"refresh_token": token})

    async def erase_own(self, person: Person, password: str | None = None) -> httpx.Response:
        """Erases a user's own account, by default with the right password."""
        body = {"current_password": person.password if password is None else password}
        return await self.http.request("DELETE", "/api/v1/users/me", json=body, headers=person.bearer)

    async def is_logged_in(self, person: Person) -> bool:
        """Returns whether the access token of this user is accepted."""
        answer = await self.http.get("/api/v1/users/me", headers=person.bearer)
        if answer.status_code == 200:
            return True
        assert problem_code(answer, 401) == "session_ended"
        return False

    async def seconds(self, answer: Awaitable[httpx.Response]) -> float:
        """Returns how long an answer takes."""
        started = time.perf_counter()
        await answer
        return time.perf_counter() - started

    def pause_after_verification(self, monkeypatch: pytest.MonkeyPatch) -> PausedCall:
        """Pauses the next verification of a password after it was done; later ones are not paused."""
        paused, verify = PausedCall(), PasswordHasher.verify

        async def verify_and_wait(passwords: PasswordHasher, password: str, password_hash: str | None) -> bool:
            is_first, paused.is_used = not paused.is_used, True
            is_right = await verify(passwords, password, password_hash)
            if is_first:
                paused.reached.set()
                await paused.release.wait()
            return is_right

        monkeypatch.setattr(PasswordHasher, "verify", verify_and_wait)
        return paused

    def pause_before(self, monkeypatch: pytest.MonkeyPatch, owner: type[object], method: str) -> PausedCall:
        """Pauses the next call of a method before it begins; later ones are not paused."""
        paused, call = PausedCall(), getattr(owner, method)

        async def wait_and_call(*arguments: object) -> object:
            is_first, paused.is_used = not paused.is_used, True
            if is_first:
                paused.reached.set()
                await paused.release.wait()
            return await call(*arguments)

        monkeypatch.setattr(owner, method, wait_and_call)
        return paused

    async def request_reset(self, email: str) -> httpx.Response:
        return await self.http.post("/api/v1/auth/forgot-password", json={"email": email})

    async def reset(self, token: str, password: str) -> httpx.Response:
        return await self.http.post("/api/v1/auth/reset-password", json={"token": token, "new_password": password})

    async def verify(self, token: str) -> httpx.Response:
        return await self.http.post("/api/v1/auth/verify-email", json={"token": token})

    @asynccontextmanager
    async def running_loop(self, name: str) -> AsyncIterator[None]:
        """Runs one background loop of the service during the block."""
        loop = asyncio.ensure_future(self.service.background[name]())
        try:
            yield
        finally:
            await cancel_all(loop)

    def sql(self) -> AbstractAsyncContextManager[SqlConnection]:
        return connect_to(self.settings)

    async def events_about(self, user_id: int) -> list[Event]:
        """Returns the events about a user in the outbox, the oldest first."""
        async with self.sql() as sql:
            rows = await sql.fetch("SELECT body FROM outbox ORDER BY sequence")
        decoded = [events.decode(row["body"]) for row in rows]
        return [event for event in decoded if event.subject == str(user_id)]

    async def payloads(self, user_id: int, kind: type[Message]) -> list[Any]:
        """Returns the payloads of one kind of event about a user."""
        return [event.payload for event in await self.events_about(user_id) if isinstance(event.payload, kind)]

    async def mailed_token(self, user_id: int, kind: type[Message]) -> str:
        """Returns the token of the newest request of a kind, as its mail has it."""
        newest = (await self.payloads(user_id, kind))[-1]
        return await self.token_of(newest.request_id)

    async def token_of(self, request_id: str) -> str:
        async with self.sql() as sql:
            row = await sql.fetchrow(
                "SELECT requests.*, users.email AS own_email, password_hash FROM mail_requests AS requests"
                " JOIN users ON users.id = requests.user_id WHERE requests.id = $1",
                UUID(request_id),
            )
        assert row is not None
        request = MailRequest(
            UUID(request_id),
            UserId(row["user_id"]),
            Purpose(row["purpose"]),
            Email(row["email"]),
            row["created_at"],
            row["expires_at"],
        )
        key = derive_key("mailed tokens v1", self.settings.jwt_secret)
        return derive_mail_token(request, Email(row["own_email"]), row["password_hash"], key).text()


def settings_for(database: DatabaseSettings, **others: Any) -> Settings:
    """Returns settings for a service on this database. Nothing is published unless the test names a broker."""
    defaults = {
        "grpc_port": 0,
        "grpc_callers": KNOWN_CALLERS,
        "jwt_secret": SECRET,
        "rabbitmq_url": UNREACHABLE_BROKER,
        "redis_url": environment_variable("TEST_REDIS_URL"),
        "tenant": uuid4().hex,  # separates the keys of this service in the shared Redis
    }
    return Settings(**{**database.model_dump(), **defaults, **others})


@contextmanager
def fast_hashes() -> Iterator[None]:
    """Makes services that are built in this block hash passwords weakly, in a millisecond."""
    with mock.patch.multiple(hashing, _PASSES=1, _MEMORY_KIB=256):
        yield


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Users]:
    """Serves HTTP and gRPC without background loops, so that events stay in the outbox for the test."""
    clock = Clock()
    service = await build(settings, clock)
    assert service.rpc is not None
    await service.rpc.start()
    try:
        async with http_client(service.http) as http:
            yield Users(http, settings, service, clock)
    finally:
        await service.rpc.stop(0)
        for close in service.closers:
            await close()


@asynccontextmanager
async def new_user_service(**others: Any) -> AsyncIterator[Users]:
    """Serves a user service on a database of its own."""
    async with migrated_database("user_service") as database, serving(settings_for(database, **others)) as users:
        yield users
