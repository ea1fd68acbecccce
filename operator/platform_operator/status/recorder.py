"""Sends Events to the API server, beside the passes: an API server that is slow to store them delays no repair."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from platform_operator.api.kinds import EVENT, Manifest, PlatformKey
from platform_operator.cache.observed import Platform
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.plan.comparison import Change
from platform_operator.status.events import (
    InvolvedObject,
    Progress,
    mode_event,
    progress_event,
    repair_event,
    transition_event,
)

logger = logging.getLogger(__name__)


MAX_WAITING = 1000
"""Events that wait to be sent. More are dropped, as in client-go: status and log say the same."""


@dataclass
class EventRecorder:
    """Emits Events about platforms, backups and restores, in their order. `identity` is the operator's pod."""

    client: KubernetesClient
    identity: str
    _waiting: asyncio.Queue[tuple[PlatformKey, Manifest]] = field(
        init=False, default_factory=lambda: asyncio.Queue(MAX_WAITING)
    )

    def emit_transition(self, platform: Platform, condition: Mapping[str, Any], now: datetime) -> None:
        self._emit(platform.key, transition_event(platform, condition, self.identity, now))

    def emit_mode(self, platform: Platform, mode: str, now: datetime) -> None:
        self._emit(platform.key, mode_event(platform, mode, self.identity, now))

    def emit_repair(self, platform: Platform, change: Change, now: datetime) -> None:
        self._emit(platform.key, repair_event(platform, change, self.identity, now))

    def emit_progress(self, platform: PlatformKey, involved: InvolvedObject, progress: Progress, now: datetime) -> None:
        self._emit(platform, progress_event(involved, progress, self.identity, now))

    async def run(self) -> None:
        """Sends Events as they come, for ever. Raises LeadershipLostError."""
        while True:
            await self._create(*await self._waiting.get())

    async def flush(self) -> None:
        """Sends all Events that wait."""
        while not self._waiting.empty():
            await self._create(*self._waiting.get_nowait())

    def _emit(self, key: PlatformKey, event: Manifest) -> None:
        try:
            self._waiting.put_nowait((key, event))
        except asyncio.QueueFull:
            logger.warning("an Event was dropped: too many wait", extra={"platform": str(key)})

    async def _create(self, key: PlatformKey, event: Manifest) -> None:
        """Creates an Event. One that is refused does not stop the next one: it is logged as a warning."""
        try:
            await self.client.create(EVENT, key.namespace, event)
        except ApiError as error:
            is_known = error.conflict  # it was emitted before
            if not (is_known or error.namespace_terminating):
                logger.warning("cannot create an Event: %s", error, extra={"platform": str(key)})
