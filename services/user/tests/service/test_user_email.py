"""Verification of e-mail addresses: the first one, and one that replaces it."""

import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis_testing.callers import open_caller_channel
from shopapi.events.v1.events_pb2 import EmailVerificationRequested, PasswordResetRequested, UserRegistered
from shopapi.user.v1 import user_pb2, user_pb2_grpc
from user_harness import PASSWORD, Person, Users, new_email, problem_code, run_concurrently, seeded_random
from user_service.handlers.grpc import ALLOWED_CALLERS


async def request_verification(users: Users, person: Person) -> int:
    return (await users.http.post("/api/v1/users/me/verify-email", headers=person.bearer)).status_code


async def request_change(users: Users, person: Person, email: str, password: str = PASSWORD) -> int:
    body = {"email": email, "current_password": password}
    return (await users.http.post("/api/v1/users/me/email", json=body, headers=person.bearer)).status_code


async def email_of(users: Users, person: Person) -> tuple[str, bool]:
    me = (await users.http.get("/api/v1/users/me", headers=person.bearer)).json()["data"]
    return me["email"], me["email_verified"]


async def fetch_mail_token(users: Users, request_id: str) -> user_pb2.GetMailTokenResponse:
    async with open_caller_channel(users.rpc_address, ALLOWED_CALLERS) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        return await call(stub.GetMailToken, user_pb2.GetMailTokenRequest(request_id=request_id))


async def test_the_token_of_a_registration_verifies_the_address(users: Users) -> None:
    ada = await users.register()
    [registered] = await users.payloads(ada.id, UserRegistered)
    assert registered.user_id == ada.id
    mail_token = await fetch_mail_token(users, registered.request_id)
    token = await users.token_of(registered.request_id)
    assert mail_token == user_pb2.GetMailTokenResponse(token=token, email=ada.email)
    assert (await users.verify(token)).status_code == 204
    assert await email_of(users, ada) == (ada.email, True)
    assert problem_code(await users.verify(token), 401) == "invalid_mail_token"
    with pytest.raises(NeighbourRefused, match="used, replaced or expired") as refused:
        await fetch_mail_token(users, registered.request_id)
    assert refused.value.code == "unknown_mail_request"


async def test_another_token_is_mailed_until_the_address_is_verified(users: Users) -> None:
    ada = await users.register()
    first = await users.mailed_token(ada.id, UserRegistered)
    assert await request_verification(users, ada) == 202
    second = await users.mailed_token(ada.id, EmailVerificationRequested)
    assert problem_code(await users.verify(first), 401) == "invalid_mail_token"
    assert (await users.verify(second)).status_code == 204
    answer = await users.http.post("/api/v1/users/me/verify-email", headers=ada.bearer)
    assert problem_code(answer, 409) == "already_verified"


async def test_mails_are_limited_and_the_response_says_when_to_retry(users: Users) -> None:
    ada = await users.register()
    assert [await request_verification(users, ada) for _ in range(4)] == [202] * 4  # the first was at registration
    answer = await users.http.post("/api/v1/users/me/verify-email", headers=ada.bearer)
    assert problem_code(answer, 429) == "too_many_mails"
    assert 3500 < int(answer.headers["retry-after"]) <= 3600


async def test_a_verification_token_is_valid_for_three_days(users: Users) -> None:
    ada = await users.register()
    token = await users.mailed_token(ada.id, UserRegistered)
    users.clock.ahead += 3 * 24 * 60 * users.clock.minute
    assert problem_code(await users.verify(token), 401) == "invalid_mail_token"
    users.clock.ahead -= users.clock.minute
    assert (await users.verify(token)).status_code == 204


async def test_a_new_address_replaces_the_old_one_once_it_is_verified(users: Users) -> None:
    ada, new = await users.register(), new_email()
    assert await request_change(users, ada, new.upper()) == 202
    assert await email_of(users, ada) == (ada.email, False)
    assert (await users.log_in(new)).status_code == 401
    token = await users.mailed_token(ada.id, EmailVerificationRequested)
    assert (await users.verify(token)).status_code == 204
    assert await email_of(users, ada) == (new, True)
    assert (await users.log_in(new)).status_code == 200
    assert (await users.log_in(ada.email)).status_code == 401
    assert (
        await users.http.post("/api/v1/auth/register", json={"email": ada.email, "password": PASSWORD})
    ).status_code == 201


async def test_another_mail_goes_to_the_new_address_that_waits_for_verification(users: Users) -> None:
    ada, new = await users.register(), new_email()
    await request_change(users, ada, new)
    assert await request_verification(users, ada) == 202
    assert (await users.verify(await users.mailed_token(ada.id, EmailVerificationRequested))).status_code == 204
    assert await email_of(users, ada) == (new, True)


