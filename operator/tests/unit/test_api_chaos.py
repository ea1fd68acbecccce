"""An API server that fails in every way: the operator goes on by itself, without a busy loop, and does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from http_api_server import Chaos, Fault, Request
from operator_harness import Cluster
from test_reconciler import Manifest
from virtual_time import run_in_virtual_time

from platform_operator.api.kinds import PLATFORM
from platform_operator.errors import LeadershipLostError

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Kopf leaves the session unclosed whose credentials were refused."""

FAULT_SECONDS = 60.0
CONVERGES = 90.0
"""Seconds after the end of a fault."""
MAX_REQUESTS = 6 * FAULT_SECONDS
"""During a fault. An undisturbed operator of one shop makes two a second, for its watches and its Lease."""


def any_request(request: Request) -> bool:
    return True


def not_of_the_lease(request: Request) -> bool:
    return "/leases" not in request.path


def of_platforms(request: Request) -> bool:
    """The requests for the custom resource, that of Kopf which asks whether it is served included."""
    return PLATFORM.group in request.path


def watch_of_platforms(request: Request) -> bool:
    return of_platforms(request) and request.is_watch


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chaos: Chaos | None) -> Cluster:
    """Creates a shop, changes it while the API server fails, and checks that the operator ends where it should."""
    cluster = Cluster(tmp_path, monkeypatch)
    server = cluster.server

    async def scenario() -> None:
        async with cluster.running():
            cluster.apply()
            await cluster.until(cluster.is_ready, 60)
            server.chaos = chaos
            server.break_watches()
            server.requests.clear()
            cluster.apply(version="2")
            await asyncio.sleep(FAULT_SECONDS - 1)
            server.break_watches()  # one that stalls now stalls for longest after the fault
            await asyncio.sleep(1)
            assert len(server.requests) < MAX_REQUESTS
            server.chaos = None
            await cluster.until(cluster.is_ready, CONVERGES)
            await asyncio.sleep(60)
            cluster.apply(version="3")
            await cluster.until(cluster.is_noticed, 3)
            await cluster.until(cluster.is_ready, 60)
            await asyncio.sleep(60)  # the status says how often the services have not answered

    run_in_virtual_time(scenario())
    assert {type(error) for error in cluster.process.exits} <= {LeadershipLostError}
    return cluster


Objects = dict[tuple[str, str], Manifest]


@pytest.fixture
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return _undisturbed(tmp_path_factory.mktemp("undisturbed"))


@cache
def _undisturbed(folder: Path) -> Objects:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return run(folder, monkeypatch, None).objects()


def late_watch_of_platforms(request: Request) -> bool:
    """The watches at the end of the fault, which begins some seconds after the time 0."""
    return watch_of_platforms(request) and request.at > FAULT_SECONDS


def deletion(request: Request) -> bool:
    return request.verb == "DELETE"


SLOW = pytest.mark.slow
CASES = [
    *((fault, hits) for hits in (any_request, watch_of_platforms) for fault in Fault),
    (Fault.NOT_FOUND, deletion),
    (Fault.STALL, late_watch_of_platforms),
    *(pytest.param(fault, hits, marks=SLOW) for hits in (not_of_the_lease, of_platforms) for fault in Fault),
]
CASES.remove((Fault.CONFLICT, watch_of_platforms))


@pytest.mark.parametrize(("fault", "hits"), CASES)
def test_a_minute_in_which_every_request_of_a_kind_fails(
    fault: Fault,
    hits: Callable[[Request], bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Objects,
) -> None:
    chaos = Chaos((fault,), hits)
    cluster = run(tmp_path, monkeypatch, chaos)
    assert chaos.injected[fault]
    assert cluster.process.exits == [] or hits is any_request, "only a lost Lease ends the process"
    assert_no_harm(cluster, undisturbed)


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=SLOW) for seed in range(3, 20))])
def test_a_minute_in_which_half_of_all_requests_fail_in_different_ways(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Objects
) -> None:
    chaos = Chaos([*Fault], share=0.5, seed=seed)
    cluster = run(tmp_path, monkeypatch, chaos)
    assert len(chaos.injected) > len(Fault) / 2
    assert_no_harm(cluster, undisturbed)


def assert_no_harm(cluster: Cluster, undisturbed: Objects) -> None:
    """Checks that nothing was created twice, and that everything has the content and the generation of a run without
    faults."""
    assert set(cluster.server.created.values()) == {1}
    assert cluster.objects() == undisturbed
