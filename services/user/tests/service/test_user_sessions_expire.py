"""What time does to sessions, on a clock of the test's own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from chassis.database.engine import Database
from chassis.messaging.broker import Broker
from chassis.messaging.outbox import Outbox
from chassis.types.ids import uuid7
from user_service.app import SCHEMA, Settings
from user_service.domain.accounts import Email, NewAccount, Role
from user_service.domain.errors import InvalidRefreshToken
from user_service.domain.lockout import Backoff
from user_service.domain.mail import MailTerms
from user_service.service.gate import Gate
from user_service.service.mail import MailedTokens
from user_service.service.passwords import Passwords
from user_service.service.sessions import Sessions, Tokens
from user_service.service.signing import Signer

DAY = timedelta(days=1)


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sessions(settings: Settings, clock: Clock) -> AsyncIterator[Sessions]:
    database, passwords = Database(settings, SCHEMA), Passwords()
    outbox = Outbox(database, Broker(settings.rabbitmq_url, "user"))
    signer = Signer(settings.jwt_secret, timedelta(minutes=15), uuid7)
    gate = Gate(database, passwords, Backoff(5, DAY, DAY), b"key", clock)
    mailed = MailedTokens(database, outbox, passwords, gate, MailTerms(DAY, DAY, 5, DAY), b"key", clock, uuid7, 0)
    yield Sessions(
        database, outbox, passwords, gate, mailed, signer, DAY, clock, uuid7, lambda n: uuid4().bytes * (n // 16)
    )
    await passwords.close()
    await database.close()


async def register(sessions: Sessions) -> Tokens:
    return await sessions.register(NewAccount(Email(f"{uuid4().hex}@example.com"), Role.CUSTOMER), "a password")


async def test_a_session_lives_on_while_it_is_refreshed(sessions: Sessions, clock: Clock) -> None:
    token = (await register(sessions)).refresh_token
    for _ in range(3):
        clock.at += DAY * 0.9
        token = (await sessions.refresh(token)).refresh_token
    clock.at += DAY
    with pytest.raises(InvalidRefreshToken):
        await sessions.refresh(token)


async def test_sessions_that_are_over_are_forgotten(sessions: Sessions, clock: Clock) -> None:
    over = await register(sessions)
    clock.at += DAY / 2
    running = await register(sessions)
    clock.at += DAY / 2
    assert await sessions.sweep() >= 1
    with pytest.raises(InvalidRefreshToken):
        await sessions.refresh(over.refresh_token)
    assert (await sessions.refresh(running.refresh_token)).user == running.user
