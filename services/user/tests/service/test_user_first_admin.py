"""The first admin comes from the settings, whatever comes first: several replicas, or a database that is late."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from chassis import testing
from chassis.database import Database
from chassis.migrating import migrate
from chassis.settings import DatabaseSettings
from user_service.app import SCHEMA
from user_service.domain.accounts import Email, NewAccount, Role
from user_service.repository.accounts import AccountRepository, Credentials
from user_service.service import first_admin as starting
from user_service.service.accounts import Accounts
from user_service.service.passwords import Passwords

EMAIL, PASSWORD = Email("first@example.com"), "an admin's password"


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords()
    yield made
    await made.close()


async def find(database: Database) -> Credentials | None:
    async with database.begin() as transaction:
        return await AccountRepository(transaction).by_email(EMAIL)


def replica(database: Database, passwords: Passwords) -> asyncio.Future[None]:
    accounts = Accounts(database, passwords, lambda: datetime.now(UTC))
    return asyncio.ensure_future(starting.first_admin(accounts, EMAIL, PASSWORD, database)())


async def test_replicas_that_start_before_the_database_make_one_admin_once_it_is_there(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "_RETRY_SECONDS", 0.05)
    async with testing.empty_database() as empty, testing.cable(empty.db_host, empty.db_port) as cable:
        await cable.cut()
        database = Database(empty.model_copy(update={"db_host": "127.0.0.1", "db_port": cable.port}), SCHEMA)
        replicas = [replica(database, passwords) for _ in range(3)]
        assert not await database.is_ready()
        await cable.mend()
        assert not await database.is_ready()
        await migrate("user_service", empty)
        await _becomes_admin(database, passwords)
        assert not any(task.done() for task in replicas)  # they rest: an end would be taken for a failure
        for task in replicas:
            task.cancel()
        await database.close()


async def _becomes_admin(database: Database, passwords: Passwords) -> None:
    async def is_there() -> bool:
        return await find(database) is not None

    await testing.eventually(is_there)
    found = await find(database)
    assert found is not None
    assert found.account.role is Role.ADMIN
    assert await passwords.verify(PASSWORD, found.password_hash)


async def test_an_admin_who_exists_keeps_their_password(database: DatabaseSettings, passwords: Passwords) -> None:
    opened = Database(database, SCHEMA)
    accounts = Accounts(opened, passwords, lambda: datetime.now(UTC))
    await accounts.ensure_admin(EMAIL, PASSWORD)
    before = await find(opened)
    await accounts.ensure_admin(EMAIL, "another password")
    assert await find(opened) == before
    await opened.close()


async def test_a_customer_is_never_made_an_admin(database: DatabaseSettings, passwords: Passwords) -> None:
    opened, email = Database(database, SCHEMA), Email("squatter@example.com")
    accounts = Accounts(opened, passwords, lambda: datetime.now(UTC))
    async with opened.begin() as transaction:
        await AccountRepository(transaction).add(
            NewAccount(email, Role.CUSTOMER), "a hash", datetime(2026, 1, 1, tzinfo=UTC)
        )
    await accounts.ensure_admin(email, PASSWORD)
    async with opened.begin() as transaction:
        found = await AccountRepository(transaction).by_email(email)
    assert found is not None
    assert found.account.role is Role.CUSTOMER
    await opened.close()
