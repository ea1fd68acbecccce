"""Delivers stored notifications over real SMTP sessions, with a server that fails in every way."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
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
    Environment,
    RunningService,
    address_of,
    body_of,
    id_of,
    mail_server,
    order_placed,
    order_shipped,
    reply,
    reset_requested,
    running_service,
    token_of,
    user_registered,
    verification_requested,
)
from notification_service.clients import smtp_connections
from notification_service.handlers import consumers
from notification_service.service.delivery import DeliveryService
from notification_service.settings import Settings
from prometheus_client import REGISTRY


async def test_a_mail_has_the_headers_and_parts_that_mail_clients_expect(service: RunningService, user: int) -> None:
    env = service.env
    await env.publish(order_placed(user, name='Lampe "Müller" <b>'))

    (row,) = await env.wait_for_status(user, "sent")
    (mail,) = env.mailbox.to(user)
    assert env.mailbox.was_encrypted
    assert mail["From"] == "Nordlicht <noreply@shop.example>"
    assert mail["To"] == address_of(user)
    assert mail["Message-ID"] == f"<{row['id']}@shop.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime is not None
    assert mail.get_content_type() == "multipart/alternative"
    assert 'Lampe "Müller" <b>' in body_of(mail, "plain")
    assert "Lampe &#34;Müller&#34; &lt;b&gt;" in body_of(mail, "html")
    assert await env.attempts(user) == [("accepted", None)]


async def test_a_mail_is_in_the_language_of_its_recipient(service: RunningService, user: int) -> None:
    service.env.users.contacts[user] = {"locale": "de-DE", "display_name": "Anna"}

    await service.env.publish(order_placed(user))

    await service.env.wait_for_status(user, "sent")
    (mail,) = service.env.mailbox.to(user)
    assert mail["Content-Language"] == "de"
    assert "Guten Tag Anna," in body_of(mail, "plain")
    assert "29,95\xa0€" in body_of(mail, "html")


@pytest.mark.parametrize("reply_text", ["451 4.3.0 try later", "421 4.3.2 going down", "450 4.2.1 greylisted"])
async def test_transient_failures_are_retried(service: RunningService, user: int, reply_text: str) -> None:
    env = service.env
    env.mailbox.rcpt_replies[address_of(user)].append(reply_text)

    await env.publish(order_placed(user))

    await env.wait_for_status(user, "sent")
    assert await env.attempts(user) == [("transient", f"smtp_{reply_text[:3]}"), ("accepted", None)]
    assert len(env.mailbox.to(user)) == 1


async def test_a_rejected_recipient_fails_at_once_until_an_admin_retries(service: RunningService, user: int) -> None:
    env = service.env
    env.mailbox.rcpt_replies[address_of(user)].append("550 5.1.1 <quoted@example.com> no such mailbox")

    await env.publish(order_placed(user))

    (row,) = await env.wait_for_status(user, "failed")
    assert row["reason"] == "smtp_550"
    assert await env.attempts(user) == [("permanent", "smtp_550")]
    dead = (await service.http.get("/api/v1/notifications/dead?limit=100", headers=service.admin)).json()
    (listed,) = [each for each in dead["data"] if each["user_id"] == user]
    assert (listed["status"], listed["reason"]) == ("failed", "smtp_550")
    assert "quoted@" not in json.dumps(dead)

    again = await service.http.post(f"/api/v1/notifications/{listed['id']}/retry", headers=service.admin)

    assert again.json()["data"]["status"] == "pending"
    await env.wait_for_status(user, "sent")
    assert await env.attempts(user) == [("permanent", "smtp_550"), ("accepted", None)]


async def test_a_rejected_message_fails_at_once(service: RunningService, user: int) -> None:
    env = service.env
    env.mailbox.data_handlers[address_of(user)].append(reply("554 5.7.1 looks like spam"))

    await env.publish(order_placed(user))

    await env.wait_for_status(user, "failed")
    assert await env.attempts(user) == [("permanent", "smtp_554")]


async def test_attempts_are_limited(service: RunningService, user: int) -> None:
    env = service.env
    env.mailbox.rcpt_replies[address_of(user)].extend(["451 try later"] * 5)

    await env.publish(order_placed(user))

    (row,) = await env.wait_for_status(user, "failed")
    assert row["reason"] == "smtp_451"
    assert await env.attempts(user) == [("transient", "smtp_451")] * 3
    assert len(env.mailbox.rcpt_replies[address_of(user)]) == 2


async def test_a_mail_is_sent_once_more_if_the_connection_breaks_before_the_reply(
    service: RunningService, user: int
) -> None:
    """The server accepted the mail but its reply was lost. The second copy has the same Message-ID."""
    env = service.env
    env.mailbox.data_handlers[address_of(user)].append(env.mailbox.disconnect)

    await env.publish(order_placed(user))

    (row,) = await env.wait_for_status(user, "sent")
    assert [id_of(mail) for mail in env.mailbox.to(user)] == [row["id"]] * 2
    assert await env.attempts(user) == [("unknown", "connection_lost"), ("accepted", None)]


async def send_to(env: Environment, user: int) -> None:
    await env.publish(order_placed(user))
    await env.wait_for_status(user, "sent")


async def test_mails_that_follow_each_other_share_a_connection(
    isolated_env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_connections, "_IDLE_SECONDS", 60)
    async with running_service(isolated_env):
        for user in (1, 2, 3):
            await send_to(isolated_env, user)

    assert [len(isolated_env.mailbox.to(user)) for user in (1, 2, 3)] == [1, 1, 1]
    assert len(isolated_env.mailbox.served) == 1


async def test_a_connection_is_used_again_for_a_bounded_time(
    isolated_env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_connections, "_LIFETIME_SECONDS", 0)
    async with running_service(isolated_env):
        await send_to(isolated_env, 1)
        await isolated_env.mailbox.has_quit.wait()
        await send_to(isolated_env, 2)

    assert len(isolated_env.mailbox.served) == 2


async def test_a_connection_without_further_mails_ends(
    isolated_env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_connections, "_IDLE_SECONDS", 0)
    async with running_service(isolated_env):
        await send_to(isolated_env, 1)
        async with asyncio.timeout(60):
            await isolated_env.mailbox.has_quit.wait()


async def test_a_stopping_service_ends_its_connections(
    isolated_env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_connections, "_IDLE_SECONDS", 60)
    async with running_service(isolated_env):
        await send_to(isolated_env, 1)
        assert not isolated_env.mailbox.has_quit.is_set()

    assert isolated_env.mailbox.has_quit.is_set()


@pytest.mark.parametrize("ending", ["closed", "421 closing"])
async def test_a_connection_that_the_server_has_ended_costs_no_attempt(
    isolated_env: Environment, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(smtp_connections, "_IDLE_SECONDS", 60)
    mailbox = isolated_env.mailbox
    async with running_service(isolated_env):
        await send_to(isolated_env, 1)
        if ending == "closed":
            transport = mailbox.served[0].transport
            assert isinstance(transport, asyncio.WriteTransport)
            transport.abort()
        else:
            mailbox.mail_replies.append(ending)
        await send_to(isolated_env, 2)

    assert await isolated_env.attempts(2) == [("accepted", None)]
    assert len(mailbox.to(2)) == 1
    assert len(mailbox.served) == 2


async def test_a_recipient_who_is_refused_on_a_shared_connection_is_not_tried_on_another(
    isolated_env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_connections, "_IDLE_SECONDS", 60)
    isolated_env.mailbox.rcpt_replies[address_of(2)].extend(["550 no such user"] * 2)
    async with running_service(isolated_env):
        await send_to(isolated_env, 1)
        await isolated_env.publish(order_placed(2))
        await isolated_env.wait_for_status(2, "failed")
        await send_to(isolated_env, 3)

    assert await isolated_env.attempts(2) == [("permanent", "smtp_550")]
    assert len(isolated_env.mailbox.rcpt_replies[address_of(2)]) == 1


async def test_a_mail_is_sent_at_most_twice(service: RunningService, user: int) -> None:
    env = service.env
    env.mailbox.data_handlers[address_of(user)].extend([env.mailbox.disconnect] * 5)

    await env.publish(order_placed(user))

    (row,) = await env.wait_for_status(user, "failed")
    assert row["reason"] == "outcome_unknown"
    assert [id_of(mail) for mail in env.mailbox.to(user)] == [row["id"]] * 2


@pytest.mark.parametrize("limit", [{"smtp_timeout_seconds": 0.5}, {"send_lease_seconds": 2}], ids=str)
async def test_a_server_that_never_replies_is_abandoned_within_the_lease(
    isolated_env: Environment, limit: dict[str, object]
) -> None:
    isolated_env.mailbox.data_handlers[address_of(1)].extend([isolated_env.mailbox.hang] * 5)

    async with running_service(isolated_env, send_attempts=20, **limit):
        await isolated_env.publish(order_placed(1))
        (row,) = await isolated_env.wait_for_status(1, "failed")

    assert row["reason"] == "outcome_unknown"
    assert [id_of(mail) for mail in isolated_env.mailbox.to(1)] == [row["id"]] * 2


async def test_notifications_wait_while_the_user_service_is_unavailable(service: RunningService, user: int) -> None:
    env = service.env
    env.users.is_unavailable = True
    calls = env.users.contact_calls
    await env.publish(order_placed(user))

    async def was_called_again() -> bool:
        return env.users.contact_calls > calls + 8  # the client repeats one call up to four times

    await eventually(was_called_again)
    (row,) = await env.rows(user)
    assert (row["status"], await env.attempts(user)) == ("pending", [])

    env.users.is_unavailable = False

    await env.wait_for_status(user, "sent")
    assert await env.attempts(user) == [("accepted", None)]


async def test_a_mail_to_a_deleted_account_is_cancelled(service: RunningService, user: int) -> None:
    env = service.env
    env.users.gone.add(user)

    await env.publish(order_placed(user))

    (row,) = await env.wait_for_status(user, "cancelled")
    assert (row["reason"], row["facts"]) == ("recipient_gone", "{}")


@pytest.mark.parametrize("make", [reset_requested, verification_requested])
async def test_a_mail_is_cancelled_if_its_token_is_no_longer_valid(
    service: RunningService, user: int, make: Callable[[int, str], Message]
) -> None:
    request_id = str(uuid7())
    service.env.users.used.add(request_id)

    await service.env.publish(make(user, request_id))

    (row,) = await service.env.wait_for_status(user, "cancelled")
    assert row["reason"] == "obsolete"
    assert service.env.mailbox.to(user) == []


async def test_a_welcome_is_sent_without_a_link_if_its_token_is_no_longer_valid(
    service: RunningService, user: int
) -> None:
    request_id = str(uuid7())
    service.env.users.used.add(request_id)

    await service.env.publish(user_registered(user, request_id))

    await service.env.wait_for_status(user, "sent")
    (mail,) = service.env.mailbox.to(user)
    assert "verify-email" not in body_of(mail, "plain") + body_of(mail, "html")


async def test_a_token_is_only_in_its_mail(
    service: RunningService, user: int, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    env, request_id = service.env, str(uuid7())
    await env.publish(reset_requested(user, request_id))
    await env.wait_for_status(user, "sent")

    (mail,) = env.mailbox.to(user)
    assert token_of(request_id) in body_of(mail, "plain")
    async with env.sql() as sql:
        for table in ("notifications", "attempts", "inbox"):
            for row in await sql.fetch(f"SELECT t::text AS content FROM {table} t"):  # noqa: S608 - constant names
                assert token_of(request_id) not in row["content"]
                assert address_of(user) not in row["content"]
    listed = json.dumps(await service.notifications_of(user))
    logged = "".join(capsys.readouterr()) + caplog.text
    for secret in (token_of(request_id), address_of(user), request_id):
        assert secret not in listed
        if secret != request_id:
            assert secret not in logged
    assert str(env.settings().smtp_password) not in logged


async def test_a_display_name_with_a_link_is_left_out(service: RunningService, user: int) -> None:
    service.env.users.contacts[user] = {"display_name": "You won! http://evil.example"}

    await service.env.publish(user_registered(user))

    await service.env.wait_for_status(user, "sent")
    (mail,) = service.env.mailbox.to(user)
    assert "evil" not in mail.as_string() + body_of(mail, "plain") + body_of(mail, "html")


@pytest.mark.parametrize(
    "address",
    ["a@example.com\r\nBcc: all@example.com", "a@example.com>\r\nRCPT TO:<b@example.com", "no-at-sign", "", "ü@"],
)
async def test_a_malformed_address_fails_without_sending(service: RunningService, user: int, address: str) -> None:
    env = service.env
    env.users.contacts[user] = {"email": address}
    before = len(env.mailbox.mails)

    await env.publish(order_placed(user))

    (row,) = await env.wait_for_status(user, "failed")
    assert row["reason"] == "malformed_address"
    assert len(env.mailbox.mails) == before


async def test_a_message_that_cannot_be_rendered_fails_without_affecting_others(
    service: RunningService, user: int
) -> None:
    env = service.env
    async with env.sql() as sql:
        await sql.execute(
            "INSERT INTO notifications (id, cause, user_id, channel, template, template_version, facts, status,"
            " created_at, due_at) VALUES ($1, 'test', $2, 'email', 'order_placed', 1, '{}', 'pending', now(), now())",
            uuid7(),
            user + 50_000,
        )
    await env.publish(order_shipped(user))

    await env.wait_for_status(user, "sent")
    (row,) = await env.wait_for_status(user + 50_000, "failed")
    assert row["reason"] == "composing_failed"
    assert await env.attempts(user + 50_000) == [("transient", "composing_failed")] * 3


async def test_a_short_database_outage_causes_no_second_mail(
    service: RunningService, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, was_unavailable, conclude = service.env, asyncio.Event(), DeliveryService._conclude

    async def observed(delivery: DeliveryService, *arguments: Any) -> None:
        try:
            await conclude(delivery, *arguments)
        except DatabaseUnavailable:
            was_unavailable.set()
            raise

    async def cut_database(_server: aiosmtpd.smtp.SMTP) -> str:
        await env.database_proxy.sever()
        return "250 OK"

    monkeypatch.setattr(DeliveryService, "_conclude", observed)
    env.mailbox.data_handlers[address_of(user)].append(cut_database)
    await env.publish(order_placed(user))

    await was_unavailable.wait()
    await env.database_proxy.restore()

    await env.wait_for_status(user, "sent")
    assert len(env.mailbox.to(user)) == 1
    assert await env.attempts(user) == [("accepted", None)]


async def test_security_mails_are_sent_before_order_mails(isolated_env: Environment) -> None:
    orders = [consumers.order_placed(order_placed(1)) for _ in range(500)]
    await isolated_env.store(*orders, consumers.reset_requested(reset_requested(2)))

    async with running_service(isolated_env, send_concurrency=4):
        await isolated_env.wait_for_status(2, "sent")

    assert address_of(2) in [address for address, _ in isolated_env.mailbox.mails[:4]]


async def test_two_processes_send_each_mail_once(isolated_env: Environment) -> None:
    users, concurrent = range(1, 25), {"send_concurrency": 8, "send_idle_seconds": 1}

    async def all_are_sent() -> bool:
        async with isolated_env.sql() as sql:
            sent = await sql.fetchval("SELECT count(*) FROM notifications WHERE status = 'sent'")
            return bool(sent == len(users))

    async with running_service(isolated_env, **concurrent), running_service(isolated_env, **concurrent):
        await isolated_env.publish(*(order_placed(user) for user in users))
        await eventually(all_are_sent)

    assert sorted(address for address, _ in isolated_env.mailbox.mails) == sorted(address_of(user) for user in users)


async def test_mails_are_sent_concurrently_up_to_the_limit(isolated_env: Environment) -> None:
    users, at_once = range(1, 7), 4
    being_sent: list[aiosmtpd.smtp.SMTP] = []
    limit_reached, may_reply = asyncio.Event(), asyncio.Event()

    async def wait(server: aiosmtpd.smtp.SMTP) -> str:
        being_sent.append(server)
        if len(being_sent) == at_once:
            limit_reached.set()
        await may_reply.wait()
        return "250 OK"

    for user in users:
        isolated_env.mailbox.data_handlers[address_of(user)].append(wait)
    async with running_service(isolated_env, send_concurrency=at_once):
        await isolated_env.publish(*(order_placed(user) for user in users))
        await limit_reached.wait()
        for user in (7, 8, 9):  # by then a further mail would have been sent
            await isolated_env.publish(order_placed(user))
        assert len(being_sent) == at_once
        may_reply.set()
        for user in users:
            await isolated_env.wait_for_status(user, "sent")


async def test_a_process_leases_one_mail_at_a_time(isolated_env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    lease_one, running, at_once = (
        DeliveryService._lease_one,
        Counter[DeliveryService](),
        defaultdict[DeliveryService, list[int]](list),
    )
    leased_often = asyncio.Event()

    async def observed(self: DeliveryService) -> Any:
        running[self] += 1
        at_once[self].append(running[self])
        if len(at_once[self]) == 20:
            leased_often.set()
        try:
            return await lease_one(self)
        finally:
            running[self] -= 1

    monkeypatch.setattr(DeliveryService, "_lease_one", observed)
    async with running_service(isolated_env, send_concurrency=8, send_idle_seconds=0.02):
        await leased_often.wait()

    assert {most for one in at_once.values() for most in one} == {1}


async def test_a_stopping_service_finishes_the_mail_that_it_is_sending(isolated_env: Environment) -> None:
    arrived, may_reply = asyncio.Event(), asyncio.Event()

    async def wait(_server: aiosmtpd.smtp.SMTP) -> str:
        arrived.set()
        await may_reply.wait()
        return "250 OK"

    isolated_env.mailbox.data_handlers[address_of(1)].append(wait)
    async with running_service(isolated_env):
        await isolated_env.publish(order_placed(1))
        await arrived.wait()
        asyncio.get_running_loop().call_later(0.1, may_reply.set)

    (row,) = await isolated_env.rows(1)
    assert row["status"] == "sent"
    assert len(isolated_env.mailbox.to(1)) == 1


async def test_a_service_that_stops_while_it_leases_a_mail_leaves_it_to_the_next(
    isolated_env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_one, is_leased, may_return = DeliveryService._lease_one, asyncio.Event(), asyncio.Event()

    async def return_late(self: DeliveryService) -> Any:
        if (leased := await lease_one(self)) is not None:
            is_leased.set()
            await may_return.wait()
        return leased

    with monkeypatch.context() as patched:
        patched.setattr(DeliveryService, "_lease_one", return_late)
        async with running_service(isolated_env, send_lease_seconds=3600):
            await isolated_env.publish(order_placed(1))
            await is_leased.wait()
            asyncio.get_running_loop().call_later(0.1, may_return.set)
    assert await isolated_env.attempts(1) == []

    async with running_service(isolated_env):
        await isolated_env.wait_for_status(1, "sent")

    assert len(isolated_env.mailbox.to(1)) == 1


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
async def test_attempts_with_our_misconfiguration_do_not_count(
    isolated_env: Environment, changes: dict[str, object], error: str
) -> None:
    async with running_service(isolated_env, send_attempts=2, **changes):
        await isolated_env.publish(order_placed(1))
        await isolated_env.wait_for_attempts(1, 3)
    assert set(await isolated_env.attempts(1)) == {("transient", error)}
    assert isolated_env.mailbox.mails == []

    async with running_service(isolated_env):
        await isolated_env.wait_for_status(1, "sent")

    assert len(isolated_env.mailbox.to(1)) == 1


async def test_an_expired_password_loses_no_mail_over_a_weekend(
    isolated_env: Environment,
) -> None:
    elapsed = timedelta()
    defaults = {name: Settings.model_fields[name].default for name in ("send_attempts", "send_retry_seconds")}

    def now() -> datetime:
        return datetime.now(UTC) + elapsed

    env = replace(isolated_env, now=now)

    async with running_service(env, **defaults, smtp_password="expired"):
        await isolated_env.publish(order_placed(1))
        for attempts in range(1, 14):
            await isolated_env.wait_for_attempts(1, attempts)
            elapsed += timedelta(hours=5)
        await isolated_env.wait_for_attempts(1, 14)
    (row,) = await isolated_env.rows(1)
    assert (row["status"], isolated_env.mailbox.mails) == ("pending", [])

    elapsed += timedelta(hours=5)
    async with running_service(env, **defaults):
        await isolated_env.wait_for_status(1, "sent")

    assert len(isolated_env.mailbox.to(1)) == 1


async def test_attempts_while_the_mail_server_was_unavailable_do_not_count(isolated_env: Environment) -> None:
    isolated_env.mailbox.rcpt_replies[address_of(1)].extend(["451 try later"] * 5)
    async with running_service(isolated_env, smtp_port=1):
        await isolated_env.publish(order_placed(1))
        await isolated_env.wait_for_attempts(1, 4)

    async with running_service(isolated_env):
        (row,) = await isolated_env.wait_for_status(1, "failed")

    assert row["reason"] == "smtp_451"
    assert len(isolated_env.mailbox.rcpt_replies[address_of(1)]) == 2


async def test_nothing_is_sent_unencrypted_if_starttls_is_required(isolated_env: Environment, tmp_path: Path) -> None:
    async with mail_server(tmp_path, starttls=False) as plain_server:
        async with running_service(isolated_env, smtp_port=plain_server.port, smtp_user=None, smtp_password=None):
            await isolated_env.publish(order_placed(1))
            await isolated_env.wait_for_attempts(1, 3)
        assert plain_server.mails == []

        async with running_service(
            isolated_env, smtp_port=plain_server.port, smtp_starttls=False, smtp_user=None, smtp_password=None
        ):
            await isolated_env.wait_for_status(1, "sent")
        assert [address for address, _ in plain_server.mails] == [address_of(1)]


async def test_a_notification_that_is_too_old_fails(isolated_env: Environment) -> None:
    async with running_service(isolated_env):
        isolated_env.users.is_unavailable = True
        await isolated_env.publish(order_placed(1))
        async with isolated_env.sql() as sql:
            await sql.execute("UPDATE notifications SET waiting_since = now() - interval '4 days'")
        (row,) = await isolated_env.wait_for_status(1, "failed")
        assert (row["reason"], isolated_env.mailbox.mails) == ("too_old", [])


async def test_an_old_notification_can_be_retried_by_an_admin(isolated_env: Environment) -> None:
    async with running_service(isolated_env) as service:
        isolated_env.mailbox.rcpt_replies[address_of(1)].append("550 no")
        await isolated_env.publish(order_placed(1))
        (row,) = await isolated_env.wait_for_status(1, "failed")
        async with isolated_env.sql() as sql:
            old = "now() - interval '30 days'"
            await sql.execute(f"UPDATE notifications SET created_at = {old}, waiting_since = {old}")  # noqa: S608 - a constant

        await service.http.post(f"/api/v1/notifications/{row['id']}/retry", headers=service.admin)

        await isolated_env.wait_for_status(1, "sent")


async def test_without_a_mail_server_a_mail_is_recorded_as_not_sent(
    isolated_env: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    request_id, before = str(uuid7()), not_sent_mails()
    async with running_service(isolated_env, smtp_host=None, smtp_from=None) as service:
        await isolated_env.publish(reset_requested(1, request_id))
        (row,) = await isolated_env.wait_for_status(1, "not_sent")
        (shown,) = await service.notifications_of(1)

    assert not_sent_mails() == before + 1
    assert (row["reason"], row["sent_at"]) == ("no_mail_server", None)
    assert (shown["status"], shown["reason"], shown["sent_at"]) == ("not_sent", "no_mail_server", None)
    assert shown["attempts"] == []
    logged = "".join(capsys.readouterr())
    assert "no mail is sent: SMTP_HOST is unset" in logged
    assert str(row["id"]) in logged
    for secret in (token_of(request_id), address_of(1), "new password", "token="):
        assert secret not in logged


def not_sent_mails() -> float:
    return REGISTRY.get_sample_value("notifications_not_sent_total", {"channel": "email"}) or 0.0
