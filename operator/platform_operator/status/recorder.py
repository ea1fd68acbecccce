"""Sends Events to the API server."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_operator.api.kinds import EVENT, Manifest
from platform_operator.cache.observed import Platform
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.plan.comparison import Change
from platform_operator.status.events import repair_event, transition_event

logger = logging.getLogger(__name__)


@dataclass
class EventRecorder:
    """Emits Events about platforms. `identity` is the operator's pod."""

    client: KubernetesClient
    identity: str

    async def emit_transition(self, platform: Platform, condition: Mapping[str, Any], now: datetime) -> None:
        await self._create(platform, transition_event(platform, condition, self.identity, now))

    async def emit_repair(self, platform: Platform, change: Change, now: datetime) -> None:
        await self._create(platform, repair_event(platform, change, self.identity, now))

    async def _create(self, platform: Platform, event: Manifest) -> None:
        """Creates an Event. One that is refused stops neither the next one nor the pass: it is logged as a warning."""
        try:
            await self.client.create(EVENT, platform.key.namespace, event)
        except ApiError as error:
            if error.status != 409:  # a conflict means that it was emitted before
                logger.warning("cannot create an Event: %s", error, extra={"platform": str(platform.key)})
