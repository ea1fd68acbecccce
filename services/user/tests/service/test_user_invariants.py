"""The invariants report invalid rows, and the database rejects others by itself."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from chassis.database import invariants
from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor
from chassis.settings import DatabaseSettings
from chassis_testing.databases import connect_to, migrated_database
from user_service.app import SCHEMA

USER = (
    "INSERT INTO users (id, email, password_hash, role, created_at) OVERRIDING SYSTEM VALUE"
    " VALUES ({id}, '{email}', '!', '{role}', now())"
)
SESSION = "INSERT INTO sessions (id, user_id, digest, expires_at) VALUES (gen_random_uuid(), 1, '', now() + '1 day')"
REQUEST = (
    "INSERT INTO mail_requests (id, user_id, purpose, email, created_at, expires_at)"
    " VALUES (gen_random_uuid(), 1, 'verify_email', 'a@example.com', now(), now() + '1 day')"
)
ADA = USER.format(id=1, email="ada@example.com", role="customer")
ROOT = USER.format(id=2, email="root@example.com", role="admin")
DEACTIVATE = "UPDATE users SET is_active = false WHERE id = 1"
ERASE = "UPDATE users SET erased_at = now(), is_active = false, email = 'erased:' || id WHERE id = 1"
WITHOUT_CONSTRAINT = "ALTER TABLE users DROP CONSTRAINT nothing_is_left_of_an_erased_user"

VIOLATIONS: dict[str, list[tuple[str, ...]]] = {
    "a_shop_keeps_an_admin": [
        (ROOT, "UPDATE users SET is_active = false"),
        (ADA, "UPDATE users SET was_admin = true"),
    ],
    "inactive_users_have_no_session": [(ADA, SESSION, DEACTIVATE)],
    "one_mail_request_is_open_for_each_purpose": [("DROP INDEX one_open_mail_request", ADA, REQUEST, REQUEST)],
    "inactive_users_have_no_mail_request": [(ADA, REQUEST, DEACTIVATE)],
    "an_address_belongs_to_one_account": [
        ("DROP INDEX users_by_email", ADA, USER.format(id=2, email="ADA@example.com", role="seller"))
    ],
    "nothing_is_left_of_an_erased_user": [
        (ADA, ERASE, REQUEST, "UPDATE mail_requests SET used_at = now()"),
        (ADA, ERASE, SESSION, "UPDATE sessions SET expires_at = now()"),
        (WITHOUT_CONSTRAINT, ADA, ERASE, "UPDATE users SET phone = '+4915112345678'"),
        (WITHOUT_CONSTRAINT, ADA, ERASE, "UPDATE users SET display_name = 'Ada'"),
        (WITHOUT_CONSTRAINT, ADA, ERASE, "UPDATE users SET email = 'ada@example.com'"),
    ],
}


@pytest.fixture
async def database() -> AsyncIterator[DatabaseSettings]:
    async with migrated_database("user_service") as settings:
        yield settings


async def execute(settings: DatabaseSettings, *statements: str) -> None:
    async with connect_to(settings) as sql:
        for statement in statements:
            await sql.execute(statement)


async def broken(settings: DatabaseSettings) -> set[str]:
    opened = Database(settings, SCHEMA)
    monitor = InvariantMonitor(opened, "user_service")
    found = {
        invariant.name
        for invariant in invariants.load_invariants("user_service")
        if await monitor.violations(invariant)
    }
    await opened.close()
    return found


def test_each_invariant_has_a_test_that_breaks_it() -> None:
    assert {invariant.name for invariant in invariants.load_invariants("user_service")} == VIOLATIONS.keys()


@pytest.mark.parametrize(("name", "statements"), [(n, s) for n, cases in VIOLATIONS.items() for s in cases])
async def test_only_the_broken_invariant_is_reported(
    database: DatabaseSettings, name: str, statements: tuple[str, ...]
) -> None:
    await execute(database, *statements)
    assert await broken(database) == {name}


async def test_a_valid_database_breaks_no_invariant(database: DatabaseSettings) -> None:
    assert await broken(database) == set()  # a shop that never had an admin is valid too
    gone = USER.format(id=3, email="gone@example.com", role="customer")
    await execute(database, ADA, SESSION, REQUEST, ROOT, gone, ERASE.replace("id = 1", "id = 3"))
    assert await broken(database) == set()


@pytest.mark.parametrize(
    ("statements", "constraint"),
    [
        ((ADA, "UPDATE users SET role = 'root'"), "user_role"),
        ((ADA, "UPDATE users SET locale = 'english'"), "user_locale"),
        ((ADA, "UPDATE users SET phone = '0151'"), "user_phone"),
        ((ADA, ERASE, "UPDATE users SET is_active = true"), "nothing_is_left_of_an_erased_user"),
        ((ADA, ERASE, "UPDATE users SET display_name = 'Ada'"), "nothing_is_left_of_an_erased_user"),
        ((ADA, REQUEST.replace("verify_email", "spam")), "mail_request_purpose"),
        (
            (ADA, REQUEST, "UPDATE mail_requests SET used_at = now(), replaced_at = now()"),
            "a_used_mail_request_is_not_replaced",
        ),
        ((ADA, REQUEST, REQUEST), "one_open_mail_request"),
        ((ADA, USER.format(id=2, email="ADA@example.com", role="seller")), "users_by_email"),
    ],
)
async def test_the_database_rejects_invalid_rows(
    database: DatabaseSettings, statements: tuple[str, ...], constraint: str
) -> None:
    *before, refused = statements
    await execute(database, *before)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refusal:
        await execute(database, refused)
    assert refusal.value.constraint_name == constraint
