"""Asking single pods for their requests: which are asked, and what is made of the answers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from platform_operator.api.kinds import POD, PlatformKey
from platform_operator.errors import ApiError, ScrapeError
from platform_operator.invariants.pod_counter import MAX_PODS, PodCounter
from platform_operator.invariants.scrape_results import parse_requests
from platform_operator.plan.error_rates import PodId, RequestCounts

SHOP = PlatformKey("team", "shop")
ANSWER = """\
# TYPE http_server_request_duration_seconds histogram
http_server_request_duration_seconds_count{http_route="/orders",http_response_status_code="201"} 90
http_server_request_duration_seconds_count{http_route="/orders",http_response_status_code="404"} 5
http_server_request_duration_seconds_count{http_route="/orders",http_response_status_code="503"} 4
http_server_request_duration_seconds_count{http_route="unmatched",http_response_status_code="500"} 1
http_server_request_duration_seconds_count{http_route="/ready",http_response_status_code="503"} 700
http_server_request_duration_seconds_count{http_route="/health",http_response_status_code="200"} 700
"""


def pod(name: str, address: str | None = "10.0.0.1", component: str = "order", **metadata: Any) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": 8083}, {"name": "metrics", "containerPort": 9464}]
    return {
        "metadata": {"name": name, "uid": name, "labels": {"app.kubernetes.io/component": component}, **metadata},
        "spec": {"containers": [{"name": "order", "ports": ports}]},
        "status": {"podIP": address} if address else {},
    }


class Pods:
    """An API server that lists pods, and the pods' answers by address."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods = pods
        self.answers: dict[str, str] = {}
        self.lists: list[tuple[Any, ...]] = []
        self.urls: list[str] = []
        self.error: ApiError | None = None
        self.counter = PodCounter(cast(Any, self), self.fetch)

    async def list(self, *arguments: Any) -> tuple[tuple[dict[str, Any], ...], int]:
        self.lists.append(arguments)
        if self.error:
            raise self.error
        return self.pods, 1

    async def fetch(self, url: str) -> str:
        self.urls.append(url)
        answer = self.answers.get(url.split("//")[1].rpartition(":")[0], ANSWER)
        if not answer:
            raise ScrapeError("down")
        return answer


async def test_pods_are_asked_one_by_one_for_their_requests_alone() -> None:
    pods = Pods(pod("a"), pod("b", "fd00::1", "gateway"))
    assert await pods.counter.count(SHOP, {"order", "gateway"}) == {
        PodId("order", "a"): RequestCounts(100, 5),
        PodId("gateway", "b"): RequestCounts(100, 5),
    }
    selector = "app.kubernetes.io/instance=shop,app.kubernetes.io/component in (gateway,order)"
    assert pods.lists == [(POD, "team", selector, MAX_PODS)]
    path = ":9464/metrics?name[]=http_server_request_duration_seconds_count"
    assert pods.urls == [f"http://10.0.0.1{path}", f"http://[fd00::1]{path}"]


async def test_pods_that_cannot_answer_are_left_out() -> None:
    silent = pod("c", "10.0.0.3")
    malformed = pod("d", "10.0.0.4")
    pods = Pods(pod("a", None), pod("b", deletionTimestamp="2026-01-01T00:00:00Z"), silent, malformed, pod("e"))
    pods.answers = {"10.0.0.3": "", "10.0.0.4": "http_server_request_duration_seconds_count{ 1"}
    assert await pods.counter.count(SHOP, {"order"}) == {PodId("order", "e"): RequestCounts(100, 5)}


async def test_a_refused_list_is_no_count() -> None:
    pods = Pods(pod("a"))
    pods.error = ApiError(403, "Forbidden", "pods is forbidden")
    assert await pods.counter.count(SHOP, {"order"}) == {}


@pytest.mark.parametrize("value", ["NaN", "+Inf"])
def test_counts_that_are_no_numbers_are_ignored(value: str) -> None:
    line = 'http_server_request_duration_seconds_count{http_route="/",http_response_status_code="500"}'
    assert parse_requests(f"{line} {value}\n") == RequestCounts(0, 0)
