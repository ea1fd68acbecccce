"""Requests that need the same kind of value at the same time share one call."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from product_service.clients.batches import MAX_KEYS, BatchedRead


class Source:
    """Returns each key with the number of the call that read it. Calls wait until the test opens the gate."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.error: Exception | None = None
        self.batches = BatchedRead("test", self.read, self.read_one)

    async def read(self, keys: Sequence[int]) -> Mapping[int, tuple[int, int]]:
        self.calls.append(list(keys))
        number = len(self.calls)
        self.begun.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {key: (key, number) for key in keys if key > 0}

    async def read_one(self, key: int) -> tuple[int, int]:
        raise AssertionError(f"{key} was read alone")


@pytest.fixture
async def source() -> Source:
    return Source()


async def test_keys_that_are_asked_for_at_once_share_a_call(source: Source) -> None:
    source.gate.set()

    assert await asyncio.gather(*map(source.batches.get, [1, 2, 1, -1])) == [(1, 1), (2, 1), (1, 1), None]
    assert source.calls == [[1, 2, -1]]


async def test_a_call_that_has_begun_answers_no_later_caller(source: Source) -> None:
    first = asyncio.create_task(source.batches.get(1))
    await source.begun.wait()
    later = [asyncio.create_task(source.batches.get(key)) for key in (1, 2)]
    await asyncio.sleep(0)  # they have asked
    source.gate.set()

    assert await first == (1, 1)
    assert await asyncio.gather(*later) == [(1, 2), (2, 2)]
    assert source.calls == [[1], [1, 2]]


async def test_a_call_that_hangs_does_not_hold_up_the_next(source: Source) -> None:
    hanging = asyncio.create_task(source.batches.get(1))
    await source.begun.wait()
    source.begun.clear()
    later = asyncio.create_task(source.batches.get(2))
    await source.begun.wait()

    assert source.calls == [[1], [2]]
    source.gate.set()
    assert (await hanging, await later) == ((1, 1), (2, 2))


async def test_an_error_reaches_every_caller_of_its_call_and_no_other(source: Source) -> None:
    source.gate.set()
    source.error = LookupError("unavailable")
    results = await asyncio.gather(*map(source.batches.get, [1, 2]), return_exceptions=True)
    source.error = None

    assert [type(result) for result in results] == [LookupError, LookupError]
    assert await source.batches.get(1) == (1, 2)


async def test_a_caller_that_leaves_does_not_end_the_call_of_the_others(source: Source) -> None:
    first, second = (asyncio.create_task(source.batches.get(key)) for key in (1, 2))
    await source.begun.wait()
    first.cancel()
    source.gate.set()

    assert await second == (2, 1)


async def test_a_call_reads_a_limited_number_of_keys(source: Source) -> None:
    source.gate.set()
    keys = list(range(1, MAX_KEYS + 2))
    await asyncio.gather(*map(source.batches.get, keys))

    assert source.calls == [keys[:MAX_KEYS], keys[MAX_KEYS:]]
