"""SMS through Twilio's REST API, and its status callbacks."""

import base64
import hashlib
import hmac
from uuid import UUID, uuid4

import httpx
import pytest
from notification_harness import (
    CALLBACK,
    TWILIO_TOKEN,
    Environment,
    RunningService,
    order_placed,
    order_shipped,
    running_service,
)


@pytest.fixture
async def sms_user(service: RunningService, user: int) -> int:
    """The id of a user with a phone number who has switched SMS on and mails off."""
    service.env.users.contacts[user] = {"phone": number_of(user)}
    await service.set_preferences(user, email=False, sms=True)
    return user


def number_of(user: int) -> str:
    return f"+49151{user:07}"


async def report(
    service: RunningService, notification_id: UUID, status: str, sid: str = "SM1", token: str = TWILIO_TOKEN
) -> httpx.Response:
    """Sends the status callback that Twilio sends for the message `sid`, signed with `token`."""
    form = {"MessageSid": sid, "MessageStatus": status, "To": "+491510000000", "ErrorCode": ""}
    signed = f"{CALLBACK}?notification_id={notification_id}" + "".join(f"{name}{form[name]}" for name in sorted(form))
    digest = hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()
    return await service.http.post(
        f"/api/v1/webhooks/twilio?notification_id={notification_id}",
        data=form,
        headers={"X-Twilio-Signature": base64.b64encode(digest).decode()},
    )


async def test_a_shipment_is_reported_by_sms_if_switched_on(service: RunningService, sms_user: int) -> None:
    env = service.env
    await env.publish(order_shipped(sms_user), order_placed(sms_user))

    (row,) = await env.wait_for_status(sms_user, "sent")
    assert (row["channel"], row["template"], row["provider_id"]) == ("sms", "order_shipped", "SM1")
    (message,) = env.twilio.to(number_of(sms_user))
    assert message["From"] == "+15550001111"
    assert message["StatusCallback"] == f"{CALLBACK}?notification_id={row['id']}"
    for essential in ("Nordlicht", "DHL", "JD0123", "https://shop.example/orders/"):
        assert essential in message["Body"]


async def test_no_sms_is_sent_unless_switched_on(service: RunningService, user: int) -> None:
    service.env.users.contacts[user] = {"phone": number_of(user)}

    await service.env.publish(order_shipped(user))

    (row,) = await service.env.wait_for_status(user, "sent")
    assert row["channel"] == "email"
    assert service.env.twilio.to(number_of(user)) == []


async def test_an_sms_is_cancelled_if_the_user_has_no_phone_number(service: RunningService, sms_user: int) -> None:
    service.env.users.contacts[sms_user] = {}

    await service.env.publish(order_shipped(sms_user))

    (row,) = await service.env.wait_for_status(sms_user, "cancelled")
    assert row["reason"] == "no_phone"


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(400, 21211, "twilio_21211"), (400, 21610, "twilio_21610"), (404, 20404, "twilio_20404")],
)
async def test_an_unreachable_number_fails_at_once(
    service: RunningService, sms_user: int, status: int, code: int, error: str
) -> None:
    env = service.env
    env.twilio.responses[number_of(sms_user)].append(
        (status, {"code": code, "message": f"{number_of(sms_user)} is bad"})
    )

    await env.publish(order_shipped(sms_user))

    await env.wait_for_status(sms_user, "failed")
    assert await env.attempts(sms_user) == [("permanent", error)]


@pytest.mark.parametrize(
    ("response", "attempt"),
    [
        ((429, {"code": 20429}), ("transient", "twilio_20429")),
        ((500, {"code": 20500}), ("transient", "twilio_20500")),
        ((503, {}), ("transient", "http_503")),
        (None, ("unknown", "connection_lost")),
    ],
)
async def test_transient_failures_of_the_provider_are_retried(
    service: RunningService,
    sms_user: int,
    response: tuple[int, dict[str, object]] | None,
    attempt: tuple[str, str],
) -> None:
    env = service.env
    env.twilio.responses[number_of(sms_user)].append(response)

    await env.publish(order_shipped(sms_user))

    await env.wait_for_status(sms_user, "sent")
    assert await env.attempts(sms_user) == [attempt, ("accepted", None)]


