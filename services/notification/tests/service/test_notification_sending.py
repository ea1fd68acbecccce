"""From a stored notification to a mail: over a real SMTP conversation with a server that may do anything."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiosmtpd.smtp
import pytest
from chassis.errors import DatabaseUnavailable
from chassis.types.ids import uuid7
from chassis_testing.waiting import eventually
from google.protobuf.message import Message
from notification_harness import (
    Notifications,
    World,
    address_of,
    id_of,
    mail_server,
    placed,
    registered,
    reset,
    running,
    says,
    shipped,
    token_of,
    verification,
    words,
)
from notification_service import app
from notification_service.app import Settings
from notification_service.handlers.events import placed as order_placed
from notification_service.handlers.events import reset_requested
from notification_service.service.sending import Sending


async def test_a_mail_is_what_mail_programs_expect(notifications: Notifications, user: int) -> None:
    world = notifications.world
    await world.tell(placed(user, name='Lampe "Müller" <b>'))

    (row,) = await world.settled(user, "sent")
    (mail,) = world.mailbox.to(user)
    assert world.mailbox.was_encrypted
    assert mail["From"] == "Nordlicht <noreply@shop.example>"
    assert mail["To"] == address_of(user)
    assert mail["Message-ID"] == f"<{row['id']}@shop.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime is not None
    assert mail.get_content_type() == "multipart/alternative"
    assert 'Lampe "Müller" <b>' in words(mail, "plain")
    assert "Lampe &#34;Müller&#34; &lt;b&gt;" in words(mail, "html")
    assert await world.attempts(user) == [("accepted", None)]


async def test_a_mail_speaks_the_language_of_its_reader(notifications: Notifications, user: int) -> None:
    notifications.world.users.contacts[user] = {"locale": "de-DE", "display_name": "Anna"}

    await notifications.world.tell(placed(user))

    await notifications.world.settled(user, "sent")
    (mail,) = notifications.world.mailbox.to(user)
    assert mail["Content-Language"] == "de"
    assert "Guten Tag Anna," in words(mail, "plain")
    assert "29,95\xa0€" in words(mail, "html")


@pytest.mark.parametrize("answer", ["451 4.3.0 try later", "421 4.3.2 going down", "450 4.2.1 greylisted"])
async def test_what_passes_is_tried_again(notifications: Notifications, user: int, answer: str) -> None:
    world = notifications.world
    world.mailbox.at_rcpt[address_of(user)].append(answer)

    await world.tell(placed(user))

    await world.settled(user, "sent")
    assert await world.attempts(user) == [("transient", f"smtp_{answer[:3]}"), ("accepted", None)]
    assert len(world.mailbox.to(user)) == 1


async def test_a_refused_recipient_is_dead_at_once_until_an_admin_retries(
    notifications: Notifications, user: int
) -> None:
    world = notifications.world
    world.mailbox.at_rcpt[address_of(user)].append("550 5.1.1 <somebody@example.com> no such mailbox")

    await world.tell(placed(user))

    (row,) = await world.settled(user, "failed")
    assert row["reason"] == "smtp_550"
    assert await world.attempts(user) == [("permanent", "smtp_550")]
    dead = (await notifications.http.get("/api/v1/notifications/dead?limit=100", headers=notifications.admin)).json()
    (listed,) = [each for each in dead["data"] if each["user_id"] == user]
    assert (listed["status"], listed["reason"]) == ("failed", "smtp_550")
    assert "somebody@" not in json.dumps(dead)

    again = await notifications.http.post(f"/api/v1/notifications/{listed['id']}/retry", headers=notifications.admin)

    assert again.json()["data"]["status"] == "pending"
    await world.settled(user, "sent")
    assert await world.attempts(user) == [("permanent", "smtp_550"), ("accepted", None)]


async def test_a_refused_message_is_dead_at_once(notifications: Notifications, user: int) -> None:
    world = notifications.world
    world.mailbox.at_data[address_of(user)].append(says("554 5.7.1 looks like spam"))

    await world.tell(placed(user))

    await world.settled(user, "failed")
    assert await world.attempts(user) == [("permanent", "smtp_554")]


async def test_tries_are_bounded(notifications: Notifications, user: int) -> None:
    world = notifications.world
    world.mailbox.at_rcpt[address_of(user)].extend(["451 try later"] * 5)

    await world.tell(placed(user))

    (row,) = await world.settled(user, "failed")
    assert row["reason"] == "smtp_451"
    assert await world.attempts(user) == [("transient", "smtp_451")] * 3
    assert len(world.mailbox.at_rcpt[address_of(user)]) == 2


async def test_a_line_that_breaks_before_the_answer_costs_one_repeat(notifications: Notifications, user: int) -> None:
    """The server took the mail and could not say so: it comes a second time, recognizable by its Message-ID."""
    world = notifications.world
    world.mailbox.at_data[address_of(user)].append(world.mailbox.drop)

    await world.tell(placed(user))

    (row,) = await world.settled(user, "sent")
    assert [id_of(mail) for mail in world.mailbox.to(user)] == [row["id"]] * 2
    assert await world.attempts(user) == [("unknown", "connection_lost"), ("accepted", None)]


async def test_a_mail_goes_out_at_most_twice(notifications: Notifications, user: int) -> None:
    world = notifications.world
    world.mailbox.at_data[address_of(user)].extend([world.mailbox.drop] * 5)

    await world.tell(placed(user))

    (row,) = await world.settled(user, "failed")
    assert row["reason"] == "outcome_unknown"
    assert [id_of(mail) for mail in world.mailbox.to(user)] == [row["id"]] * 2


@pytest.mark.parametrize("limit", [{"smtp_timeout_seconds": 0.5}, {"send_lease_seconds": 2}], ids=str)
async def test_a_server_that_never_answers_is_given_up_within_the_lease(
    lone_world: World, limit: dict[str, object]
) -> None:
    lone_world.mailbox.at_data[address_of(1)].extend([lone_world.mailbox.hang] * 5)

    async with running(lone_world, send_attempts=20, **limit):
        await lone_world.tell(placed(1))
        (row,) = await lone_world.settled(1, "failed")

    assert row["reason"] == "outcome_unknown"
    assert [id_of(mail) for mail in lone_world.mailbox.to(1)] == [row["id"]] * 2


async def test_while_the_user_service_is_away_notifications_wait(notifications: Notifications, user: int) -> None:
    world = notifications.world
    world.users.is_away = True
    asked = world.users.asked
    await world.tell(placed(user))

    async def was_asked_again() -> bool:
        return world.users.asked > asked + 8  # one call is repeated up to four times by itself

    await eventually(was_asked_again)
    (row,) = await world.rows(user)
    assert (row["status"], await world.attempts(user)) == ("pending", [])

    world.users.is_away = False

    await world.settled(user, "sent")
    assert await world.attempts(user) == [("accepted", None)]


async def test_who_is_gone_is_told_nothing(notifications: Notifications, user: int) -> None:
    world = notifications.world
    world.users.gone.add(user)

    await world.tell(placed(user))

    (row,) = await world.settled(user, "cancelled")
    assert (row["reason"], row["facts"]) == ("recipient_gone", "{}")


@pytest.mark.parametrize("make", [reset, verification])
async def test_a_mail_whose_link_is_of_no_use_is_dropped(
    notifications: Notifications, user: int, make: Callable[[int, str], Message]
) -> None:
    request_id = str(uuid7())
    notifications.world.users.used.add(request_id)

    await notifications.world.tell(make(user, request_id))

    (row,) = await notifications.world.settled(user, "cancelled")
    assert row["reason"] == "obsolete"
    assert notifications.world.mailbox.to(user) == []


async def test_a_welcome_needs_no_link(notifications: Notifications, user: int) -> None:
    request_id = str(uuid7())
    notifications.world.users.used.add(request_id)

    await notifications.world.tell(registered(user, request_id))

    await notifications.world.settled(user, "sent")
    (mail,) = notifications.world.mailbox.to(user)
    assert "verify-email" not in words(mail, "plain") + words(mail, "html")


async def test_a_token_is_in_its_mail_and_nowhere_else(
    notifications: Notifications, user: int, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    world, request_id = notifications.world, str(uuid7())
    await world.tell(reset(user, request_id))
    await world.settled(user, "sent")

    (mail,) = world.mailbox.to(user)
    assert token_of(request_id) in words(mail, "plain")
    async with world.sql() as sql:
        for table in ("notifications", "attempts", "inbox"):
            for row in await sql.fetch(f"SELECT t::text AS content FROM {table} t"):  # noqa: S608 - our own names
                assert token_of(request_id) not in row["content"]
                assert address_of(user) not in row["content"]
    answers = json.dumps(await notifications.of(user))
    logged = "".join(capsys.readouterr()) + caplog.text
    for secret in (token_of(request_id), address_of(user), request_id):
        assert secret not in answers
        if secret != request_id:
            assert secret not in logged
    assert str(world.settings().smtp_password) not in logged


async def test_a_name_that_is_an_advertisement_is_not_passed_on(notifications: Notifications, user: int) -> None:
    notifications.world.users.contacts[user] = {"display_name": "You won! http://evil.example"}

    await notifications.world.tell(registered(user))

    await notifications.world.settled(user, "sent")
    (mail,) = notifications.world.mailbox.to(user)
    assert "evil" not in mail.as_string() + words(mail, "plain") + words(mail, "html")


@pytest.mark.parametrize(
    "address", ["a@example.com\r\nBcc: all@example.com", "a@example.com>\r\nRCPT TO:<b@example.com", "nobody", "", "ü@"]
)
async def test_an_address_that_is_none_reaches_nobody(notifications: Notifications, user: int, address: str) -> None:
    world = notifications.world
    world.users.contacts[user] = {"email": address}
    before = len(world.mailbox.mails)

    await world.tell(placed(user))

    (row,) = await world.settled(user, "failed")
    assert row["reason"] == "malformed_address"
    assert len(world.mailbox.mails) == before


async def test_a_message_that_cannot_be_made_is_bounded_and_disturbs_nobody(
    notifications: Notifications, user: int
) -> None:
    world = notifications.world
    async with world.sql() as sql:
        await sql.execute(
            "INSERT INTO notifications (id, cause, user_id, channel, template, template_version, facts, status,"
            " created_at, due_at) VALUES ($1, 'test', $2, 'email', 'order_placed', 1, '{}', 'pending', now(), now())",
            uuid7(),
            user + 50_000,
        )
    await world.tell(shipped(user))

    await world.settled(user, "sent")
    (row,) = await world.settled(user + 50_000, "failed")
    assert row["reason"] == "composing_failed"
    assert await world.attempts(user + 50_000) == [("transient", "composing_failed")] * 3


async def test_a_database_that_is_away_for_a_moment_causes_no_second_mail(
    notifications: Notifications, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, was_away, conclude = notifications.world, asyncio.Event(), Sending._conclude

    async def observed(sending: Sending, *arguments: Any) -> None:
        try:
            await conclude(sending, *arguments)
        except DatabaseUnavailable:
            was_away.set()
            raise

    async def cut_the_cable(_server: aiosmtpd.smtp.SMTP) -> str:
        await world.cable.sever()
        return "250 OK"

    monkeypatch.setattr(Sending, "_conclude", observed)
    world.mailbox.at_data[address_of(user)].append(cut_the_cable)
    await world.tell(placed(user))

    await was_away.wait()
    await world.cable.restore()

    await world.settled(user, "sent")
    assert len(world.mailbox.to(user)) == 1
    assert await world.attempts(user) == [("accepted", None)]


async def test_what_protects_an_account_waits_behind_no_order(lone_world: World) -> None:
    orders = [order_placed(placed(1)) for _ in range(500)]
    await lone_world.store(*orders, reset_requested(reset(2)))

    async with running(lone_world, send_concurrency=4):
        await lone_world.settled(2, "sent")

    assert address_of(2) in [address for address, _ in lone_world.mailbox.mails[:4]]


async def test_many_senders_in_two_processes_send_each_mail_once(lone_world: World) -> None:
    users, many = range(1, 25), {"send_concurrency": 8, "send_idle_seconds": 1}

    async def all_are_sent() -> bool:
        async with lone_world.sql() as sql:
            sent = await sql.fetchval("SELECT count(*) FROM notifications WHERE status = 'sent'")
            return bool(sent == len(users))

    async with running(lone_world, **many), running(lone_world, **many):
        await lone_world.tell(*(placed(user) for user in users))
        await eventually(all_are_sent)

    assert sorted(address for address, _ in lone_world.mailbox.mails) == sorted(address_of(user) for user in users)


async def test_so_many_mails_are_with_their_carrier_at_once_as_may_be_and_no_more(lone_world: World) -> None:
    users, at_once = range(1, 7), 4
    with_carrier: list[aiosmtpd.smtp.SMTP] = []
    all_that_may, may_answer = asyncio.Event(), asyncio.Event()

    async def wait(server: aiosmtpd.smtp.SMTP) -> str:
        with_carrier.append(server)
        if len(with_carrier) == at_once:
            all_that_may.set()
        await may_answer.wait()
        return "250 OK"

    for user in users:
        lone_world.mailbox.at_data[address_of(user)].append(wait)
    async with running(lone_world, send_concurrency=at_once):
        await lone_world.tell(*(placed(user) for user in users))
        await all_that_may.wait()
        for user in (7, 8, 9):  # meanwhile one more would have come
            await lone_world.tell(placed(user))
        assert len(with_carrier) == at_once
        may_answer.set()
        for user in users:
            await lone_world.settled(user, "sent")


async def test_a_process_looks_for_mails_once_at_a_time_however_many_it_may_send(
    lone_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looking, at_once = Sending._lease_one, Counter[Sending](), defaultdict[Sending, list[int]](list)
    looked_often = asyncio.Event()

    async def observed(self: Sending) -> Any:
        looking[self] += 1
        at_once[self].append(looking[self])
        if len(at_once[self]) == 20:
            looked_often.set()
        try:
            return await look(self)
        finally:
            looking[self] -= 1

    monkeypatch.setattr(Sending, "_lease_one", observed)
    async with running(lone_world, send_concurrency=8, send_idle_seconds=0.02):
        await looked_often.wait()

    assert {most for one in at_once.values() for most in one} == {1}


async def test_a_process_that_is_told_to_stop_finishes_what_its_carrier_has(lone_world: World) -> None:
    arrived, may_answer = asyncio.Event(), asyncio.Event()

    async def wait(_server: aiosmtpd.smtp.SMTP) -> str:
        arrived.set()
        await may_answer.wait()
        return "250 OK"

    lone_world.mailbox.at_data[address_of(1)].append(wait)
    async with running(lone_world):
        await lone_world.tell(placed(1))
        await arrived.wait()
        asyncio.get_running_loop().call_later(0.1, may_answer.set)

    (row,) = await lone_world.rows(1)
    assert row["status"] == "sent"
    assert len(lone_world.mailbox.to(1)) == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"smtp_password": "wrong"}, "smtp_login_535"),
        ({"smtp_ca_file": None}, "tls"),
        ({"smtp_port": 1}, "connection"),
        ({"smtp_user": None, "smtp_password": None}, "smtp_530"),
        ({"smtp_starttls": False, "smtp_user": None, "smtp_password": None}, "smtp_530"),
    ],
    ids=str,
)
async def test_our_own_misconfiguration_costs_no_mail_its_tries(
    lone_world: World, changes: dict[str, object], error: str
) -> None:
    async with running(lone_world, send_attempts=2, **changes):
        await lone_world.tell(placed(1))
        await lone_world.tried(1, 3)
    assert set(await lone_world.attempts(1)) == {("transient", error)}
    assert lone_world.mailbox.mails == []

    async with running(lone_world):
        await lone_world.settled(1, "sent")

    assert len(lone_world.mailbox.to(1)) == 1


async def test_a_password_that_expires_on_friday_loses_no_mail_of_the_weekend(
    lone_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = timedelta()
    monkeypatch.setattr(app, "_now", lambda: datetime.now(UTC) + away)
    as_shipped = {name: Settings.model_fields[name].default for name in ("send_attempts", "send_retry_seconds")}

    async with running(lone_world, **as_shipped, smtp_password="expired"):
        await lone_world.tell(placed(1))
        for tries in range(1, 14):
            await lone_world.tried(1, tries)
            away += timedelta(hours=5)
        await lone_world.tried(1, 14)
    (row,) = await lone_world.rows(1)
    assert (row["status"], lone_world.mailbox.mails) == ("pending", [])

    away += timedelta(hours=5)
    async with running(lone_world, **as_shipped):
        await lone_world.settled(1, "sent")

    assert len(lone_world.mailbox.to(1)) == 1


async def test_a_carrier_that_was_away_leaves_a_mail_its_tries(lone_world: World) -> None:
    lone_world.mailbox.at_rcpt[address_of(1)].extend(["451 try later"] * 5)
    async with running(lone_world, smtp_port=1):
        await lone_world.tell(placed(1))
        await lone_world.tried(1, 4)

    async with running(lone_world):
        (row,) = await lone_world.settled(1, "failed")

    assert row["reason"] == "smtp_451"
    assert len(lone_world.mailbox.at_rcpt[address_of(1)]) == 2


async def test_nothing_is_sent_in_the_clear_where_starttls_was_asked_for(lone_world: World, tmp_path: Path) -> None:
    async with mail_server(tmp_path, starttls=False) as naive:
        async with running(lone_world, smtp_port=naive.port, smtp_user=None, smtp_password=None):
            await lone_world.tell(placed(1))
            await lone_world.tried(1, 3)
        assert naive.mails == []

        async with running(lone_world, smtp_port=naive.port, smtp_starttls=False, smtp_user=None, smtp_password=None):
            await lone_world.settled(1, "sent")
        assert [address for address, _ in naive.mails] == [address_of(1)]


async def test_what_is_too_old_is_not_sent(lone_world: World) -> None:
    async with running(lone_world):
        lone_world.users.is_away = True
        await lone_world.tell(placed(1))
        async with lone_world.sql() as sql:
            await sql.execute("UPDATE notifications SET waiting_since = now() - interval '4 days'")
        (row,) = await lone_world.settled(1, "failed")
        assert (row["reason"], lone_world.mailbox.mails) == ("too_old", [])


async def test_an_old_one_that_an_admin_retries_is_not_too_old(lone_world: World) -> None:
    async with running(lone_world) as service:
        lone_world.mailbox.at_rcpt[address_of(1)].append("550 no")
        await lone_world.tell(placed(1))
        (row,) = await lone_world.settled(1, "failed")
        async with lone_world.sql() as sql:
            old = "now() - interval '30 days'"
            await sql.execute(f"UPDATE notifications SET created_at = {old}, waiting_since = {old}")  # noqa: S608 - ours

        await service.http.post(f"/api/v1/notifications/{row['id']}/retry", headers=service.admin)

        await lone_world.settled(1, "sent")


async def test_without_a_mail_server_the_log_says_that_a_mail_was_made_and_nothing_of_it(
    lone_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    request_id = str(uuid7())
    async with running(lone_world, smtp_host=None, smtp_from=None):
        await lone_world.tell(reset(1, request_id))
        (row,) = await lone_world.settled(1, "sent")

    logged = "".join(capsys.readouterr())
    assert "a mail was made and not sent" in logged
    assert str(row["id"]) in logged
    for secret in (token_of(request_id), address_of(1), "new password", "token="):
        assert secret not in logged
