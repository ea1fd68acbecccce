"""The HTTP API: registration, sessions and profiles."""

import asyncio
import json
from typing import Any

import pytest
from chassis.http.authentication import TokenVerifier
from chassis_testing.query_plans import assert_page_reads_its_own_rows
from chassis_testing.tokens import TokenIssuer
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncConnection
from user_harness import ADMIN_EMAIL, ADMIN_PASSWORD, PASSWORD, Person, Users, new_email, problem_code
from user_service.domain.accounts import AccountPosition, AccountSearch
from user_service.repository.accounts import AccountRepository


async def test_an_email_and_a_password_suffice_to_register(users: Users) -> None:
    email = new_email()
    answer = await users.http.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()["data"]
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 900
    user = tokens["user"]
    assert (user["email"], user["role"], user["display_name"]) == (email, "customer", f"User {user['id']}")
    assert user["created_at"].endswith("Z")


async def test_a_registered_user_can_log_in_and_get_their_account(users: Users) -> None:
    registered = await users.register(role="seller", display_name="Ada")
    login = await users.log_in(registered.email.upper())
    assert login.status_code == 200
    assert login.headers["cache-control"] == "no-store"
    me = await users.http.get("/api/v1/users/me", headers=Person(login.json()["data"], PASSWORD).bearer)
    assert me.json()["data"] == registered.tokens["user"]
    assert me.json()["data"]["role"] == "seller"


