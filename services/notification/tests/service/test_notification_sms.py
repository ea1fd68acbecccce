"""Text messages through Twilio's REST API, and what it reports back."""

import base64
import hashlib
import hmac
from uuid import UUID, uuid4

import httpx
import pytest
from notification_harness import (
    CALLBACK,
    TWILIO_TOKEN,
    Notifications,
    World,
    placed,
    running,
    shipped,
)


@pytest.fixture
async def reader(notifications: Notifications, user: int) -> int:
    """Somebody with a phone, who wants text messages and no mail."""
    notifications.world.users.contacts[user] = {"phone": number_of(user)}
    await notifications.prefer(user, email=False, sms=True)
    return user


def number_of(user: int) -> str:
    return f"+49151{user:07}"


async def report(
    notifications: Notifications, notification_id: UUID, status: str, sid: str = "SM1", token: str = TWILIO_TOKEN
) -> httpx.Response:
    """As Twilio calls back about the message `sid`, signed with `token`."""
    form = {"MessageSid": sid, "MessageStatus": status, "To": "+491510000000", "ErrorCode": ""}
    signed = f"{CALLBACK}?notification_id={notification_id}" + "".join(f"{name}{form[name]}" for name in sorted(form))
    digest = hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()
    return await notifications.http.post(
        f"/api/v1/webhooks/twilio?notification_id={notification_id}",
        data=form,
        headers={"X-Twilio-Signature": base64.b64encode(digest).decode()},
    )


async def test_a_shipment_is_told_by_text_message_to_who_wants_that(notifications: Notifications, reader: int) -> None:
    world = notifications.world
    await world.tell(shipped(reader), placed(reader))

    (row,) = await world.settled(reader, "sent")
    assert (row["channel"], row["template"], row["provider_id"]) == ("sms", "order_shipped", "SM1")
    (message,) = world.twilio.to(number_of(reader))
    assert message["From"] == "+15550001111"
    assert message["StatusCallback"] == f"{CALLBACK}?notification_id={row['id']}"
    for essential in ("Nordlicht", "DHL", "JD0123", "https://shop.example/orders/"):
        assert essential in message["Body"]


async def test_no_text_message_goes_to_who_never_asked_for_one(notifications: Notifications, user: int) -> None:
    notifications.world.users.contacts[user] = {"phone": number_of(user)}

    await notifications.world.tell(shipped(user))

    (row,) = await notifications.world.settled(user, "sent")
    assert row["channel"] == "email"
    assert notifications.world.twilio.to(number_of(user)) == []


async def test_who_has_no_phone_gets_no_text_message(notifications: Notifications, reader: int) -> None:
    notifications.world.users.contacts[reader] = {}

    await notifications.world.tell(shipped(reader))

    (row,) = await notifications.world.settled(reader, "cancelled")
    assert row["reason"] == "no_phone"


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(400, 21211, "twilio_21211"), (400, 21610, "twilio_21610"), (404, 20404, "twilio_20404")],
)
async def test_a_number_that_cannot_be_reached_is_dead_at_once(
    notifications: Notifications, reader: int, status: int, code: int, error: str
) -> None:
    world = notifications.world
    world.twilio.answers[number_of(reader)].append((status, {"code": code, "message": f"{number_of(reader)} is bad"}))

    await world.tell(shipped(reader))

    await world.settled(reader, "failed")
    assert await world.attempts(reader) == [("permanent", error)]


@pytest.mark.parametrize(
    ("answer", "attempt"),
    [
        ((429, {"code": 20429}), ("transient", "twilio_20429")),
        ((500, {"code": 20500}), ("transient", "twilio_20500")),
        ((503, {}), ("transient", "http_503")),
        (None, ("unknown", "connection_lost")),
    ],
)
async def test_what_passes_at_the_provider_is_tried_again(
    notifications: Notifications,
    reader: int,
    answer: tuple[int, dict[str, object]] | None,
    attempt: tuple[str, str],
) -> None:
    world = notifications.world
    world.twilio.answers[number_of(reader)].append(answer)

    await world.tell(shipped(reader))

    await world.settled(reader, "sent")
    assert await world.attempts(reader) == [attempt, ("accepted", None)]


async def test_a_text_message_goes_out_at_most_twice(notifications: Notifications, reader: int) -> None:
    world = notifications.world
    world.twilio.answers[number_of(reader)].extend([None] * 5)

    await world.tell(shipped(reader))

    (row,) = await world.settled(reader, "failed")
    assert row["reason"] == "outcome_unknown"
    assert len(world.twilio.to(number_of(reader))) == 2


async def test_a_wrong_token_of_ours_costs_no_message_its_tries(lone_world: World) -> None:
    lone_world.users.contacts[1] = {"phone": number_of(1)}
    async with running(lone_world, send_attempts=2, twilio_auth_token="wrong") as service:
        await service.prefer(1, email=False, sms=True)
        await lone_world.tell(shipped(1))
        await lone_world.tried(1, 3)
    assert set(await lone_world.attempts(1)) == {("transient", "twilio_20003")}

    async with running(lone_world):
        await lone_world.settled(1, "sent")

    assert len(lone_world.twilio.to(number_of(1))) == 1


@pytest.mark.parametrize(("status", "end"), [(429, "sent"), (500, "failed"), (503, "failed")])
async def test_a_text_that_was_surely_not_taken_is_tried_without_end_and_any_other_is_not(
    notifications: Notifications, reader: int, status: int, end: str
) -> None:
    world = notifications.world
    world.twilio.answers[number_of(reader)].extend([(status, {})] * 4)  # one more than would be tried

    await world.tell(shipped(reader))

    await world.settled(reader, end)
    refused = ("transient", f"http_{status}")
    assert await world.attempts(reader) == ([refused] * 4 + [("accepted", None)] if end == "sent" else [refused] * 3)