async def test_an_sms_is_sent_at_most_twice(service: RunningService, sms_user: int) -> None:
    env = service.env
    env.twilio.responses[number_of(sms_user)].extend([None] * 5)

    await env.publish(order_shipped(sms_user))

    (row,) = await env.wait_for_status(sms_user, "failed")
    assert row["reason"] == "outcome_unknown"
    assert len(env.twilio.to(number_of(sms_user))) == 2


async def test_attempts_with_a_wrong_token_of_ours_do_not_count(isolated_env: Environment) -> None:
    isolated_env.users.contacts[1] = {"phone": number_of(1)}
    async with running_service(isolated_env, send_attempts=2, twilio_auth_token="wrong") as service:
        await service.set_preferences(1, email=False, sms=True)
        await isolated_env.publish(order_shipped(1))
        await isolated_env.wait_for_attempts(1, 3)
    assert set(await isolated_env.attempts(1)) == {("transient", "twilio_20003")}

    async with running_service(isolated_env):
        await isolated_env.wait_for_status(1, "sent")

    assert len(isolated_env.twilio.to(number_of(1))) == 1


@pytest.mark.parametrize(("status", "final"), [(429, "sent"), (500, "failed"), (503, "failed")])
async def test_attempts_count_unless_the_provider_certainly_sent_nothing(
    service: RunningService, sms_user: int, status: int, final: str
) -> None:
    env = service.env
    env.twilio.responses[number_of(sms_user)].extend([(status, {})] * 4)  # one more than SEND_ATTEMPTS

    await env.publish(order_shipped(sms_user))

    await env.wait_for_status(sms_user, final)
    refused = ("transient", f"http_{status}")
    assert await env.attempts(sms_user) == ([refused] * 4 + [("accepted", None)] if final == "sent" else [refused] * 3)


async def test_a_delivered_sms_stays_delivered(service: RunningService, sms_user: int) -> None:
    env = service.env
    await env.publish(order_shipped(sms_user))
    (row,) = await env.wait_for_status(sms_user, "sent")

    statuses = []
    for reported in ("sent", "delivered", "delivered", "undelivered"):
        assert (await report(service, row["id"], reported)).status_code == 204
        statuses.append((await env.rows(sms_user))[0]["status"])

    assert statuses == ["sent", "delivered", "delivered", "delivered"]


@pytest.mark.parametrize("reported", ["undelivered", "failed"])
async def test_an_undelivered_sms_fails(service: RunningService, sms_user: int, reported: str) -> None:
    env = service.env
    await env.publish(order_shipped(sms_user))
    (row,) = await env.wait_for_status(sms_user, "sent")

    await report(service, row["id"], reported)
    await report(service, row["id"], "sent")

    (row,) = await env.rows(sms_user)
    assert (row["status"], row["reason"]) == ("failed", "undelivered")


async def test_an_sms_reported_delivered_after_undelivered_is_delivered(service: RunningService, sms_user: int) -> None:
    env = service.env
    await env.publish(order_shipped(sms_user))
    (row,) = await env.wait_for_status(sms_user, "sent")

    await report(service, row["id"], "undelivered")
    await report(service, row["id"], "delivered")

    (row,) = await env.rows(sms_user)
    assert (row["status"], row["reason"]) == ("delivered", None)


async def test_a_callback_applies_only_to_its_own_message(service: RunningService, sms_user: int) -> None:
    """The connection broke during the first attempt, but Twilio accepted it as SM1."""
    env = service.env
    env.twilio.responses[number_of(sms_user)].extend([None, (201, {"sid": "SM2"})])
    await env.publish(order_shipped(sms_user))
    (row,) = await env.wait_for_status(sms_user, "sent")

    statuses = []
    for reported, sid in (("undelivered", "SM1"), ("delivered", "SM2")):
        await report(service, row["id"], reported, sid)
        statuses.append((await env.rows(sms_user))[0]["status"])

    assert statuses == ["sent", "delivered"]


