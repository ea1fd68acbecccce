"""The share of requests that fail, from the counters of single pods. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

MIN_REQUESTS = 20
"""Requests by which the pods of a service are judged at the earliest."""


class PodId(NamedTuple):
    """A pod of a service."""

    service: str
    uid: str


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """How many requests a pod has answered since it started, probes aside, and how many of them with a status 5xx."""

    requests: int = 0
    errors: int = 0


PodCounts = Mapping[PodId, RequestCounts]


def error_percentages(before: PodCounts, now: PodCounts) -> dict[str, float]:
    """Returns the percentage of requests that failed between two looks, by service.

    A pod without a look before is new, and counts from its start. A service with few requests is left out.
    """
    answered: dict[str, RequestCounts] = {}
    for pod, counts in now.items():
        start, total = before.get(pod, RequestCounts()), answered.get(pod.service, RequestCounts())
        if counts.requests < start.requests:
            start = RequestCounts()  # its process has started again
        answered[pod.service] = RequestCounts(
            total.requests + counts.requests - start.requests, total.errors + counts.errors - start.errors
        )
    return {
        service: 100 * total.errors / total.requests
        for service, total in answered.items()
        if total.requests >= MIN_REQUESTS
    }


def failing(before: PodCounts, now: PodCounts, limit: int, known: Mapping[str, int] | None = None) -> dict[str, int]:
    """Returns the services of which more than `limit` percent of the requests failed, with the percentages.

    `known` are the percentages of services that failed too many before: there, `limit` percent more may fail.
    """
    known = known or {}
    return {
        service: round(percent)
        for service, percent in sorted(error_percentages(before, now).items())
        if percent > limit + known.get(service, 0)
    }
