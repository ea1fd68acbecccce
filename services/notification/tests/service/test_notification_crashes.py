"""Kills processes of the service with SIGKILL: another process continues, and no mail is sent more than twice."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosmtpd.smtp
from chassis.messaging.events import Event
from chassis.types.ids import uuid7
from chassis_testing.broker import publish_events
from chassis_testing.callers import pairs
from chassis_testing.waiting import eventually
from notification_harness import AT, Environment, address_of, id_of, order_placed


def variables(env: Environment, lease: float) -> dict[str, str]:
    settings = env.settings(send_lease_seconds=lease, smtp_timeout_seconds=5, metrics_port=0, shutdown_drain_seconds=0)
    values = {name: value for name, value in settings.model_dump().items() if value is not None}
    values["grpc_tokens"] = pairs(settings.grpc_tokens)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("SMTP_")},
        **{
            name.upper(): str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in values.items()
        },
    }


@asynccontextmanager
async def process(env: Environment, lease: float = 3) -> AsyncIterator[asyncio.subprocess.Process]:
    """Starts the service as in a pod, but without HTTP and gRPC."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notification_service", "serve", "--only", "background", env=variables(env, lease),
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def killed_after_acceptance(env: Environment, user: int) -> None:
    """Runs a process that is killed after the mail server has received the next mail to a user, before its reply."""
    async with process(env) as sender:

        async def kill(_server: aiosmtpd.smtp.SMTP) -> str:
            sender.send_signal(signal.SIGKILL)
            await sender.wait()
            return "250 OK"

        env.mailbox.data_handlers[address_of(user)].append(kill)
        async with asyncio.timeout(30):
            assert await sender.wait() == -signal.SIGKILL


async def test_a_mail_of_a_killed_process_is_sent_at_most_twice_with_one_message_id(isolated_env: Environment) -> None:
    await publish_events(isolated_env.broker_url, [_event(1)])

    await killed_after_acceptance(isolated_env, 1)
    async with process(isolated_env):
        await _wait_for_status(isolated_env, 1, "sent")

    (row,) = await isolated_env.rows(1)
    assert [id_of(mail) for mail in isolated_env.mailbox.to(1)] == [row["id"]] * 2
    assert await isolated_env.attempts(1) == [(None, None), ("accepted", None)]


async def test_a_mail_fails_after_two_processes_were_killed_while_sending_it(isolated_env: Environment) -> None:
    await publish_events(isolated_env.broker_url, [_event(2)])

    await killed_after_acceptance(isolated_env, 2)
    await killed_after_acceptance(isolated_env, 2)
    async with process(isolated_env):
        await _wait_for_status(isolated_env, 2, "failed")

    (row,) = await isolated_env.rows(2)
    assert row["reason"] == "outcome_unknown"
    assert [id_of(mail) for mail in isolated_env.mailbox.to(2)] == [row["id"]] * 2


async def test_a_terminated_process_exits_without_sending_a_mail_twice(isolated_env: Environment) -> None:
    await publish_events(isolated_env.broker_url, [_event(3)])

    async with process(isolated_env) as sender:
        await _wait_for_status(isolated_env, 3, "sent")
        sender.terminate()
        async with asyncio.timeout(20):
            assert await sender.wait() == 0

    assert len(isolated_env.mailbox.to(3)) == 1


async def test_a_terminated_process_stores_the_result_of_the_mail_that_it_is_sending(isolated_env: Environment) -> None:
    await publish_events(isolated_env.broker_url, [_event(4)])

    async with process(isolated_env, lease=20) as sender:

        async def accept_late(_server: aiosmtpd.smtp.SMTP) -> str:
            sender.terminate()
            await asyncio.wait({asyncio.ensure_future(sender.wait())}, timeout=3)
            return "250 OK"

        isolated_env.mailbox.data_handlers[address_of(4)].append(accept_late)
        async with asyncio.timeout(30):
            assert await sender.wait() == 0

    assert await isolated_env.attempts(4) == [("accepted", None)]
    assert len(isolated_env.mailbox.to(4)) == 1


def _event(user: int) -> Event:
    return Event(uuid7(), "", AT, order_placed(user), {})


async def _wait_for_status(env: Environment, user: int, status: str) -> None:
    async def has_status() -> bool:
        return [row["status"] for row in await env.rows(user)] == [status]

    await eventually(has_status, within=60)