async def test_a_repeated_callback_of_an_earlier_round_does_not_stop_the_next(
    service: RunningService, sms_user: int
) -> None:
    env = service.env
    env.twilio.responses[number_of(sms_user)].extend([(201, {"sid": "SM1"}), (201, {"sid": "SM2"})])
    await env.publish(order_shipped(sms_user))
    (row,) = await env.wait_for_status(sms_user, "sent")
    await report(service, row["id"], "undelivered", "SM1")
    env.users.is_unavailable = True
    again = await service.http.post(f"/api/v1/notifications/{row['id']}/retry", headers=service.admin)
    assert again.json()["data"]["status"] == "pending"

    await report(service, row["id"], "undelivered", "SM1")

    env.users.is_unavailable = False
    (row,) = await env.wait_for_status(sms_user, "sent")
    assert row["provider_id"] == "SM2"
    assert len(env.twilio.to(number_of(sms_user))) == 2


async def test_an_sms_reported_undelivered_before_its_attempt_is_committed_fails(isolated_env: Environment) -> None:
    """Twilio accepted it as SM1; the service has an attempt without a known outcome."""
    isolated_env.users.contacts[1] = {"phone": number_of(1)}
    isolated_env.twilio.responses[number_of(1)].append(None)
    async with running_service(isolated_env, send_retry_seconds=3600) as service:
        await service.set_preferences(1, email=False, sms=True)
        await isolated_env.publish(order_shipped(1))
        await isolated_env.wait_for_attempts(1, 1)
        (row,) = await isolated_env.rows(1)

        await report(service, row["id"], "undelivered", "SM1")

        (row,) = await isolated_env.rows(1)
        assert (row["status"], row["reason"]) == ("failed", "undelivered")


async def test_an_sms_reported_delivered_while_pending_is_delivered(service: RunningService, sms_user: int) -> None:
    env = service.env
    env.users.is_unavailable = True
    await env.publish(order_shipped(sms_user))
    (row,) = await env.rows(sms_user)

    await report(service, row["id"], "delivered")

    env.users.is_unavailable = False
    await env.wait_for_status(sms_user, "delivered")
    assert env.twilio.to(number_of(sms_user)) == []


async def test_a_forged_callback_is_refused(service: RunningService, sms_user: int) -> None:
    await service.env.publish(order_shipped(sms_user))
    (row,) = await service.env.wait_for_status(sms_user, "sent")

    forged = await report(service, row["id"], "delivered", token="guessed")

    assert (forged.status_code, forged.json()["code"]) == (403, "forged_callback")
    assert (await service.env.rows(sms_user))[0]["status"] == "sent"
    unsigned = await service.http.post(f"/api/v1/webhooks/twilio?notification_id={row['id']}", data={})
    assert unsigned.status_code == 422


async def test_a_callback_for_an_unknown_notification_is_ignored(service: RunningService) -> None:
    assert (await report(service, uuid4(), "delivered")).status_code == 204


async def test_callbacks_are_refused_without_a_callback_url(isolated_env: Environment) -> None:
    async with running_service(isolated_env, twilio_status_callback=None) as service:
        response = await report(service, uuid4(), "delivered")

    assert (response.status_code, response.json()["code"]) == (404, "no_such_route")


async def test_without_a_provider_an_sms_is_recorded_as_not_sent(
    isolated_env: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    isolated_env.users.contacts[1] = {"phone": number_of(1)}
    async with running_service(isolated_env, sms_provider="log") as service:
        await service.set_preferences(1, email=False, sms=True)
        await isolated_env.publish(order_shipped(1))
        (row,) = await isolated_env.wait_for_status(1, "not_sent")

    assert (row["reason"], row["sent_at"]) == ("no_sms_provider", None)
    logged = "".join(capsys.readouterr())
    assert str(row["id"]) in logged
    assert number_of(1) not in logged
    assert "JD0123" not in logged
