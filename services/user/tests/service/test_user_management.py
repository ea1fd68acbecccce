"""What admins do, and that there is always one of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest
from user_harness import Person, Users, at_once, dice, fresh_users, problem, quick_hashes
from user_service.service.accounts import Accounts


async def put(users: Users, admin: Person, person: Person, **standing: object) -> httpx.Response:
    return await users.http.put(f"/api/v1/users/{person.id}", json=standing, headers=admin.bearer)


async def erase(users: Users, admin: Person, person: Person) -> httpx.Response:
    return await users.http.delete(f"/api/v1/users/{person.id}", headers=admin.bearer)


async def test_another_role_takes_effect_at_once_and_everywhere_after_a_new_login(users: Users) -> None:
    admin, ada = await users.admin(), await users.register()
    answer = await put(users, admin, ada, role="seller", display_name="Ada's shop")
    assert answer.json()["data"] == ada.tokens["user"] | {"role": "seller", "display_name": "Ada's shop"}
    assert not await users.is_logged_in(ada)
    assert problem(await users.refresh(ada.tokens["refresh_token"]), 401) == "invalid_refresh_token"
    assert (await users.logged_in(ada.email)).tokens["user"]["role"] == "seller"


async def test_who_is_deactivated_is_out_and_stays_out(users: Users) -> None:
    admin, ada = await users.admin(), await users.register()
    assert (await put(users, admin, ada, is_active=False)).json()["data"]["is_active"] is False
    assert not await users.is_logged_in(ada)
    assert problem(await users.refresh(ada.tokens["refresh_token"]), 401) == "invalid_refresh_token"
    assert problem(await users.log_in(ada.email), 403) == "account_deactivated"
    assert problem(await users.log_in(ada.email, "a guess, a guess"), 401) == "wrong_credentials"
    assert (await put(users, admin, ada, is_active=True)).status_code == 200
    assert (await users.log_in(ada.email)).status_code == 200


async def test_a_change_that_changes_nothing_logs_nobody_out(users: Users) -> None:
    admin, ada = await users.admin(), await users.register()
    for standing in ({"role": "customer"}, {"is_active": True}, {"display_name": "Ada"}, {}, {"role": None}):
        assert (await put(users, admin, ada, **standing)).status_code == 200
    assert await users.is_logged_in(ada)


async def test_who_is_no_longer_an_admin_does_nothing_with_an_old_token(users: Users) -> None:
    admin, former, ada = await users.admin(), await users.admin(), await users.register()
    await put(users, admin, former, role="customer")
    assert problem(await put(users, former, former, role="admin"), 401) == "session_ended"
    async with users.sql() as sql:  # even with a session that lives on
        await sql.execute("UPDATE users SET role = 'admin' WHERE id = $1", former.id)
        former = await users.logged_in(former.email)
        await sql.execute("UPDATE users SET role = 'customer' WHERE id = $1", former.id)
    assert problem(await put(users, former, former, role="admin"), 403) == "forbidden"
    assert problem(await put(users, former, ada, role="seller"), 404) == "unknown_user"
    assert problem(await erase(users, former, ada), 404) == "unknown_user"
    assert problem(await users.http.get("/api/v1/users", headers=former.bearer), 403) == "forbidden"


@pytest.mark.parametrize("method", ["manage", "erase"])
async def test_who_is_demoted_while_their_request_is_under_way_is_refused(
    users: Users, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    admin, former, ada = await users.admin(), await users.admin(), await users.register()
    held = users.hold_before(monkeypatch, Accounts, method)
    request = asyncio.ensure_future(
        put(users, former, ada, role="admin") if method == "manage" else erase(users, former, ada)
    )
    await held.reached.wait()
    assert (await put(users, admin, former, role="customer")).status_code == 200
    held.release.set()
    assert problem(await request, 403) == "forbidden"
    assert (await users.http.get("/api/v1/users/me", headers=ada.bearer)).json()["data"] == ada.tokens["user"]


@pytest.mark.parametrize(
    "body",
    [{"role": "root"}, {"role": 1}, {"role": ""}, {"is_active": "yes"}, {"is_active": 1}, {"password": "x"}, {"id": 7}],
)
async def test_a_bad_standing_is_refused(users: Users, body: dict[str, object]) -> None:
    admin, ada = await users.admin(), await users.register()
    assert problem(await put(users, admin, ada, **body), 422) == "invalid_field"
    assert await users.is_logged_in(ada)


async def test_admins_find_people_by_what_they_know_of_them(users: Users) -> None:
    admin = await users.admin()
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
        assert problem(answer, 422) == "invalid_field"


@pytest.fixture(scope="module")
async def lonely() -> AsyncIterator[Users]:
    """A service whose admins are those that a test makes."""
    async with AsyncExitStack() as stack:
        with quick_hashes():
            users = await stack.enter_async_context(fresh_users())
        yield users


async def only_admins(users: Users, *admins: Person) -> None:
    async with users.sql() as sql:
        await sql.execute(
            "UPDATE users SET role = 'customer' WHERE id <> ALL($1::bigint[])", [admin.id for admin in admins]
        )


async def test_the_last_admin_stays(lonely: Users) -> None:
    admin = await lonely.admin()
    await only_admins(lonely, admin)
    for refused in (
        await put(lonely, admin, admin, role="customer"),
        await put(lonely, admin, admin, is_active=False),
        await put(lonely, admin, admin, role="seller", is_active=False, display_name="Nobody"),
        await erase(lonely, admin, admin),
        await lonely.http.delete("/api/v1/users/me", headers=admin.bearer),
    ):
        assert problem(refused, 409) == "last_admin"
    me = (await lonely.http.get("/api/v1/users/me", headers=admin.bearer)).json()["data"]
    assert me == admin.tokens["user"]
    assert (await put(lonely, admin, admin, display_name="The boss")).status_code == 200

    second = await lonely.admin()
    assert (await put(lonely, admin, second, is_active=False)).status_code == 200
    assert problem(await erase(lonely, admin, admin), 409) == "last_admin"  # who is deactivated does not count


Call = Callable[[], Awaitable[httpx.Response]]


@pytest.mark.parametrize("_round", range(20))
async def test_the_last_admin_is_not_removed_by_two_at_once(_round: int, lonely: Users) -> None:
    chance = dice()
    one, two = [await lonely.admin() for _ in range(2)]
    await only_admins(lonely, one, two)

    def removal(admin: Person, target: Person) -> Call:
        ways: list[Call] = [
            lambda: put(lonely, admin, target, role="customer"),
            lambda: put(lonely, admin, target, role="seller"),
            lambda: put(lonely, admin, target, is_active=False),
            lambda: erase(lonely, admin, target),
        ]
        return chance.choice(ways)

    targets = chance.choice([(one, two), (two, one)])
    answers = await at_once(chance, removal(one, targets[0]), removal(two, targets[1]))
    print([answer.text for answer in answers])  # noqa: T201 - shown with the failure
    assert sorted(answer.status_code // 100 for answer in answers) == [2, 4]
    assert {answer.json()["code"] for answer in answers if answer.status_code >= 400} <= {"last_admin", "session_ended"}
    async with lonely.sql() as sql:
        assert await sql.fetchval("SELECT count(*) FROM users WHERE role = 'admin' AND is_active") == 1
