"""Migrations run before the pods are replaced, so the release before must work on the new schema and lose no data."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from alembic import command
from chassis.database import migrations
from chassis.database.engine import database_url
from chassis.database.migrations import migrate
from chassis.settings import DatabaseSettings
from chassis_testing.databases import connect_to, empty_database, migrated_database
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from user_harness import fast_hashes, new_email, serving, settings_for

NOW = datetime.now(UTC)
ADD_USER = (
    "INSERT INTO users (email, password_hash, role, display_name, created_at) VALUES ($1, $2, $3, NULL, $4)"
    " ON CONFLICT DO NOTHING RETURNING users.id, users.email, users.role, users.display_name, users.created_at"
)
ADD_SESSION = "INSERT INTO sessions (id, user_id, digest, expires_at) VALUES ($1, $2, $3, $4)"


async def migrate_to(settings: DatabaseSettings, revision: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = migrations._config("user_service")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_async_engine(database_url(settings))
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()


async def test_a_migration_keeps_registered_users() -> None:
    async with empty_database() as settings:
        await migrate_to(settings, "0001")
        email = new_email()
        async with connect_to(settings) as sql:
            user_id = await sql.fetchval(ADD_USER, email, "a hash", "seller", NOW)
            await sql.execute(ADD_SESSION, uuid4(), user_id, b"digest", NOW + timedelta(days=1))
        await migrate("user_service", settings)
        async with connect_to(settings) as sql:
            row = dict(await sql.fetchrow("SELECT * FROM users") or {})
            assert await sql.fetchval("SELECT count(*) FROM sessions WHERE created_at <= now()") == 1
        assert (row["email"], row["role"], row["is_active"], row["locale"]) == (email, "seller", True, "en")
        assert (row["email_verified_at"], row["erased_at"], row["was_admin"]) == (None, None, False)


async def test_the_code_of_the_release_before_works_on_this_schema() -> None:
    """Runs the statements of the first release."""
    async with migrated_database("user_service") as settings, connect_to(settings) as sql:
        user_id = await sql.fetchval(ADD_USER, "old@example.com", "a hash", "customer", NOW)
        session_id = uuid4()
        await sql.execute(ADD_SESSION, session_id, user_id, b"digest", NOW + timedelta(days=1))
        await sql.execute("UPDATE sessions SET digest = $2, expires_at = $3 WHERE id = $1", session_id, b"next", NOW)
        await sql.execute("UPDATE users SET display_name = 'Ada' WHERE id = $1", user_id)
        seen = "SELECT id, email, role, display_name, created_at, password_hash FROM users WHERE lower(email) = $1"
        assert (await sql.fetchrow(seen, "old@example.com"))["display_name"] == "Ada"
        assert await sql.execute("DELETE FROM sessions WHERE expires_at <= $1", NOW) == "DELETE 1"


async def test_a_session_of_the_release_before_can_be_refreshed() -> None:
    async with migrated_database("user_service") as settings:
        with fast_hashes():
            serving_users = serving(settings_for(settings))
            async with serving_users as users:
                ada = await users.register()
                async with users.sql() as sql:  # as the release before wrote it, without the new columns
                    await sql.execute(
                        "UPDATE sessions SET created_at = DEFAULT, last_used_at = DEFAULT, user_agent = NULL"
                    )
                assert (await users.refresh(ada.tokens["refresh_token"])).status_code == 200
