"""Shards: which part of all shops a leader reconciles. Pure. See docs/adr/0054-shards-by-a-hash-of-the-name.md."""

from __future__ import annotations

from dataclasses import dataclass

from platform_operator.api.kinds import PlatformKey
from platform_operator.digests import digest


@dataclass(frozen=True)
class Shard:
    """The shops whose name and namespace have a hash of `index`, modulo `count`. The only shard has all."""

    index: int = 0
    count: int = 1

    def has(self, key: PlatformKey) -> bool:
        """Returns whether a shop is of this shard. Each is of exactly one of `count` shards."""
        return self.count == 1 or int(digest(str(key)), 16) % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


ONLY_SHARD = Shard()
