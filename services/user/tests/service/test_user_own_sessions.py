"""A user's own sessions: listed and ended."""

from uuid import UUID, uuid4

import pytest
from user_harness import Users, problem_code, run_concurrently, seeded_random
from user_service.domain.sessions import RefreshToken

SESSIONS = "/api/v1/users/me/sessions"


async def test_a_user_can_list_their_sessions_with_the_current_one_marked(users: Users) -> None:
    ada = await users.register()
    phone = await users.new_session(ada.email, **{"User-Agent": "Shop/1.0 (phone)"})
    listed = (await users.http.get(SESSIONS, headers=phone.bearer)).json()["data"]
    assert [(one["current"], one["user_agent"].split("/")[0]) for one in listed] == [
        (True, "Shop"),
        (False, "python-httpx"),
    ]
    assert listed[0].keys() == {"id", "created_at", "last_used_at", "expires_at", "user_agent", "current"}

    await users.refresh(ada.tokens["refresh_token"])
    listed = (await users.http.get(SESSIONS, headers=phone.bearer)).json()["data"]
    assert [one["current"] for one in listed] == [False, True]  # the last used first


async def test_a_session_ended_from_another_session_is_refused_at_once(users: Users) -> None:
    ada = await users.register()
    phone = await users.new_session(ada.email)
    [lost] = [one for one in (await users.http.get(SESSIONS, headers=ada.bearer)).json()["data"] if not one["current"]]
    answer = await users.http.delete(f"{SESSIONS}/{lost['id']}", headers=ada.bearer)
    assert (answer.status_code, answer.content) == (204, b"")
    assert problem_code(await users.refresh(phone.tokens["refresh_token"]), 401) == "invalid_refresh_token"
    refused = await users.http.get("/api/v1/users/me", headers=phone.bearer)
    assert problem_code(refused, 401) == "session_ended"
    assert "invalid_token" in refused.headers["www-authenticate"]
    assert await users.is_logged_in(ada)


async def test_a_user_cannot_list_or_end_sessions_of_another(users: Users) -> None:
    ada, eve = await users.register(), await users.register()
    [session] = (await users.http.get(SESSIONS, headers=ada.bearer)).json()["data"]
    assert session["id"] not in (await users.http.get(SESSIONS, headers=eve.bearer)).text
    for session_id in (session["id"], uuid4()):
        assert (
            problem_code(await users.http.delete(f"{SESSIONS}/{session_id}", headers=eve.bearer), 404)
            == "unknown_session"
        )
    assert problem_code(await users.http.delete(f"{SESSIONS}/x", headers=eve.bearer), 422) == "invalid_field"
    assert await users.is_logged_in(ada)


async def test_a_new_session_ends_the_least_recently_used_of_a_hundred(users: Users) -> None:
    ada = await users.register()
    kept = await users.new_session(ada.email)
    async with users.sql() as sql:
        await sql.execute(
            "INSERT INTO sessions (id, user_id, digest, expires_at, created_at, last_used_at)"
            " SELECT gen_random_uuid(), user_id, digest, expires_at, created_at, created_at + interval '1 second'"
            " FROM sessions, generate_series(1, 98) WHERE user_id = $1 LIMIT 98",
            ada.id,
        )
    await users.refresh(kept.tokens["refresh_token"])
    assert (await users.log_in(ada.email)).status_code == 200
    async with users.sql() as sql:
        assert await sql.fetchval("SELECT count(*) FROM sessions WHERE user_id = $1", ada.id) == 100
    assert not await users.is_logged_in(ada)
    assert await users.is_logged_in(kept)


async def test_logging_out_ends_the_session_of_the_access_token(users: Users) -> None:
    ada = await users.register()
    await users.http.post("/api/v1/auth/logout", json={"refresh_token": ada.tokens["refresh_token"]})
    assert not await users.is_logged_in(ada)


@pytest.mark.parametrize("_round", range(20))
async def test_a_refresh_token_used_twice_concurrently_ends_its_session(users: Users, _round: int) -> None:
    rng, token = seeded_random(), (await users.register()).tokens["refresh_token"]
    answers = await run_concurrently(rng, *[lambda: users.refresh(token)] * 2)
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    [newest] = [answer.json()["data"] for answer in answers if answer.status_code == 200]
    assert problem_code(await users.refresh(newest["refresh_token"]), 401) == "invalid_refresh_token"
    refused = await users.http.get(SESSIONS, headers={"Authorization": f"Bearer {newest['access_token']}"})
    assert problem_code(refused, 401) == "session_ended"


@pytest.mark.parametrize("path", ["logout", "refresh"])
async def test_the_id_of_a_session_does_not_end_it(users: Users, path: str) -> None:
    ada = await users.register()
    [session] = (await users.http.get(SESSIONS, headers=ada.bearer)).json()["data"]
    forged = RefreshToken(UUID(session["id"]), b"x" * 32).text()
    answer = await users.http.post(f"/api/v1/auth/{path}", json={"refresh_token": forged})
    assert answer.status_code == {"logout": 204, "refresh": 401}[path]
    assert await users.is_logged_in(ada)
    assert (await users.refresh(ada.tokens["refresh_token"])).status_code == 200


async def test_a_refresh_token_that_was_used_logs_out(users: Users) -> None:
    ada = await users.register()
    await users.refresh(ada.tokens["refresh_token"])
    await users.http.post("/api/v1/auth/logout", json={"refresh_token": ada.tokens["refresh_token"]})
    assert not await users.is_logged_in(ada)
