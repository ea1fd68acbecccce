"""Registration of the first admin from the settings, also by several replicas and before the database is up."""

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
from chassis_testing.environment import environment_variable
from chassis_testing.fault_proxy import fault_proxy
from chassis_testing.waiting import eventually
from user_harness import UNREACHABLE_BROKER
from user_service.app import SCHEMA
from user_service.clients.ended_session_store import EndedSessionStore, connect
from user_service.domain.accounts import Email, NewAccount, Role
from user_service.domain.devices import Client
from user_service.domain.lockout import LockoutPolicies, LockoutPolicy
from user_service.repository.accounts import AccountRepository, Credentials
from user_service.service import first_admin as first_admin_module
from user_service.service.accounts import AccountService
from user_service.service.ended_sessions import EndedSessionPublisher
from user_service.service.first_admin import FirstAdminRegistration
from user_service.service.login_guard import LoginGuard
from user_service.service.passwords import PasswordHasher
from user_service.service.published_events import PublishedEvents

EMAIL, PASSWORD = Email("first@example.com"), "an admin's password"


@pytest.fixture
async def passwords() -> AsyncIterator[PasswordHasher]:
    made = PasswordHasher()
    yield made
    await made.close()


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    """A database that never had an admin."""
    async with migrated_database("user_service") as settings:
        database = Database(settings, SCHEMA)
        yield database
        await database.close()


def accounts_in(database: Database, passwords: PasswordHasher) -> AccountService:
    policy = LockoutPolicy(5, timedelta(seconds=30), timedelta(minutes=15))
    guard = LoginGuard(database, passwords, LockoutPolicies(policy, policy), b"key", _now)
    events = PublishedEvents(Outbox(database, Broker(UNREACHABLE_BROKER, "user")), uuid7)
    store = EndedSessionStore(connect(environment_variable("TEST_REDIS_URL")), uuid7().hex, deadline_seconds=5)
    ended = EndedSessionPublisher(database, store, timedelta(minutes=15), _now)
    return AccountService(database, passwords, guard, events, ended, _now)


def _now() -> datetime:
    return datetime.now(UTC)


async def find(database: Database, email: Email = EMAIL) -> Credentials | None:
    async with database.begin() as transaction:
        return await AccountRepository(transaction).find_by_email(email)


def replica(database: Database, passwords: PasswordHasher) -> FirstAdminRegistration:
    return FirstAdminRegistration(accounts_in(database, passwords), EMAIL, PASSWORD, database)


async def test_replicas_that_start_before_the_database_register_one_admin_once_it_is_up(
    passwords: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_admin_module, "_RETRY_SECONDS", 0.05)
    async with empty_database() as empty, fault_proxy(empty.db_host, empty.db_port) as proxy:
        await proxy.sever()
        database = Database(empty.model_copy(update={"db_host": "127.0.0.1", "db_port": proxy.port}), SCHEMA)
        replicas = [replica(database, passwords) for _ in range(3)]
        registering = [asyncio.ensure_future(one.run()) for one in replicas]
        assert not await database.is_ready()
        await proxy.restore()
        assert not await database.is_ready()
        assert not any([await one.is_registered() for one in replicas])
        await migrate("user_service", empty)
        for one in replicas:
            await eventually(one.is_registered)
        await _is_admin(database, passwords)
        assert not any(task.done() for task in registering)  # the end of a background loop counts as a failure
        for task in registering:
            task.cancel()
        await database.close()


async def _is_admin(database: Database, passwords: PasswordHasher) -> None:
    found = await find(database)
    assert found is not None
    assert found.account.role is Role.ADMIN
    assert await passwords.verify(PASSWORD, found.password_hash)


async def test_an_existing_admin_keeps_their_password(database: Database, passwords: PasswordHasher) -> None:
    accounts = accounts_in(database, passwords)
    await accounts.ensure_first_admin(EMAIL, PASSWORD)
    before = await find(database)
    assert before is not None
    await accounts.ensure_first_admin(EMAIL, "another password")
    assert await find(database) == before


async def test_a_generated_password_is_replaced_by_the_next_one(database: Database, passwords: PasswordHasher) -> None:
    accounts = accounts_in(database, passwords)
    await accounts.ensure_first_admin(EMAIL, PASSWORD)
    replicas = [FirstAdminRegistration(accounts, EMAIL, "the next password", database, PASSWORD) for _ in range(3)]
    registering = [asyncio.ensure_future(one.run()) for one in replicas]
    for one in replicas:
        await eventually(one.is_registered)
    for task in registering:
        task.cancel()
    found = await find(database)
    assert found is not None
    assert await passwords.verify("the next password", found.password_hash)
    assert not await passwords.verify(PASSWORD, found.password_hash)


async def test_an_admin_who_chose_a_password_keeps_it(database: Database, passwords: PasswordHasher) -> None:
    accounts = accounts_in(database, passwords)
    await accounts.ensure_first_admin(EMAIL, "a password of their own")
    before = await find(database)
    await accounts.replace_generated_password(EMAIL, PASSWORD, "the next password")
    assert await find(database) == before


async def test_a_customer_keeps_a_password_that_is_the_generated_one(
    database: Database, passwords: PasswordHasher
) -> None:
    async with database.begin() as transaction:
        password_hash = await passwords.hash(PASSWORD)
        await AccountRepository(transaction).add(NewAccount(EMAIL, Role.CUSTOMER), password_hash, _now())
    before = await find(database)
    await accounts_in(database, passwords).replace_generated_password(EMAIL, PASSWORD, "the next password")
    assert await find(database) == before


async def test_a_password_that_is_changed_at_the_same_time_stays(
    database: Database, passwords: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = accounts_in(database, passwords)
    await accounts.ensure_first_admin(EMAIL, PASSWORD)
    found, hash_ = await find(database), passwords.hash
    assert found is not None
    user_id = found.account.id

    async def hash_late(password: str) -> str:
        async with database.begin() as transaction:
            await AccountRepository(transaction).set_password(user_id, "of the admin's own choice")
        return await hash_(password)

    monkeypatch.setattr(passwords, "hash", hash_late)
    await accounts.replace_generated_password(EMAIL, PASSWORD, "the next password")
    after = await find(database)
    assert after is not None
    assert after.password_hash == "of the admin's own choice"


async def test_an_erased_first_admin_is_not_registered_again(database: Database, passwords: PasswordHasher) -> None:
    accounts = accounts_in(database, passwords)
    await accounts.ensure_first_admin(EMAIL, PASSWORD)
    first = await find(database)
    async with database.begin() as transaction:
        await AccountRepository(transaction).add(NewAccount(Email("second@example.com"), Role.ADMIN), "a hash", _now())
    assert first is not None
    await accounts.erase_own(first.account.id, PASSWORD, Client())
    await accounts.ensure_first_admin(EMAIL, PASSWORD)
    assert await find(database) is None


async def test_a_customer_is_never_made_an_admin(database: Database, passwords: PasswordHasher) -> None:
    email = Email("customer@example.com")
    accounts = accounts_in(database, passwords)
    async with database.begin() as transaction:
        await AccountRepository(transaction).add(
            NewAccount(email, Role.CUSTOMER), "a hash", datetime(2026, 1, 1, tzinfo=UTC)
        )
    await accounts.ensure_first_admin(email, PASSWORD)
    found = await find(database, email)
    assert found is not None
    assert found.account.role is Role.CUSTOMER
