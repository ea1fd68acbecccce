"""Each event causes its notification exactly once, however often and in whatever order the broker delivers it."""

import random
from datetime import timedelta

import pytest
from chassis.database.engine import Database
from chassis.messaging.events import Event
from chassis.messaging.inbox import Inbox
from chassis.runtime.backend import utc_now
from chassis.types.ids import UserId, uuid7
from chassis_testing.broker import publish_raw, take_message
from chassis_testing.waiting import eventually
from google.protobuf.message import Message
from notification_harness import (
    AT,
    Environment,
    RunningService,
    address_of,
    body_of,
    email_changed,
    former_address,
    id_of,
    new_device_login,
    order_cancelled,
    order_confirmed,
    order_placed,
    order_shipped,
    password_changed,
    payment_refunded,
    reset_requested,
    stock_low,
    user_erased,
    user_registered,
    verification_requested,
)
from notification_service.app import SCHEMA
from notification_service.domain.notifications import Channel, Kind
from notification_service.handlers.consumers import event_handlers
from notification_service.repository.recipients import RecipientRepository
from notification_service.service.notification_recorder import NotificationRecorder
from notification_service.service.templates import TemplateLibrary


@pytest.mark.parametrize(
    ("make", "template", "subject", "essentials"),
    [
        (user_registered, "welcome", "Welcome to Nordlicht", ["https://shop.example/verify-email#token=secret-"]),
        (verification_requested, "email_verification", "Confirm your address", ["/verify-email#token=secret-"]),
        (reset_requested, "password_reset", "Choose a new password", ["/reset-password#token=secret-", "Nov 22, 2026"]),
        (password_changed, "password_changed", "Your password was changed", ["/forgot-password", "Nov 22, 2026"]),
        (new_device_login, "new_device", "New login to your account", ["/forgot-password", "Nov 22, 2026"]),
        (order_placed, "order_placed", "We have your order", ["Lamp", "€25.00", "€29.95", "€4.95", "/orders/"]),
        (order_confirmed, "order_paid", "is paid", ["Lamp", "€25.00", "/orders/"]),
        (order_shipped, "order_shipped", "is on its way", ["DHL", "JD0123", "/orders/"]),
        (order_cancelled, "order_cancelled", "is cancelled", ["not paid in time", "€29.95", "/orders/"]),
        (payment_refunded, "payment_refunded", "We have refunded €5.00", ["€5.00", "€15.00", "/orders/"]),
        (stock_low, "stock_low", "Product 77 is running low", ["2", "5", "/products/77"]),
    ],
)
async def test_each_event_causes_its_mail(
    service: RunningService, user: int, make: object, template: str, subject: str, essentials: list[str]
) -> None:
    assert callable(make)
    await service.env.publish(make(user))

    (row,) = await service.env.wait_for_status(user, "sent")
    assert row["template"] == template
    (mail,) = service.env.mailbox.to(user)
    assert mail["To"] == address_of(user)
    assert subject in mail["Subject"]
    for essential in essentials:
        assert essential in body_of(mail, "plain")
        assert essential in body_of(mail, "html")


async def test_the_events_of_a_batch_cause_what_each_causes_alone(isolated_env: Environment) -> None:
    database = Database(isolated_env.database, SCHEMA)
    inbox = Inbox("notification", database, event_handlers(NotificationRecorder(TemplateLibrary(), utc_now, uuid7)))
    await inbox.receive(_event(user_erased(3)))
    async with database.begin() as transaction:
        off = {(Kind.ORDER_UPDATES, Channel.EMAIL): False}
        await RecipientRepository(transaction).update_preferences(UserId(2), off)
    placed = order_placed(1)

    left = await inbox.receive_batch(
        [
            _event(payload)
            for payload in (placed, order_placed(2), order_shipped(1), placed, order_placed(3), email_changed(1))
        ]
    )

    assert left == []
    assert sorted((row["template"], row["channel"], row["status"]) for row in await isolated_env.rows(1)) == [
        ("email_changed", "email", "pending"),
        ("email_replaced", "email", "pending"),
        ("order_placed", "email", "pending"),
        ("order_shipped", "email", "pending"),
    ]
    assert await isolated_env.rows(2) == []
    (erased,) = await isolated_env.rows(3)
    assert (erased["status"], erased["reason"], erased["facts"]) == ("cancelled", "erased", "{}")
    await database.close()


