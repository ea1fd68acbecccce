"""The supervisor restarts services after they exit and when their source changes; the stack is a fake."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from devtools.file_watcher import Change
from devtools.stack import StackError
from devtools.supervisor import Supervisor, pause_after

SERVICES = ("order", "user")


@dataclass
class FakeStack:
    """Records calls; a service exits when a test says so, and starts unless it is marked as broken."""

    told: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    broken: set[str] = field(default_factory=set)
    ends: dict[str, asyncio.Queue[int]] = field(default_factory=lambda: defaultdict(asyncio.Queue))

    async def start(self, *services: str) -> None:
        for service in services:
            self.told.put_nowait(f"start {service}")
            if service in self.broken:
                raise StackError(f"{service} ended by itself", "a traceback")

    async def ended(self, service: str) -> int:
        return await self.ends[service].get()

    async def stop(self, *services: str) -> None:
        for service in services:
            self.told.put_nowait(f"stop {service}")

    async def migrate(self, *services: str) -> None:
        for service in services:
            self.told.put_nowait(f"migrate {service}")


@dataclass
class Supervised:
    tending: Supervisor
    stack: FakeStack
    said: list[str]
    pauses: asyncio.Queue[float]
    resume: asyncio.Event

    async def told(self, count: int) -> list[str]:
        """Returns the next recorded call."""
        async with asyncio.timeout(5):
            return [await self.stack.told.get() for _ in range(count)]

    async def paused(self) -> float:
        async with asyncio.timeout(5):
            return await self.pauses.get()


@asynccontextmanager
async def tended(*broken: str) -> AsyncIterator[Supervised]:
    """A supervisor with both services started; pauses last until `resume` is set."""
    stack, said, pauses, resume = FakeStack(broken=set(broken)), list[str](), asyncio.Queue[float](), asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.put_nowait(seconds)
        await resume.wait()
        resume.clear()

    tending = Supervisor(stack, SERVICES, lambda service, text: said.append(f"{service}: {text}"), pause)
    await tending.start(*SERVICES)
    tended = Supervised(tending, stack, said, pauses, resume)
    assert await tended.told(2) == ["start order", "start user"]
    yield tended
    await tending.stop()


async def test_a_change_of_one_service_restarts_it_alone() -> None:
    async with tended() as shop:
        shop.tending.handle_change(Change(frozenset({"order"})))

        assert await shop.told(2) == ["stop order", "start order"]
        assert shop.stack.told.empty()
        assert shop.said[0] == "order: its source changed: restarts"


async def test_a_change_of_what_all_share_restarts_all() -> None:
    async with tended() as shop:
        shop.tending.handle_change(Change(frozenset(SERVICES)))

        assert sorted(await shop.told(4)) == ["start order", "start user", "stop order", "stop user"]


async def test_a_new_migration_is_run_before_the_service_starts() -> None:
    async with tended() as shop:
        shop.tending.handle_change(Change(frozenset({"order"}), frozenset({"order"})))

        assert await shop.told(3) == ["stop order", "migrate order", "start order"]


async def test_a_service_that_ends_says_so_and_starts_again_after_a_pause() -> None:
    async with tended() as shop:
        shop.stack.ends["user"].put_nowait(-9)

        assert await shop.paused() == 1
        assert shop.said == ["user: ended with status -9; starts again in 1 s, or when its source changes"]
        assert shop.tending.running() == {"order"}
        shop.resume.set()
        assert await shop.told(2) == ["stop user", "start user"]


async def test_a_service_that_cannot_start_waits_longer_each_time_and_for_no_change() -> None:
    async with tended("order") as shop:
        for seconds in (1, 2, 4):
            assert await shop.paused() == seconds
            shop.resume.set()
            assert await shop.told(2) == ["stop order", "start order"]
        assert await shop.paused() == 8
        assert shop.tending.running() == {"user"}

        shop.stack.broken.clear()
        shop.tending.handle_change(Change(frozenset({"order"})))

        assert await shop.told(2) == ["stop order", "start order"]


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (5, 16), (6, 30), (60, 30)])
def test_pauses_double_up_to_half_a_minute(failures: int, seconds: float) -> None:
    assert pause_after(failures) == seconds
