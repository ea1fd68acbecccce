"""A new password: from who knows the old one, or from who gets the mail."""

import asyncio
import base64

import pytest
from chassis.messaging.outbox import Outbox
from shopapi.events.v1.events_pb2 import EmailVerificationRequested, PasswordResetRequested, UserRegistered
from user_harness import PASSWORD, Person, Users, at_once, dice, fresh_email, problem
from user_service.app import Settings

NEW = "an entirely new password"


async def change(users: Users, person: Person, current: str, new: str) -> int:
    body = {"current_password": current, "new_password": new}
    return (await users.http.post("/api/v1/users/me/password", json=body, headers=person.bearer)).status_code


async def forgotten(users: Users, person: Person) -> str:
    """The token that is mailed to who forgot their password."""
    assert (await users.forgot(person.email)).status_code == 202
    return await users.mailed_token(person.id, PasswordResetRequested)


async def test_changing_the_password_ends_every_other_session_and_keeps_this_one(users: Users) -> None:
    ada = await users.register()
    elsewhere = [await users.logged_in(ada.email) for _ in range(2)]
    assert await change(users, ada, PASSWORD, NEW) == 204
    assert await users.is_logged_in(ada)
    assert (await users.refresh(ada.tokens["refresh_token"])).status_code == 200
    for other in elsewhere:
        assert not await users.is_logged_in(other)
        assert problem(await users.refresh(other.tokens["refresh_token"]), 401) == "invalid_refresh_token"
    assert problem(await users.log_in(ada.email), 401) == "wrong_credentials"
    assert (await users.log_in(ada.email, NEW)).status_code == 200


async def test_the_old_password_is_needed_to_change_it_and_cannot_be_guessed_there(users: Users) -> None:
    ada = await users.register()
    assert [await change(users, ada, "a guess, a guess", NEW) for _ in range(6)] == [401] * 5 + [429]
    assert problem(await users.log_in(ada.email), 429) == "too_many_attempts"
    users.clock.ahead += users.clock.minute
    assert (await users.log_in(ada.email)).status_code == 200


async def test_a_mailed_token_sets_a_new_password_once_and_ends_all_sessions(users: Users) -> None:
    ada = await users.register()
    token = await forgotten(users, ada)
    answer = await users.reset(token, NEW)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not await users.is_logged_in(ada)
    assert problem(await users.log_in(ada.email), 401) == "wrong_credentials"
    assert (await users.log_in(ada.email, NEW)).status_code == 200
    assert problem(await users.reset(token, "yet another password"), 401) == "invalid_mail_token"
    assert (await users.log_in(ada.email, NEW)).status_code == 200


async def test_a_reset_token_of_one_user_never_changes_the_password_of_another(users: Users) -> None:
    ada, eve = await users.register(), await users.register()
    hers, eves = [base64.urlsafe_b64decode(await forgotten(users, person)) for person in (ada, eve)]
    for spliced in (hers[:16] + eves[16:], eves[:16] + hers[16:]):
        token = base64.urlsafe_b64encode(spliced).decode()
        assert problem(await users.reset(token, NEW), 401) == "invalid_mail_token"
    async with users.sql() as sql:  # even if a request could be passed on to another user
        await sql.execute("DELETE FROM mail_requests WHERE user_id = $1 AND purpose = 'reset_password'", ada.id)
        await sql.execute(
            "UPDATE mail_requests SET user_id = $1, email = $2 WHERE user_id = $3 AND purpose = 'reset_password'",
            ada.id,
            ada.email,
            eve.id,
        )
    assert problem(await users.reset(base64.urlsafe_b64encode(eves).decode(), NEW), 401) == "invalid_mail_token"
    for person in (ada, eve):
        assert (await users.log_in(person.email)).status_code == 200
        assert await users.is_logged_in(person)


async def test_a_reset_token_changes_its_own_user_alone(users: Users) -> None:
    ada, eve = await users.register(), await users.register()
    assert (await users.reset(await forgotten(users, eve), NEW)).status_code == 204
    assert (await users.log_in(eve.email, NEW)).status_code == 200
    assert (await users.log_in(ada.email)).status_code == 200
    assert await users.is_logged_in(ada)