def _event(payload: Message) -> Event:
    return Event(uuid7(), "", AT, payload, {})


async def test_a_changed_address_is_told_to_the_new_and_to_the_former_one(service: RunningService, user: int) -> None:
    change = email_changed(user)
    await service.env.publish(change)

    rows = await service.env.wait_for_status(user, "sent", count=2)
    assert sorted(row["template"] for row in rows) == ["email_changed", "email_replaced"]
    (told,) = service.env.mailbox.to(user)
    assert "forgot-password" in body_of(told, "plain")
    (former,) = service.env.mailbox.to_address(former_address(change.request_id))
    for kind in ("plain", "html"):
        assert address_of(user) not in body_of(former, kind)
        assert "Nov 22, 2026" in body_of(former, kind)


async def test_a_notice_to_a_former_address_that_is_forgotten_is_cancelled(service: RunningService, user: int) -> None:
    change = email_changed(user)
    service.env.users.used.add(change.request_id)
    await service.env.publish(change)

    async def outcomes() -> dict[str, tuple[str, str | None]]:
        return {row["template"]: (row["status"], row["reason"]) for row in await service.env.rows(user)}

    expected = {"email_changed": ("sent", None), "email_replaced": ("cancelled", "recipient_gone")}

    async def are_decided() -> bool:
        return await outcomes() == expected

    await eventually(are_decided)


@pytest.mark.parametrize("seed", range(5))
async def test_replayed_and_shuffled_events_cause_no_second_mail(service: RunningService, user: int, seed: int) -> None:
    rng = random.Random(seed)
    payloads: list[Message] = [
        make(user)
        for make in (
            user_registered,
            order_placed,
            order_confirmed,
            order_shipped,
            order_cancelled,
            payment_refunded,
            stock_low,
            reset_requested,
            password_changed,
            new_device_login,
        )
    ]
    events = [Event(uuid7(), "", AT, payload, {}) for payload in payloads] * 3
    rng.shuffle(events)

    await service.env.publish_events(events)

    rows = await service.env.wait_for_status(user, "sent", count=len(payloads))
    assert sorted(id_of(mail) for mail in service.env.mailbox.to(user)) == sorted(row["id"] for row in rows)


async def test_two_events_about_one_fact_cause_one_mail(service: RunningService, user: int) -> None:
    order = order_placed(user)

    await service.env.publish(order, order)

    await service.env.wait_for_status(user, "sent")
    assert len(service.env.mailbox.to(user)) == 1


async def test_each_correction_of_a_shipment_causes_one_mail(service: RunningService, user: int) -> None:
    shipped, corrected = order_shipped(user), order_shipped(user)
    corrected.order_id, corrected.tracking_number, corrected.correction = shipped.order_id, "JD0124", 1

    await service.env.publish(shipped, corrected, corrected, shipped)

    await service.env.wait_for_status(user, "sent", count=2)
    mails = [str(mail) for mail in service.env.mailbox.to(user)]
    assert len(mails) == 2
    assert sum("JD0124" in mail for mail in mails) == 1


async def test_low_stock_of_a_product_is_reported_once_a_day(service: RunningService, user: int) -> None:
    midnight = AT.replace(hour=0, minute=0)
    low_stock = [stock_low(user, midnight + timedelta(hours=2 * n)) for n in range(10)]

    await service.env.publish(*low_stock, stock_low(user, midnight + timedelta(days=1)))

    await service.env.wait_for_status(user, "sent", count=2)


