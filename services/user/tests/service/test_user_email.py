"""Addresses: proved by a mailed token, the first one as well as one that takes its place."""

import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call, open_channel
from shopapi.events.v1.events_pb2 import EmailVerificationRequested, PasswordResetRequested, UserRegistered
from shopapi.user.v1 import user_pb2, user_pb2_grpc
from user_harness import PASSWORD, Person, Users, at_once, dice, fresh_email, problem


async def ask_again(users: Users, person: Person) -> int:
    return (await users.http.post("/api/v1/users/me/verify-email", headers=person.bearer)).status_code


async def change(users: Users, person: Person, email: str, password: str = PASSWORD) -> int:
    body = {"email": email, "current_password": password}
    return (await users.http.post("/api/v1/users/me/email", json=body, headers=person.bearer)).status_code


async def shown(users: Users, person: Person) -> tuple[str, bool]:
    me = (await users.http.get("/api/v1/users/me", headers=person.bearer)).json()["data"]
    return me["email"], me["email_verified"]


async def mailed_by_call(users: Users, request_id: str) -> user_pb2.GetMailTokenResponse:
    async with open_channel(users.rpc_address) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        return await call(stub.GetMailToken, user_pb2.GetMailTokenRequest(request_id=request_id))


async def test_a_registration_tells_where_its_token_is_and_the_token_proves_the_address(users: Users) -> None:
    ada = await users.register()
    [registered] = await users.told_of(ada.id, UserRegistered)
    assert registered.user_id == ada.id
    letter = await mailed_by_call(users, registered.request_id)
    token = await users.token_of(registered.request_id)
    assert letter == user_pb2.GetMailTokenResponse(token=token, email=ada.email)
    assert (await users.verify(token)).status_code == 204
    assert await shown(users, ada) == (ada.email, True)
    assert problem(await users.verify(token), 401) == "invalid_mail_token"
    with pytest.raises(NeighbourRefused, match="used, replaced or too old") as refused:
        await mailed_by_call(users, registered.request_id)
    assert refused.value.code == "unknown_mail_request"


async def test_the_token_is_mailed_again_until_the_address_is_proved(users: Users) -> None:
    ada = await users.register()
    first = await users.mailed_token(ada.id, UserRegistered)
    assert await ask_again(users, ada) == 202
    second = await users.mailed_token(ada.id, EmailVerificationRequested)
    assert problem(await users.verify(first), 401) == "invalid_mail_token"
    assert (await users.verify(second)).status_code == 204
    answer = await users.http.post("/api/v1/users/me/verify-email", headers=ada.bearer)
    assert problem(answer, 409) == "already_verified"


async def test_mails_are_limited_and_the_answer_says_when_to_come_again(users: Users) -> None:
    ada = await users.register()
    assert [await ask_again(users, ada) for _ in range(4)] == [202] * 4  # the registration was the first of five
    answer = await users.http.post("/api/v1/users/me/verify-email", headers=ada.bearer)
    assert problem(answer, 429) == "too_many_mails"
    assert 3500 < int(answer.headers["retry-after"]) <= 3600


async def test_a_token_that_verifies_lasts_three_days(users: Users) -> None:
    ada = await users.register()
    token = await users.mailed_token(ada.id, UserRegistered)
    users.clock.ahead += 3 * 24 * 60 * users.clock.minute
    assert problem(await users.verify(token), 401) == "invalid_mail_token"
    users.clock.ahead -= users.clock.minute
    assert (await users.verify(token)).status_code == 204


async def test_a_new_address_takes_the_old_ones_place_once_it_is_proved(users: Users) -> None:
    ada, new = await users.register(), fresh_email()
    assert await change(users, ada, new.upper()) == 202
    assert await shown(users, ada) == (ada.email, False)
    assert (await users.log_in(new)).status_code == 401
    token = await users.mailed_token(ada.id, EmailVerificationRequested)
    assert (await users.verify(token)).status_code == 204
    assert await shown(users, ada) == (new, True)
    assert (await users.log_in(new)).status_code == 200
    assert (await users.log_in(ada.email)).status_code == 401
    assert (await users.http.post("/api/v1/auth/register", json={"email": ada.email, "password": PASSWORD})).is_success


async def test_asking_again_mails_to_the_new_address_that_waits(users: Users) -> None:
    ada, new = await users.register(), fresh_email()
    await change(users, ada, new)
    assert await ask_again(users, ada) == 202
    assert (await users.verify(await users.mailed_token(ada.id, EmailVerificationRequested))).status_code == 204
    assert await shown(users, ada) == (new, True)


