"""Batched reads: keys that are asked for at the same time share one call to another service."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from chassis.errors import MethodNotServed
from prometheus_client import Histogram

MAX_KEYS = 100
_WAIT_SECONDS = 0.02
"""How long a call waits for the one before it to end, while further keys join it."""
KEYS = Histogram(
    "product_batch_keys", "Keys that one call to another service reads", ["part"], buckets=(1, 2, 4, 8, 16, 32, 64, 100)
)

_K = TypeVar("_K")
_V = TypeVar("_V")


class BatchedRead(Generic[_K, _V]):
    """Reads the values of all keys that are asked for until a call begins with that call.

    A call begins in the next step of the event loop; while another one runs, when that ends, or after 20 ms. No key is
    added to a call that has begun: what a caller gets was read after it asked. The call belongs to the trace of the
    request that asked first, and goes on if that one is cancelled. During an upgrade a service of the release before
    may not serve the call: then each key is read with a call of its own.
    """

    def __init__(
        self,
        part: str,
        read: Callable[[Sequence[_K]], Awaitable[Mapping[_K, _V]]],
        read_one: Callable[[_K], Awaitable[_V | None]],
    ) -> None:
        """`read` returns the values of at most 100 keys, without those that it does not find.

        It raises MethodNotServed where `read_one` is to be used. `part` is the label of the metric.
        """
        self._read = read
        self._read_one = read_one
        self._sizes = KEYS.labels(part)
        self._keys: dict[_K, None] = {}
        """The keys of the next call, each once."""
        self._next: asyncio.Task[Mapping[_K, _V]] | None = None
        self._last: asyncio.Task[Any] | None = None
        """The call that began last."""

    async def get(self, key: _K) -> _V | None:
        """Returns the value of a key, None if there is none. Raises the errors of `read`."""
        if self._next is None or len(self._keys) >= MAX_KEYS:
            self._keys = {}
            self._next = asyncio.create_task(self._call(self._keys))
            self._next.add_done_callback(_retrieve_error)
        self._keys[key] = None
        return (await asyncio.shield(self._next)).get(key)

    async def _call(self, keys: dict[_K, None]) -> Mapping[_K, _V]:
        if self._last is not None and not self._last.done():
            await asyncio.wait([self._last], timeout=_WAIT_SECONDS)
        if keys is self._keys:
            self._next = None
        self._last = asyncio.current_task()
        self._sizes.observe(len(keys))
        try:
            return await self._read(list(keys))
        except MethodNotServed:
            values = await asyncio.gather(*map(self._read_one, keys))
            return {key: value for key, value in zip(keys, values, strict=True) if value is not None}


def _retrieve_error(task: asyncio.Task[object]) -> None:
    """Marks an error as seen, also if every caller was cancelled."""
    if not task.cancelled():
        task.exception()