async def test_a_reset_token_is_worthless_after_the_password_was_changed(users: Users) -> None:
    ada = await users.register()
    token = await forgotten(users, ada)
    assert await change(users, ada, PASSWORD, NEW) == 204
    assert problem(await users.reset(token, PASSWORD), 401) == "invalid_mail_token"
    async with users.sql() as sql:  # both the row and the password make it so
        replaced = "SELECT replaced_at IS NOT NULL FROM mail_requests WHERE user_id = $1 AND purpose = 'reset_password'"
        assert await sql.fetchval(replaced, ada.id)
        await sql.execute("UPDATE mail_requests SET replaced_at = NULL WHERE user_id = $1", ada.id)
    assert problem(await users.reset(token, PASSWORD), 401) == "invalid_mail_token"
    assert (await users.log_in(ada.email, NEW)).status_code == 200


async def test_a_reset_token_lasts_an_hour(users: Users) -> None:
    ada = await users.register()
    token = await forgotten(users, ada)
    users.clock.ahead += 60 * users.clock.minute
    assert problem(await users.reset(token, NEW), 401) == "invalid_mail_token"
    users.clock.ahead -= users.clock.minute
    assert (await users.reset(token, NEW)).status_code == 204


async def test_the_newest_reset_token_alone_is_good(users: Users) -> None:
    ada = await users.register()
    first, second = [await forgotten(users, ada) for _ in range(2)]
    assert problem(await users.reset(first, NEW), 401) == "invalid_mail_token"
    assert (await users.reset(second, NEW)).status_code == 204


@pytest.mark.parametrize("_round", range(20))
async def test_a_reset_token_used_many_times_at_once_works_once(users: Users, _round: int) -> None:
    chance, ada = dice(), await users.register()
    token = await forgotten(users, ada)
    passwords = [f"{NEW} {number}" for number in range(4)]
    answers = await at_once(chance, *[lambda p=p: users.reset(token, p) for p in passwords])
    assert sorted(answer.status_code for answer in answers) == [204, 401, 401, 401]
    winner = next(p for p, answer in zip(passwords, answers, strict=True) if answer.status_code == 204)
    assert (await users.log_in(ada.email, winner)).status_code == 200


async def test_a_token_that_verifies_an_address_resets_no_password_and_the_other_way_round(users: Users) -> None:
    ada = await users.register()
    verifying = await users.mailed_token(ada.id, UserRegistered)
    assert problem(await users.reset(verifying, NEW), 401) == "invalid_mail_token"
    assert problem(await users.verify(await forgotten(users, ada)), 401) == "invalid_mail_token"
    assert (await users.verify(verifying)).status_code == 204


@pytest.mark.parametrize(
    "token", ["", "x", "é", "\x00", "A" * 64, "=" * 64, "A" * 63 + "\n", "😀", base64.b64encode(b"\xfb" * 48).decode()]
)
async def test_what_is_no_token_is_refused(users: Users, token: str) -> None:
    assert problem(await users.reset(token, NEW), 401) == "invalid_mail_token"
    assert problem(await users.verify(token), 401) == "invalid_mail_token"


async def test_a_reset_proves_the_address_and_opens_a_locked_account(users: Users) -> None:
    ada = await users.register()
    for _ in range(6):
        locked = await users.log_in(ada.email, "a guess, a guess")
    assert locked.status_code == 429
    assert (await users.reset(await forgotten(users, ada), NEW)).status_code == 204
    answer = await users.log_in(ada.email, NEW)
    assert answer.json()["data"]["user"]["email_verified"] is True


async def test_forgetting_says_the_same_of_every_address(users: Users) -> None:
    ada, gone = await users.register(), await users.register()
    async with users.sql() as sql:
        await sql.execute("DELETE FROM sessions WHERE user_id = $1", gone.id)
        await sql.execute("UPDATE mail_requests SET replaced_at = now() WHERE user_id = $1", gone.id)
        await sql.execute("UPDATE users SET is_active = false WHERE id = $1", gone.id)
    answers = [await users.forgot(email) for email in (ada.email, ada.email.upper(), fresh_email(), gone.email)]
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.text for answer in answers} == {'{"data":{"status":"accepted"}}'}
    assert len({tuple(sorted(answer.headers)) for answer in answers}) == 1
    assert len(await users.told_of(ada.id, PasswordResetRequested)) == 2
    assert await users.told_of(gone.id, PasswordResetRequested) == []


