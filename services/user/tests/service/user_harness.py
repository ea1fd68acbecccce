"""What the tests of the user service share: people who use it, and looks behind its counter."""

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
from chassis.runtime.process import Service
from chassis.settings import DatabaseSettings
from chassis.types.ids import UserId
from chassis_testing.databases import SqlConnection, connect_to, migrated_database
from chassis_testing.services import http_client
from google.protobuf.message import Message
from user_service.app import Settings, build
from user_service.domain.accounts import Email
from user_service.domain.mail import MailRequest, Purpose, token_for
from user_service.service import passwords as hashing
from user_service.service.passwords import Passwords
from user_service.service.signing import key_for

PASSWORD = "correct horse battery staple"
ADMIN_EMAIL, ADMIN_PASSWORD = "admin@example.com", "an admin's password"
SECRET = "0123456789abcdef0123456789abcdef"


class Clock:
    """The service's time: the real one, moved on by the test."""

    minute = timedelta(minutes=1)

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def dice() -> random.Random:
    """Chance whose seed is printed, so that a race that was lost can be run again."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown with the failure
    return random.Random(seed)


async def at_once(chance: random.Random, *calls: Callable[[], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    """The answers to calls that start within a few milliseconds, in an order of chance."""

    async def call(start: Callable[[], Awaitable[httpx.Response]], after: float) -> httpx.Response:
        await asyncio.sleep(after)
        return await start()

    return await asyncio.gather(*(call(start, chance.uniform(0, 0.004)) for start in calls))


async def is_ready(http: httpx.AsyncClient) -> bool:
    """Which includes that the first admin may log in."""
    try:
        return (await http.get("/ready")).is_success
    except httpx.TransportError:
        return False


def fresh_email() -> str:
    return f"{uuid4().hex}@example.com"


def problem(answer: httpx.Response, status: int) -> str:
    """The code of a problem that was answered with this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return str(answer.json()["code"])


@dataclass(frozen=True)
class Person:
    """Somebody with an account, and a session in it."""

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
class Held:
    """Something that waits between two steps: it was `reached`, and goes on after `release`."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    is_taken: bool = False


@dataclass(frozen=True)
class Users:
    """The user service, as people meet it, with its database in sight."""

    http: httpx.AsyncClient
    settings: Settings
    service: Service
    clock: Clock

    @property
    def rpc_address(self) -> str:
        assert self.service.rpc is not None
        return f"127.0.0.1:{self.service.rpc.port}"

    async def register(self, **fields: str) -> Person:
        body = {"email": fresh_email(), "password": PASSWORD, **fields}
        answer = await self.http.post("/api/v1/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        return Person(answer.json()["data"], body["password"])

    async def log_in(self, email: str, password: str = PASSWORD, **headers: str) -> httpx.Response:
        credentials = {"email": email, "password": password}
        return await self.http.post("/api/v1/auth/login", json=credentials, headers=headers)

    async def logged_in(self, email: str, password: str = PASSWORD, **headers: str) -> Person:
        answer = await self.log_in(email, password, **headers)
        assert answer.status_code == 200, answer.text
        return Person(answer.json()["data"], password)

    async def admin(self) -> Person:
        """An admin of the test's own; made by SQL, since the first one belongs to all tests."""
        person = await self.register()
        async with self.sql() as sql:
            await sql.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
        return await self.logged_in(person.email)

    async def refresh(self, token: str) -> httpx.Response:
        return await self.http.post("/api/v1/auth/refresh", json={"refresh_token": token})

    async def is_logged_in(self, person: Person) -> bool:
        """Whether their access token still opens anything here."""
        answer = await self.http.get("/api/v1/users/me", headers=person.bearer)
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200

    async def seconds(self, answer: Awaitable[httpx.Response]) -> float:
        """How long an answer takes."""
        started = time.perf_counter()
        await answer
        return time.perf_counter() - started

    def hold_verification(self, monkeypatch: pytest.MonkeyPatch) -> "Held":
        """The next password that is verified is held just after it; those that follow are not."""
        held, verify = Held(), Passwords.verify

        async def hold(passwords: Passwords, password: str, password_hash: str | None) -> bool:
            is_first, held.is_taken = not held.is_taken, True
            is_right = await verify(passwords, password, password_hash)
            if is_first:
                held.reached.set()
                await held.release.wait()
            return is_right

        monkeypatch.setattr(Passwords, "verify", hold)
        return held

    def hold_before(self, monkeypatch: pytest.MonkeyPatch, owner: type[object], method: str) -> "Held":
        """The next call of a method is held before it begins; those that follow are not."""
        held, call = Held(), getattr(owner, method)

        async def hold(*arguments: object) -> object:
            is_first, held.is_taken = not held.is_taken, True
            if is_first:
                held.reached.set()
                await held.release.wait()
            return await call(*arguments)

        monkeypatch.setattr(owner, method, hold)
        return held

    async def forgot(self, email: str) -> httpx.Response:
        return await self.http.post("/api/v1/auth/forgot-password", json={"email": email})

    async def reset(self, token: str, password: str) -> httpx.Response:
        return await self.http.post("/api/v1/auth/reset-password", json={"token": token, "new_password": password})

    async def verify(self, token: str) -> httpx.Response:
        return await self.http.post("/api/v1/auth/verify-email", json={"token": token})

    def sql(self) -> AbstractAsyncContextManager[SqlConnection]:
        return connect_to(self.settings)

    async def told(self, user_id: int) -> list[Event]:
        """The events about a user that wait in the outbox, the oldest first."""
        async with self.sql() as sql:
            rows = await sql.fetch("SELECT body FROM outbox ORDER BY sequence")
        every = [events.decode(row["body"]) for row in rows]
        return [event for event in every if event.subject == str(user_id)]

    async def told_of(self, user_id: int, kind: type[Message]) -> list[Any]:
        """The payloads of one kind."""
        return [event.payload for event in await self.told(user_id) if isinstance(event.payload, kind)]

    async def mailed_token(self, user_id: int, kind: type[Message]) -> str:
        """The token of the newest request of a kind, as its mail has it."""
        newest = (await self.told_of(user_id, kind))[-1]
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
        key = key_for("mailed tokens v1", self.settings.jwt_secret)
        return token_for(request, Email(row["own_email"]), row["password_hash"], key).text()


def settings_for(database: DatabaseSettings, **others: Any) -> Settings:
    """A service on this database; nothing is published unless the test names a broker."""
    made = {"grpc_port": 0, "jwt_secret": SECRET, "rabbitmq_url": "amqp://nobody@127.0.0.1:1/"}
    return Settings(**{**database.model_dump(), **made, **others})


@contextmanager
def quick_hashes() -> Iterator[None]:
    """A service that is built meanwhile hashes passwords in a millisecond, which makes them as weak."""
    with mock.patch.multiple(hashing, _PASSES=1, _MEMORY_KIB=256):
        yield


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Users]:
    """HTTP and gRPC, without anything in the background: what is told stays in the outbox, to be looked at."""
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
async def fresh_users(**others: Any) -> AsyncIterator[Users]:
    """A user service on a database of its own."""
    async with migrated_database("user_service") as database, serving(settings_for(database, **others)) as users:
        yield users