async def test_a_token_for_a_new_address_is_never_mailed_to_the_old_one(users: Users) -> None:
    ada, new = await users.register(), fresh_email()
    await change(users, ada, new)
    [requested] = await users.told_of(ada.id, EmailVerificationRequested)
    assert (await mailed_by_call(users, requested.request_id)).email == new


async def test_the_password_is_needed_for_another_address(users: Users) -> None:
    ada = await users.register()
    assert [await change(users, ada, fresh_email(), "a guess, a guess") for _ in range(6)] == [401] * 5 + [429]
    assert await users.told_of(ada.id, EmailVerificationRequested) == []


async def test_an_address_that_is_taken_is_not_given_to_another(users: Users) -> None:
    ada, eve, wanted = await users.register(), await users.register(), fresh_email()
    assert await change(users, eve, ada.email) == 409
    await change(users, ada, wanted)
    await change(users, eve, wanted)
    hers, eves = [await users.mailed_token(who.id, EmailVerificationRequested) for who in (ada, eve)]
    assert (await users.verify(hers)).status_code == 204
    assert problem(await users.verify(eves), 409) == "email_taken"
    assert await shown(users, eve) == (eve.email, False)


@pytest.mark.parametrize("_round", range(20))
async def test_of_two_that_prove_one_address_at_once_one_gets_it(users: Users, _round: int) -> None:
    chance, wanted = dice(), fresh_email()
    both = [await users.register() for _ in range(2)]
    for person in both:
        await change(users, person, wanted)
    tokens = [await users.mailed_token(person.id, EmailVerificationRequested) for person in both]
    answers = await at_once(chance, *[lambda token=token: users.verify(token) for token in tokens])
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    assert sorted([(await shown(users, person))[0] == wanted for person in both]) == [False, True]


async def test_what_was_mailed_to_the_old_address_is_worthless_once_it_is_replaced(users: Users) -> None:
    ada = await users.register()
    await users.forgot(ada.email)
    stolen = await users.mailed_token(ada.id, PasswordResetRequested)
    await change(users, ada, fresh_email())
    assert (await users.verify(await users.mailed_token(ada.id, EmailVerificationRequested))).status_code == 204
    assert problem(await users.reset(stolen, "a thief's password"), 401) == "invalid_mail_token"
    async with users.sql() as sql:  # both the row and the address make it so
        replaced = "SELECT replaced_at IS NOT NULL FROM mail_requests WHERE user_id = $1 AND purpose = 'reset_password'"
        assert await sql.fetchval(replaced, ada.id)
        await sql.execute(
            "UPDATE mail_requests SET replaced_at = NULL WHERE user_id = $1 AND purpose = 'reset_password'", ada.id
        )
    assert problem(await users.reset(stolen, "a thief's password"), 401) == "invalid_mail_token"


async def test_a_token_that_verifies_outlives_another_password(users: Users) -> None:
    ada = await users.register()
    token = await users.mailed_token(ada.id, UserRegistered)
    body = {"current_password": PASSWORD, "new_password": "an entirely new password"}
    assert (await users.http.post("/api/v1/users/me/password", json=body, headers=ada.bearer)).status_code == 204
    assert (await users.verify(token)).status_code == 204


@pytest.mark.parametrize("secured_by", ["reset", "change"])
async def test_a_change_of_address_that_waits_ends_with_the_password_under_which_it_was_asked_for(
    users: Users, secured_by: str
) -> None:
    ada, thiefs, new = await users.register(), fresh_email(), "an entirely new password"
    await change(users, ada, thiefs)
    waiting = await users.mailed_token(ada.id, EmailVerificationRequested)
    if secured_by == "reset":
        await users.forgot(ada.email)
        token = await users.mailed_token(ada.id, PasswordResetRequested)
        assert (await users.reset(token, new)).status_code == 204
    else:
        body = {"current_password": PASSWORD, "new_password": new}
        assert (await users.http.post("/api/v1/users/me/password", json=body, headers=ada.bearer)).status_code == 204

    assert problem(await users.verify(waiting), 401) == "invalid_mail_token"

    again = await users.logged_in(ada.email, new)
    assert await ask_again(users, again) == (
        409 if secured_by == "reset" else 202
    )  # the mail of a reset proved the address
    if secured_by == "change":
        assert (await users.verify(await users.mailed_token(ada.id, EmailVerificationRequested))).status_code == 204
    assert await shown(users, again) == (ada.email, True)


@pytest.mark.parametrize("request_id", ["", "x", "00000000-0000-0000-0000-000000000000", "{", "\x00", "9" * 1000])
async def test_who_asks_for_a_token_that_nobody_wanted_is_told_so(users: Users, request_id: str) -> None:
    with pytest.raises(NeighbourRefused) as refused:
        await mailed_by_call(users, request_id)
    assert refused.value.code == "unknown_mail_request"
