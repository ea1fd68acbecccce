"""Runs the operator with counters of its API requests, their bytes, and the longest block of its event loop.

They are metrics of the process, beside the operator's own: `bench_*`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from prometheus_client import Counter, Gauge

logger = logging.getLogger(__name__)

REQUESTS = Counter("bench_api_requests", "Requests to the API server.", ["verb", "resource"])
BYTES = Counter("bench_api_bytes", "Bytes of the API server's answers.")
LONGEST_BLOCK = Gauge("bench_longest_block_seconds", "The longest time in one callback of the event loop.")
TASKS = Gauge("bench_tasks", "The unfinished tasks of the event loop.")
LONGEST_OWN_BLOCK = Gauge(
    "bench_longest_own_block_seconds", "The longest of these blocks without the time in which no processor was free."
)
LONGEST_WORK = Gauge("bench_longest_work_seconds", "The most processor time in one callback of the event loop.")
LOG_THRESHOLD = 0.05
"""Seconds of processor time in a callback from which on the log names it."""


def main() -> int:
    _count_requests(urlsplit(os.environ["BENCH_API_SERVER"]).port)
    _time_callbacks()
    from platform_operator.__main__ import main as run

    return run(["run"])


def _count_requests(port: int | None) -> None:
    """Traces every aiohttp session: the operator's own and Kopf's. Scrapes of shops have other ports.

    The Lease is renewed in a thread of its own.
    """
    main_thread = threading.get_ident()

    async def started(_: object, context: SimpleNamespace, request: aiohttp.TraceRequestStartParams) -> None:
        context.counts = request.url.port == port
        if context.counts:
            is_renewal = threading.get_ident() != main_thread
            verb = "RENEWAL" if is_renewal else "WATCH" if "watch" in request.url.query else request.method
            REQUESTS.labels(verb, resource(request.url.path)).inc()

    async def received(_: object, context: SimpleNamespace, chunk: aiohttp.TraceResponseChunkReceivedParams) -> None:
        if context.counts:
            BYTES.inc(len(chunk.chunk))

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(started)
    trace.on_response_chunk_received.append(received)
    original = aiohttp.ClientSession.__init__

    def traced(session: aiohttp.ClientSession, *arguments: Any, **options: Any) -> None:
        if threading.get_ident() == main_thread:
            loop = asyncio.get_running_loop()
            TASKS.set_function(lambda: len(asyncio.all_tasks(loop)))
        options["trace_configs"] = [*(options.get("trace_configs") or ()), trace]
        original(session, *arguments, **options)

    aiohttp.ClientSession.__init__ = traced  # type: ignore[method-assign, assignment]


def resource(path: str) -> str:
    """Returns the resource of a request's path, with its subresource: `secrets`, `ecommerceplatforms/status`."""
    parts = path.split("/")[3 if path.startswith("/api/") else 4 :]
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    return "/".join([*parts[:1], *parts[2:]])


def _time_callbacks() -> None:
    """Times every callback of the main thread's event loop, which has no hook for it. The Lease's thread is left out:
    it blocks no one.

    On a machine that other processes use too, a block is longer than the work in it: the kernel counts how long a
    thread that could run waited for a processor. The log names each callback with much work, and what of it was the
    collection of garbage.
    """
    main_thread = threading.get_ident()
    longest = own = most = 0.0
    run, collections = asyncio.Handle._run, _Collections()  # noqa: SLF001
    schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def start_timing(handle: asyncio.Handle) -> None:
        """Starts to time collections at the first callback. The operator has registered its own observer by then, whose
        time counts as that of the collection."""
        gc.callbacks.append(collections.observe)
        asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]  # noqa: SLF001
        timed(handle)

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest, own, most
        if threading.get_ident() != main_thread:
            run(handle)
            return
        collections.seconds, delay = 0.0, _delay(schedstat)
        began, worked = time.perf_counter(), time.thread_time()
        run(handle)
        took, worked = time.perf_counter() - began, time.thread_time() - worked
        delay = _delay(schedstat) - delay
        if took > longest:
            longest = took
            LONGEST_BLOCK.set(took)
        if took - delay > own:
            own = took - delay
            LONGEST_OWN_BLOCK.set(own)
        if worked > most:
            most = worked
            LONGEST_WORK.set(worked)
        if worked > LOG_THRESHOLD:
            logger.warning(
                "a callback took %.0f ms, waited %.0f ms of them for a processor, and used one for %.0f ms, "
                "%.0f ms of these to collect garbage: %s",
                took * 1000, delay * 1000, worked * 1000, collections.seconds * 1000, _place(handle),
            )  # fmt: skip

    asyncio.Handle._run = start_timing  # type: ignore[method-assign, assignment]  # noqa: SLF001


class _Collections:
    """The processor time of collections of garbage in the thread that creates this, in seconds."""

    def __init__(self) -> None:
        self.seconds = self._began = 0.0
        self._thread = threading.get_ident()

    def observe(self, phase: str, _: object) -> None:
        """Adds up the time between the start and the stop of each collection."""
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.seconds += time.thread_time() - self._began


def _delay(schedstat: int) -> float:
    """Returns for how many seconds a thread could run and no processor was free for it."""
    return int(os.pread(schedstat, 64, 0).split()[1]) / 1e9


def _place(handle: asyncio.Handle) -> str:
    """Names where the task of a callback waits now, which is where its work ended; or the callback."""
    task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # noqa: SLF001
    if not isinstance(task, asyncio.Task):
        return f"{handle!r:.300}"
    waiting: Any = task.get_coro()
    names: list[str] = []
    while frame := getattr(waiting, "cr_frame", None):
        names.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        waiting = getattr(waiting, "cr_await", None)
    return " > ".join(names[-6:]) or repr(task.get_coro())


if __name__ == "__main__":
    raise SystemExit(main())
