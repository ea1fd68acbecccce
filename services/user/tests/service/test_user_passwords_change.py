"""Change of a password with the old one, and reset with a mailed token."""

import asyncio
import base64

import pytest
from chassis.messaging.outbox import Outbox
from shopapi.events.v1.events_pb2 import EmailVerificationRequested, PasswordResetRequested, UserRegistered
from user_harness import PASSWORD, Person, Users, new_email, problem_code, run_concurrently, seeded_random
from user_service.settings import Settings

NEW = "an entirely new password"


COMMON = ("password1", "PASSWORD1", "qwertyuiop", "12345678", "Ada Lovelace", "adalovelace1815!")


@pytest.mark.parametrize("common", COMMON)
async def test_a_common_password_is_refused_wherever_one_is_chosen(users: Users, common: str) -> None:
    name = "Ada Lovelace"
    body = {"email": new_email(), "password": common, "display_name": name}
    registered = await users.http.post("/api/v1/auth/register", json=body)
    assert problem_code(registered, 422) == "password_too_common"

    ada = await users.register(display_name=name)
    change = {"current_password": PASSWORD, "new_password": common}
    changed = await users.http.post("/api/v1/users/me/password", json=change, headers=ada.bearer)
    assert problem_code(changed, 422) == "password_too_common"

    await users.request_reset(ada.email)
    token = await users.mailed_token(ada.id, PasswordResetRequested)
    assert problem_code(await users.reset(token, common), 422) == "password_too_common"
    assert (await users.reset(token, "an uncommon password")).status_code == 204


async def change_password(users: Users, person: Person, current: str, new: str) -> int:
    body = {"current_password": current, "new_password": new}
    return (await users.http.post("/api/v1/users/me/password", json=body, headers=person.bearer)).status_code


async def reset_token(users: Users, person: Person) -> str:
    """Requests a password reset, and returns the mailed token."""
    assert (await users.request_reset(person.email)).status_code == 202
    return await users.mailed_token(person.id, PasswordResetRequested)


async def test_changing_the_password_ends_every_other_session_and_keeps_this_one(users: Users) -> None:
    ada = await users.register()
    elsewhere = [await users.new_session(ada.email) for _ in range(2)]
    assert await change_password(users, ada, PASSWORD, NEW) == 204
    assert await users.is_logged_in(ada)
    assert (await users.refresh(ada.tokens["refresh_token"])).status_code == 200
    for other in elsewhere:
        assert not await users.is_logged_in(other)
        assert problem_code(await users.refresh(other.tokens["refresh_token"]), 401) == "invalid_refresh_token"
    assert problem_code(await users.log_in(ada.email), 401) == "wrong_credentials"
    assert (await users.log_in(ada.email, NEW)).status_code == 200


async def test_changing_the_password_needs_the_old_one_and_locks_after_wrong_ones(users: Users) -> None:
    ada = await users.register()
    assert [await change_password(users, ada, "a guess, a guess", NEW) for _ in range(6)] == [401] * 5 + [429]
    assert problem_code(await users.log_in(ada.email), 429) == "too_many_attempts"
    users.clock.ahead += users.clock.minute
    assert (await users.log_in(ada.email)).status_code == 200


async def test_a_reset_token_sets_a_new_password_once_and_ends_all_sessions(users: Users) -> None:
    ada = await users.register()
    token = await reset_token(users, ada)
    answer = await users.reset(token, NEW)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not await users.is_logged_in(ada)
    assert problem_code(await users.log_in(ada.email), 401) == "wrong_credentials"
    assert (await users.log_in(ada.email, NEW)).status_code == 200
    assert problem_code(await users.reset(token, "yet another password"), 401) == "invalid_mail_token"
    assert (await users.log_in(ada.email, NEW)).status_code == 200


async def test_a_reset_token_of_one_user_never_changes_the_password_of_another(users: Users) -> None:
    ada, eve = await users.register(), await users.register()
    adas, eves = [base64.urlsafe_b64decode(await reset_token(users, person)) for person in (ada, eve)]
    for spliced in (adas[:16] + eves[16:], eves[:16] + adas[16:]):
        token = base64.urlsafe_b64encode(spliced).decode()
        assert problem_code(await users.reset(token, NEW), 401) == "invalid_mail_token"
    async with users.sql() as sql:  # also if a request could be moved to another user
        await sql.execute("DELETE FROM mail_requests WHERE user_id = $1 AND purpose = 'reset_password'", ada.id)
        await sql.execute(
            "UPDATE mail_requests SET user_id = $1, email = $2 WHERE user_id = $3 AND purpose = 'reset_password'",
            ada.id,
            ada.email,
            eve.id,
        )
    assert problem_code(await users.reset(base64.urlsafe_b64encode(eves).decode(), NEW), 401) == "invalid_mail_token"
    for person in (ada, eve):
        assert (await users.log_in(person.email)).status_code == 200
        assert await users.is_logged_in(person)


