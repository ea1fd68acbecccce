"""Where people are logged in, and how they end it."""

from uuid import uuid4

import pytest
from user_harness import Users, at_once, dice, problem

SESSIONS = "/api/v1/users/me/sessions"


async def test_people_see_where_they_are_logged_in_and_which_one_they_use(users: Users) -> None:
    ada = await users.register()
    phone = await users.logged_in(ada.email, **{"User-Agent": "Shop/1.0 (phone)"})
    listed = (await users.http.get(SESSIONS, headers=phone.bearer)).json()["data"]
    assert [(one["current"], one["user_agent"].split("/")[0]) for one in listed] == [
        (True, "Shop"),
        (False, "python-httpx"),
    ]
    assert listed[0].keys() == {"id", "created_at", "last_used_at", "expires_at", "user_agent", "current"}

    await users.refresh(ada.tokens["refresh_token"])
    listed = (await users.http.get(SESSIONS, headers=phone.bearer)).json()["data"]
    assert [one["current"] for one in listed] == [False, True]  # the last used first


async def test_a_session_that_is_ended_elsewhere_is_over_at_once(users: Users) -> None:
    ada = await users.register()
    phone = await users.logged_in(ada.email)
    [lost] = [one for one in (await users.http.get(SESSIONS, headers=ada.bearer)).json()["data"] if not one["current"]]
    answer = await users.http.delete(f"{SESSIONS}/{lost['id']}", headers=ada.bearer)
    assert (answer.status_code, answer.content) == (204, b"")
    assert problem(await users.refresh(phone.tokens["refresh_token"]), 401) == "invalid_refresh_token"
    refused = await users.http.get("/api/v1/users/me", headers=phone.bearer)
    assert problem(refused, 401) == "session_ended"
    assert "invalid_token" in refused.headers["www-authenticate"]
    assert await users.is_logged_in(ada)


async def test_nobody_sees_or_ends_the_sessions_of_another(users: Users) -> None:
    ada, eve = await users.register(), await users.register()
    [session] = (await users.http.get(SESSIONS, headers=ada.bearer)).json()["data"]
    assert session["id"] not in (await users.http.get(SESSIONS, headers=eve.bearer)).text
    for session_id in (session["id"], uuid4()):
        assert (
            problem(await users.http.delete(f"{SESSIONS}/{session_id}", headers=eve.bearer), 404) == "unknown_session"
        )
    assert problem(await users.http.delete(f"{SESSIONS}/x", headers=eve.bearer), 422) == "invalid_field"
    assert await users.is_logged_in(ada)


async def test_of_a_hundred_sessions_the_one_left_alone_longest_goes_for_a_new_one(users: Users) -> None:
    ada = await users.register()
    kept = await users.logged_in(ada.email)
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


async def test_who_logged_out_is_out(users: Users) -> None:
    ada = await users.register()
    await users.http.post("/api/v1/auth/logout", json={"refresh_token": ada.tokens["refresh_token"]})
    assert not await users.is_logged_in(ada)


@pytest.mark.parametrize("_round", range(20))
async def test_a_refresh_token_used_twice_at_once_ends_its_family(users: Users, _round: int) -> None:
    chance, token = dice(), (await users.register()).tokens["refresh_token"]
    answers = await at_once(chance, *[lambda: users.refresh(token)] * 2)
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    [newest] = [answer.json()["data"] for answer in answers if answer.status_code == 200]
    assert problem(await users.refresh(newest["refresh_token"]), 401) == "invalid_refresh_token"
    gone = await users.http.get(SESSIONS, headers={"Authorization": f"Bearer {newest['access_token']}"})
    assert problem(gone, 401) == "session_ended"