async def test_what_the_carrier_delivered_is_delivered_for_good(notifications: Notifications, reader: int) -> None:
    world = notifications.world
    await world.tell(shipped(reader))
    (row,) = await world.settled(reader, "sent")

    statuses = []
    for told in ("sent", "delivered", "delivered", "undelivered"):
        assert (await report(notifications, row["id"], told)).status_code == 204
        statuses.append((await world.rows(reader))[0]["status"])

    assert statuses == ["sent", "delivered", "delivered", "delivered"]


@pytest.mark.parametrize("told", ["undelivered", "failed"])
async def test_what_the_carrier_lost_is_dead(notifications: Notifications, reader: int, told: str) -> None:
    world = notifications.world
    await world.tell(shipped(reader))
    (row,) = await world.settled(reader, "sent")

    await report(notifications, row["id"], told)
    await report(notifications, row["id"], "sent")

    (row,) = await world.rows(reader)
    assert (row["status"], row["reason"]) == ("failed", "undelivered")


async def test_what_arrived_after_all_is_delivered(notifications: Notifications, reader: int) -> None:
    world = notifications.world
    await world.tell(shipped(reader))
    (row,) = await world.settled(reader, "sent")

    await report(notifications, row["id"], "undelivered")
    await report(notifications, row["id"], "delivered")

    (row,) = await world.rows(reader)
    assert (row["status"], row["reason"]) == ("delivered", None)


async def test_a_report_decides_over_its_own_message_alone(notifications: Notifications, reader: int) -> None:
    """The line broke off under the first try, which Twilio took as SM1 nonetheless."""
    world = notifications.world
    world.twilio.answers[number_of(reader)].extend([None, (201, {"sid": "SM2"})])
    await world.tell(shipped(reader))
    (row,) = await world.settled(reader, "sent")

    statuses = []
    for told, sid in (("undelivered", "SM1"), ("delivered", "SM2")):
        await report(notifications, row["id"], told, sid)
        statuses.append((await world.rows(reader))[0]["status"])

    assert statuses == ["sent", "delivered"]


async def test_a_repeated_report_of_an_earlier_round_does_not_stop_the_next(
    notifications: Notifications, reader: int
) -> None:
    world = notifications.world
    world.twilio.answers[number_of(reader)].extend([(201, {"sid": "SM1"}), (201, {"sid": "SM2"})])
    await world.tell(shipped(reader))
    (row,) = await world.settled(reader, "sent")
    await report(notifications, row["id"], "undelivered", "SM1")
    world.users.is_away = True
    again = await notifications.http.post(f"/api/v1/notifications/{row['id']}/retry", headers=notifications.admin)
    assert again.json()["data"]["status"] == "pending"

    await report(notifications, row["id"], "undelivered", "SM1")

    world.users.is_away = False
    (row,) = await world.settled(reader, "sent")
    assert row["provider_id"] == "SM2"
    assert len(world.twilio.to(number_of(reader))) == 2


async def test_a_message_that_is_lost_before_our_own_commit_is_dead(lone_world: World) -> None:
    """Twilio took it as SM1; we know of a try, and not how it ended."""
    lone_world.users.contacts[1] = {"phone": number_of(1)}
    lone_world.twilio.answers[number_of(1)].append(None)
    async with running(lone_world, send_retry_seconds=3600) as service:
        await service.prefer(1, email=False, sms=True)
        await lone_world.tell(shipped(1))
        await lone_world.tried(1, 1)
        (row,) = await lone_world.rows(1)

        await report(service, row["id"], "undelivered", "SM1")

        (row,) = await lone_world.rows(1)
        assert (row["status"], row["reason"]) == ("failed", "undelivered")


async def test_a_report_that_comes_before_our_own_commit_counts(notifications: Notifications, reader: int) -> None:
    world = notifications.world
    world.users.is_away = True
    await world.tell(shipped(reader))
    (row,) = await world.rows(reader)

    await report(notifications, row["id"], "delivered")

    world.users.is_away = False
    await world.settled(reader, "delivered")
    assert world.twilio.to(number_of(reader)) == []


async def test_a_forged_report_changes_nothing(notifications: Notifications, reader: int) -> None:
    await notifications.world.tell(shipped(reader))
    (row,) = await notifications.world.settled(reader, "sent")

    forged = await report(notifications, row["id"], "delivered", token="guessed")

    assert (forged.status_code, forged.json()["code"]) == (403, "forged_callback")
    assert (await notifications.world.rows(reader))[0]["status"] == "sent"
    unsigned = await notifications.http.post(f"/api/v1/webhooks/twilio?notification_id={row['id']}", data={})
    assert unsigned.status_code == 422


async def test_a_report_about_nothing_of_ours_is_taken_and_forgotten(notifications: Notifications) -> None:
    assert (await report(notifications, uuid4(), "delivered")).status_code == 204


async def test_a_shop_that_asks_for_no_reports_takes_none(lone_world: World) -> None:
    async with running(lone_world, twilio_status_callback=None) as service:
        answer = await report(service, uuid4(), "delivered")

    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_route")


async def test_without_a_provider_the_log_says_that_a_text_was_made_and_nothing_of_it(
    lone_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    lone_world.users.contacts[1] = {"phone": number_of(1)}
    async with running(lone_world, sms_provider="log") as service:
        await service.prefer(1, email=False, sms=True)
        await lone_world.tell(shipped(1))
        await lone_world.settled(1, "sent")

    logged = "".join(capsys.readouterr())
    assert "a text was made and not sent" in logged
    assert number_of(1) not in logged
    assert "JD0123" not in logged
