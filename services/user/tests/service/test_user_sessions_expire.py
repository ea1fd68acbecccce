"""Expiry of sessions, on a clock that the test sets."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from chassis.database.engine import Database
from chassis.messaging.broker import Broker
from chassis.messaging.outbox import Outbox
from chassis.types.ids import uuid7
from sqlalchemy import text
from user_service.app import SCHEMA
from user_service.clients.ended_session_store import EndedSessionStore, connect
from user_service.domain.accounts import Email, NewAccount, Role
from user_service.domain.devices import Client
from user_service.domain.errors import InvalidRefreshToken
from user_service.domain.lockout import LockoutPolicies, LockoutPolicy
from user_service.domain.mail_tokens import MailTokenPolicy
from user_service.service.ended_sessions import EndedSessionPublisher
from user_service.service.login_guard import LoginGuard
from user_service.service.mail_tokens import MailTokens
from user_service.service.passwords import PasswordHasher
from user_service.service.published_events import PublishedEvents
from user_service.service.registration import RegistrationService
from user_service.service.sessions import SessionService, Tokens
from user_service.service.signing import Signer
from user_service.settings import Settings

DAY = timedelta(days=1)


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass(frozen=True)
class Services:
    sessions: SessionService
    registration: RegistrationService
    database: Database

    async def register(self) -> Tokens:
        new = NewAccount(Email(f"{uuid4().hex}@example.com"), Role.CUSTOMER)
        return await self.registration.register(new, "a password", Client())

    async def count_expired(self, at: datetime) -> int:
        async with self.database.begin() as transaction:
            expired = text("SELECT count(*) FROM sessions WHERE expires_at < :at")
            return int((await transaction.execute(expired, {"at": at})).scalar_one())


@pytest.fixture
async def services(settings: Settings, clock: Clock) -> AsyncIterator[Services]:
    database, passwords = Database(settings, SCHEMA), PasswordHasher()
    events = PublishedEvents(Outbox(database, Broker(settings.rabbitmq_url, "user")), uuid7)
    signer = Signer(settings.jwt_secret, timedelta(minutes=15), uuid7)
    store = EndedSessionStore(connect(settings.redis_url), settings.tenant, deadline_seconds=5)
    ended = EndedSessionPublisher(database, store, signer.lifetime, clock)
    policy = LockoutPolicy(5, DAY, DAY)
    guard = LoginGuard(database, passwords, LockoutPolicies(policy, policy), b"key", clock)
    mail_tokens = MailTokens(database, guard, MailTokenPolicy(DAY, DAY, 5, DAY), [b"key"], clock, uuid7)
    sessions = SessionService(
        database, guard, signer, events, ended, DAY, clock, lambda n: uuid4().bytes * (n // 16), b"key"
    )
    yield Services(
        sessions, RegistrationService(database, passwords, guard, sessions, mail_tokens, events, clock), database
    )
    await store.close()
    await passwords.close()
    await database.close()


async def test_a_session_lives_on_while_it_is_refreshed(services: Services, clock: Clock) -> None:
    token = (await services.register()).refresh_token
    for _ in range(3):
        clock.at += DAY * 0.9
        token = (await services.sessions.refresh(token)).refresh_token
    clock.at += DAY
    with pytest.raises(InvalidRefreshToken):
        await services.sessions.refresh(token)


async def test_expired_sessions_are_deleted(services: Services, clock: Clock) -> None:
    expired = await services.register()
    clock.at += DAY / 2
    active = await services.register()
    clock.at += DAY / 2 + timedelta(seconds=1)
    assert await services.count_expired(clock.at) >= 1

    await services.sessions.delete_expired()

    assert await services.count_expired(clock.at) == 0
    with pytest.raises(InvalidRefreshToken):
        await services.sessions.refresh(expired.refresh_token)
    assert (await services.sessions.refresh(active.refresh_token)).user == active.user
