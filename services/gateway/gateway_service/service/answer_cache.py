"""The answer cache: answers public reads from memory, while Redis says that the answer is current (docs/adr/0033).

Its memory has only bytes. Whether they are current is decided by Redis with each request, in the call that counts it.
So no replica answers with what another one knows to be outdated, and without Redis nothing is answered from memory.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from chassis.observability import logs
from prometheus_client import Counter, Gauge, Histogram

from gateway_service.clients.answer_versions import AnswerVersions, Lookup
from gateway_service.domain.answers import NO_VERSION, Answer, PublicRead, Snapshot
from gateway_service.domain.routes import Upstream

REQUESTS = Counter(
    "answer_cache_requests_total",
    "Public reads: result hit, collapsed (shared a fetch), stored, passed (not stored) or bypassed (no Redis)",
    ["result"],
)
_HITS = REQUESTS.labels("hit")
AGE = Histogram(
    "answer_cache_hit_age_seconds", "Age of the answers from memory", buckets=(0.05, 0.1, 0.25, 0.5, 0.75, 1, 2)
)
BYTES = Gauge("answer_cache_bytes", "Memory that the answers may occupy, their compressed forms included")
EVICTIONS = Counter("answer_cache_evictions_total", "Answers removed from memory to make room for others")
DROPS = Counter("answer_cache_drops_total", "Changes that ended answers: result confirmed or unconfirmed", ["result"])

_MAX_ATTEMPTS = 5
"""How often an answer is fetched that another version overtakes while it is fetched."""

log = logs.get_logger(__name__)

Fetch = Callable[[PublicRead], Awaitable[Answer | None]]
"""Asks the service; None if each caller has to send its own request. Raises the errors of an exchange."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer, and how it was found. `age` is in seconds."""

    answer: Answer
    result: str
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class _Flight:
    """A fetch that all requests with the same snapshot share."""

    since: Snapshot
    task: "asyncio.Task[tuple[Answer | None, str]]"


class _Superseded(Exception):
    """Another version became current during the fetch."""


class AnswerCache:
    def __init__(self, versions: AnswerVersions, fetch: Fetch, max_bytes: int, lifetime: float) -> None:
        """`max_bytes` of 0 turns the cache off. `lifetime` is in seconds."""
        self._versions = versions
        self._fetch = fetch
        self._lifetime = lifetime
        self._memory = _Memory(max_bytes)
        self._flights: dict[tuple[str, bytes, bytes], _Flight] = {}
        self.is_on = max_bytes > 0

    def look(self, read: PublicRead) -> Lookup:
        """Begins a lookup, in the pipeline of the commands to Redis that follow at once."""
        return self._versions.look(read)

    def find(self, read: PublicRead, snapshot: Snapshot | None) -> Found | None:
        """Returns the answer from memory, None if it is not there or not current."""
        answer = self._memory.get(read.target)
        age = None if answer is None or snapshot is None else snapshot.age(answer.version)
        if answer is None or age is None or not 0 <= age < self._lifetime:
            return None
        _HITS.inc()
        AGE.observe(age)
        return Found(answer, "hit", age)

    async def fetch(self, read: PublicRead, snapshot: Snapshot | None) -> Found | None:
        """Returns the answer of the service, None if the caller has to send its own request.

        Requests for the same answer share one fetch, which goes on when one of their callers leaves. Raises the errors
        of the fetch.
        """
        for _ in range(_MAX_ATTEMPTS):
            if snapshot is None:
                break
            try:
                return await self._share(read, snapshot)
            except _Superseded:
                snapshot = await self._versions.look(read).snapshot()
            if (found := self.find(read, snapshot)) is not None:
                return found
        REQUESTS.labels("bypassed").inc()
        return None

    async def drop(self, changed: Collection[Upstream]) -> None:
        """Ends the answers of all replicas that show data of the services `changed`.

        Returns when none of them is used any longer: if Redis does not confirm that, after their lifetime.
        """
        if not self.is_on or not changed:
            return
        is_confirmed = await self._versions.begin_generation(changed)
        DROPS.labels("confirmed" if is_confirmed else "unconfirmed").inc()
        if not is_confirmed:
            await asyncio.sleep(self._lifetime)

    async def close(self) -> None:
        """Cancels the fetches whose callers have left."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _share(self, read: PublicRead, snapshot: Snapshot) -> Found | None:
        """Joins a fetch that began with the same snapshot, within the lifetime, or begins one. Raises _Superseded."""
        key = (read.target, snapshot.generations, snapshot.record)
        flight = self._flights.get(key)
        is_joined = flight is not None and snapshot.now - flight.since.now < self._lifetime * 1_000_000
        if flight is None or not is_joined:
            flight = self._begin(key, read, snapshot)
        answer, result = await asyncio.shield(flight.task)
        result = "collapsed" if is_joined and answer is not None else result
        REQUESTS.labels(result).inc()
        return None if answer is None else Found(answer, result)

    def _begin(self, key: tuple[str, bytes, bytes], read: PublicRead, snapshot: Snapshot) -> _Flight:
        flight = _Flight(snapshot, asyncio.create_task(self._fetch_and_publish(read, snapshot)))
        self._flights[key] = flight

        def end(task: "asyncio.Task[tuple[Answer | None, str]]") -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]
            if not task.cancelled():
                task.exception()  # it has been seen, also if every caller has left

        flight.task.add_done_callback(end)
        return flight

    async def _fetch_and_publish(self, read: PublicRead, snapshot: Snapshot) -> tuple[Answer | None, str]:
        """Returns the answer and the result of the lookup. Failures of the service are neither published nor kept.

        Any other answer is published before a caller gets it, so that no replica answers with an older one after that.
        """
        answer = await self._fetch(read)
        if answer is not None and answer.status >= 500:
            return answer, "passed"
        version = NO_VERSION if answer is None else answer.version
        may_be_confirmed = answer is not None and answer.may_be_confirmed
        is_published = await self._versions.publish(read, snapshot, version, may_be_confirmed=may_be_confirmed)
        if is_published is False:
            raise _Superseded
        if is_published and answer is not None and answer.may_be_kept and self._memory.put(read.target, answer):
            return answer, "stored"
        return answer, "passed"


class _Memory:
    """Answers by their targets, up to a number of bytes. The least recently used one leaves first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def get(self, target: str) -> Answer | None:
        answer = self._answers.get(target)
        if answer is not None:
            self._answers.move_to_end(target)
        return answer

    def put(self, target: str, answer: Answer) -> bool:
        """Returns whether there is room for it."""
        self._remove(target)
        size = _size(target, answer)
        if size > self._max_bytes:
            return False
        self._answers[target] = answer
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._answers)))
            EVICTIONS.inc()
        BYTES.set(self._bytes)
        return True

    def _remove(self, target: str) -> None:
        answer = self._answers.pop(target, None)
        if answer is not None:
            self._bytes -= _size(target, answer)


def _size(target: str, answer: Answer) -> int:
    return len(target) + answer.size
