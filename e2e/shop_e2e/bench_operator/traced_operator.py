"""Runs the operator with counters of its API requests, their bytes, and the longest block of its event loop.

They are metrics of the process, beside the operator's own: `bench_*`.
"""

from __future__ import annotations

import asyncio
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

REQUESTS = Counter("bench_api_requests", "Requests to the API server.", ["verb"])
BYTES = Counter("bench_api_bytes", "Bytes of the API server's answers.")
LONGEST_BLOCK = Gauge("bench_longest_block_seconds", "The longest time in one callback of the event loop.")
TASKS = Gauge("bench_tasks", "The unfinished tasks of the event loop.")
LONGEST_WORK = Gauge("bench_longest_work_seconds", "The most processor time in one callback of the event loop.")


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
            REQUESTS.labels(verb).inc()

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


def _time_callbacks() -> None:
    """Times every callback of the main thread's event loop, which has no hook for it. The Lease's thread is left out:
    it blocks no one.

    On a machine that other processes use too, a block is longer than the work in it. The log names the callback of each
    new record.
    """
    main_thread = threading.get_ident()
    longest = most = 0.0
    run = asyncio.Handle._run  # noqa: SLF001

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest, most
        began, worked = time.perf_counter(), time.thread_time()
        run(handle)
        took, worked = time.perf_counter() - began, time.thread_time() - worked
        if took > longest and threading.get_ident() == main_thread:
            longest = took
            LONGEST_BLOCK.set(took)
        if worked > most and threading.get_ident() == main_thread:
            most = worked
            LONGEST_WORK.set(worked)
            place = _place(handle)
            logger.warning("a callback took %.0f ms, %.0f ms of work: %s", took * 1000, worked * 1000, place)

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]  # noqa: SLF001


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
