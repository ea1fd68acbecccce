"""Asks the pods of a shop how many requests they have answered, each pod by itself, while an upgrade is measured."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from platform_operator.api.kinds import LABEL_COMPONENT, LABEL_INSTANCE, POD, Manifest, PlatformKey
from platform_operator.cache.observed import METRICS_PORT
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError, ScrapeError
from platform_operator.invariants.scrape_results import parse_requests
from platform_operator.invariants.scraper import REQUESTS_PATH, Fetch, metrics_url
from platform_operator.plan.error_rates import PodCounts, PodId, RequestCounts

logger = logging.getLogger(__name__)

MAX_PODS = 100
"""Pods of a shop that are asked. Of a larger shop it is a sample."""
MAX_CONCURRENT = 16
"""Over all platforms."""


@dataclass
class PodCounter:
    """Reads the request counters of single pods.

    The Service's address leads to another pod each time, so that counters read there say nothing about an interval.
    """

    client: KubernetesClient
    fetch: Fetch
    _slots: asyncio.Semaphore = field(init=False, default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT))

    async def count(self, key: PlatformKey, services: Collection[str]) -> PodCounts:
        """Returns the counts of the pods that answer. No upgrade fails because the operator cannot reach one."""
        selector = f"{LABEL_INSTANCE}={key.name},{LABEL_COMPONENT} in ({','.join(sorted(services))})"
        try:
            pods, _ = await self.client.list(POD, key.namespace, selector, MAX_PODS)
        except ApiError as error:
            logger.warning("cannot list pods: %s", error, extra={"platform": str(key)})
            return {}
        answers = await asyncio.gather(*(self._ask(pod) for pod in pods))
        return {_id(pod): counts for pod, counts in zip(pods, answers, strict=True) if counts is not None}

    async def _ask(self, pod: Manifest) -> RequestCounts | None:
        address, port = pod.get("status", {}).get("podIP"), _metrics_port(pod)
        if not address or port is None or "deletionTimestamp" in pod["metadata"]:
            return None
        async with self._slots:
            try:
                return parse_requests(await self.fetch(metrics_url(address, port, REQUESTS_PATH)))
            except (ScrapeError, ValueError) as error:
                logger.debug("cannot read metrics of %s: %s", pod["metadata"]["name"], error)
                return None


def _id(pod: Manifest) -> PodId:
    return PodId(pod["metadata"]["labels"][LABEL_COMPONENT], pod["metadata"]["uid"])


def _metrics_port(pod: Manifest) -> int | None:
    containers: list[dict[str, Any]] = pod["spec"]["containers"]
    ports = (port for one in containers for port in one.get("ports") or ())
    return next((port["containerPort"] for port in ports if port.get("name") == METRICS_PORT), None)