async def test_twenty_concurrent_registrations_of_one_address_make_one_account(users: Users) -> None:
    email = new_email()
    spellings = [email if number % 2 else email.upper() for number in range(20)]
    answers = await asyncio.gather(
        *(
            users.http.post("/api/v1/auth/register", json={"email": spelling, "password": PASSWORD})
            for spelling in spellings
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"email_taken"}


@pytest.mark.parametrize("known", [True, False])
async def test_wrong_credentials_do_not_say_what_is_wrong(users: Users, known: bool) -> None:
    email = (await users.register()).email if known else new_email()
    answer = await users.log_in(email, "not the password")
    assert problem_code(answer, 401) == "wrong_credentials"
    assert answer.json()["detail"] == "no account has this e-mail address and this password"


async def test_a_user_cannot_register_as_an_admin(users: Users) -> None:
    answer = await users.http.post(
        "/api/v1/auth/register", json={"email": new_email(), "password": PASSWORD, "role": "admin"}
    )
    assert problem_code(answer, 422) == "invalid_field"
    assert answer.json()["errors"][0]["field"] == "role"


async def test_a_refresh_token_works_once_and_gives_the_next(users: Users) -> None:
    ada = await users.register()
    first = await users.refresh(ada.tokens["refresh_token"])
    assert first.status_code == 200
    renewed = first.json()["data"]
    assert renewed["refresh_token"] != ada.tokens["refresh_token"]
    assert renewed["user"] == ada.tokens["user"]
    assert (await users.refresh(renewed["refresh_token"])).status_code == 200


async def test_a_reused_refresh_token_ends_its_session_and_no_other(users: Users) -> None:
    ada = await users.register()
    elsewhere = (await users.new_session(ada.email)).tokens
    newest = (await users.refresh(ada.tokens["refresh_token"])).json()["data"]["refresh_token"]

    assert problem_code(await users.refresh(ada.tokens["refresh_token"]), 401) == "refresh_token_reused"
    assert problem_code(await users.refresh(newest), 401) == "invalid_refresh_token"
    assert (await users.refresh(elsewhere["refresh_token"])).status_code == 200


async def test_one_of_twenty_concurrent_refreshes_succeeds_and_the_session_ends(users: Users) -> None:
    token = (await users.register()).tokens["refresh_token"]
    answers = await asyncio.gather(*(users.refresh(token) for _ in range(20)))
    succeeded = [answer for answer in answers if answer.status_code == 200]
    assert len(succeeded) == 1
    assert "refresh_token_reused" in {answer.json().get("code") for answer in answers}
    newest = succeeded[0].json()["data"]["refresh_token"]
    assert problem_code(await users.refresh(newest), 401) == "invalid_refresh_token"


async def test_logging_out_ends_the_session_and_may_be_repeated(users: Users) -> None:
    token = (await users.register()).tokens["refresh_token"]
    for _ in range(2):
        answer = await users.http.post("/api/v1/auth/logout", json={"refresh_token": token})
        assert (answer.status_code, answer.content) == (204, b"")
    assert problem_code(await users.refresh(token), 401) == "invalid_refresh_token"
    assert (await users.http.post("/api/v1/auth/logout", json={"refresh_token": "nonsense"})).status_code == 204


async def test_a_user_can_change_their_name_but_not_their_role(users: Users) -> None:
    ada = await users.register()
    renamed = await users.http.put("/api/v1/users/me", json={"display_name": " Grace "}, headers=ada.bearer)
    assert renamed.json()["data"] == ada.tokens["user"] | {"display_name": "Grace"}
    body = {"display_name": "Grace", "role": "admin"}
    answer = await users.http.put("/api/v1/users/me", json=body, headers=ada.bearer)
    assert problem_code(answer, 422) == "invalid_field"


async def test_only_admins_can_get_other_users(users: Users) -> None:
    ada, eve = await users.register(), await users.register()
    path = f"/api/v1/users/{ada.id}"
    assert (await users.http.get(path, headers=ada.bearer)).json()["data"] == ada.tokens["user"]
    assert problem_code(await users.http.get(path, headers=eve.bearer), 404) == "unknown_user"
    admin = await users.new_session(ADMIN_EMAIL, ADMIN_PASSWORD)
    assert (await users.http.get(path, headers=admin.bearer)).json()["data"] == ada.tokens["user"]
    unknown = await users.http.get("/api/v1/users/9223372036854775807", headers=admin.bearer)
    assert problem_code(unknown, 404) == "unknown_user"


async def test_admins_can_list_all_users_by_pages(users: Users) -> None:
    ada = await users.register()
    admin = await users.new_session(ADMIN_EMAIL, ADMIN_PASSWORD)
    page = (await users.http.get("/api/v1/users?page=1&limit=2", headers=admin.bearer)).json()
    assert (page["page"], page["limit"], len(page["data"])) == (1, 2, 2)
    last = (await users.http.get(f"/api/v1/users?page={page['total']}&limit=1", headers=admin.bearer)).json()
    assert last["data"][0]["id"] == ada.id
    assert problem_code(await users.http.get("/api/v1/users", headers=ada.bearer), 403) == "forbidden"


async def test_all_users_are_followed_to_the_last_by_cursor(users: Users) -> None:
    admin = await users.new_session(ADMIN_EMAIL, ADMIN_PASSWORD)
    mark = new_email().split("@")[0]
    people = [await users.register(display_name=f"{mark} {number}") for number in range(5)]
    seen: list[int] = []
    query: str | None = f"q={mark}&limit=2"
    while query is not None:
        page = (await users.http.get(f"/api/v1/users?{query}", headers=admin.bearer)).json()
        seen += [user["id"] for user in page["data"]]
        assert page["total"] == 5
        if page["page"] == 1:  # moves pages by number, and no page by cursor
            assert (await users.erase_own(people[0], PASSWORD)).status_code == 204
        query = page["next"] and f"q={mark}&limit=2&cursor={page['next']}"

    assert seen == [person.id for person in people]


async def test_a_page_of_users_by_cursor_reads_its_own_rows_alone(users: Users) -> None:
    async def read(transaction: AsyncConnection) -> None:
        await AccountRepository(transaction).search(AccountSearch(), 0, 10, AccountPosition(7))

    await assert_page_reads_its_own_rows(users.settings, read, "users_pkey")


async def test_the_published_key_verifies_tokens(users: Users) -> None:
    ada = await users.register()
    keys = await users.http.get("/.well-known/jwks.json")
    assert keys.headers["content-type"] == "application/jwk-set+json"

    async def published() -> str:
        return keys.text

    principal = await TokenVerifier(published).verify(ada.tokens["access_token"])
    assert principal.user_id == ada.id


async def test_forged_and_missing_tokens_are_refused(users: Users) -> None:
    forged = TokenIssuer("other").bearer(1)
    for headers in ({}, forged, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer nonsense"}):
        assert problem_code(await users.http.get("/api/v1/users/me", headers=headers), 401) == "unauthenticated"


VALID: dict[str, Any] = {"email": "x@example.com", "password": PASSWORD}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "email"),
        ({"email": "x@example.com"}, "password"),
        (VALID | {"email": "no address"}, "email"),
        (VALID | {"email": 7}, "email"),
        (VALID | {"email": "x\x00@example.com"}, "email"),
        (VALID | {"email": "\ud800@example.com"}, "email"),
        (VALID | {"password": "short"}, "password"),
        (VALID | {"password": "x" * 129}, "password"),
        (VALID | {"password": "with a \x00 in it"}, "password"),
        (VALID | {"password": "surrogate \ud800"}, "password"),
        (VALID | {"password": None}, "password"),
        (VALID | {"password": ["correct horse"]}, "password"),
        (VALID | {"role": "root"}, "role"),
        (VALID | {"display_name": ""}, "display_name"),
        (VALID | {"display_name": "a\x00b"}, "display_name"),
        (VALID | {"id": 1}, "id"),
    ],
)
async def test_an_invalid_field_is_named(users: Users, body: dict[str, Any], field: str) -> None:
    answer = await users.http.post(
        "/api/v1/auth/register", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert problem_code(answer, 422) == "invalid_field"
    assert answer.json()["errors"][0]["field"] == field
    assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    ("body", "status"), [("{", 400), ("", 422), ("[]", 422), ('"x"', 422), ("[" * 20_000, 400), ("\xff", 400)]
)
async def test_a_malformed_body_is_refused(users: Users, body: str, status: int) -> None:
    for path in ("register", "login", "refresh", "logout"):
        answer = await users.http.post(
            f"/api/v1/auth/{path}", content=body.encode("latin-1"), headers={"Content-Type": "application/json"}
        )
        problem_code(answer, status)