async def test_low_stock_of_each_product_is_reported(service: RunningService, user: int) -> None:
    other = stock_low(user)
    other.product_id += 1

    await service.env.publish(stock_low(user), other)

    await service.env.wait_for_status(user, "sent", count=2)


@pytest.mark.parametrize("seed", range(5))
async def test_an_erased_account_keeps_no_data_in_whatever_order_events_arrive(
    service: RunningService, user: int, seed: int
) -> None:
    env = service.env
    env.users.is_unavailable = True  # so that nothing is sent before the erasure
    events = [
        Event(uuid7(), "", AT, payload, {}) for payload in (order_placed(user), order_shipped(user), user_erased(user))
    ] * 2
    random.Random(seed).shuffle(events)

    await env.publish_events(events)
    env.users.is_unavailable = False

    rows = await env.wait_for_status(user, "cancelled", count=2)
    assert {(row["reason"], row["facts"]) for row in rows} == {("erased", "{}")}
    assert env.mailbox.to(user) == []


async def test_an_erasure_redacts_sent_notifications_and_deletes_preferences(
    service: RunningService, user: int
) -> None:
    env = service.env
    env.users.contacts[user] = {"phone": f"+49151{user:07}"}
    await service.set_preferences(user, sms=True)
    await env.publish(order_placed(user, name="Embarrassing book"), order_shipped(user))
    sent = await env.wait_for_status(user, "sent", count=3)
    assert {row["provider_id"] for row in sent} == {None, "SM1"}

    await env.publish(user_erased(user))

    rows = await env.rows(user)
    assert {(row["status"], row["facts"], row["provider_id"]) for row in rows} == {("sent", "{}", None)}
    async with env.sql() as sql:
        assert await sql.fetchval("SELECT count(*) FROM preferences WHERE user_id = $1", user) == 0
    response = await service.http.put(
        "/api/v1/notifications/preferences",
        json={"order_updates": {"email": True, "sms": True}, "stock_alerts": {"email": True}},
        headers=service.bearer(user),
    )
    assert (response.status_code, response.json()["code"]) == (409, "account_erased")


async def test_an_erasure_cancels_the_mail_that_is_being_rendered(service: RunningService, user: int) -> None:
    env = service.env

    async def erase() -> None:
        await env.publish(user_erased(user))

    env.users.during_contact[user] = erase
    await env.publish(order_placed(user))

    (row,) = await env.wait_for_status(user, "cancelled")
    await env.publish(*(stock_low(user + 70_000 + n) for n in range(8)))
    for n in range(8):
        await env.wait_for_status(user + 70_000 + n, "sent")  # by now the task of the first mail has ended
    assert (row["reason"], env.mailbox.to(user), await env.attempts(user)) == ("erased", [], [])


async def test_events_with_missing_fields_cause_mails(service: RunningService, user: int) -> None:
    """An older producer sends neither an order's total nor its products' names."""
    order = order_placed(user)
    order.ClearField("total")
    order.ClearField("expires_at")
    order.lines[0].name = ""
    order.lines[0].ClearField("unit_price")
    cancellation = order_cancelled(user)
    cancellation.ClearField("total")
    cancellation.ClearField("reason")

    await service.env.publish(order, cancellation)

    await service.env.wait_for_status(user, "sent", count=2)
    texts = [body_of(mail, "plain") for mail in service.env.mailbox.to(user)]
    assert any("2 \N{MULTIPLICATION SIGN} #5" in text for text in texts)
    assert not any("None" in text or "1970" in text for text in texts)


async def test_a_malformed_event_is_dead_lettered(service: RunningService) -> None:
    await publish_raw(service.env.broker_url, "ecommerce.events", "order.placed.v1", b"{}")

    assert await take_message(service.env.broker_url, "notification.dead") == b"{}"
