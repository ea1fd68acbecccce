"""Measures one target: one client process sends the requests of each work over a number of connections."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from shop_e2e.bench.catalogue import RACE_STOCK
from shop_e2e.bench.http_client import CONNECTION_ERRORS, Connection, Reply, Sender
from shop_e2e.bench.overload import overload
from shop_e2e.bench.processes import descendants, processor_seconds, resident_bytes
from shop_e2e.bench.samples import Case, Life, Overload, Race, Sample
from shop_e2e.bench.servers import StoreServers
from shop_e2e.bench.targets.target import (
    ACCOUNTS,
    JOURNEYS,
    OVERLOAD,
    RACE,
    READS,
    STEPS,
    Buyer,
    Refused,
    Target,
    TargetError,
    enroll,
    new_buyer,
)

_JOURNEY_READS = ("list", "details")
_MIX_READS = tuple(itertools.islice(itertools.cycle(READS), 20))
_OVERLOAD = 3
"""The factor between the rate at which journeys were made and that at which they begin."""
_RACE_BUYERS = 20
_MOST_FAILURES = 10
"""A measurement ends after so many failures: it has nothing to say then."""
_QUIET_SHARE = 0.05
"""Below this part of a processor above its use at rest, a target has done what the requests caused."""
_QUIET_STEP_SECONDS = 0.4
_REST_SECONDS = 2.0
_WAVE_SECONDS = 60.0
_ENROLLING, _ENROLL_SECONDS = 8, 300.0
_Input = TypeVar("_Input")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. A measurement ends at its time or at its count, whichever comes first."""

    seconds: float
    journey_seconds: float
    """A journey takes a second or more, so it needs longer until a few dozen were made."""
    actions: int
    waves: int
    """How often the steps of a purchase are measured one after the other, each by all buyers of the wave."""
    wave_buyers: int
    warm_up_seconds: float
    """The time for each kind of read."""
    journey_warm_up_seconds: float
    """The time for each number of connections: a target prepares its statements on each connection to its stores."""
    overload_seconds: float
    """The time in which journeys begin."""
    quiet_limit_seconds: float
    """How long to wait at most until a target has done what requests caused."""


@dataclass(frozen=True, slots=True)
class Result:
    """All that was measured between a start and a stop."""

    life: Life
    samples: Sequence[Sample]
    races: Sequence[Race]
    overloads: Sequence[Overload]


