"""Lockout after wrong passwords: all are counted, strangers lock no one out, and no answer reveals an account."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from shopapi.events.v1.events_pb2 import PasswordResetRequested
from user_harness import (
    PASSWORD,
    Users,
    fast_hashes,
    new_email,
    new_user_service,
    problem_code,
    run_concurrently,
    seeded_random,
)
from user_service.service.passwords import PasswordHasher

WRONG = "a guess, a guess"


async def latest_failure_count(users: Users) -> int:
    async with users.sql() as sql:
        return int(await sql.fetchval("SELECT failures FROM login_failures ORDER BY last_at DESC LIMIT 1"))


@pytest.fixture(scope="module")
async def lenient() -> AsyncIterator[Users]:
    """A service that allows a hundred wrong passwords."""
    async with AsyncExitStack() as stack:
        with fast_hashes():
            users = await stack.enter_async_context(new_user_service(login_failures_allowed=100))
        yield users


@pytest.mark.parametrize("_round", range(20))
async def test_concurrent_wrong_passwords_are_all_counted(lenient: Users, _round: int) -> None:
    rng = seeded_random()
    email = (await lenient.register()).email if _round % 2 else new_email()
    answers = await run_concurrently(rng, *[lambda: lenient.log_in(email, WRONG)] * 20)
    assert {answer.status_code for answer in answers} == {401}
    assert await latest_failure_count(lenient) == 20


@pytest.mark.parametrize("_round", range(20))
async def test_only_five_of_many_concurrent_wrong_passwords_are_checked(users: Users, _round: int) -> None:
    rng = seeded_random()
    email = (await users.register()).email if _round % 2 else new_email()
    answers = await run_concurrently(rng, *[lambda: users.log_in(email, WRONG)] * 20)
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 15


async def test_concurrent_logins_with_the_right_password_all_succeed(users: Users) -> None:
    rng, ada = seeded_random(), await users.register()
    answers = await run_concurrently(rng, *[lambda: users.log_in(ada.email)] * 20)
    assert {answer.status_code for answer in answers} == {200}


async def test_a_locked_account_refuses_the_right_password_too(users: Users) -> None:
    ada = await users.register()
    users.clock.stop()
    for _ in range(5):
        assert problem_code(await users.log_in(ada.email, WRONG), 401) == "wrong_credentials"
    for password in (PASSWORD, WRONG):
        answer = await users.log_in(ada.email, password)
        assert problem_code(answer, 429) == "too_many_attempts"
        assert int(answer.headers["retry-after"]) == 30
    assert await users.is_logged_in(ada)  # an open session is not affected


async def test_a_password_verified_before_the_lock_is_refused_after_it(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await users.register()
    paused = users.pause_after_verification(monkeypatch)
    login = asyncio.ensure_future(users.log_in(ada.email))
    await paused.reached.wait()
    for _ in range(5):
        assert (await users.log_in(ada.email, WRONG)).status_code == 401
    paused.release.set()
    assert problem_code(await login, 429) == "too_many_attempts"


async def test_each_further_failure_doubles_the_wait_for_known_and_unknown_addresses(users: Users) -> None:
    histories = []
    users.clock.stop()
    for email in ((await users.register()).email, new_email()):
        users.clock.ahead *= 0
        for _ in range(4):
            assert (await users.log_in(email, WRONG)).status_code == 401
        history = []
        for _ in range(7):
            assert (await users.log_in(email, WRONG)).status_code == 401
            refused = await users.log_in(email, WRONG)
            assert problem_code(refused, 429) == "too_many_attempts"
            wait = int(refused.headers["retry-after"])
            history.append((wait, refused.json()["code"], refused.json()["detail"].split(":")[0]))
            users.clock.ahead += users.clock.minute * wait / 60
        histories.append(history)
    assert [wait for wait, *_ in histories[0]] == [30, 60, 120, 240, 480, 900, 900]
    assert histories[0] == histories[1]


async def test_a_login_resets_the_count_of_failures(users: Users) -> None:
    ada = await users.register()
    for _ in range(3):
        for _ in range(4):
            assert (await users.log_in(ada.email, WRONG)).status_code == 401
        assert (await users.log_in(ada.email)).status_code == 200


async def test_failures_no_longer_count_after_an_hour(users: Users) -> None:
    ada = await users.register()
    for _ in range(5):
        await users.log_in(ada.email, WRONG)
    users.clock.ahead += 61 * users.clock.minute
    assert (await users.log_in(ada.email, WRONG)).status_code == 401
    assert await latest_failure_count(users) == 1
    assert (await users.log_in(ada.email)).status_code == 200


async def test_a_known_an_unknown_and_a_locked_address_cost_one_hash_each(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash takes most of a login's time.

    See also test_verifying_for_an_unknown_account_takes_as_long_as_for_a_known_one.
    """
    hashed: list[str] = []
    matches = PasswordHasher._matches

    def record(self: PasswordHasher, password: str, password_hash: str) -> bool:
        hashed.append(password)
        return matches(self, password, password_hash)

    monkeypatch.setattr(PasswordHasher, "_matches", record)
    known, locked = (await users.register()).email, (await users.register()).email
    for _ in range(5):
        await users.log_in(locked, WRONG)
    for email, status, code in (
        (known, 401, "wrong_credentials"),
        (new_email(), 401, "wrong_credentials"),
        (locked, 429, "too_many_attempts"),
    ):
        hashed.clear()
        assert problem_code(await users.log_in(email, WRONG), status) == code
        assert hashed == [WRONG]


