"""Recognizes other installations of the operator that would reconcile the same shops.

Replicas of one installation share a Lease. Each installation has its own, in its own namespace, so two of the same
class both lead, and undo each other's changes. An installation therefore looks for Leases of its class's name in all
namespaces. The one whose Lease is older reconciles; the other waits, and says for which. An operator class of its own
(`spec.operatorClassName` of its shops) separates them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from platform_operator.api.kinds import LEASE, Kind, Manifest
from platform_operator.api.shards import ONLY_SHARD, Shard
from platform_operator.errors import ApiError, OtherInstallationError
from platform_operator.leader_election import ANNOTATION_NAMESPACES, ANNOTATION_SHARD, LEASE_DURATION, lease_name

logger = logging.getLogger(__name__)

CHECK_INTERVAL = 5.0
"""Seconds between two lists of the Leases of all installations, which are few."""


class LeaseLister(Protocol):
    """The verb that the search needs."""

    async def list(
        self, kind: Kind, namespace: str | None, selector: str = "", limit: int = 0, fields: str = ""
    ) -> tuple[Sequence[Manifest], int]: ...


@dataclass
class OtherInstallations:
    """The installations of the same class, in other namespaces, whose shops overlap with those of this one."""

    client: LeaseLister
    namespace: str
    operator_class: str
    namespaces: tuple[str, ...]
    """The namespaces whose shops this installation reconciles. Empty: all."""
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    shard: Shard = ONLY_SHARD
    _seen: dict[tuple[str, str], tuple[str, float]] = field(init=False, default_factory=dict)
    """The version of each Lease, by namespace and name, and when it was first seen."""

    async def wait_for_older(self) -> None:
        """Waits until no older installation holds its Lease: this one must not even take its own until then."""
        await self._wait(self._older)

    async def wait_for_all(self) -> None:
        """Waits until no other installation holds its Lease: a newer one gives it up when it sees that of this one."""
        await self._wait(self._live)

    async def wait_for_resharding(self) -> None:
        """Waits until no process of this installation holds a Lease for another number of shards.

        Called by a process that holds its own: of two that begin with different numbers, one sees the other.
        """
        known: Sequence[str] = ()
        while (found := await self._of_other_counts()) != []:
            if found is not None and found != known:
                logger.warning("this is shard %s; waiting for the holders of %s", self.shard, ", ".join(found))
                known = found
            await self.sleep(CHECK_INTERVAL)

    async def _of_other_counts(self) -> Sequence[str] | None:
        """Returns the names of Leases that processes with another number of shards hold. None: not known."""
        first = lease_name(self.operator_class)
        try:
            leases, _ = await self.client.list(LEASE, self.namespace)
        except ApiError as error:
            logger.warning("cannot look for other shards of the operator: %s", error)
            return None
        own = (lease for lease in leases if _name(lease) == first or _name(lease).startswith(f"{first}.shard-"))
        return [_name(lease) for lease in own if _count(lease) != self.shard.count and self._is_held(lease)]

    async def watch(self) -> None:
        """Looks for ever. Raises OtherInstallationError when an older installation holds its Lease."""
        while True:
            if older := self._older(await self._list()):
                raise OtherInstallationError(self._message(older))
            await self.sleep(CHECK_INTERVAL)

    async def _wait(self, find: Callable[[Sequence[Manifest]], Sequence[str]]) -> None:
        known: Sequence[str] = ()
        while found := find(await self._list()):
            if found != known:
                logger.warning("%s", self._message(found))
                known = found
            await self.sleep(CHECK_INTERVAL)

    async def _list(self) -> Sequence[Manifest]:
        """Lists the Leases of the class. Without an answer, or without the right, it finds none."""
        try:
            leases, _ = await self.client.list(LEASE, None, fields=f"metadata.name={lease_name(self.operator_class)}")
        except ApiError as error:
            logger.warning("cannot look for other installations of the operator: %s", error)
            return ()
        return leases

    def _older(self, leases: Sequence[Manifest]) -> Sequence[str]:
        """Returns the namespaces of installations that hold their Lease and have precedence.

        The API server dates a Lease's creation, so all installations agree about it.
        """
        own = next((_age(lease) for lease in leases if lease["metadata"]["namespace"] == self.namespace), None)
        ages = {lease["metadata"]["namespace"]: _age(lease) for lease in leases}
        return [namespace for namespace in self._live(leases) if own is None or ages[namespace] < own]

    def _live(self, leases: Sequence[Manifest]) -> Sequence[str]:
        """Returns the namespaces of installations that hold their Lease, or may hold it as far as is known yet."""
        return [lease["metadata"]["namespace"] for lease in leases if self._overlaps(lease) and self._is_held(lease)]

    def _overlaps(self, lease: Manifest) -> bool:
        metadata = lease["metadata"]
        if metadata["namespace"] == self.namespace:
            return False
        theirs = set((metadata.get("annotations") or {}).get(ANNOTATION_NAMESPACES, "").split(",")) - {""}
        return not theirs or not self.namespaces or bool(theirs & set(self.namespaces))

    def _is_held(self, lease: Manifest) -> bool:
        """Returns whether a Lease has a holder that renewed it while this process watched for its duration."""
        identity, version = (lease["metadata"]["namespace"], _name(lease)), lease["metadata"]["resourceVersion"]
        if self._seen.get(identity, ("", 0.0))[0] != version:
            self._seen[identity] = version, self.clock()
        is_young = self.clock() - self._seen[identity][1] < LEASE_DURATION
        return bool(lease["spec"].get("holderIdentity")) and is_young

    def _message(self, namespaces: Sequence[str]) -> str:
        of_class = f"operator class {self.operator_class}" if self.operator_class else "no operator class"
        return (
            f"another installation of the operator, with {of_class} as this one has, reconciles the same shops, from "
            f"namespace {', '.join(namespaces)}. Uninstall one of the two, or give one an operatorClass, and its shops "
            "the same spec.operatorClassName"
        )


def _name(lease: Manifest) -> str:
    return str(lease["metadata"].get("name", ""))


def _count(lease: Manifest) -> int:
    """Returns the number of shards of a Lease's holder. Operators before there were shards state none."""
    count = (lease["metadata"].get("annotations") or {}).get(ANNOTATION_SHARD, "0/1").partition("/")[2]
    return int(count) if count.isdigit() else 1


def _age(lease: Manifest) -> tuple[str, str]:
    return lease["metadata"]["creationTimestamp"], lease["metadata"]["namespace"]