async def test_a_reset_token_changes_only_its_own_user(users: Users) -> None:
    ada, eve = await users.register(), await users.register()
    assert (await users.reset(await reset_token(users, eve), NEW)).status_code == 204
    assert (await users.log_in(eve.email, NEW)).status_code == 200
    assert (await users.log_in(ada.email)).status_code == 200
    assert await users.is_logged_in(ada)


async def test_a_reset_token_is_invalid_after_a_change_of_the_password(users: Users) -> None:
    ada = await users.register()
    token = await reset_token(users, ada)
    assert await change_password(users, ada, PASSWORD, NEW) == 204
    assert problem_code(await users.reset(token, PASSWORD), 401) == "invalid_mail_token"
    async with users.sql() as sql:  # the row and the password each make it invalid
        replaced = "SELECT replaced_at IS NOT NULL FROM mail_requests WHERE user_id = $1 AND purpose = 'reset_password'"
        assert await sql.fetchval(replaced, ada.id)
        await sql.execute("UPDATE mail_requests SET replaced_at = NULL WHERE user_id = $1", ada.id)
    assert problem_code(await users.reset(token, PASSWORD), 401) == "invalid_mail_token"
    assert (await users.log_in(ada.email, NEW)).status_code == 200


async def test_a_reset_token_is_valid_for_an_hour(users: Users) -> None:
    ada = await users.register()
    token = await reset_token(users, ada)
    users.clock.ahead += 60 * users.clock.minute
    assert problem_code(await users.reset(token, NEW), 401) == "invalid_mail_token"
    users.clock.ahead -= users.clock.minute
    assert (await users.reset(token, NEW)).status_code == 204


async def test_only_the_newest_reset_token_is_valid(users: Users) -> None:
    ada = await users.register()
    first, second = [await reset_token(users, ada) for _ in range(2)]
    assert problem_code(await users.reset(first, NEW), 401) == "invalid_mail_token"
    assert (await users.reset(second, NEW)).status_code == 204


@pytest.mark.parametrize("_round", range(20))
async def test_a_reset_token_used_concurrently_works_once(users: Users, _round: int) -> None:
    rng, ada = seeded_random(), await users.register()
    token = await reset_token(users, ada)
    passwords = [f"{NEW} {number}" for number in range(4)]
    answers = await run_concurrently(rng, *[lambda p=p: users.reset(token, p) for p in passwords])
    assert sorted(answer.status_code for answer in answers) == [204, 401, 401, 401]
    winner = next(p for p, answer in zip(passwords, answers, strict=True) if answer.status_code == 204)
    assert (await users.log_in(ada.email, winner)).status_code == 200


async def test_a_mail_token_works_only_for_its_purpose(users: Users) -> None:
    ada = await users.register()
    verifying = await users.mailed_token(ada.id, UserRegistered)
    assert problem_code(await users.reset(verifying, NEW), 401) == "invalid_mail_token"
    assert problem_code(await users.verify(await reset_token(users, ada)), 401) == "invalid_mail_token"
    assert (await users.verify(verifying)).status_code == 204


@pytest.mark.parametrize(
    "token", ["", "x", "é", "\x00", "A" * 64, "=" * 64, "A" * 63 + "\n", "😀", base64.b64encode(b"\xfb" * 48).decode()]
)
async def test_a_malformed_token_is_refused(users: Users, token: str) -> None:
    assert problem_code(await users.reset(token, NEW), 401) == "invalid_mail_token"
    assert problem_code(await users.verify(token), 401) == "invalid_mail_token"


async def test_a_reset_verifies_the_address_and_unlocks_the_account(users: Users) -> None:
    ada = await users.register()
    for _ in range(6):
        locked = await users.log_in(ada.email, "a guess, a guess")
    assert locked.status_code == 429
    assert (await users.reset(await reset_token(users, ada), NEW)).status_code == 204
    answer = await users.log_in(ada.email, NEW)
    assert answer.json()["data"]["user"]["email_verified"] is True