async def test_the_time_of_forgetting_does_not_tell_who_has_an_account(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, record = await users.register(), Outbox.record

    async def slowly(*arguments: object) -> None:
        await asyncio.sleep(0.15)
        await record(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Outbox, "record", slowly)
    known = [await users.seconds(users.forgot(ada.email)) for _ in range(3)]
    unknown = [await users.seconds(users.forgot(fresh_email())) for _ in range(3)]
    assert len(await users.told_of(ada.id, PasswordResetRequested)) == 3  # the slow work was done meanwhile
    assert min(*known, *unknown) > 0.29  # the pace of both, which the slow work stays within


async def test_an_account_is_mailed_so_often_an_hour_and_the_answer_does_not_tell(users: Users) -> None:
    ada = await users.register()
    assert {(await users.forgot(ada.email)).status_code for _ in range(7)} == {202}
    assert len(await users.told_of(ada.id, PasswordResetRequested)) == 5
    last = await users.mailed_token(ada.id, PasswordResetRequested)
    users.clock.ahead += 59 * users.clock.minute
    assert (await users.reset(last, NEW)).status_code == 204
    users.clock.ahead += 2 * users.clock.minute
    await users.forgot(ada.email)
    assert len(await users.told_of(ada.id, PasswordResetRequested)) == 6


async def test_requests_at_once_leave_one_open(users: Users) -> None:
    chance, ada = dice(), await users.register()
    await at_once(chance, *[lambda: users.forgot(ada.email)] * 10)
    async with users.sql() as sql:
        rows = await sql.fetch(
            "SELECT used_at IS NULL AND replaced_at IS NULL AS open FROM mail_requests"
            " WHERE user_id = $1 AND purpose = 'reset_password'",
            ada.id,
        )
    assert sorted(row["open"] for row in rows) == [False] * 4 + [True]


async def test_neither_events_nor_the_database_hold_a_token_or_what_makes_one(users: Users, settings: Settings) -> None:
    ada = await users.register(display_name="Ada Lovelace", locale="en-GB")
    token = await forgotten(users, ada)
    await users.http.post("/api/v1/users/me/verify-email", headers=ada.bearer)
    verifying = await users.mailed_token(ada.id, EmailVerificationRequested)
    async with users.sql() as sql:
        bodies = b"".join(row["body"] for row in await sql.fetch("SELECT body FROM outbox")).decode()
        dump = str(await sql.fetch("SELECT * FROM mail_requests")) + str(await sql.fetch("SELECT * FROM sessions"))
    for secret in (token, token[22:], verifying, verifying[22:], ada.tokens["refresh_token"], settings.jwt_secret):
        assert secret not in bodies + dump
    for personal in (ada.email, "Lovelace"):
        assert personal not in bodies


async def test_who_is_deactivated_cannot_reset(users: Users) -> None:
    ada = await users.register()
    token, admin = await forgotten(users, ada), await users.admin()
    await users.http.put(f"/api/v1/users/{ada.id}", json={"is_active": False}, headers=admin.bearer)
    assert problem(await users.reset(token, NEW), 401) == "invalid_mail_token"
    await users.http.put(f"/api/v1/users/{ada.id}", json={"is_active": True}, headers=admin.bearer)
    assert problem(await users.reset(token, NEW), 401) == "invalid_mail_token"
    assert (await users.log_in(ada.email)).status_code == 200


async def test_a_login_that_began_before_the_change_opens_no_session_after_it(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await users.register()
    held = users.hold_verification(monkeypatch)
    login = asyncio.ensure_future(users.log_in(ada.email))
    await held.reached.wait()
    assert await change(users, ada, PASSWORD, NEW) == 204
    held.release.set()
    assert problem(await login, 401) == "wrong_credentials"
