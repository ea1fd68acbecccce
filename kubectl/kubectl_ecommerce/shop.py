"""Reads a shop's state, unhealthy conditions and blockers from its resource. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kubectl_ecommerce.kubectl import CLUSTERS, GROUP, Manifest
from kubectl_ecommerce.runbooks import FINE, RUNBOOKS, UNKNOWN, Runbook

RETRY_ANNOTATION = f"{GROUP}/retry-upgrade"
ROTATE_ANNOTATION = f"{GROUP}/rotate"
FAILED_UPGRADES = ("RolledBack", "RollbackFailed", "Stopped")
"""Phases of an upgrade that can be tried again."""

Row = Mapping[str, Any]

_TRUE_IS_BAD = frozenset({"Degraded", "FieldFight"})
_BY_PRECEDENCE = ("Degraded", "FieldFight", "Hibernated", "Closed", "Upgraded", "Ready", "Progressing")
"""Conditions in order of precedence. Of several with the same reason only the first one is listed."""


@dataclass(frozen=True)
class UnhealthyCondition:
    """A condition that reports a problem, with the runbook for it."""

    type: str
    status: str
    reason: str
    message: str
    since: str
    runbook: Runbook
    command: str

    def dump(self) -> dict[str, str | bool]:
        """Returns the condition as a command prints it for scripts."""
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "since": self.since,
            "waits": self.runbook.waits,
            "advice": self.runbook.advice,
            "command": self.command,
            "docs": f"docs/operations.md#{self.runbook.section}",
        }


@dataclass(frozen=True)
class Shop:
    """An EcommercePlatform."""

    manifest: Manifest = field(repr=False)

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.manifest.get("spec") or {}

    @cached_property
    def status(self) -> Mapping[str, Any]:
        return self.manifest.get("status") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.manifest["metadata"].get("annotations") or {}

    @property
    def observes(self) -> bool:
        """Tells whether the spec says that nothing of the shop may be changed."""
        return bool(self.spec.get("paused")) or self.spec.get("mode") == "Observe"

    @property
    def is_current(self) -> bool:
        """Tells whether the operator has seen the newest spec."""
        return bool(self.status.get("observedGeneration") == self.manifest["metadata"].get("generation"))

    def rows(self, name: str) -> Sequence[Row]:
        """Returns a list of the status, such as `services`."""
        return self.status.get(name) or ()

    def condition(self, type_: str) -> Row:
        return next((one for one in self.rows("conditions") if one["type"] == type_), {})

    @property
    def upgrade(self) -> Row:
        return self.status.get("upgrade") or {}

    @property
    def state(self) -> str:
        """The state in one word."""
        if "deletionTimestamp" in self.manifest["metadata"]:
            return "Deleting"
        if not self.rows("conditions"):
            return "NotReported"
        if self.condition("Degraded").get("status") == "True":
            return "Degraded"
        if self.status.get("mode") == "Observe":
            return "Observed"
        if self.upgrade.get("phase") in ("RollingOut", "RollingBack"):
            return str(self.upgrade["phase"])
        if self.condition("Hibernated").get("status") == "True":
            return "Hibernated"
        if self.condition("Closed").get("status") == "True":
            return "Closed"
        return "Ready" if self.condition("Ready").get("status") == "True" else "Progressing"

    @property
    def version(self) -> str:
        return str(self.status.get("version", ""))

    @property
    def target(self) -> str:
        return str(self.status.get("targetVersion", ""))

    @cached_property
    def unhealthy_conditions(self) -> Sequence[UnhealthyCondition]:
        """The unhealthy conditions, each reason once. Those that need a person come first."""
        found: dict[str, UnhealthyCondition] = {}
        for condition in sorted(self.rows("conditions"), key=_precedence):
            if not _is_healthy(condition):
                found.setdefault(_subject(condition), self._unhealthy(condition))
        return sorted(found.values(), key=lambda one: one.runbook.waits)

    def _unhealthy(self, condition: Row) -> UnhealthyCondition:
        runbook = RUNBOOKS.get(condition["reason"], UNKNOWN)
        return UnhealthyCondition(
            condition["type"],
            condition["status"],
            condition["reason"],
            condition.get("message", ""),
            condition.get("lastTransitionTime", ""),
            runbook,
            self._command(runbook, condition["reason"]),
        )

    def _command(self, runbook: Runbook, reason: str) -> str:
        blocker = self._blocker(runbook.needs)
        template = UNKNOWN.command if runbook.needs and not blocker else runbook.command
        kind = str(blocker.get("kind", ""))
        services = (row["service"] for row in self.rows("invariants") if row.get("reason") == reason)
        return template.format(
            namespace=self.namespace,
            name=self.name,
            kind=CLUSTERS.get(kind, kind.lower()),
            object=blocker.get("name", ""),
            service=next(services, "gateway"),
        )

    def _blocker(self, kinds: Sequence[str]) -> Row:
        """Returns the object of one of these kinds that blocks for the longest time."""
        blockers = [row for row in self.rows("blocked") if row["state"] != "Waiting"]
        if "*" in kinds:
            blockers = [row for row in blockers if row["state"] == "Conflict"]
        else:
            blockers = [row for row in blockers if row["kind"] in kinds]
        return min(blockers, key=lambda row: str(row["since"]), default={})

    def blocked(self, *names: str) -> Iterator[Row]:
        """Yields the rows of `status.blocked` of objects with these names. A name that ends with a hyphen is that of
        all objects whose names begin with it."""
        for row in self.rows("blocked"):
            if any(row["name"] == name or (name.endswith("-") and row["name"].startswith(name)) for name in names):
                yield row

    @property
    def summary(self) -> dict[str, Any]:
        """The row of this shop in a list of shops."""
        return {
            "namespace": self.namespace,
            "name": self.name,
            "state": self.state,
            "version": self.version,
            "target": self.target,
            "services": self.status.get("servicesReady", ""),
            "reasons": [one.reason for one in self.unhealthy_conditions],
        }


def _precedence(condition: Row) -> int:
    return _BY_PRECEDENCE.index(condition["type"]) if condition["type"] in _BY_PRECEDENCE else len(_BY_PRECEDENCE)


def _subject(condition: Row) -> str:
    """Returns the key by which duplicates are found: Ready and Progressing repeat the reason of another condition."""
    return condition["reason"] if condition["type"] in _BY_PRECEDENCE else f"{condition['type']} {condition['reason']}"


def _is_healthy(condition: Row) -> bool:
    if condition["reason"] in FINE:
        return True
    if condition["reason"] in RUNBOOKS:
        return False
    good = "False" if condition["type"] in _TRUE_IS_BAD else "True"
    return bool(condition["status"] == good)
