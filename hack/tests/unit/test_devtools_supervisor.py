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

    recorded: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    broken: set[str] = field(default_factory=set)
    ends: dict[str, asyncio.Queue[int]] = field(default_factory=lambda: defaultdict(asyncio.Queue))

    async def start(self, *services: str) -> None:
        for service in services:
            self.recorded.put_nowait(f"start {service}")
            if service in self.broken:
                raise StackError(f"{service} ended by itself", "a traceback")

    async def ended(self, service: str) -> int:
        return await self.ends[service].get()

    async def stop(self, *services: str) -> None:
        for service in services:
            self.recorded.put_nowait(f"stop {service}")

    async def migrate(self, *services: str) -> None:
        for service in services:
            self.recorded.put_nowait(f"migrate {service}")


@dataclass
class SupervisedShop:
    supervisor: Supervisor
    stack: FakeStack
    printed: list[str]
    pauses: asyncio.Queue[float]
    resume: asyncio.Event

    async def recorded(self, count: int) -> list[str]:
        """Returns the next recorded call."""
        async with asyncio.timeout(5):
            return [await self.stack.recorded.get() for _ in range(count)]

    async def paused(self) -> float:
        async with asyncio.timeout(5):
            return await self.pauses.get()


@asynccontextmanager
async def supervised_shop(*broken: str) -> AsyncIterator[SupervisedShop]:
    """A supervisor with both services started; pauses last until `resume` is set."""
    stack, printed, pauses, resume = FakeStack(broken=set(broken)), list[str](), asyncio.Queue[float](), asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.put_nowait(seconds)
        await resume.wait()
        resume.clear()

    tested = Supervisor(stack, SERVICES, lambda service, text: printed.append(f"{service}: {text}"), pause)
    await tested.start(*SERVICES)
    shop = SupervisedShop(tested, stack, printed, pauses, resume)
    assert await shop.recorded(2) == ["start order", "start user"]
    yield shop
    await tested.stop()


async def test_a_change_of_one_service_restarts_only_that_service() -> None:
    async with supervised_shop() as shop:
        shop.supervisor.handle_change(Change(frozenset({"order"})))

        assert await shop.recorded(2) == ["stop order", "start order"]
        assert shop.stack.recorded.empty()
        assert shop.printed[0] == "order: its source changed: restarts"


async def test_a_change_of_shared_code_restarts_all_services() -> None:
    async with supervised_shop() as shop:
        shop.supervisor.handle_change(Change(frozenset(SERVICES)))

        assert sorted(await shop.recorded(4)) == ["start order", "start user", "stop order", "stop user"]


async def test_a_new_migration_is_run_before_the_service_starts() -> None:
    async with supervised_shop() as shop:
        shop.supervisor.handle_change(Change(frozenset({"order"}), frozenset({"order"})))

        assert await shop.recorded(3) == ["stop order", "migrate order", "start order"]


async def test_a_service_that_exits_is_reported_and_restarted_after_a_pause() -> None:
    async with supervised_shop() as shop:
        shop.stack.ends["user"].put_nowait(-9)

        assert await shop.paused() == 1
        assert shop.printed == ["user: ended with status -9; starts again in 1 s, or when its source changes"]
        assert shop.supervisor.running() == {"order"}
        shop.resume.set()
        assert await shop.recorded(2) == ["stop user", "start user"]


async def test_a_service_that_cannot_start_is_retried_with_growing_pauses() -> None:
    async with supervised_shop("order") as shop:
        for seconds in (1, 2, 4):
            assert await shop.paused() == seconds
            shop.resume.set()
            assert await shop.recorded(2) == ["stop order", "start order"]
        assert await shop.paused() == 8
        assert shop.supervisor.running() == {"user"}

        shop.stack.broken.clear()
        shop.supervisor.handle_change(Change(frozenset({"order"})))

        assert await shop.recorded(2) == ["stop order", "start order"]


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (5, 16), (6, 30), (60, 30)])
def test_pauses_double_up_to_half_a_minute(failures: int, seconds: float) -> None:
    assert pause_after(failures) == seconds
