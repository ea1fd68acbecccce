"""A process that is killed, for real: what it was sending is taken up by the next, and no mail goes out more than twice."""

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
from chassis_testing.waiting import eventually
from notification_harness import AT, World, address_of, id_of, placed


def environment(world: World, lease: float) -> dict[str, str]:
    settings = world.settings(
        send_lease_seconds=lease, smtp_timeout_seconds=5, metrics_port=0, shutdown_drain_seconds=0
    )
    values = {name: value for name, value in settings.model_dump().items() if value is not None}
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("SMTP_")},
        **{
            name.upper(): str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in values.items()
        },
    }


@asynccontextmanager
async def process(world: World, lease: float = 3) -> AsyncIterator[asyncio.subprocess.Process]:
    """The service as it is started in a pod, without its HTTP side."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notification_service", "serve", "--only", "background", env=environment(world, lease),
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def killed_after_acceptance(world: World, user: int) -> None:
    """The next mail to somebody is taken, and its sender is dead before it hears so."""
    async with process(world) as sender:

        async def kill(_server: aiosmtpd.smtp.SMTP) -> str:
            sender.send_signal(signal.SIGKILL)
            await sender.wait()
            return "250 OK"

        world.mailbox.at_data[address_of(user)].append(kill)
        async with asyncio.timeout(30):
            assert await sender.wait() == -signal.SIGKILL


async def test_a_mail_of_a_killed_process_comes_at_most_twice_and_is_recognizable(lone_world: World) -> None:
    await publish_events(lone_world.broker_url, [_event(1)])

    await killed_after_acceptance(lone_world, 1)
    async with process(lone_world):
        await _over(lone_world, 1, "sent")

    (row,) = await lone_world.rows(1)
    assert [id_of(mail) for mail in lone_world.mailbox.to(1)] == [row["id"]] * 2
    assert await lone_world.attempts(1) == [(None, None), ("accepted", None)]


async def test_a_mail_whose_senders_keep_dying_is_left_to_an_admin(lone_world: World) -> None:
    await publish_events(lone_world.broker_url, [_event(2)])

    await killed_after_acceptance(lone_world, 2)
    await killed_after_acceptance(lone_world, 2)
    async with process(lone_world):
        await _over(lone_world, 2, "failed")

    (row,) = await lone_world.rows(2)
    assert row["reason"] == "outcome_unknown"
    assert [id_of(mail) for mail in lone_world.mailbox.to(2)] == [row["id"]] * 2


async def test_a_process_that_stops_in_peace_leaves_nothing_behind(lone_world: World) -> None:
    await publish_events(lone_world.broker_url, [_event(3)])

    async with process(lone_world) as sender:
        await _over(lone_world, 3, "sent")
        sender.terminate()
        async with asyncio.timeout(20):
            assert await sender.wait() == 0

    assert len(lone_world.mailbox.to(3)) == 1


async def test_a_mail_that_is_with_its_carrier_is_settled_before_the_process_ends(lone_world: World) -> None:
    await publish_events(lone_world.broker_url, [_event(4)])

    async with process(lone_world, lease=20) as sender:

        async def accept_late(_server: aiosmtpd.smtp.SMTP) -> str:
            sender.terminate()
            await asyncio.wait({asyncio.ensure_future(sender.wait())}, timeout=3)
            return "250 OK"

        lone_world.mailbox.at_data[address_of(4)].append(accept_late)
        async with asyncio.timeout(30):
            assert await sender.wait() == 0

    assert await lone_world.attempts(4) == [("accepted", None)]
    assert len(lone_world.mailbox.to(4)) == 1


def _event(user: int) -> Event:
    return Event(uuid7(), "", AT, placed(user), {})


async def _over(world: World, user: int, status: str) -> None:
    async def is_over() -> bool:
        return [row["status"] for row in await world.rows(user)] == [status]

    await eventually(is_over, within=60)