class CountingConnection(Connection):
    """A connection that counts its requests, which are more than one for each journey."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.requests = 0

    async def send(self, request: bytes) -> Reply:
        self.requests += 1
        return await super().send(request)


Action = Callable[[CountingConnection, _Input], Awaitable[None]]


@dataclass(slots=True)
class _Outcome:
    milliseconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Measurement:
    """One start of a target, and all that is measured until it stops."""

    def __init__(
        self,
        target: Target,
        servers: StoreServers,
        products: int,
        round_: int,
        effort: Effort,
        buyers: list[Buyer],
        say: Callable[[Sample], None],
        record: Callable[[Case, int], AbstractAsyncContextManager[None]],
    ) -> None:
        """`buyers` are those of earlier rounds, which stay logged in; missing ones are added to the list.

        `record` is entered for each case and round while it is measured.
        """
        self._target = target
        self._servers = servers
        self._products = products
        self._round = round_
        self._effort = effort
        self._buyers = buyers
        self._say = say
        self._record = record
        self._rest_share = 0.0
        self._numbers = itertools.count(round_ * 1_000)

    async def run(self, works: Sequence[str], connections: Sequence[int]) -> Result:
        """Starts the target, measures all works that it can do over each number of connections, and stops it.

        Raises TargetError if it does not start, and Refused if it does not answer as it should.
        """
        chosen = [work for work in works if work in self._target.works]
        began = time.monotonic()
        try:
            await self._target.start()
            seconds = time.monotonic() - began
            await self._wait_until_quiet()
            at_rest = resident_bytes(descendants(os.getpid()))
            self._rest_share = await self._share(_REST_SECONDS)
            if set(chosen) - set(READS):
                missing = self._buyers_for(max(connections)) - len(self._buyers)
                self._buyers += await self._enroll(missing)
            await self._warm_up_reads(chosen)
            samples = [sample for lanes in connections for sample in await self._measure_all(chosen, lanes)]
            loaded, stores = resident_bytes(descendants(os.getpid())), resident_bytes(self._stores())
            races = [await self._race()] if RACE in chosen else []
            peak = max((sample.rate for sample in samples if sample.case.work == "journey"), default=0.0)
            overloads = [await self._overload(peak)] if OVERLOAD in chosen and peak else []
        finally:
            await self._target.stop()
        life = Life(self._target.name, self._products, self._round, seconds, at_rest, loaded, stores, self._rest_share)
        return Result(life, samples, races, overloads)

    async def _enroll(self, count: int) -> list[Buyer]:
        """Registers so many buyers and logs them in. Raises TargetError."""
        buyers = [new_buyer() for _ in range(count)]

        async with self._open(_ENROLLING) as lanes:
            outcome = await _run(lanes, partial(enroll, self._target), iter(buyers), _ENROLL_SECONDS, count)
        if len(outcome.milliseconds) < len(buyers):
            raise TargetError(f"{self._target.name}: buyers could not register: {outcome.failures[:1]}")
        return buyers

    async def _race(self) -> Race:
        """Lets 20 buyers buy one of 5 units at the same time."""
        buyers = await self._enroll(_RACE_BUYERS)

        async def buy(lane: CountingConnection, buyer: Buyer) -> bool:
            try:
                await self._target.add_race_product(lane, buyer, self._round - 1)
                await self._target.place(lane, buyer)
                await self._target.pay(lane, buyer)
            except Refused:
                return False
            return True

        async with self._open(_RACE_BUYERS) as lanes:
            bought = await asyncio.gather(*(buy(lane, buyer) for lane, buyer in zip(lanes, buyers, strict=True)))
        return Race(self._target.name, self._round, RACE_STOCK, _RACE_BUYERS, sum(bought))

    async def _overload(self, peak: float) -> Overload:
        """Lets journeys begin three times as often as the target made them."""
        offered = _OVERLOAD * peak
        buyers = await self._enroll(math.ceil(offered * self._effort.overload_seconds))
        await self._wait_until_quiet()
        outcome = await overload(
            self._target.port,
            buyers,
            offered,
            lambda lane, buyer, number: self._shop(lane, buyer, _JOURNEY_READS, number),
        )
        return Overload(self._target.name, self._round, peak, offered, outcome)

    def _buyers_for(self, lanes: int) -> int:
        """Returns how many buyers a wave has: enough that no connection is idle for most of it."""
        return max(self._effort.wave_buyers, 4 * lanes)

    async def _measure_all(self, works: Sequence[str], lanes: int) -> list[Sample]:
        if set(works) & {*STEPS, *JOURNEYS}:
            await self._warm_up_purchases(lanes)
        samples = [await self._measure(work, lanes) for work in works if work not in (*STEPS, RACE, OVERLOAD)]
        if set(STEPS) & set(works):
            samples += await self._measure_steps(lanes)
        return samples

    async def _measure(self, work: str, lanes: int) -> Sample:
        if work in READS:
            await self._check_rows(work)
            return await self._sample(work, lanes, self._reading(work), self._numbers)
        if work in ACCOUNTS:
            accounts = map(_stranger, itertools.count()) if work == "register" else itertools.cycle(self._buyers)
            return await self._sample(work, lanes, self._entering(work), accounts)
        return await self._sample(work, lanes, self._shopping(work, lanes), self._numbers, self._effort.journey_seconds)

    async def _measure_steps(self, lanes: int) -> list[Sample]:
        """Measures the steps of a purchase apart: all buyers fill their carts, then all order, then all pay."""
        buyers = self._buyers[: self._buyers_for(lanes)]
        return [
            await self._sample(step, lanes, self._stepping(step), iter(buyers), _WAVE_SECONDS)
            for step in STEPS * self._effort.waves
        ]

    def _reading(self, work: str) -> Action[int]:
        return lambda lane, number: self._read(lane, work, number)

    async def _read(self, lane: Sender, work: str, number: int) -> None:
        reply = await lane.send(self._target.read(work, number))
        if not self._target.is_answer(reply):
            raise Refused(reply)

    def _entering(self, work: str) -> Action[Buyer]:
        return self._target.register if work == "register" else self._target.log_in

    def _stepping(self, step: str) -> Action[Buyer]:
        async def add(lane: CountingConnection, buyer: Buyer) -> None:
            await self._target.add_to_cart(lane, buyer, next(self._numbers))

        return {"cart": add, "place": self._target.place, "pay": self._target.pay}[step]

    def _shopping(self, work: str, lanes: int) -> Action[int]:
        """Returns an action in which each connection is that of a buyer of its own."""
        idle = list(self._buyers[:lanes])
        reads = _JOURNEY_READS if work == "journey" else _MIX_READS

        async def shop(lane: CountingConnection, number: int) -> None:
            buyer = idle.pop()
            try:
                await self._shop(lane, buyer, reads, number)
            finally:
                idle.append(buyer)

        return shop

    async def _shop(self, lane: Sender, buyer: Buyer, reads: Sequence[str], number: int) -> None:
        for offset, read in enumerate(reads):
            await self._read(lane, read, number + offset)
        await self._target.add_to_cart(lane, buyer, number)
        await self._target.place(lane, buyer)
        await self._target.pay(lane, buyer)

    async def _check_rows(self, work: str) -> None:
        """Raises Refused if an answer has no rows, so that an error is never measured as a fast answer."""
        async with self._open(1) as [lane]:
            reply = await lane.send(self._target.read(work, next(self._numbers)))
            if not self._target.is_answer(reply) or self._target.rows(work, reply) == 0:
                raise Refused(reply)

    async def _warm_up_reads(self, works: Sequence[str]) -> None:
        for work in (work for work in READS if work in works):
            async with self._open(4) as lanes:
                await _run(
                    lanes, self._reading(work), self._numbers, self._effort.warm_up_seconds, self._effort.actions
                )
        await self._wait_until_quiet()

    async def _warm_up_purchases(self, lanes: int) -> None:
        async with self._open(lanes) as opened:
            await _run(
                opened,
                self._shopping("journey", lanes),
                self._numbers,
                self._effort.journey_warm_up_seconds,
                self._effort.actions,
            )
        await self._wait_until_quiet()

    async def _sample(
        self, work: str, lanes: int, action: Action[_Input], inputs: Iterator[_Input], seconds: float | None = None
    ) -> Sample:
        case = Case(self._products, lanes, work)
        async with self._open(lanes) as opened:
            position = await self._servers.log_position()
            used, mine = self._used(), time.process_time()
            async with self._record(case, self._round):
                began = time.monotonic()
                outcome = await _run(opened, action, inputs, seconds or self._effort.seconds, self._effort.actions)
                elapsed = time.monotonic() - began
            client = time.process_time() - mine
            waited = await self._wait_until_quiet()
            at_rest = self._rest_share * (elapsed + waited)
            sample = Sample(
                target=self._target.name,
                case=case,
                round=self._round,
                milliseconds=outcome.milliseconds,
                requests=sum(lane.requests for lane in opened),
                seconds=elapsed,
                processor=max(self._used() - used - at_rest, 0.0),
                client_share=client / elapsed,
                commits=await self._servers.commits_since(position),
                failures=outcome.failures,
            )
        self._say(sample)
        return sample

    @asynccontextmanager
    async def _open(self, count: int) -> AsyncIterator[list[CountingConnection]]:
        lanes = [CountingConnection(self._target.port) for _ in range(count)]
        try:
            yield lanes
        finally:
            for lane in lanes:
                await lane.close()

    async def _wait_until_quiet(self) -> float:
        """Waits until the target has done what requests caused, and returns the seconds that it took."""
        began = time.monotonic()
        while await self._share(_QUIET_STEP_SECONDS) > self._rest_share + _QUIET_SHARE:
            if time.monotonic() - began > self._effort.quiet_limit_seconds:
                break
        return time.monotonic() - began

    async def _share(self, seconds: float) -> float:
        """Returns the part of one processor that the target and its stores use in the next seconds."""
        used, began = self._used(), time.monotonic()
        await asyncio.sleep(seconds)
        return (self._used() - used) / (time.monotonic() - began)

    def _used(self) -> float:
        return processor_seconds(self._processes())

    def _processes(self) -> set[int]:
        """Returns the processes of the target and its stores; those are all that the benchmark has started."""
        return descendants(os.getpid()) | self._stores()

    def _stores(self) -> set[int]:
        return set().union(*(self._servers.processes(store) for store in self._target.stores))


def _stranger(_: int) -> Buyer:
    return new_buyer()


async def _run(
    lanes: Sequence[CountingConnection], action: Action[_Input], inputs: Iterator[_Input], seconds: float, actions: int
) -> _Outcome:
    """Performs the action on every connection again and again, each time with the next input."""
    outcome = _Outcome()
    bounded: Iterable[_Input] = itertools.islice(inputs, actions)
    end = time.monotonic() + seconds

    async def drive(lane: CountingConnection) -> None:
        for value in bounded:
            began = time.monotonic()
            try:
                await action(lane, value)
            except (Refused, *CONNECTION_ERRORS) as error:
                outcome.failures.append(f"{type(error).__name__} {error}")
            else:
                outcome.milliseconds.append((time.monotonic() - began) * 1000)
            if time.monotonic() > end or len(outcome.failures) >= _MOST_FAILURES:
                return

    await asyncio.gather(*map(drive, lanes))
    return outcome
