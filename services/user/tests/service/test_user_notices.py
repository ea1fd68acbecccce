"""Changes that protect or endanger an account are published, so that its owner is told."""

from uuid import UUID

import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis_testing.callers import open_caller_channel
from shopapi.events.v1.events_pb2 import (
    EmailChanged,
    EmailVerificationRequested,
    NewDeviceLogin,
    PasswordChanged,
    PasswordResetRequested,
    UserRegistered,
)
from shopapi.user.v1 import user_pb2, user_pb2_grpc
from user_harness import PASSWORD, Person, Users, new_email
from user_service.handlers.grpc import ALLOWED_CALLERS

HOME = {"X-Real-IP": "198.51.100.7", "User-Agent": "Firefox/128.0"}


async def replaced_email(users: Users, request_id: str) -> str:
    async with open_caller_channel(users.rpc_address, ALLOWED_CALLERS) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        return (await call(stub.GetReplacedEmail, user_pb2.GetReplacedEmailRequest(request_id=request_id))).email


async def change_email(users: Users, person: Person, email: str) -> None:
    body = {"email": email, "current_password": PASSWORD}
    assert (await users.http.post("/api/v1/users/me/email", json=body, headers=person.bearer)).status_code == 202
    token = await users.mailed_token(person.id, EmailVerificationRequested)
    assert (await users.verify(token)).status_code == 204


async def test_a_changed_password_is_published(users: Users) -> None:
    ada = await users.register()
    body = {"current_password": PASSWORD, "new_password": "another fine password"}
    assert (await users.http.post("/api/v1/users/me/password", json=body, headers=ada.bearer)).status_code == 204
    await users.request_reset(ada.email)
    token = await users.mailed_token(ada.id, PasswordResetRequested)
    assert (await users.reset(token, "yet another password")).status_code == 204
    changes = await users.payloads(ada.id, PasswordChanged)
    assert len({UUID(change.change_id) for change in changes}) == 2
    assert all(change.changed_at.seconds for change in changes)


async def test_a_changed_address_is_published_with_the_request_that_names_the_former_one(users: Users) -> None:
    ada, email = await users.register(), new_email()
    await change_email(users, ada, email)
    [change] = await users.payloads(ada.id, EmailChanged)
    assert await replaced_email(users, change.request_id) == ada.email
    assert ada.email not in str(await users.events_about(ada.id))


async def test_the_verification_of_the_own_address_is_no_change(users: Users) -> None:
    ada = await users.register()
    token = await users.mailed_token(ada.id, UserRegistered)
    assert (await users.verify(token)).status_code == 204
    assert await users.payloads(ada.id, EmailChanged) == []
    [registered] = await users.payloads(ada.id, UserRegistered)
    with pytest.raises(NeighbourRefused):
        await replaced_email(users, registered.request_id)


async def test_the_former_address_of_an_erased_user_is_forgotten(users: Users) -> None:
    ada = await users.register()
    await change_email(users, ada, new_email())
    [change] = await users.payloads(ada.id, EmailChanged)
    assert (await users.erase_own(ada)).status_code == 204
    with pytest.raises(NeighbourRefused) as refused:
        await replaced_email(users, change.request_id)
    assert refused.value.code == "unknown_mail_request"


@pytest.mark.parametrize(
    ("headers", "is_new"),
    [
        ({}, False),
        ({"User-Agent": "Firefox/131.0.2"}, False),
        ({"X-Real-IP": "198.51.100.200"}, False),
        ({"User-Agent": "Chrome/128.0"}, True),
        ({"X-Real-IP": "203.0.113.5"}, True),
    ],
)
async def test_a_login_with_a_new_device_is_published(users: Users, headers: dict[str, str], is_new: bool) -> None:
    ada = await users.register()
    async with users.sql() as sql:
        await sql.execute("DELETE FROM devices WHERE user_id = $1", ada.id)  # an account of an earlier release
    await users.new_session(ada.email, **HOME)
    assert await users.payloads(ada.id, NewDeviceLogin) == []  # its first device is not new
    for _ in range(2):
        await users.new_session(ada.email, **(HOME | headers))
    assert len(await users.payloads(ada.id, NewDeviceLogin)) == (1 if is_new else 0)


async def test_a_refused_login_with_a_new_device_is_not_published(users: Users) -> None:
    ada = await users.register()
    assert (await users.log_in(ada.email, "a guess, a guess", **HOME)).status_code == 401
    assert await users.payloads(ada.id, NewDeviceLogin) == []
