"""One writer: a Lease decides which process, and a process that is not sure of its Lease does not write.

docs/adr/0003-leader-election.md says why this is not the leader election of the Kubernetes client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from platform_operator import metrics
from platform_operator.api.kinds import LEASE, Kind, Manifest
from platform_operator.client import WRITE_TIMEOUT
from platform_operator.errors import ApiError, DeposedError

logger = logging.getLogger(__name__)

LEASE_NAME = "ecommerce-operator"
DURATION = 15.0
"""Seconds for which nobody else may take the Lease after seeing it renewed."""
RENEW_EVERY = 5.0
FRESH_FOR = DURATION - WRITE_TIMEOUT - 1.0
"""Seconds after the start of a renewal in which a write may begin: it ends, or times out, before the Lease can pass on."""


class Leases(Protocol):
    """What leading needs of the API. Its own writes are not guarded: the Lease's resourceVersion is their guard."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None: ...
    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest: ...
    async def replace(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest: ...


@dataclass
class Leader:
    """A candidate for the Lease, then its holder. `clock` is monotonic: wall clocks of two nodes are never compared."""

    leases: Leases
    namespace: str
    identity: str
    clock: Callable[[], float]
    _fresh_until: float = 0.0
    _lease: Manifest = field(default_factory=dict)
    _sent: set[str] = field(default_factory=set)
    """The renewTimes asked for since the last answer: one of them may be stored though its answer was lost."""
    _seen_version: str = ""
    _seen_at: float = 0.0

    def may_write(self) -> None:
        """Raises DeposedError unless the Lease was renewed recently enough. The gate before every write."""
        if self.clock() >= self._fresh_until:
            raise DeposedError("the Lease was not renewed in time: another process may lead by now")

    async def acquire(self) -> None:
        """Waits until this process leads."""
        while not await self._campaign():  # noqa: ASYNC110  # nothing tells us of a free Lease: it is polled
            await asyncio.sleep(RENEW_EVERY / 2)
        metrics.LEADING.set(1)
        logger.info("leading", extra={"identity": self.identity})

    async def keep(self) -> None:
        """Renews for ever. Raises DeposedError when the Lease is lost or could not be renewed in time."""
        while True:
            await asyncio.sleep(RENEW_EVERY)
            while not await self._renew():
                self.may_write()
                await asyncio.sleep(1.0)

    async def release(self) -> None:
        """Lets the next process lead at once rather than after DURATION. The last thing a leader does."""
        self._fresh_until = 0.0
        metrics.LEADING.set(0)
        if self._lease:
            with contextlib.suppress(ApiError):  # then it just expires
                await self.leases.replace(LEASE, self.namespace, self._claim("", self._lease))

    async def _campaign(self) -> bool:
        started = self.clock()
        try:
            stored = await self.leases.get(LEASE, self.namespace, LEASE_NAME)
            if stored is None:
                self._lease = await self.leases.create(LEASE, self.namespace, self._claim(self.identity, None))
            elif self._may_take(stored):
                self._lease = await self.leases.replace(LEASE, self.namespace, self._claim(self.identity, stored))
            else:
                return False
        except ApiError as error:
            if error.status != 409:  # a conflict only means that another candidate was quicker
                logger.warning("cannot campaign for the Lease: %s", error)
            return False
        self._fresh_until = started + FRESH_FOR
        return True

    def _may_take(self, stored: Manifest) -> bool:
        """A Lease is free when its holder gave it up, or did not renew it for its whole duration under our eyes."""
        version, holder = stored["metadata"]["resourceVersion"], stored["spec"].get("holderIdentity")
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, self.clock()
        return holder in (None, "", self.identity) or self.clock() - self._seen_at >= DURATION

    async def _renew(self) -> bool:
        started, claim = self.clock(), self._claim(self.identity, self._lease)
        self._sent.add(claim["spec"]["renewTime"])
        try:
            self._lease = await self.leases.replace(LEASE, self.namespace, claim)
        except ApiError as error:
            logger.warning("cannot renew the Lease: %s", error)
            if error.status in (404, 409):
                await self._recognise()
            return False
        self._sent.clear()
        self._fresh_until = started + FRESH_FOR
        return True

    async def _recognise(self) -> None:
        """Reads the Lease after a conflict: a renewal of this very process may be what is in the way, and is built upon.
        Raises DeposedError where it is not: the name alone is no proof, since a restarted process bears it too."""
        try:
            stored = await self.leases.get(LEASE, self.namespace, LEASE_NAME)
        except ApiError as error:
            logger.warning("cannot read the Lease: %s", error)
            return
        if stored is None or not self._is_ours(stored["spec"]):
            raise DeposedError("somebody else wrote the Lease: another process leads")
        self._lease = stored

    def _is_ours(self, spec: Manifest) -> bool:
        return spec.get("holderIdentity") == self.identity and spec.get("renewTime") in self._sent

    def _claim(self, holder: str, stored: Manifest | None) -> Manifest:
        """The Lease as `holder` would write it, over the version that was read."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(stored["spec"]) if stored else {}
        if spec.get("holderIdentity") != holder:
            spec |= {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", 0) + (1 if holder else 0)}
        spec |= {"holderIdentity": holder, "leaseDurationSeconds": int(DURATION), "renewTime": now}
        metadata = stored["metadata"] if stored else {"name": LEASE_NAME, "namespace": self.namespace}
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}
