"""The story of one reconcile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from platform_operator import metrics
from platform_operator.api.kinds import EVENT, LABEL_COMPONENT, LABEL_INSTANCE, PLATFORM, POD, Key, ObjectId
from platform_operator.api.spec import Spec, parse
from platform_operator.apply.applier import (
    apply,
    inventory_id,
    is_stored,
    prune,
    read_inventory,
    write_inventory,
)
from platform_operator.cache.observed import Cache, Observed, Platform, observe_platform
from platform_operator.client import Api
from platform_operator.errors import ApiError, InvalidSpecError, RenderError, RenderTimeoutError
from platform_operator.invariants.conditions import Heard
from platform_operator.plan.planner import Inventory, Plan, Refusal, Wanted, is_repair, make_plan
from platform_operator.render.renderer import Rendered, Renderer
from platform_operator.render.values import Installation, Values, values
from platform_operator.secrets import credentials as secrets
from platform_operator.status.describe import Outcome, ailing, describe, event, news, status_manifest, store_profile
from platform_operator.status.diagnosis import diagnose

logger = logging.getLogger(__name__)

WATCHFUL = 30.0
"""Seconds until an unsettled platform is looked at again though nothing was heard: patience runs out silently."""


@dataclass
class Reconciler:
    """Brings platforms to what their specs say, one pass at a time."""

    api: Api
    cache: Cache
    renderer: Renderer
    keyring: secrets.Keyring
    installed: Installation
    identity: str
    now: Callable[[], datetime]
    heard: Callable[[Key], Mapping[str, Heard]]
    """What the services said last of their books."""
    side_by_side: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))
    _waiting: dict[Key, tuple[int, datetime]] = field(default_factory=dict)
    """The wave that each platform waits for, and since when."""

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one platform: look, decide, act, report. Safe to stop anywhere and to repeat.

        Returns in how many seconds to look again, or None: when something happens. Raises ApiError to be tried again.
        """
        platform = self.cache.platforms.get(key)
        if platform is None:
            self._forget(key)
            return None
        if platform.deleting:
            return None  # the garbage collector follows the owner references
        spec, outcome = await self._converge(platform)
        await self._report(platform, spec, outcome)
        if isinstance(outcome.error, ApiError):
            raise outcome.error
        return WATCHFUL if _may_change_silently(outcome) else None

    def _forget(self, key: Key) -> None:
        """In a pass of its own, so that none over the same platform is under way which would remember it again."""
        metrics.forget(key)
        self._waiting.pop(key, None)

    async def _converge(self, platform: Platform) -> tuple[Spec | None, Outcome]:
        spec = None
        try:
            spec = parse(platform.spec)
            remembered = self._remembered(platform, spec)
            if spec.paused:
                return spec, Outcome(remembered)
            if remembered is not None and remembered.idle:
                return spec, Outcome(remembered)
            return spec, await self._act(platform, spec)
        except (ApiError, InvalidSpecError, RenderError) as error:
            return spec, Outcome(error=error)

    def _remembered(self, platform: Platform, spec: Spec) -> Plan | None:
        """The plan for what was applied before; None where that is not what the spec wants now. Takes no rendering."""
        inventory = self._inventory(platform.key)
        if inventory.content != self.renderer.content(platform.key, platform.uid, self._values(platform, spec)):
            return None
        if not is_stored(platform, inventory, self.cache.children(platform.key)):
            return None
        rest = tuple(one for one in inventory.wanted() if one.id.kind != "Secret")
        return self._plan(platform, spec, (*self._credentials(platform, spec), *rest), inventory)

    async def _act(self, platform: Platform, spec: Spec) -> Outcome:
        """Applies wave after wave as far as nothing has to be waited for. What was applied is remembered in any case."""
        key, done = platform.key, _Done(self._inventory(platform.key))
        chart_values = self._values(platform, spec)
        content = self.renderer.content(key, platform.uid, chart_values)
        rendered = await self.renderer.render(key, platform.uid, chart_values)
        wanted: Sequence[Rendered] = ()
        try:
            while True:
                wanted = (*self._credentials(platform, spec), *rendered)
                plan = self._plan(platform, spec, wanted, done.inventory)
                due = plan.due(wanted, done.tried)
                if not due:
                    break
                await self._apply(key, due, done)
            await prune(self.api, self.cache, key, plan.prune)
        except ApiError:
            with contextlib.suppress(ApiError):  # then the next pass applies more than it had to
                await write_inventory(self.api, self.cache, platform, done.inventory.of(content, wanted))
            raise
        await write_inventory(self.api, self.cache, platform, done.inventory.of(content, wanted))
        return Outcome(self._plan(platform, spec, wanted, done.inventory), tuple(done.refusals))

    def _values(self, platform: Platform, spec: Spec) -> Values:
        return values(platform.key, spec, self.installed, store_profile(platform, spec))

    def _inventory(self, key: Key) -> Inventory:
        return read_inventory(key, self.cache.children(key))

    def _credentials(self, platform: Platform, spec: Spec) -> tuple[Rendered, ...]:
        return secrets.credentials(platform.key, platform.uid, spec, self.keyring, self.cache.children(platform.key))

    def _plan(self, platform: Platform, spec: Spec, wanted: Sequence[Wanted], inventory: Inventory) -> Plan:
        observed = self.cache.children(platform.key)
        kept = secrets.kept(spec, observed) | {inventory_id(platform.key)}
        return make_plan(wanted, inventory, observed, kept)

    async def _apply(self, key: Key, due: Sequence[Rendered], done: _Done) -> None:
        """Sends objects side by side, a few at a time: the order within a wave does not matter. Raises the first ApiError
        when all are answered."""
        answers = await asyncio.gather(*(self._apply_one(key, one) for one in due), return_exceptions=True)
        for one, answer in zip(due, answers, strict=True):
            done.note(one, answer)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _apply_one(self, key: Key, rendered: Rendered) -> Observed | Refusal | None:
        async with self.side_by_side:
            return await apply(self.api, self.cache, key, rendered)

    async def _report(self, platform: Platform, spec: Spec | None, outcome: Outcome) -> None:
        """Says what is true, once: an unchanged status is not written again."""
        key, now = platform.key, self.now()
        observed = self.cache.children(key)
        waited = self._waited(key, outcome, now)
        ailment = await self._ailment(platform, outcome, waited)
        status = describe(
            platform, spec, self.installed.version, outcome, observed, self.heard(key), now, waited, ailment
        )
        metrics.report(key, status)
        if status == platform.status:
            return
        answer = await self.api.apply(PLATFORM, key.namespace, status_manifest(platform, status), "status")
        self.cache.keep_platform(observe_platform(answer))
        for condition in news(platform, status):
            logger.info(condition["message"], extra={"platform": str(key), "reason": condition["reason"]})
            await self._tell(platform, condition, now)

    async def _tell(self, platform: Platform, condition: Mapping[str, Any], now: datetime) -> None:
        """An Event that is refused holds up neither the next one nor the pass: the status says the same."""
        try:
            await self.api.create(EVENT, platform.key.namespace, event(platform, condition, self.identity, now))
        except ApiError as error:
            if error.status != 409:  # it was told before
                logger.warning("cannot create an Event: %s", error, extra={"platform": str(platform.key)})

    def _waited(self, key: Key, outcome: Outcome, now: datetime) -> timedelta:
        """How long the wave has been that is waited for. Each has a patience of its own, and a restart gives it anew."""
        if outcome.plan is None:
            return timedelta()
        wave = outcome.plan.waits_for
        known, since = self._waiting.pop(key, (wave, now))
        if wave is None:
            return timedelta()
        began = since if wave == known else now
        self._waiting[key] = wave, began
        return now - began

    async def _ailment(self, platform: Platform, outcome: Outcome, waited: timedelta) -> str:
        """What the pods say of the part that does not come up. Pods are not watched: only of such a part are they listed."""
        part = ailing(outcome, waited)
        if part is None:
            return ""
        try:
            pods, _ = await self.api.list(POD, platform.key.namespace, self._pods_of(platform.key, part.id))
        except ApiError as error:
            logger.warning("cannot list pods: %s", error, extra={"platform": str(platform.key)})
            return ""
        return diagnose(pods)

    def _pods_of(self, key: Key, part: ObjectId) -> str:
        """A label selector."""
        if part.kind == "Job":
            return f"batch.kubernetes.io/job-name={part.name}"
        return f"{LABEL_INSTANCE}={key.name},{LABEL_COMPONENT}={part.name.removeprefix(f'{key.name}-')}"


def _may_change_silently(outcome: Outcome) -> bool:
    if outcome.error is not None:
        return isinstance(outcome.error, RenderTimeoutError)
    return outcome.plan is None or not outcome.plan.settled


@dataclass
class _Done:
    """What a pass has brought about so far."""

    inventory: Inventory
    refusals: list[Refusal] = field(default_factory=list)
    tried: set[ObjectId] = field(default_factory=set)
    """Refused, or left alone as somebody else's: not sent again in the same pass."""

    def note(self, wanted: Wanted, answer: Observed | Refusal | BaseException | None) -> None:
        if isinstance(answer, Observed):
            count_apply(wanted, self.inventory)
            self.inventory = self.inventory.with_applied(wanted, answer.owned)
            return
        self.tried.add(wanted.id)
        if isinstance(answer, Refusal):
            self.refusals.append(answer)


def count_apply(wanted: Wanted, inventory: Inventory) -> None:
    metrics.APPLIES.labels(wanted.id.kind).inc()
    if is_repair(wanted, inventory):
        metrics.REPAIRS.labels(wanted.id.kind).inc()