async def test_a_token_for_a_new_address_is_never_mailed_to_the_old_one(users: Users) -> None:
    ada, new = await users.register(), new_email()
    await request_change(users, ada, new)
    [requested] = await users.payloads(ada.id, EmailVerificationRequested)
    assert (await fetch_mail_token(users, requested.request_id)).email == new


async def test_a_change_of_address_needs_the_password(users: Users) -> None:
    ada = await users.register()
    assert [await request_change(users, ada, new_email(), "a guess, a guess") for _ in range(6)] == [401] * 5 + [429]
    assert await users.payloads(ada.id, EmailVerificationRequested) == []


async def test_a_taken_address_is_not_given_to_another_account(users: Users) -> None:
    ada, eve, new = await users.register(), await users.register(), new_email()
    assert await request_change(users, eve, ada.email) == 409
    await request_change(users, ada, new)
    await request_change(users, eve, new)
    adas, eves = [await users.mailed_token(person.id, EmailVerificationRequested) for person in (ada, eve)]
    assert (await users.verify(adas)).status_code == 204
    assert problem_code(await users.verify(eves), 409) == "email_taken"
    assert await email_of(users, eve) == (eve.email, False)


@pytest.mark.parametrize("_round", range(20))
async def test_one_of_two_concurrent_verifications_of_an_address_gets_it(users: Users, _round: int) -> None:
    rng, new = seeded_random(), new_email()
    both = [await users.register() for _ in range(2)]
    for person in both:
        await request_change(users, person, new)
    tokens = [await users.mailed_token(person.id, EmailVerificationRequested) for person in both]
    answers = await run_concurrently(rng, *[lambda token=token: users.verify(token) for token in tokens])
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    assert sorted([(await email_of(users, person))[0] == new for person in both]) == [False, True]


async def test_tokens_mailed_to_the_old_address_are_invalid_once_it_is_replaced(users: Users) -> None:
    ada = await users.register()
    await users.request_reset(ada.email)
    stolen = await users.mailed_token(ada.id, PasswordResetRequested)
    await request_change(users, ada, new_email())
    assert (await users.verify(await users.mailed_token(ada.id, EmailVerificationRequested))).status_code == 204
    assert problem_code(await users.reset(stolen, "a thief's password"), 401) == "invalid_mail_token"
    async with users.sql() as sql:  # the row and the address each make it invalid
        replaced = "SELECT replaced_at IS NOT NULL FROM mail_requests WHERE user_id = $1 AND purpose = 'reset_password'"
        assert await sql.fetchval(replaced, ada.id)
        await sql.execute(
            "UPDATE mail_requests SET replaced_at = NULL WHERE user_id = $1 AND purpose = 'reset_password'", ada.id
        )
    assert problem_code(await users.reset(stolen, "a thief's password"), 401) == "invalid_mail_token"


async def test_a_verification_token_stays_valid_after_a_change_of_the_password(users: Users) -> None:
    ada = await users.register()
    token = await users.mailed_token(ada.id, UserRegistered)
    body = {"current_password": PASSWORD, "new_password": "an entirely new password"}
    assert (await users.http.post("/api/v1/users/me/password", json=body, headers=ada.bearer)).status_code == 204
    assert (await users.verify(token)).status_code == 204


@pytest.mark.parametrize("changed_by", ["reset", "change"])
async def test_a_new_password_cancels_a_change_of_address_that_waits_for_verification(
    users: Users, changed_by: str
) -> None:
    ada, new_password = await users.register(), "an entirely new password"
    await request_change(users, ada, new_email())
    waiting = await users.mailed_token(ada.id, EmailVerificationRequested)
    if changed_by == "reset":
        await users.request_reset(ada.email)
        token = await users.mailed_token(ada.id, PasswordResetRequested)
        assert (await users.reset(token, new_password)).status_code == 204
    else:
        body = {"current_password": PASSWORD, "new_password": new_password}
        assert (await users.http.post("/api/v1/users/me/password", json=body, headers=ada.bearer)).status_code == 204

    assert problem_code(await users.verify(waiting), 401) == "invalid_mail_token"

    again = await users.new_session(ada.email, new_password)
    # the reset token was mailed to the address, which verified it
    assert await request_verification(users, again) == (409 if changed_by == "reset" else 202)
    if changed_by == "change":
        assert (await users.verify(await users.mailed_token(ada.id, EmailVerificationRequested))).status_code == 204
    assert await email_of(users, again) == (ada.email, True)


@pytest.mark.parametrize("request_id", ["", "x", "00000000-0000-0000-0000-000000000000", "{", "\x00", "9" * 1000])
async def test_an_unknown_mail_request_has_no_token(users: Users, request_id: str) -> None:
    with pytest.raises(NeighbourRefused) as refused:
        await fetch_mail_token(users, request_id)
    assert refused.value.code == "unknown_mail_request"
