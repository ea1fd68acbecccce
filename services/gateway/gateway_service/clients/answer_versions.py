"""Stores in Redis which version of each public answer is current, for all replicas of the gateway (docs/adr/0033).

The record of an answer has its version, the time at which the fetch of it began, the generations of the data that it
shows, and the change counts of the services that have it. Generations are random, and expire after every record that
names an older one. The product service writes the change counts, while a gateway asks for them.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from chassis.database.confirmations import Confirmation, confirmation_key, demand_key

from gateway_service.clients.redis_pipeline import RedisPipeline, Reply
from gateway_service.domain.answers import PublicRead, Snapshot
from gateway_service.domain.routes import Upstream

# A version replaces the record that its fetch began with, and no other: of two fetches that overlap, either may have
# seen the later state. A record of the same version only becomes younger.
_PUBLISH = b"""
local record = redis.call('GET', KEYS[1]) or ''
if record ~= ARGV[1] then
    local version, started = string.match(record, '^(%S+) (%d+)')
    if version ~= ARGV[2] then return 0 end
    if tonumber(started) >= tonumber(ARGV[3]) then return 1 end
end
redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ARGV[5], 'PX', ARGV[6])
redis.call('SET', KEYS[2], '', 'PX', ARGV[6])
return 1
"""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A snapshot that Redis was asked for."""

    values: "asyncio.Future[Reply | None]"
    time: "asyncio.Future[Reply | None]"

    async def snapshot(self) -> Snapshot | None:
        """Returns the snapshot, None if Redis did not respond."""
        values, time = await self.values, await self.time
        if values is None or time is None:
            return None
        *shown, record = values
        generations, confirmations = shown[::2], shown[1::2]
        counts, counted_at = _counts(confirmations)
        return Snapshot(
            b",".join(generation or b"" for generation in generations),
            record or b"",
            int(time[0]) * 1_000_000 + int(time[1]),
            counts,
            counted_at,
        )


def _counts(confirmations: Sequence[bytes | None]) -> tuple[bytes, int]:
    """Returns the counts as one text, and when the first of them began to be read; empty unless all are known."""
    known = [Confirmation.decode(confirmation) for confirmation in confirmations if confirmation is not None]
    if len(known) < len(confirmations):
        return b"", 0
    return b",".join(b"%d" % confirmation.count for confirmation in known), min(one.at for one in known)


class AnswerVersions:
    def __init__(
        self, redis: RedisPipeline, tenant: str, record_seconds: float, new_generation: Callable[[], str]
    ) -> None:
        """`tenant` separates shops that share a Redis. `record_seconds` is longer than any fetch takes."""
        self._redis = redis
        self._tenant = tenant
        self._records = f"{tenant}:answer:"
        self._generations = f"{tenant}:answer-generation:"
        self._record_milliseconds = int(record_seconds * 1000)
        self._new_generation = new_generation

    def look(self, read: PublicRead) -> Lookup:
        """Asks Redis, in the pipeline of the commands that follow at once. Records are read before the clock."""
        shown = (
            key
            for upstream in read.shows
            for key in (self._generations + upstream, confirmation_key(self._tenant, upstream))
        )
        return Lookup(self._redis.send("MGET", *shown, self._records + read.digest), self._redis.time())

    async def publish(
        self, read: PublicRead, since: Snapshot, version: bytes, *, may_be_confirmed: bool
    ) -> bool | None:
        """Makes a version current that was fetched after the snapshot `since` was taken.

        With `may_be_confirmed` it becomes no older while the change counts stay what they were then.

        Returns False if another version became current after it, so that this one may be the older; None if Redis did
        not respond.
        """
        counts = b" " + since.counts if may_be_confirmed and since.counts else b""
        reply = await self._redis.send(
            "EVAL", _PUBLISH, 2, self._records + read.digest, demand_key(self._tenant),
            since.record, version, since.now, since.generations, counts, self._record_milliseconds,
        )  # fmt: skip
        return None if reply is None else bool(reply)

    async def begin_generation(self, changed: Collection[Upstream]) -> bool:
        """Ends the answers of all replicas that show data of the services `changed`. Returns whether Redis did so."""
        generation, milliseconds = self._new_generation(), 2 * self._record_milliseconds
        replies = await asyncio.gather(
            *(self._redis.send("SET", self._generations + name, generation, "PX", milliseconds) for name in changed)
        )
        return all(replies)