async def test_a_reset_request_has_the_same_response_for_every_address(users: Users) -> None:
    ada, deactivated = await users.register(), await users.register()
    async with users.sql() as sql:
        await sql.execute("DELETE FROM sessions WHERE user_id = $1", deactivated.id)
        await sql.execute("UPDATE mail_requests SET replaced_at = now() WHERE user_id = $1", deactivated.id)
        await sql.execute("UPDATE users SET is_active = false WHERE id = $1", deactivated.id)
    answers = [
        await users.request_reset(email) for email in (ada.email, ada.email.upper(), new_email(), deactivated.email)
    ]
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.text for answer in answers} == {'{"data":{"status":"accepted"}}'}
    assert len({tuple(sorted(answer.headers)) for answer in answers}) == 1
    assert len(await users.payloads(ada.id, PasswordResetRequested)) == 2
    assert await users.payloads(deactivated.id, PasswordResetRequested) == []


async def test_the_time_of_a_reset_request_does_not_reveal_an_account(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, record = await users.register(), Outbox.record

    async def record_slowly(*arguments: object) -> None:
        await asyncio.sleep(0.15)
        await record(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Outbox, "record", record_slowly)
    known = [await users.seconds(users.request_reset(ada.email)) for _ in range(3)]
    unknown = [await users.seconds(users.request_reset(new_email())) for _ in range(3)]
    assert len(await users.payloads(ada.id, PasswordResetRequested)) == 3  # the slow work was done within that time
    assert min(*known, *unknown) > 0.29  # the minimum response time of both, which covers the slow work


async def test_reset_mails_are_limited_per_hour_without_a_change_in_the_response(users: Users) -> None:
    ada = await users.register()
    assert {(await users.request_reset(ada.email)).status_code for _ in range(7)} == {202}
    assert len(await users.payloads(ada.id, PasswordResetRequested)) == 5
    last = await users.mailed_token(ada.id, PasswordResetRequested)
    users.clock.ahead += 59 * users.clock.minute
    assert (await users.reset(last, NEW)).status_code == 204
    users.clock.ahead += 2 * users.clock.minute
    await users.request_reset(ada.email)
    assert len(await users.payloads(ada.id, PasswordResetRequested)) == 6


async def test_concurrent_reset_requests_leave_one_open(users: Users) -> None:
    rng, ada = seeded_random(), await users.register()
    await run_concurrently(rng, *[lambda: users.request_reset(ada.email)] * 10)
    async with users.sql() as sql:
        rows = await sql.fetch(
            "SELECT used_at IS NULL AND replaced_at IS NULL AS open FROM mail_requests"
            " WHERE user_id = $1 AND purpose = 'reset_password'",
            ada.id,
        )
    assert sorted(row["open"] for row in rows) == [False] * 4 + [True]


async def test_neither_events_nor_the_database_contain_a_token_or_a_secret(users: Users, settings: Settings) -> None:
    ada = await users.register(display_name="Ada Lovelace", locale="en-GB")
    token = await reset_token(users, ada)
    await users.http.post("/api/v1/users/me/verify-email", headers=ada.bearer)
    verifying = await users.mailed_token(ada.id, EmailVerificationRequested)
    async with users.sql() as sql:
        bodies = b"".join(row["body"] for row in await sql.fetch("SELECT body FROM outbox")).decode()
        dump = str(await sql.fetch("SELECT * FROM mail_requests")) + str(await sql.fetch("SELECT * FROM sessions"))
    for secret in (token, token[22:], verifying, verifying[22:], ada.tokens["refresh_token"], settings.jwt_secret):
        assert secret not in bodies + dump
    for personal in (ada.email, "Lovelace"):
        assert personal not in bodies


async def test_a_deactivated_user_cannot_reset_the_password(users: Users) -> None:
    ada = await users.register()
    token, admin = await reset_token(users, ada), await users.new_admin()
    await users.http.put(f"/api/v1/users/{ada.id}", json={"is_active": False}, headers=admin.bearer)
    assert problem_code(await users.reset(token, NEW), 401) == "invalid_mail_token"
    await users.http.put(f"/api/v1/users/{ada.id}", json={"is_active": True}, headers=admin.bearer)
    assert problem_code(await users.reset(token, NEW), 401) == "invalid_mail_token"
    assert (await users.log_in(ada.email)).status_code == 200


async def test_a_login_started_before_a_password_change_opens_no_session_after_it(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await users.register()
    paused = users.pause_after_verification(monkeypatch)
    login = asyncio.ensure_future(users.log_in(ada.email))
    await paused.reached.wait()
    assert await change_password(users, ada, PASSWORD, NEW) == 204
    paused.release.set()
    assert problem_code(await login, 401) == "wrong_credentials"
