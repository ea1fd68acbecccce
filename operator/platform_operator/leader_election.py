"""Leader election: a Lease decides which process writes. A process that is not sure to hold the Lease does not write.

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
from platform_operator.api.kinds import GROUP, LEASE, Kind, Manifest
from platform_operator.api.shards import ONLY_SHARD, Shard
from platform_operator.client import WRITE_TIMEOUT
from platform_operator.errors import ApiError, LeadershipLostError

logger = logging.getLogger(__name__)

LEASE_NAME = "ecommerce-operator"
ANNOTATION_NAMESPACES = f"{GROUP}/watched-namespaces"
"""The namespaces whose shops the installation reconciles, separated by commas. Empty: all."""
LEASE_DURATION = 15.0
"""Seconds for which no other process may take the Lease after it saw the Lease renewed."""
RENEW_INTERVAL = 2.0
"""Seconds from a renewal to the next one, as in client-go. After one that times out there is time for another."""
RETRY_PAUSE = 1.0
"""Seconds from a failed renewal to the next try."""
WRITE_WINDOW = LEASE_DURATION - WRITE_TIMEOUT - 1.0
"""Seconds after the start of a renewal in which a write may begin: it ends, or times out, before the Lease is free."""


ANNOTATION_SHARD = f"{GROUP}/shard"
"""The shard of the holder and the number of shards, as `<index>/<count>`. Without it: the only one."""


def lease_name(operator_class: str, shard: Shard = ONLY_SHARD) -> str:
    """Returns the name of the Lease for which the replicas of a shard compete.

    It does not depend on the number of shards, and that of the first shard is that of an installation without shards:
    other installations look for it. A class has no dot in its name.
    """
    name = f"{LEASE_NAME}-{operator_class}" if operator_class else LEASE_NAME
    return f"{name}.shard-{shard.index}" if shard.index else name


class LeaseClient(Protocol):
    """The verbs that leader election needs.

    They do not check leadership: the Lease's resourceVersion guards its writes.
    """

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None: ...
    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest: ...
    async def replace(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest: ...


@dataclass
class LeaderElector:
    """A candidate for the Lease, then its holder. `clock` is monotonic: wall clocks of two nodes are never compared."""

    client: LeaseClient
    namespace: str
    identity: str
    clock: Callable[[], float]
    operator_class: str = ""
    namespaces: tuple[str, ...] = ()
    """The namespaces whose shops are reconciled, which other installations read. Empty: all."""
    shard: Shard = ONLY_SHARD
    _may_write_until: float = field(init=False, default=0.0)
    _lease: Manifest = field(init=False, default_factory=dict)
    _sent: set[str] = field(init=False, default_factory=set)
    """The renewTimes sent since the last answer: one of them may be stored although its answer was lost."""
    _seen_version: str = field(init=False, default="")
    _seen_at: float = field(init=False, default=0.0)

    def require_leadership(self) -> None:
        """Raises LeadershipLostError unless the Lease was renewed recently enough. Called before every write."""
        if self.clock() >= self._may_write_until:
            raise LeadershipLostError("the Lease was not renewed in time: another process may lead by now")

    async def acquire(self) -> None:
        """Waits until this process leads."""
        while not await self._try_acquire():  # noqa: ASYNC110  # polled, since nothing announces a free Lease
            await asyncio.sleep(RENEW_INTERVAL)
        metrics.LEADING.set(1)
        logger.info("leading", extra={"identity": self.identity})

    async def keep_renewing(self) -> None:
        """Renews for ever. Raises LeadershipLostError when the Lease is lost or could not be renewed in time."""
        while True:
            await asyncio.sleep(RENEW_INTERVAL)
            while not await self._renew():
                self.require_leadership()
                await asyncio.sleep(RETRY_PAUSE)

    async def release(self) -> None:
        """Gives the Lease up, so that the next process leads at once rather than after LEASE_DURATION.

        Nothing is written afterwards.
        """
        self._may_write_until = 0.0
        metrics.LEADING.set(0)
        if self._lease:
            with contextlib.suppress(ApiError):  # then the Lease expires by itself
                await self.client.replace(LEASE, self.namespace, self._manifest("", self._lease))

    async def _try_acquire(self) -> bool:
        started = self.clock()
        try:
            stored = await self.client.get(LEASE, self.namespace, lease_name(self.operator_class, self.shard))
            if stored is None:
                self._lease = await self.client.create(LEASE, self.namespace, self._manifest(self.identity, None))
            elif self._is_available(stored):
                self._lease = await self.client.replace(LEASE, self.namespace, self._manifest(self.identity, stored))
            else:
                return False
        except ApiError as error:
            if not error.conflict:  # it only means that another candidate was quicker
                logger.warning("cannot acquire the Lease: %s", error)
            return False
        self._may_write_until = started + WRITE_WINDOW
        return True

    def _is_available(self, stored: Manifest) -> bool:
        """Returns whether the holder released the Lease, or did not renew it while this process watched for its
        duration."""
        version, holder = stored["metadata"]["resourceVersion"], stored["spec"].get("holderIdentity")
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, self.clock()
        return holder in (None, "", self.identity) or self.clock() - self._seen_at >= LEASE_DURATION

    async def _renew(self) -> bool:
        started, renewal = self.clock(), self._manifest(self.identity, self._lease)
        self._sent.add(renewal["spec"]["renewTime"])
        try:
            self._lease = await self.client.replace(LEASE, self.namespace, renewal)
        except ApiError as error:
            logger.warning("cannot renew the Lease: %s", error)
            if error.status in (404, 409):
                await self._adopt_own_renewal()
            return False
        self._sent.clear()
        self._may_write_until = started + WRITE_WINDOW
        return True

    async def _adopt_own_renewal(self) -> None:
        """Reads the Lease after a conflict.

        If a renewal of this very process is stored, the next renewal uses its resourceVersion: its answer was lost, or
        others have changed labels or annotations of the Lease. Raises LeadershipLostError otherwise. The holder's name
        alone is no proof: a restarted process has the same one.
        """
        try:
            stored = await self.client.get(LEASE, self.namespace, lease_name(self.operator_class, self.shard))
        except ApiError as error:
            logger.warning("cannot read the Lease: %s", error)
            return
        if stored is None or not self._is_own_renewal(stored["spec"]):
            self._may_write_until = 0.0
            raise LeadershipLostError("another process wrote the Lease and leads now")
        self._lease = stored

    def _is_own_renewal(self, spec: Manifest) -> bool:
        own = {*self._sent, self._lease["spec"]["renewTime"]}
        return spec.get("holderIdentity") == self.identity and spec.get("renewTime") in own

    def _manifest(self, holder: str, stored: Manifest | None) -> Manifest:
        """Returns the Lease with `holder` as its holder, at the version that was read."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(stored["spec"]) if stored else {}
        if spec.get("holderIdentity") != holder:
            spec |= {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", 0) + (1 if holder else 0)}
        spec |= {"holderIdentity": holder, "leaseDurationSeconds": int(LEASE_DURATION), "renewTime": now}
        metadata: Manifest = {"name": lease_name(self.operator_class, self.shard), "namespace": self.namespace}
        metadata |= stored["metadata"] if stored else {}
        own = {ANNOTATION_NAMESPACES: ",".join(self.namespaces), ANNOTATION_SHARD: str(self.shard)}
        metadata["annotations"] = {**metadata.get("annotations", {}), **own}
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}
