"""An event loop whose time jumps to the next timer as soon as nothing else can run: an hour passes in seconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")


def run_in_virtual_time(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end. Sockets work if both ends of each connection are in this loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.get_loop().set_default_executor(_Inline())
        return runner.run(coroutine)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_ImpatientSelector(self))

    def time(self) -> float:
        return self.now

    def set_default_executor(self, executor: Executor) -> None:
        """Takes an executor that is no pool of threads, of which the loop would not know that they are busy."""
        self._default_executor = executor


class _ImpatientSelector(selectors.DefaultSelector):
    """A selector that moves the loop's time instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout is None:
            return list(super().select(5)) or _fail()
        if not ready and timeout is not None:
            self._loop.now += timeout
        return ready


def _fail() -> list[tuple[selectors.SelectorKey, int]]:
    raise AssertionError("every task waits, and for no timer: none of them can ever go on")


class _Inline(Executor):
    """Runs each call at once, in the loop's own thread."""

    def submit(self, fn: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future
