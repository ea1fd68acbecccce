"""Management of users by admins, and the rule that the last admin remains."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest
from user_harness import Person, Users, fast_hashes, new_user_service, problem_code, run_concurrently, seeded_random
from user_service.service.accounts import AccountService


async def put(users: Users, admin: Person, person: Person, **fields: object) -> httpx.Response:
    return await users.http.put(f"/api/v1/users/{person.id}", json=fields, headers=admin.bearer)


async def erase(users: Users, admin: Person, person: Person) -> httpx.Response:
    if admin == person:
        return await users.erase_own(admin)
    return await users.http.delete(f"/api/v1/users/{person.id}", headers=admin.bearer)


async def test_a_new_role_ends_the_sessions_and_takes_effect_at_the_next_login(users: Users) -> None:
    admin, ada = await users.new_admin(), await users.register()
    answer = await put(users, admin, ada, role="seller", display_name="Ada's shop")
    assert answer.json()["data"] == ada.tokens["user"] | {"role": "seller", "display_name": "Ada's shop"}
    assert not await users.is_logged_in(ada)
    assert problem_code(await users.refresh(ada.tokens["refresh_token"]), 401) == "invalid_refresh_token"
    assert (await users.new_session(ada.email)).tokens["user"]["role"] == "seller"


async def test_a_deactivated_user_cannot_log_in(users: Users) -> None:
    admin, ada = await users.new_admin(), await users.register()
    assert (await put(users, admin, ada, is_active=False)).json()["data"]["is_active"] is False
    assert not await users.is_logged_in(ada)
    assert problem_code(await users.refresh(ada.tokens["refresh_token"]), 401) == "invalid_refresh_token"
    assert problem_code(await users.log_in(ada.email), 403) == "account_deactivated"
    assert problem_code(await users.log_in(ada.email, "a guess, a guess"), 401) == "wrong_credentials"
    assert (await put(users, admin, ada, is_active=True)).status_code == 200
    assert (await users.log_in(ada.email)).status_code == 200


async def test_an_update_without_a_change_ends_no_session(users: Users) -> None:
    admin, ada = await users.new_admin(), await users.register()
    for fields in ({"role": "customer"}, {"is_active": True}, {"display_name": "Ada"}, {}, {"role": None}):
        assert (await put(users, admin, ada, **fields)).status_code == 200
    assert await users.is_logged_in(ada)


async def test_a_demoted_admin_cannot_use_an_old_token(users: Users) -> None:
    admin, former, ada = await users.new_admin(), await users.new_admin(), await users.register()
    await put(users, admin, former, role="customer")
    assert problem_code(await put(users, former, former, role="admin"), 401) == "session_ended"
    async with users.sql() as sql:  # also with a session that was not ended
        await sql.execute("UPDATE users SET role = 'admin' WHERE id = $1", former.id)
        former = await users.new_session(former.email)
        await sql.execute("UPDATE users SET role = 'customer' WHERE id = $1", former.id)
    assert problem_code(await put(users, former, former, role="admin"), 403) == "forbidden"
    assert problem_code(await put(users, former, ada, role="seller"), 404) == "unknown_user"
    assert problem_code(await erase(users, former, ada), 404) == "unknown_user"
    assert problem_code(await users.http.get("/api/v1/users", headers=former.bearer), 403) == "forbidden"


@pytest.mark.parametrize("method", ["update_as_admin", "erase_as_admin"])
async def test_an_admin_demoted_during_a_request_is_refused(
    users: Users, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    admin, former, ada = await users.new_admin(), await users.new_admin(), await users.register()
    paused = users.pause_before(monkeypatch, AccountService, method)
    request = asyncio.ensure_future(
        put(users, former, ada, role="admin") if method == "update_as_admin" else erase(users, former, ada)
    )
    await paused.reached.wait()
    assert (await put(users, admin, former, role="customer")).status_code == 200
    paused.release.set()
    assert problem_code(await request, 403) == "forbidden"
    assert (await users.http.get("/api/v1/users/me", headers=ada.bearer)).json()["data"] == ada.tokens["user"]


@pytest.mark.parametrize(
    "body",
    [{"role": "root"}, {"role": 1}, {"role": ""}, {"is_active": "yes"}, {"is_active": 1}, {"password": "x"}, {"id": 7}],
)
async def test_an_invalid_access_update_is_refused(users: Users, body: dict[str, object]) -> None:
    admin, ada = await users.new_admin(), await users.register()
    assert problem_code(await put(users, admin, ada, **body), 422) == "invalid_field"
    assert await users.is_logged_in(ada)


async def test_admins_can_search_users_by_text_role_and_activity(users: Users) -> None:
    admin = await users.new_admin()
    ada = await users.register(display_name="Ada 100%_sure", role="seller")
    bob = await users.register(display_name="Bob 100 sure")
    await put(users, admin, bob, is_active=False)

    async def found(**search: object) -> set[int]:
        answer = await users.http.get("/api/v1/users", params={"limit": 100, **search}, headers=admin.bearer)  # type: ignore[dict-item]
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["data"]) == answer.json()["total"]
        return {person["id"] for person in answer.json()["data"]}

    assert await found(q=ada.email[:20].upper()) == {ada.id}
    assert await found(q="aDA 100%_") == {ada.id}
    assert await found(q="100_sure") == set()
    assert await found(q="/") == set()
    assert await found(q="sure", role="seller") == {ada.id}
    assert await found(q="sure", is_active=False) == {bob.id}
    assert await found(q="sure", is_active=True, role="customer") == set()
    for search in ({"role": "root"}, {"is_active": "perhaps"}, {"q": "x" * 101}, {"q": "\x00"}):
        answer = await users.http.get("/api/v1/users", params=search, headers=admin.bearer)
        assert problem_code(answer, 422) == "invalid_field"


@pytest.fixture(scope="module")
async def separate_users() -> AsyncIterator[Users]:
    """A service without other admins than those of its test."""
    async with AsyncExitStack() as stack:
        with fast_hashes():
            users = await stack.enter_async_context(new_user_service())
        yield users


async def demote_all_except(users: Users, *admins: Person) -> None:
    async with users.sql() as sql:
        await sql.execute(
            "UPDATE users SET role = 'customer' WHERE id <> ALL($1::bigint[])", [admin.id for admin in admins]
        )


async def test_the_last_admin_cannot_be_removed(separate_users: Users) -> None:
    admin = await separate_users.new_admin()
    await demote_all_except(separate_users, admin)
    for refused in (
        await put(separate_users, admin, admin, role="customer"),
        await put(separate_users, admin, admin, is_active=False),
        await put(separate_users, admin, admin, role="seller", is_active=False, display_name="Seller"),
        await erase(separate_users, admin, admin),
    ):
        assert problem_code(refused, 409) == "last_admin"
    me = (await separate_users.http.get("/api/v1/users/me", headers=admin.bearer)).json()["data"]
    assert me == admin.tokens["user"]
    assert (await put(separate_users, admin, admin, display_name="The boss")).status_code == 200

    second = await separate_users.new_admin()
    assert (await put(separate_users, admin, second, is_active=False)).status_code == 200
    assert (
        problem_code(await erase(separate_users, admin, admin), 409) == "last_admin"
    )  # a deactivated admin does not count


Call = Callable[[], Awaitable[httpx.Response]]


@pytest.mark.parametrize("_round", range(20))
async def test_two_concurrent_requests_do_not_remove_the_last_admin(_round: int, separate_users: Users) -> None:
    rng = seeded_random()
    one, two = [await separate_users.new_admin() for _ in range(2)]
    await demote_all_except(separate_users, one, two)

    def removal(admin: Person, target: Person) -> Call:
        ways: list[Call] = [
            lambda: put(separate_users, admin, target, role="customer"),
            lambda: put(separate_users, admin, target, role="seller"),
            lambda: put(separate_users, admin, target, is_active=False),
            lambda: erase(separate_users, admin, target),
        ]
        return rng.choice(ways)

    targets = rng.choice([(one, two), (two, one)])
    answers = await run_concurrently(rng, removal(one, targets[0]), removal(two, targets[1]))
    print([answer.text for answer in answers])  # noqa: T201 - shown with the failure
    assert sorted(answer.status_code // 100 for answer in answers) == [2, 4]
    assert {answer.json()["code"] for answer in answers if answer.status_code >= 400} <= {"last_admin", "session_ended"}
    async with separate_users.sql() as sql:
        assert await sql.fetchval("SELECT count(*) FROM users WHERE role = 'admin' AND is_active") == 1