async def test_paths_and_pages_out_of_range_are_refused(users: Users) -> None:
    admin = await users.new_session(ADMIN_EMAIL, ADMIN_PASSWORD)
    for path in ("users/0", "users/-1", "users/x", f"users/{2**63}", "users?page=0", "users?limit=101", "users?page=x"):
        assert problem_code(await users.http.get(f"/api/v1/{path}", headers=admin.bearer), 422) == "invalid_field"


async def test_documentation_and_probes_are_served(users: Users) -> None:
    assert (await users.http.get("/health")).status_code == 200
    assert (await users.http.get("/ready")).status_code == 200
    assert (await users.http.get("/swagger/")).status_code == 200
    document = (await users.http.get("/openapi.json")).json()
    assert "/api/v1/auth/register" in document["paths"]


async def test_registrations_logins_and_lockouts_are_counted(users: Users) -> None:
    def counted(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"user_{name}_total", labels) or 0

    outcomes = ("accepted", "refused", "locked")
    before = {outcome: counted("logins", outcome=outcome) for outcome in outcomes}
    registrations, lockouts = counted("registrations", role="seller"), counted("lockouts", scope="network")
    email = (await users.register(role="seller")).email
    for password in (PASSWORD, *["a guess, a guess"] * 6):
        await users.log_in(email, password)
    assert {o: counted("logins", outcome=o) - before[o] for o in outcomes} == {"accepted": 1, "refused": 5, "locked": 1}
    assert counted("registrations", role="seller") - registrations == 1
    assert counted("lockouts", scope="network") - lockouts == 1
