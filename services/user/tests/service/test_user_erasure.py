"""Export and erasure of a user's data."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from chassis.errors import DatabaseUnavailable, NeighbourRefused
from chassis.grpc.client import call
from chassis.messaging.outbox import Outbox
from chassis_testing.callers import open_caller_channel
from shopapi.events.v1.events_pb2 import PasswordResetRequested, UserErased, UserRegistered
from shopapi.user.v1 import user_pb2, user_pb2_grpc
from user_harness import PASSWORD, Users, problem_code, run_concurrently, seeded_random
from user_service.handlers.grpc import ALLOWED_CALLERS


async def contact(users: Users, user_id: int) -> user_pb2.GetContactResponse:
    async with open_caller_channel(users.rpc_address, ALLOWED_CALLERS) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        return await call(stub.GetContact, user_pb2.GetContactRequest(user_id=user_id))


async def public_name(users: Users, user_id: int) -> str:
    async with open_caller_channel(users.rpc_address, ALLOWED_CALLERS) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        return (await call(stub.GetUser, user_pb2.GetUserRequest(user_id=user_id))).display_name


async def tables_containing(users: Users, *needles: str) -> list[str]:
    """Returns the tables which contain any of these strings."""
    async with users.sql() as sql:
        tables = ["users", "sessions", "mail_requests", "login_failures", "devices", "outbox"]
        dumps = {table: str([dict(row) for row in await sql.fetch(f"SELECT * FROM {table}")]) for table in tables}  # noqa: S608
    return [table for table, dump in dumps.items() if any(needle in dump for needle in needles)]


async def test_an_export_has_all_stored_data_and_no_secret(users: Users) -> None:
    ada = await users.register(display_name="Ada", locale="en-GB")
    await users.http.put("/api/v1/users/me", json={"phone": "+4915112345678"}, headers=ada.bearer)
    await users.new_session(ada.email, **{"User-Agent": "Shop/1.0 (phone)"})
    await users.request_reset(ada.email)
    await users.log_in(ada.email, "a guess, a guess")

    answer = await users.http.get("/api/v1/users/me/export", headers=ada.bearer)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"] == f'attachment; filename="user-{ada.id}.json"'
    export = answer.json()["data"]
    assert export["account"] == ada.tokens["user"] | {"phone": "+4915112345678"}
    assert {session["user_agent"] for session in export["sessions"]} >= {"Shop/1.0 (phone)"}
    assert [request["purpose"] for request in export["mail_requests"]] == ["reset_password", "verify_email"]
    assert {request["email"] for request in export["mail_requests"]} == {ada.email}
    assert export["failures"]["count"] == 1
    async with users.sql() as sql:
        password_hash = await sql.fetchval("SELECT password_hash FROM users WHERE id = $1", ada.id)
        digests = [
            row["digest"].hex() for row in await sql.fetch("SELECT digest FROM sessions WHERE user_id = $1", ada.id)
        ]
    for secret in ("argon2", password_hash, PASSWORD, ada.tokens["refresh_token"], *digests):
        assert secret not in answer.text


async def test_every_column_is_exported_or_listed_as_not_exported(users: Users) -> None:
    """A new column must be exported or listed here."""
    not_exported = {
        "users": {"password_hash", "was_admin", "erased_at", "email_verified_at"},  # the last is exported as a boolean
        "sessions": {"user_id", "digest"},
        "mail_requests": {"user_id"},
        "login_failures": {"address_digest", "account_digest", "failures"},  # the last is exported as count
        "devices": {"user_id", "network_digest", "program_digest"},
    }
    ada = await users.register()
    await users.log_in(ada.email, "a guess, a guess")
    export = (await users.http.get("/api/v1/users/me/export", headers=ada.bearer)).json()["data"]
    exported = {
        "users": export["account"],
        "sessions": export["sessions"][0],
        "mail_requests": export["mail_requests"][0],
        "login_failures": export["failures"],
        "devices": export["devices"][0],
    }
    async with users.sql() as sql:
        for table, hidden in not_exported.items():
            columns = "SELECT column_name FROM information_schema.columns WHERE table_name = $1"
            assert {row["column_name"] for row in await sql.fetch(columns, table)} - hidden <= exported[table].keys()


async def test_only_the_id_of_an_erased_user_is_left(users: Users) -> None:
    ada = await users.register(display_name="Ada Lovelace", locale="gsw-LI")
    await users.http.put("/api/v1/users/me", json={"phone": "+4366012345678"}, headers=ada.bearer)
    elsewhere = await users.new_session(ada.email, **{"User-Agent": "Ada's own phone"})
    await users.request_reset(ada.email)
    await users.log_in(ada.email, "a guess, a guess")
    token = await users.mailed_token(ada.id, UserRegistered)
    resetting = await users.mailed_token(ada.id, PasswordResetRequested)

    answer = await users.erase_own(ada)
    assert (answer.status_code, answer.content) == (204, b"")

    assert await tables_containing(users, ada.email, "Lovelace", "+4366012345678", "Ada's own phone", "gsw-LI") == []
    [erased] = await users.payloads(ada.id, UserErased)
    assert erased.user_id == ada.id
    for person in (ada, elsewhere):
        assert not await users.is_logged_in(person)
        assert problem_code(await users.refresh(person.tokens["refresh_token"]), 401) == "invalid_refresh_token"
    assert problem_code(await users.log_in(ada.email), 401) == "wrong_credentials"
    assert problem_code(await users.log_in(f"erased:{ada.id}"), 422) == "invalid_field"
    assert problem_code(await users.verify(token), 401) == "invalid_mail_token"
    assert problem_code(await users.reset(resetting, "an entirely new password"), 401) == "invalid_mail_token"
    assert (await users.request_reset(ada.email)).status_code == 202
    assert await public_name(users, ada.id) == "Deleted user"
    with pytest.raises(NeighbourRefused) as refused:
        await contact(users, ada.id)
    assert isinstance(refused.value.__cause__, grpc.aio.AioRpcError)
    assert refused.value.__cause__.code() is grpc.StatusCode.NOT_FOUND


async def test_the_address_of_an_erased_user_can_be_registered_by_another_user(users: Users) -> None:
    ada = await users.register()
    await users.erase_own(ada)
    new_owner = await users.register(email=ada.email)
    assert new_owner.id != ada.id
    assert not await users.is_logged_in(ada)
    assert await public_name(users, ada.id) == "Deleted user"


async def test_an_account_erased_by_an_admin_is_no_longer_found(users: Users) -> None:
    admin, ada = await users.new_admin(), await users.register(display_name="Ada")
    path = f"/api/v1/users/{ada.id}"
    assert (await users.http.delete(path, headers=admin.bearer)).status_code == 204
    assert problem_code(await users.http.get(path, headers=admin.bearer), 404) == "unknown_user"
    assert (
        problem_code(await users.http.put(path, json={"role": "seller"}, headers=admin.bearer), 404) == "unknown_user"
    )
    assert problem_code(await users.http.delete(path, headers=admin.bearer), 404) == "unknown_user"
    listed = await users.http.get("/api/v1/users?q=erased", headers=admin.bearer)
    assert ada.id not in {person["id"] for person in listed.json()["data"]}
    assert len(await users.payloads(ada.id, UserErased)) == 1


async def test_an_erasure_needs_the_password(users: Users) -> None:
    ada = await users.register()
    without = await users.http.delete("/api/v1/users/me", headers=ada.bearer)
    assert problem_code(without, 422) == "invalid_field"
    assert problem_code(await users.erase_own(ada, "a guess, a guess"), 401) == "wrong_credentials"
    assert await users.is_logged_in(ada)
    assert await users.payloads(ada.id, UserErased) == []


async def test_wrong_passwords_of_erasures_are_counted(users: Users) -> None:
    ada = await users.register()
    for _ in range(5):
        assert problem_code(await users.erase_own(ada, "a guess, a guess"), 401) == "wrong_credentials"
    refused = await users.erase_own(ada)
    assert problem_code(refused, 429) == "too_many_attempts"
    assert int(refused.headers["retry-after"]) > 0


async def test_no_one_erases_their_own_account_by_its_id_without_the_password(users: Users) -> None:
    for person in (await users.register(), await users.new_admin()):
        answer = await users.http.delete(f"/api/v1/users/{person.id}", headers=person.bearer)
        assert problem_code(answer, 403) == "password_required"
        assert await users.is_logged_in(person)


@pytest.mark.parametrize("_round", range(20))
async def test_concurrent_erasures_erase_an_account_once(users: Users, _round: int) -> None:
    rng, ada = seeded_random(), await users.register()
    answers = await run_concurrently(
        rng,
        *[lambda: users.erase_own(ada)] * 5,
        lambda: users.refresh(ada.tokens["refresh_token"]),
        lambda: users.log_in(ada.email),
    )
    assert [answer.status_code for answer in answers[:5]].count(204) == 1
    assert {answer.status_code for answer in answers[:5]} <= {204, 401, 404}
    assert {answer.status_code for answer in answers[5:]} <= {200, 401}
    assert len(await users.payloads(ada.id, UserErased)) == 1
    async with users.sql() as sql:
        assert await sql.fetchval("SELECT count(*) FROM sessions WHERE user_id = $1", ada.id) == 0


async def test_no_account_is_erased_unless_its_event_is_recorded(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = await users.register()

    async def fail(*_arguments: object) -> None:
        raise DatabaseUnavailable("down")

    with monkeypatch.context() as broken:
        broken.setattr(Outbox, "record", fail)
        answer = await users.erase_own(ada)
        assert problem_code(answer, 503) == "database_unavailable"
    assert await users.is_logged_in(ada)
    assert (await users.erase_own(ada)).status_code == 204


async def test_a_login_started_before_an_erasure_opens_no_session_after_it(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await users.register()
    paused = users.pause_after_verification(monkeypatch)
    login = asyncio.ensure_future(users.log_in(ada.email))
    await paused.reached.wait()
    assert (await users.erase_own(ada)).status_code == 204
    paused.release.set()
    assert problem_code(await login, 401) == "wrong_credentials"


async def test_the_contact_of_a_user_has_what_a_mail_needs(users: Users) -> None:
    ada = await users.register(display_name="Ada", locale="de-AT")
    expected: dict[str, Any] = {"user_id": ada.id, "email": ada.email, "display_name": "Ada", "locale": "de-AT"}
    assert await contact(users, ada.id) == user_pb2.GetContactResponse(**expected)
    await users.http.put("/api/v1/users/me", json={"phone": "+4366012345678"}, headers=ada.bearer)
    assert await contact(users, ada.id) == user_pb2.GetContactResponse(**expected, phone="+4366012345678")
    with pytest.raises(NeighbourRefused) as refused:
        await contact(users, 2**62)
    assert refused.value.code == "unknown_user"


async def test_only_the_name_of_a_user_is_public(users: Users) -> None:
    ada = await users.register()
    assert await public_name(users, ada.id) == f"User {ada.id}"
    keys = (await users.http.get("/.well-known/jwks.json")).text
    assert ada.email not in json.dumps(keys)
