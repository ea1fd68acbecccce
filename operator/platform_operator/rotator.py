"""Rotates the credentials of shops, one recorded step after the other.

See docs/adr/0046-credentials-rotate-in-recorded-steps.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from platform_operator.api.conditions import ConditionReason, stored_condition
from platform_operator.api.kinds import PlatformKey
from platform_operator.api.spec import Spec
from platform_operator.apply.applier import find_name_conflict
from platform_operator.apply.rotation_store import write_rotations
from platform_operator.apply.salt_store import write_base
from platform_operator.cache.observed import ObservedObject, Platform
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.plan.hibernation import is_to_be_stopped
from platform_operator.secrets.master_key import KeyRing
from platform_operator.secrets.rotation import (
    RotationReport,
    Rotations,
    advance_rotations,
    is_rotating,
    rotation_id,
    shop_key_ids,
)
from platform_operator.status.conditions import PassResult

logger = logging.getLogger(__name__)


@dataclass
class Rotator:
    """Records the steps of the rotations of an installation's shops."""

    client: KubernetesClient
    cache: Cache
    version: str
    """The release of the operator."""
    concurrency: int
    """How many shops may move to another master key at the same time."""
    now: Callable[[], datetime]
    _beginning: set[PlatformKey] = field(init=False, default_factory=set)
    """Shops whose rotation begins and is not in their status yet, so that workers beside each other do not begin too
    many."""

    async def advance(
        self,
        platform: Platform,
        spec: Spec,
        rotations: Rotations,
        recorded: ObservedObject | None,
        keys: KeyRing,
        result: PassResult,
    ) -> RotationReport:
        """Records the next step of each rotation that may advance. The next pass applies what follows from it.

        `recorded` is the record that the rotations were read from when the pass began. Raises ApiError.
        """
        key = platform.key
        goes_on = result.converged and not result.holds and not spec.observes and not is_to_be_stopped(platform)
        observed = self.cache.children(key)
        own = self.version
        older_than = "" if result.target is None or result.target.version == own else own
        before_it = self.rotated_before(key)
        report = advance_rotations(
            platform, spec, observed, rotations, self.now(), keys,
            goes_on=goes_on, older_than=older_than, before_it=before_it,
        )  # fmt: skip
        waits = stored_condition(platform.status, "Rotating")
        if report.awaits_turn and (waits is None or waits["reason"] != ConditionReason.ROTATION_WAITS):
            others = ", ".join(sorted(map(str, before_it)))
            logger.info("the rotations of %s end first", others, extra={"platform": str(key)})
        if report.moves_base:
            await write_base(self.client, self.cache, key, keys)
        if not report.is_record_due:
            return report
        if report.begins:
            self._beginning.add(key)
        if conflict := await find_name_conflict(self.client, self.cache, key, rotation_id(key)):
            self._beginning.discard(key)
            return report.refused(f"{conflict} has the name of the record of rotations: rename it.")
        ids = shop_key_ids(report.rotations, keys)
        try:
            await write_rotations(self.client, self.cache, key, recorded, report.rotations, ids)
        except ApiError as error:
            if error.conflict or not error.transient:  # else it may have been recorded
                self._beginning.discard(key)
            raise
        return report

    def rotated_before(self, key: PlatformKey) -> frozenset[PlatformKey]:
        """Returns the shops that are rotated now, if they are too many for this one to move to another master key."""
        rotating = {one.key for one in self.cache.fleet() if is_rotating(one, begins=one.key in self._beginning)}
        return frozenset() if key in rotating or len(rotating) < self.concurrency else frozenset(rotating)

    def forget_beginning(self, key: PlatformKey) -> None:
        """Forgets that a rotation begins: the status of the shop shows it, or the shop is gone."""
        self._beginning.discard(key)
