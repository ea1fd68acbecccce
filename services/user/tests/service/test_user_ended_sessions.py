"""Sessions that have ended are in Redis, where the gateway looks for them: at once, or after a crash or an outage."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import jwt
import pytest
from chassis.database.ended_sessions import ended_session_key
from chassis_testing.databases import migrated_database
from chassis_testing.environment import environment_variable
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.waiting import eventually
from redis.asyncio import Redis
from shopapi.events.v1.events_pb2 import PasswordResetRequested
from user_harness import PASSWORD, Person, Users, fast_hashes, problem_code, serving, settings_for
from user_service.clients.ended_session_store import EndedSessionStore, connect

_LIFETIME = 900 + 60
"""How long an ended session is stored: an access token's lifetime, and a minute for clocks that differ."""


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    async with connect(environment_variable("TEST_REDIS_URL")) as client:
        yield client


def session_of(person: Person) -> UUID:
    return UUID(jwt.decode(person.tokens["access_token"], options={"verify_signature": False})["sid"])


async def seconds_stored(redis: Redis, users: Users, person: Person) -> int:
    """Returns how long the session of a person stays among the ended ones; -2 if it is not there."""
    return int(await redis.ttl(ended_session_key(users.settings.tenant, session_of(person))))


ENDINGS = ("password changed", "password reset", "demoted", "deactivated", "erased", "logged out", "reused", "evicted")


async def end_session(users: Users, person: Person, how: str) -> None:
    """Ends the session of a person in one of the ways in which sessions end."""
    admin = await users.new_admin()
    other = await users.new_session(person.email)
    account = f"/api/v1/users/{person.id}"
    match how:
        case "password changed":
            change = {"current_password": PASSWORD, "new_password": "another fine password"}
            await users.http.post("/api/v1/users/me/password", json=change, headers=other.bearer)
        case "password reset":
            await users.request_reset(person.email)
            token = await users.mailed_token(person.id, PasswordResetRequested)
            assert (await users.reset(token, "another fine password")).status_code == 204
        case "demoted":
            await users.http.put(account, json={"role": "seller"}, headers=admin.bearer)
        case "deactivated":
            await users.http.put(account, json={"is_active": False}, headers=admin.bearer)
        case "erased":
            await users.http.delete(account, headers=admin.bearer)
        case "logged out":
            await users.http.post("/api/v1/auth/logout", json={"refresh_token": person.tokens["refresh_token"]})
        case "reused":
            await users.refresh(person.tokens["refresh_token"])
            await users.refresh(person.tokens["refresh_token"])
        case "evicted":
            async with users.sql() as sql:
                await sql.execute(
                    "INSERT INTO sessions (id, user_id, digest, expires_at, created_at, last_used_at)"
                    " SELECT gen_random_uuid(), user_id, digest, expires_at, created_at, now() + interval '1 minute'"
                    " FROM sessions, generate_series(1, 99) WHERE id = $1",
                    session_of(other),
                )
            await users.new_session(person.email)


@pytest.mark.parametrize("how", ENDINGS)
async def test_an_ended_session_is_in_redis_before_the_answer(users: Users, redis: Redis, how: str) -> None:
    ada, grace = await users.register(), await users.register()
    await end_session(users, ada, how)
    assert not await users.is_logged_in(ada)
    assert 0 < await seconds_stored(redis, users, ada) <= _LIFETIME
    assert await seconds_stored(redis, users, grace) == -2


async def test_a_kept_session_is_not_published(users: Users, redis: Redis) -> None:
    ada = await users.register()
    change = {"current_password": PASSWORD, "new_password": "another fine password"}
    assert (await users.http.post("/api/v1/users/me/password", json=change, headers=ada.bearer)).status_code == 204
    assert await seconds_stored(redis, users, ada) == -2


@asynccontextmanager
async def users_behind_proxy(**others: Any) -> AsyncIterator[tuple[Users, FaultProxy]]:
    """Serves a user service whose Redis is behind a proxy."""
    server = urlsplit(environment_variable("TEST_REDIS_URL"))
    async with (
        migrated_database("user_service") as database,
        fault_proxy(server.hostname or "", server.port or 0) as proxy,
    ):
        url = f"redis://127.0.0.1:{proxy.port}{server.path}"
        with fast_hashes():
            async with serving(settings_for(database, redis_url=url, **others)) as users:
                yield users, proxy


async def test_a_session_that_ended_while_redis_was_away_is_published_later(redis: Redis) -> None:
    async with users_behind_proxy() as (users, proxy):
        ada = await users.register()
        await proxy.sever()
        answer = await users.http.post("/api/v1/auth/logout", json={"refresh_token": ada.tokens["refresh_token"]})
        assert answer.status_code == 204  # the session has ended, whether or not Redis knows
        assert problem_code(await users.refresh(ada.tokens["refresh_token"]), 401) == "invalid_refresh_token"
        assert await seconds_stored(redis, users, ada) == -2
        async with users.running_loop("ended sessions"):
            await proxy.restore()
            await eventually(lambda: is_stored(redis, users, ada))


async def is_stored(redis: Redis, users: Users, person: Person) -> bool:
    return await seconds_stored(redis, users, person) > 0


async def test_a_crash_between_the_commit_and_redis_loses_no_session(
    users: Users, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await users.register()

    async def crash(*_arguments: object) -> bool:
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as crashing:
        crashing.setattr(EndedSessionStore, "add", crash)
        body = {"refresh_token": ada.tokens["refresh_token"]}
        assert (await users.http.post("/api/v1/auth/logout", json=body)).status_code == 500
    assert await seconds_stored(redis, users, ada) == -2
    async with users.running_loop("ended sessions"):
        await eventually(lambda: is_stored(redis, users, ada))


async def test_a_session_that_redis_has_lost_is_published_again(users: Users, redis: Redis) -> None:
    ada = await users.register()
    await end_session(users, ada, "logged out")
    async with users.running_loop("ended sessions"):
        await eventually(lambda: is_marked(users, ada))
        await redis.delete(ended_session_key(users.settings.tenant, session_of(ada)))
        users.clock.ahead += timedelta(seconds=31)
        await eventually(lambda: is_stored(redis, users, ada))


async def is_marked(users: Users, person: Person) -> bool:
    """Returns whether a session is recorded as published."""
    async with users.sql() as sql:
        query = "SELECT published_at IS NOT NULL FROM ended_sessions WHERE id = $1"
        return bool(await sql.fetchval(query, session_of(person)))


async def test_an_ended_session_is_forgotten_with_its_last_access_token(users: Users) -> None:
    ada = await users.register()
    await end_session(users, ada, "logged out")
    users.clock.ahead += timedelta(seconds=_LIFETIME + 1)
    async with users.running_loop("sweep ended sessions"):
        await eventually(lambda: is_forgotten(users, ada))


async def is_forgotten(users: Users, person: Person) -> bool:
    async with users.sql() as sql:
        return not await sql.fetchval("SELECT count(*) FROM ended_sessions WHERE id = $1", session_of(person))
