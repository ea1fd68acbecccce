"""Guessing passwords: counted whatever comes at once, slowed down, and no wiser for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from user_harness import PASSWORD, Users, at_once, dice, fresh_email, fresh_users, problem, quick_hashes
from user_service.service.passwords import Passwords

GUESS = "a guess, a guess"


async def failures_of_the_newest(users: Users) -> int:
    async with users.sql() as sql:
        return int(await sql.fetchval("SELECT failures FROM login_failures ORDER BY last_at DESC LIMIT 1"))


@pytest.fixture(scope="module")
async def patient() -> AsyncIterator[Users]:
    """A service that bears a hundred wrong passwords."""
    async with AsyncExitStack() as stack:
        with quick_hashes():
            users = await stack.enter_async_context(fresh_users(login_failures_allowed=100))
        yield users


@pytest.mark.parametrize("_round", range(20))
async def test_of_many_wrong_passwords_at_once_each_is_counted(patient: Users, _round: int) -> None:
    chance = dice()
    email = (await patient.register()).email if _round % 2 else fresh_email()
    answers = await at_once(chance, *[lambda: patient.log_in(email, GUESS)] * 20)
    assert {answer.status_code for answer in answers} == {401}
    assert await failures_of_the_newest(patient) == 20


@pytest.mark.parametrize("_round", range(20))
async def test_of_many_wrong_passwords_at_once_five_are_answered(users: Users, _round: int) -> None:
    chance = dice()
    email = (await users.register()).email if _round % 2 else fresh_email()
    answers = await at_once(chance, *[lambda: users.log_in(email, GUESS)] * 20)
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 15


async def test_right_passwords_at_once_are_all_let_in(users: Users) -> None:
    chance, ada = dice(), await users.register()
    answers = await at_once(chance, *[lambda: users.log_in(ada.email)] * 20)
    assert {answer.status_code for answer in answers} == {200}


async def test_a_locked_account_is_closed_to_the_right_password_too(users: Users) -> None:
    ada = await users.register()
    for _ in range(5):
        assert problem(await users.log_in(ada.email, GUESS), 401) == "wrong_credentials"
    for password in (PASSWORD, GUESS):
        answer = await users.log_in(ada.email, password)
        assert problem(answer, 429) == "too_many_attempts"
        assert 25 <= int(answer.headers["retry-after"]) <= 30
    assert await users.is_logged_in(ada)  # whoever is in already stays in


async def test_a_right_password_that_was_looked_at_before_the_lock_is_not_told_after_it(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await users.register()
    held = users.hold_verification(monkeypatch)
    login = asyncio.ensure_future(users.log_in(ada.email))
    await held.reached.wait()
    for _ in range(5):
        assert (await users.log_in(ada.email, GUESS)).status_code == 401
    held.release.set()
    assert problem(await login, 429) == "too_many_attempts"


async def test_each_further_failure_doubles_the_wait_for_known_and_unknown_alike(users: Users) -> None:
    histories = []
    for email in ((await users.register()).email, fresh_email()):
        users.clock.ahead *= 0
        for _ in range(4):
            assert (await users.log_in(email, GUESS)).status_code == 401
        history = []
        for _ in range(7):
            assert (await users.log_in(email, GUESS)).status_code == 401
            refused = await users.log_in(email, GUESS)
            assert problem(refused, 429) == "too_many_attempts"
            wait = round(int(refused.headers["retry-after"]) + 2, -1)
            history.append((wait, refused.json()["code"], refused.json()["detail"].split(":")[0]))
            users.clock.ahead += users.clock.minute * wait / 60
        histories.append(history)
    assert [wait for wait, *_ in histories[0]] == [30, 60, 120, 240, 480, 900, 900]
    assert histories[0] == histories[1]


async def test_who_gets_in_starts_anew(users: Users) -> None:
    ada = await users.register()
    for _ in range(3):
        for _ in range(4):
            assert (await users.log_in(ada.email, GUESS)).status_code == 401
        assert (await users.log_in(ada.email)).status_code == 200


async def test_failures_are_forgotten_after_an_hour_of_rest(users: Users) -> None:
    ada = await users.register()
    for _ in range(5):
        await users.log_in(ada.email, GUESS)
    users.clock.ahead += 61 * users.clock.minute
    assert (await users.log_in(ada.email, GUESS)).status_code == 401
    assert await failures_of_the_newest(users) == 1
    assert (await users.log_in(ada.email)).status_code == 200


async def test_time_tells_no_known_unknown_or_locked_address_from_another(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a login takes is its hash: each does one, whosever it is (test_who_has_no_account_costs_as_much_as_who_has_one)."""
    hashed: list[str] = []
    matches = Passwords._matches

    def note(self: Passwords, password: str, password_hash: str) -> bool:
        hashed.append(password)
        return matches(self, password, password_hash)

    monkeypatch.setattr(Passwords, "_matches", note)
    known, locked = (await users.register()).email, (await users.register()).email
    for _ in range(5):
        await users.log_in(locked, GUESS)
    for email in (known, fresh_email(), locked):
        hashed.clear()
        assert (await users.log_in(email, GUESS)).status_code in (401, 429)
        assert hashed == [GUESS]


async def test_no_address_is_kept_for_a_failure(users: Users) -> None:
    email = fresh_email()
    await users.log_in(email, GUESS)
    async with users.sql() as sql:
        assert email not in str(await sql.fetch("SELECT * FROM login_failures"))
