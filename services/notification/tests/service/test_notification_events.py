"""What happens in the shop is told to whom it concerns: once, whatever the broker does."""

import random
from datetime import timedelta

import pytest
from chassis.messaging.events import Event
from chassis.types.ids import uuid7
from chassis_testing.broker import publish_raw, take_message
from google.protobuf.message import Message
from notification_harness import (
    AT,
    Notifications,
    address_of,
    cancelled,
    confirmed,
    erased,
    id_of,
    low,
    placed,
    refunded,
    registered,
    reset,
    shipped,
    verification,
    words,
)


@pytest.mark.parametrize(
    ("make", "template", "subject", "essentials"),
    [
        (registered, "welcome", "Welcome to Nordlicht", ["https://shop.example/verify-email#token=secret-"]),
        (verification, "email_verification", "Confirm your address", ["/verify-email#token=secret-"]),
        (reset, "password_reset", "Choose a new password", ["/reset-password#token=secret-", "Nov 22, 2026"]),
        (placed, "order_placed", "We have your order", ["Lamp", "€25.00", "€29.95", "€4.95", "/orders/"]),
        (confirmed, "order_paid", "is paid", ["Lamp", "€25.00", "/orders/"]),
        (shipped, "order_shipped", "is on its way", ["DHL", "JD0123", "/orders/"]),
        (cancelled, "order_cancelled", "is cancelled", ["not paid in time", "€29.95", "/orders/"]),
        (refunded, "payment_refunded", "We have refunded €5.00", ["€5.00", "€15.00", "/orders/"]),
        (low, "stock_low", "Product 77 is running low", ["2", "5", "/products/77"]),
    ],
)
async def test_each_event_becomes_its_mail(
    notifications: Notifications, user: int, make: object, template: str, subject: str, essentials: list[str]
) -> None:
    assert callable(make)
    await notifications.world.tell(make(user))

    (row,) = await notifications.world.settled(user, "sent")
    assert row["template"] == template
    (mail,) = notifications.world.mailbox.to(user)
    assert mail["To"] == address_of(user)
    assert subject in mail["Subject"]
    for essential in essentials:
        assert essential in words(mail, "plain")
        assert essential in words(mail, "html")


@pytest.mark.parametrize("seed", range(5))
async def test_replayed_and_shuffled_events_change_nothing(notifications: Notifications, user: int, seed: int) -> None:
    chance = random.Random(seed)
    payloads: list[Message] = [
        make(user) for make in (registered, placed, confirmed, shipped, cancelled, refunded, low, reset)
    ]
    events = [Event(uuid7(), "", AT, payload, {}) for payload in payloads] * 3
    chance.shuffle(events)

    await notifications.world.deliver(events)

    rows = await notifications.world.settled(user, "sent", count=len(payloads))
    assert sorted(id_of(mail) for mail in notifications.world.mailbox.to(user)) == sorted(row["id"] for row in rows)


async def test_two_events_about_one_fact_make_one_mail(notifications: Notifications, user: int) -> None:
    order = placed(user)

    await notifications.world.tell(order, order)

    await notifications.world.settled(user, "sent")
    assert len(notifications.world.mailbox.to(user)) == 1


async def test_a_stock_that_falls_again_and_again_is_told_once_a_day(notifications: Notifications, user: int) -> None:
    midnight = AT.replace(hour=0, minute=0)
    falls = [low(user, midnight + timedelta(hours=2 * n)) for n in range(10)]

    await notifications.world.tell(*falls, low(user, midnight + timedelta(days=1)))

    await notifications.world.settled(user, "sent", count=2)


async def test_each_product_that_runs_low_is_told(notifications: Notifications, user: int) -> None:
    other = low(user)
    other.product_id += 1

    await notifications.world.tell(low(user), other)

    await notifications.world.settled(user, "sent", count=2)


@pytest.mark.parametrize("seed", range(5))
async def test_an_erased_account_keeps_nothing_in_whatever_order_it_is_told(
    notifications: Notifications, user: int, seed: int
) -> None:
    world = notifications.world
    world.users.is_away = True  # so that nothing is sent before the erasure
    events = [Event(uuid7(), "", AT, payload, {}) for payload in (placed(user), shipped(user), erased(user))] * 2
    random.Random(seed).shuffle(events)

    await world.deliver(events)
    world.users.is_away = False

    rows = await world.settled(user, "cancelled", count=2)
    assert {(row["reason"], row["facts"]) for row in rows} == {("erased", "{}")}
    assert world.mailbox.to(user) == []


async def test_an_erasure_blanks_what_was_sent_and_forgets_preferences(notifications: Notifications, user: int) -> None:
    world = notifications.world
    world.users.contacts[user] = {"phone": f"+49151{user:07}"}
    await notifications.prefer(user, sms=True)
    await world.tell(placed(user, name="Embarrassing book"), shipped(user))
    sent = await world.settled(user, "sent", count=3)
    assert {row["provider_id"] for row in sent} == {None, "SM1"}

    await world.tell(erased(user))

    rows = await world.rows(user)
    assert {(row["status"], row["facts"], row["provider_id"]) for row in rows} == {("sent", "{}", None)}
    async with world.sql() as sql:
        assert await sql.fetchval("SELECT count(*) FROM preferences WHERE user_id = $1", user) == 0
    answer = await notifications.http.put(
        "/api/v1/notifications/preferences",
        json={"order_updates": {"email": True, "sms": True}, "stock_alerts": {"email": True}},
        headers=notifications.bearer(user),
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "account_erased")


async def test_an_erasure_calls_off_the_mail_that_is_being_made(notifications: Notifications, user: int) -> None:
    world = notifications.world

    async def erase() -> None:
        await world.tell(erased(user))

    world.users.meanwhile[user] = erase
    await world.tell(placed(user))

    (row,) = await world.settled(user, "cancelled")
    await world.tell(*(low(user + 70_000 + n) for n in range(8)))
    for n in range(8):
        await world.settled(user + 70_000 + n, "sent")  # whoever made the first mail has gone on by now
    assert (row["reason"], world.mailbox.to(user), await world.attempts(user)) == ("erased", [], [])


async def test_events_that_leave_things_out_are_still_told(notifications: Notifications, user: int) -> None:
    """An older producer knows neither an order's total nor its products' names."""
    order = placed(user)
    order.ClearField("total")
    order.ClearField("expires_at")
    order.lines[0].name = ""
    order.lines[0].ClearField("unit_price")
    cancellation = cancelled(user)
    cancellation.ClearField("total")
    cancellation.ClearField("reason")

    await notifications.world.tell(order, cancellation)

    await notifications.world.settled(user, "sent", count=2)
    texts = [words(mail, "plain") for mail in notifications.world.mailbox.to(user)]
    assert any("2 \N{MULTIPLICATION SIGN} #5" in text for text in texts)
    assert not any("None" in text or "1970" in text for text in texts)


async def test_what_nobody_can_read_goes_to_the_dead_letters(notifications: Notifications) -> None:
    await publish_raw(notifications.world.broker_url, "ecommerce.events", "order.placed.v1", b"{}")

    assert await take_message(notifications.world.broker_url, "notification.dead") == b"{}"
