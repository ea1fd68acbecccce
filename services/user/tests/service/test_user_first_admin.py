"""The first admin comes from the settings, whatever comes first: several replicas, or a database that is late."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from chassis.database.engine import Database
from chassis.database.migrations import migrate
from chassis.messaging.broker import Broker
from chassis.messaging.outbox import Outbox
from chassis.types.ids import uuid7
from chassis_testing.databases import empty_database, migrated_database
from chassis_testing.fault_proxy import fault_proxy
from chassis_testing.waiting import eventually
from user_service.app import SCHEMA
from user_service.domain.accounts import Email, NewAccount, Role
from user_service.domain.lockout import Backoff
from user_service.repository.accounts import AccountRepository, Credentials
from user_service.service import first_admin as starting
from user_service.service.accounts import Accounts
from user_service.service.first_admin import FirstAdmin
from user_service.service.gate import Gate
from user_service.service.passwords import Passwords

EMAIL, PASSWORD = Email("first@example.com"), "an admin's password"


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords()
    yield made
    await made.close()


@pytest.fixture
async def opened() -> AsyncIterator[Database]:
    """A database that never had an admin."""
    async with migrated_database("user_service") as settings:
        database = Database(settings, SCHEMA)
        yield database
        await database.close()


def accounts_in(database: Database, passwords: Passwords) -> Accounts:
    backoff = Backoff(5, timedelta(seconds=30), timedelta(minutes=15))
    gate = Gate(database, passwords, backoff, b"key", _now)
    return Accounts(
        database, Outbox(database, Broker("amqp://nobody@127.0.0.1:1/", "user")), passwords, gate, _now, uuid7
    )


def _now() -> datetime:
    return datetime.now(UTC)


async def find(database: Database, email: Email = EMAIL) -> Credentials | None:
    async with database.begin() as transaction:
        return await AccountRepository(transaction).by_email(email)


def replica(database: Database, passwords: Passwords) -> FirstAdmin:
    return FirstAdmin(accounts_in(database, passwords), EMAIL, PASSWORD, database)


async def test_replicas_that_start_before_the_database_make_one_admin_once_it_is_there(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "_RETRY_SECONDS", 0.05)
    async with empty_database() as empty, fault_proxy(empty.db_host, empty.db_port) as cable:
        await cable.sever()
        database = Database(empty.model_copy(update={"db_host": "127.0.0.1", "db_port": cable.port}), SCHEMA)
        replicas = [replica(database, passwords) for _ in range(3)]
        registering = [asyncio.ensure_future(one.register()) for one in replicas]
        assert not await database.is_ready()
        await cable.restore()
        assert not await database.is_ready()
        assert not any([await one.is_registered() for one in replicas])
        await migrate("user_service", empty)
        for one in replicas:
            await eventually(one.is_registered)
        await _is_admin(database, passwords)
        assert not any(task.done() for task in registering)  # they rest: an end would be taken for a failure
        for task in registering:
            task.cancel()
        await database.close()


async def _is_admin(database: Database, passwords: Passwords) -> None:
    found = await find(database)
    assert found is not None
    assert found.account.role is Role.ADMIN
    assert await passwords.verify(PASSWORD, found.password_hash)


async def test_an_admin_who_exists_keeps_their_password(opened: Database, passwords: Passwords) -> None:
    accounts = accounts_in(opened, passwords)
    await accounts.ensure_admin(EMAIL, PASSWORD)
    before = await find(opened)
    assert before is not None
    await accounts.ensure_admin(EMAIL, "another password")
    assert await find(opened) == before


async def test_the_password_of_the_settings_never_comes_back_once_the_first_admin_has_gone(
    opened: Database, passwords: Passwords
) -> None:
    accounts = accounts_in(opened, passwords)
    await accounts.ensure_admin(EMAIL, PASSWORD)
    first = await find(opened)
    async with opened.begin() as transaction:
        await AccountRepository(transaction).add(NewAccount(Email("second@example.com"), Role.ADMIN), "a hash", _now())
    assert first is not None
    await accounts.erase(first.account.id, first.account.id)
    await accounts.ensure_admin(EMAIL, PASSWORD)
    assert await find(opened) is None


async def test_a_customer_is_never_made_an_admin(opened: Database, passwords: Passwords) -> None:
    email = Email("squatter@example.com")
    accounts = accounts_in(opened, passwords)
    async with opened.begin() as transaction:
        await AccountRepository(transaction).add(
            NewAccount(email, Role.CUSTOMER), "a hash", datetime(2026, 1, 1, tzinfo=UTC)
        )
    await accounts.ensure_admin(email, PASSWORD)
    found = await find(opened, email)
    assert found is not None
    assert found.account.role is Role.CUSTOMER
