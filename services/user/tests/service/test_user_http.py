"""The HTTP API: registration, sessions and profiles."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from chassis.http.authentication import TokenVerifier
from chassis.runtime.process import Service
from chassis_testing.tokens import TokenIssuer
from prometheus_client import REGISTRY
from user_harness import PASSWORD, new_email, problem_code

Account = dict[str, Any]


async def register(http: httpx.AsyncClient, **fields: str) -> Account:
    answer = await http.post("/api/v1/auth/register", json={"email": new_email(), "password": PASSWORD, **fields})
    assert answer.status_code == 201, answer.text
    tokens: Account = answer.json()["data"]
    return tokens


def bearer(tokens: Account) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def admin(http: httpx.AsyncClient, first_admin: dict[str, str]) -> dict[str, str]:
    answer = await http.post("/api/v1/auth/login", json=first_admin)
    return bearer(answer.json()["data"])


async def refresh(http: httpx.AsyncClient, token: str) -> httpx.Response:
    return await http.post("/api/v1/auth/refresh", json={"refresh_token": token})


async def test_an_email_and_a_password_suffice_to_register(http: httpx.AsyncClient) -> None:
    email = new_email()
    answer = await http.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()["data"]
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 900
    user = tokens["user"]
    assert (user["email"], user["role"], user["display_name"]) == (email, "customer", f"User {user['id']}")
    assert user["created_at"].endswith("Z")


async def test_a_registered_user_can_log_in_and_get_their_account(http: httpx.AsyncClient) -> None:
    registered = await register(http, role="seller", display_name="Ada")
    credentials = {"email": registered["user"]["email"].upper(), "password": PASSWORD}
    login = await http.post("/api/v1/auth/login", json=credentials)
    assert login.status_code == 200
    assert login.headers["cache-control"] == "no-store"
    me = await http.get("/api/v1/users/me", headers=bearer(login.json()["data"]))
    assert me.json()["data"] == registered["user"]
    assert me.json()["data"]["role"] == "seller"


async def test_twenty_concurrent_registrations_of_one_address_make_one_account(http: httpx.AsyncClient) -> None:
    email = new_email()
    spellings = [email if number % 2 else email.upper() for number in range(20)]
    answers = await asyncio.gather(
        *(http.post("/api/v1/auth/register", json={"email": spelling, "password": PASSWORD}) for spelling in spellings)
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"email_taken"}


@pytest.mark.parametrize("known", [True, False])
async def test_wrong_credentials_do_not_say_what_is_wrong(http: httpx.AsyncClient, known: bool) -> None:
    email = (await register(http))["user"]["email"] if known else new_email()
    answer = await http.post("/api/v1/auth/login", json={"email": email, "password": "not the password"})
    assert problem_code(answer, 401) == "wrong_credentials"
    assert answer.json()["detail"] == "no account has this e-mail address and this password"


async def test_a_user_cannot_register_as_an_admin(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/api/v1/auth/register", json={"email": new_email(), "password": PASSWORD, "role": "admin"}
    )
    assert problem_code(answer, 422) == "invalid_field"
    assert answer.json()["errors"][0]["field"] == "role"


async def test_a_refresh_token_works_once_and_gives_the_next(http: httpx.AsyncClient) -> None:
    tokens = await register(http)
    first = await refresh(http, tokens["refresh_token"])
    assert first.status_code == 200
    renewed = first.json()["data"]
    assert renewed["refresh_token"] != tokens["refresh_token"]
    assert renewed["user"] == tokens["user"]
    assert (await refresh(http, renewed["refresh_token"])).status_code == 200


async def test_a_reused_refresh_token_ends_its_session_and_no_other(http: httpx.AsyncClient) -> None:
    tokens = await register(http)
    credentials = {"email": tokens["user"]["email"], "password": PASSWORD}
    elsewhere = (await http.post("/api/v1/auth/login", json=credentials)).json()["data"]
    newest = (await refresh(http, tokens["refresh_token"])).json()["data"]["refresh_token"]

    assert problem_code(await refresh(http, tokens["refresh_token"]), 401) == "refresh_token_reused"
    assert problem_code(await refresh(http, newest), 401) == "invalid_refresh_token"
    assert (await refresh(http, elsewhere["refresh_token"])).status_code == 200


async def test_one_of_twenty_concurrent_refreshes_succeeds_and_the_session_ends(http: httpx.AsyncClient) -> None:
    token = (await register(http))["refresh_token"]
    answers = await asyncio.gather(*(refresh(http, token) for _ in range(20)))
    succeeded = [answer for answer in answers if answer.status_code == 200]
    assert len(succeeded) == 1
    assert "refresh_token_reused" in {answer.json().get("code") for answer in answers}
    newest = succeeded[0].json()["data"]["refresh_token"]
    assert problem_code(await refresh(http, newest), 401) == "invalid_refresh_token"


async def test_logging_out_ends_the_session_and_may_be_repeated(http: httpx.AsyncClient) -> None:
    token = (await register(http))["refresh_token"]
    for _ in range(2):
        answer = await http.post("/api/v1/auth/logout", json={"refresh_token": token})
        assert (answer.status_code, answer.content) == (204, b"")
    assert problem_code(await refresh(http, token), 401) == "invalid_refresh_token"
    assert (await http.post("/api/v1/auth/logout", json={"refresh_token": "nonsense"})).status_code == 204


async def test_a_user_can_change_their_name_but_not_their_role(http: httpx.AsyncClient) -> None:
    tokens = await register(http)
    renamed = await http.put("/api/v1/users/me", json={"display_name": " Grace "}, headers=bearer(tokens))
    assert renamed.json()["data"] == tokens["user"] | {"display_name": "Grace"}
    answer = await http.put("/api/v1/users/me", json={"display_name": "Grace", "role": "admin"}, headers=bearer(tokens))
    assert problem_code(answer, 422) == "invalid_field"


async def test_only_admins_can_get_other_users(http: httpx.AsyncClient, first_admin: dict[str, str]) -> None:
    ada, eve = await register(http), await register(http)
    path = f"/api/v1/users/{ada['user']['id']}"
    assert (await http.get(path, headers=bearer(ada))).json()["data"] == ada["user"]
    assert problem_code(await http.get(path, headers=bearer(eve)), 404) == "unknown_user"
    as_admin = await admin(http, first_admin)
    assert (await http.get(path, headers=as_admin)).json()["data"] == ada["user"]
    assert problem_code(await http.get("/api/v1/users/9223372036854775807", headers=as_admin), 404) == "unknown_user"


async def test_admins_can_list_all_users_by_pages(http: httpx.AsyncClient, first_admin: dict[str, str]) -> None:
    ada = await register(http)
    as_admin = await admin(http, first_admin)
    page = (await http.get("/api/v1/users?page=1&limit=2", headers=as_admin)).json()
    assert (page["page"], page["limit"], len(page["data"])) == (1, 2, 2)
    last = (await http.get(f"/api/v1/users?page={page['total']}&limit=1", headers=as_admin)).json()
    assert last["data"][0]["id"] == ada["user"]["id"]
    assert problem_code(await http.get("/api/v1/users", headers=bearer(ada)), 403) == "forbidden"


async def test_the_published_key_verifies_tokens(http: httpx.AsyncClient) -> None:
    tokens = await register(http)
    keys = await http.get("/.well-known/jwks.json")
    assert keys.headers["content-type"] == "application/jwk-set+json"

    async def published() -> str:
        return keys.text

    principal = await TokenVerifier(published).verify(tokens["access_token"])
    assert principal.user_id == tokens["user"]["id"]


async def test_forged_and_missing_tokens_are_refused(http: httpx.AsyncClient) -> None:
    forged = TokenIssuer("other").bearer(1)
    for headers in ({}, forged, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer nonsense"}):
        assert problem_code(await http.get("/api/v1/users/me", headers=headers), 401) == "unauthenticated"


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
async def test_an_invalid_field_is_named(http: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    answer = await http.post(
        "/api/v1/auth/register", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert problem_code(answer, 422) == "invalid_field"
    assert answer.json()["errors"][0]["field"] == field
    assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    ("body", "status"), [("{", 400), ("", 422), ("[]", 422), ('"x"', 422), ("[" * 20_000, 400), ("\xff", 400)]
)
async def test_a_malformed_body_is_refused(http: httpx.AsyncClient, body: str, status: int) -> None:
    for path in ("register", "login", "refresh", "logout"):
        answer = await http.post(
            f"/api/v1/auth/{path}", content=body.encode("latin-1"), headers={"Content-Type": "application/json"}
        )
        problem_code(answer, status)


async def test_paths_and_pages_out_of_range_are_refused(http: httpx.AsyncClient, first_admin: dict[str, str]) -> None:
    as_admin = await admin(http, first_admin)
    for path in ("users/0", "users/-1", "users/x", f"users/{2**63}", "users?page=0", "users?limit=101", "users?page=x"):
        assert problem_code(await http.get(f"/api/v1/{path}", headers=as_admin), 422) == "invalid_field"


async def test_documentation_and_probes_are_served(http: httpx.AsyncClient, service: Service) -> None:
    assert (await http.get("/health")).status_code == 200
    assert (await http.get("/ready")).status_code == 200
    assert (await http.get("/swagger/")).status_code == 200
    document = (await http.get("/openapi.json")).json()
    assert "/api/v1/auth/register" in document["paths"]


async def test_registrations_logins_and_lockouts_are_counted(http: httpx.AsyncClient) -> None:
    def counted(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"user_{name}_total", labels) or 0

    outcomes = ("accepted", "refused", "locked")
    before = {outcome: counted("logins", outcome=outcome) for outcome in outcomes}
    registrations, lockouts = counted("registrations", role="seller"), counted("lockouts")
    email = (await register(http, role="seller"))["user"]["email"]
    for password in (PASSWORD, *["a guess, a guess"] * 6):
        await http.post("/api/v1/auth/login", json={"email": email, "password": password})
    assert {o: counted("logins", outcome=o) - before[o] for o in outcomes} == {"accepted": 1, "refused": 5, "locked": 1}
    assert counted("registrations", role="seller") - registrations == 1
    assert counted("lockouts") - lockouts == 1