async def test_a_failure_is_stored_without_its_address(users: Users) -> None:
    email = new_email()
    await users.log_in(email, WRONG)
    async with users.sql() as sql:
        assert email not in str(await sql.fetch("SELECT * FROM login_failures"))


OWN, OTHER, STRANGE = ({"X-Real-IP": address} for address in ("198.51.100.7", "192.0.2.9", "203.0.113.5"))


async def test_wrong_passwords_of_strangers_lock_only_their_own_network(users: Users) -> None:
    ada = await users.register()
    for _ in range(5):
        assert (await users.log_in(ada.email, WRONG, **STRANGE)).status_code == 401
    for headers in (STRANGE, {"X-Real-IP": "203.0.113.200"}):  # another address of the same network
        assert problem_code(await users.log_in(ada.email, PASSWORD, **headers), 429) == "too_many_attempts"
    for headers in (OWN, OTHER):
        assert (await users.log_in(ada.email, PASSWORD, **headers)).status_code == 200
    assert problem_code(await users.log_in(ada.email, PASSWORD, **STRANGE), 429) == "too_many_attempts"


@pytest.fixture(scope="module")
async def bounded() -> AsyncIterator[Users]:
    """A service that allows ten wrong passwords from all networks together."""
    async with AsyncExitStack() as stack:
        with fast_hashes():
            users = await stack.enter_async_context(new_user_service(login_failures_account_allowed=10))
        yield users


async def guess_from_many_networks(users: Users, email: str) -> None:
    for number in range(10):
        guess = await users.log_in(email, WRONG, **{"X-Real-IP": f"203.0.{number}.1"})
        assert problem_code(guess, 401) == "wrong_credentials"


@pytest.mark.parametrize("has_account", [True, False])
async def test_guesses_from_many_networks_slow_down_unknown_networks(bounded: Users, has_account: bool) -> None:
    email = (await bounded.register()).email if has_account else new_email()
    bounded.clock.stop()
    await guess_from_many_networks(bounded, email)
    refused = await bounded.log_in(email, PASSWORD, **OTHER)
    assert problem_code(refused, 429) == "too_many_attempts"
    assert int(refused.headers["retry-after"]) == 30
    bounded.clock.ahead += bounded.clock.minute
    assert (await bounded.log_in(email, WRONG, **OTHER)).status_code == 401
    refused = await bounded.log_in(email, PASSWORD, **OTHER)
    assert int(refused.headers["retry-after"]) == 30  # the wait does not grow


async def test_a_network_of_an_earlier_login_is_not_slowed_down_by_others(bounded: Users) -> None:
    ada = await bounded.register()
    await bounded.new_session(ada.email, **OWN)
    await guess_from_many_networks(bounded, ada.email)
    assert problem_code(await bounded.log_in(ada.email, **OTHER), 429) == "too_many_attempts"
    assert (await bounded.log_in(ada.email, **OWN)).status_code == 200


async def test_a_network_is_known_to_its_own_account_alone(bounded: Users) -> None:
    ada, eve = await bounded.register(), await bounded.register()
    await bounded.new_session(eve.email, **OTHER)
    await guess_from_many_networks(bounded, ada.email)
    assert problem_code(await bounded.log_in(ada.email, **OTHER), 429) == "too_many_attempts"


async def test_a_password_reset_ends_the_locks_of_all_networks(users: Users) -> None:
    ada = await users.register()
    for headers in (OWN, OTHER):
        for _ in range(5):
            await users.log_in(ada.email, WRONG, **headers)
    await users.request_reset(ada.email)
    token = await users.mailed_token(ada.id, PasswordResetRequested)
    assert (await users.reset(token, "another fine password")).status_code == 204
    for headers in (OWN, OTHER):
        assert (await users.log_in(ada.email, "another fine password", **headers)).status_code == 200


@pytest.mark.parametrize("_round", range(20))
async def test_concurrent_guesses_from_two_networks_are_all_counted(lenient: Users, _round: int) -> None:
    rng, email = seeded_random(), (await lenient.register()).email
    guesses = [lambda headers=headers: lenient.log_in(email, WRONG, **headers) for headers in (OWN, OTHER) * 5]
    answers = await run_concurrently(rng, *guesses)
    assert {answer.status_code for answer in answers} == {401}
    async with lenient.sql() as sql:
        counts = await sql.fetch("SELECT failures FROM login_failures ORDER BY last_at DESC LIMIT 3")
    assert sorted(row["failures"] for row in counts) == [5, 5, 10]


async def test_a_device_is_stored_without_its_network_and_program(users: Users) -> None:
    ada = await users.register()
    await users.new_session(ada.email, **OWN, **{"User-Agent": "Shop/1.0 (phone)"})
    async with users.sql() as sql:
        stored = str([dict(row) for row in await sql.fetch("SELECT * FROM devices WHERE user_id = $1", ada.id)])
    assert "198.51.100" not in stored
    assert "phone" not in stored
