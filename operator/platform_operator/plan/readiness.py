"""Decides whether an object is ready. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from platform_operator.api.kinds import ObjectId
from platform_operator.cache.observed import Autoscaler, Children, JobProgress, Workload, state_of
from platform_operator.errors import ApiError
from platform_operator.plan.inventory import DesiredObject


@dataclass(frozen=True, slots=True)
class Blocker:
    """An object that is not ready, for which others wait.

    One that has failed does not become ready by waiting.
    """

    id: ObjectId
    wave: int
    message: str
    """Continues a sentence that begins with the object: `has 0 of 1 pods ready`."""
    failed: bool = False
    pods: int = 0
    """Pods that it has, ready or not."""
    rolling: bool = False
    """True if its pods are being replaced by those of a new revision."""
    lacks_pods: bool = False
    """True if pods of it have still to be created."""
    data_lost: bool = False
    """True for the migration of a database that had a schema and is empty."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that the API server refuses, however often it is sent."""

    id: ObjectId
    error: ApiError


@dataclass(frozen=True, slots=True)
class NameConflict:
    """An object under a name that the platform needs, which is not the operator's and is left alone."""

    id: ObjectId
    holder: str
    """Who it belongs to, as far as it says; may be empty."""

    def __str__(self) -> str:
        return f"{self.id} ({self.holder})" if self.holder else str(self.id)


def blocker(desired: DesiredObject, observed: Children) -> Blocker | None:
    """Returns why an applied object is not ready, if it is not."""
    seen = observed[desired.id]
    if seen.deleting:
        return Blocker(desired.id, desired.wave, "is being deleted and will be created again")
    match seen.state:
        case Workload() as workload:
            return _workload_blocker(desired, workload, required_pods(desired.id, workload, observed))
        case JobProgress(complete=False, failure=failure, data_lost=data_lost):
            message = failure or "has not finished"
            return Blocker(
                desired.id, desired.wave, message, failed=bool(failure), lacks_pods=True, data_lost=data_lost
            )
        case _:
            return None


def _workload_blocker(desired: DesiredObject, workload: Workload, required: int) -> Blocker | None:
    if is_ready(workload, required):
        return None
    replacing = workload.total > 0 and (not workload.current or workload.updated < workload.total)
    progress = "is replacing its pods" if replacing else f"has {workload.ready} of {required} pods ready"
    progress += f": {workload.phase}" if workload.phase else ""
    return Blocker(
        desired.id,
        desired.wave,
        workload.failure or progress,
        failed=bool(workload.failure),
        pods=workload.total,
        rolling=replacing,
        lacks_pods=workload.total < required or workload.updated < required,
    )


def is_ready(workload: Workload, required: int) -> bool:
    """Returns whether no pod of an older generation is left and enough new ones are ready."""
    return workload.current and workload.updated >= workload.total and workload.ready >= required


def required_pods(identity: ObjectId, workload: Workload, observed: Children) -> int:
    """Returns the pods that have to be ready: an autoscaler's minimum, not what it adds above that."""
    autoscaler = state_of(ObjectId("HorizontalPodAutoscaler", identity.name), observed)
    return autoscaler.min_replicas if isinstance(autoscaler, Autoscaler) else workload.desired
