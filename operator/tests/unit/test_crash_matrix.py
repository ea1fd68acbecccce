"""The operator is killed before and after each write of each operation: the next one ends in the same objects."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_reconciler import NOW, VOLUME, FakeCluster, Manifest, delete_platform, rendered, stored_objects

from platform_operator.api.kinds import PLATFORM, Kind, ObjectId
from platform_operator.errors import ApiError
from platform_operator.invariants.scrape_results import ScrapeResult, ServiceMetrics

Change = Callable[[FakeCluster], None]


def to_version(version: str) -> Change:
    return lambda cluster: cluster.spec({"version": version, "deletionPolicy": "Delete"})


def delete(policy: str) -> Change:
    def change(cluster: FakeCluster) -> None:
        delete_platform(cluster, {"deletionPolicy": policy})
        cluster.server.volumes = [VOLUME]

    return change


def pause(cluster: FakeCluster) -> None:
    """A version that is asked for while the shop is paused waits until it is resumed."""
    cluster.spec({"version": "2", "deletionPolicy": "Delete", "paused": True})


def change_stores(cluster: FakeCluster) -> None:
    """The stores get more memory, one after the other, and one more store is added."""
    cluster.helm.storage = 2
    other = rendered("apps/v1", "StatefulSet", "shop-review-db", 1, {"replicas": 1, "memory": "2Gi"})
    cluster.helm.more = [other]
    cluster.spec({"version": "1", "databases": {"resources": {"limits": {"memory": "2Gi"}}}})


def retain(cluster: FakeCluster) -> None:
    cluster.spec({"version": "1", "deletionPolicy": "Retain"})


def follow(cluster: FakeCluster) -> None:
    cluster.spec({})


def upgrade_operator(cluster: FakeCluster) -> None:
    cluster.upgrade_operator("2")


def find_harmful(version: str) -> Change:
    def change(cluster: FakeCluster) -> None:
        cluster.harmful_version = version
        cluster.scrape_results["order"] = ScrapeResult(NOW.timestamp(), ServiceMetrics(violations={"totals": 0}))

    return change


CHANGES: dict[str, tuple[Change, ...]] = {
    "create": (to_version("1"),),
    "update": (to_version("1"), retain),
    "upgrade": (to_version("1"), to_version("2")),
    "rollback": (to_version("1"), to_version("2"), to_version("1")),
    "delete with data": (to_version("1"), delete("Delete")),
    "delete, and retain at the last moment": (to_version("1"), delete("Retain")),
    "pause": (to_version("1"), pause),
    "resume": (to_version("1"), pause, to_version("2")),
    "change of stores": (to_version("1"), change_stores),
    "operator upgrade": (follow, upgrade_operator),
    "failed upgrade": (to_version("1"), find_harmful("2"), to_version("2")),
    "failed operator upgrade": (follow, find_harmful("2"), upgrade_operator),
}


SHARE = 4
"""CI runs one of so many points: each is reached in one of the operations."""


@pytest.mark.parametrize("share", [SHARE, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CHANGES)
async def test_a_crash_before_or_after_any_write_leads_to_the_same_objects(
    name: str, share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform_operator.plan.releases.HISTORY_LIMIT", 1)  # so that an upgrade deletes a release
    *before, change = CHANGES[name]

    first = FakeCluster(tmp_path)
    for earlier in before:
        earlier(first)
        await settle(first, Crash())

    async def run(crash: Crash) -> dict[tuple[str, str], Manifest]:
        cluster = FakeCluster(tmp_path)
        cluster.take_over(first)
        change(cluster)
        await settle(cluster, crash)
        return stored_objects(cluster)

    uninterrupted = Crash()
    expected = await run(uninterrupted)
    status = expected.get((PLATFORM.kind, "shop"), {}).get("status", {})
    assert ("upgrade" in status) is ("failed" in name), "one that has failed stays known"
    assert uninterrupted.kinds
    points = [(number, after) for number in range(len(uninterrupted.kinds)) for after in (False, True)]
    for number, after in points[list(CHANGES).index(name) % share :: share]:
        crash = Crash(number, after=after)
        assert await run(crash) == expected, f"{name}: killed {'after' if after else 'before'} write {number}"
        assert crash.happened


class Killed(BaseException):
    """The operator's process has died, and nothing in it goes on."""


class Crash:
    """Kills the operator before or after one of its writes."""

    def __init__(self, number: int = -1, *, after: bool = False) -> None:
        self.number, self.after, self.happened = number, after, False
        self.kinds: list[str] = []
        """What each write wrote."""

    def wrap(self, write: Callable[..., Any]) -> Callable[..., Any]:
        async def killed(kind: Kind, *arguments: Any, **more: Any) -> Any:
            is_last = len(self.kinds) == self.number
            self.kinds.append(kind.kind)
            if self.happened or (is_last and not self.after):
                self.happened = True
                raise Killed
            answer = await write(kind, *arguments, **more)
            if is_last:
                self.happened = True
                raise Killed
            return answer

        return killed


async def settle(cluster: FakeCluster, crash: Crash) -> None:
    """Makes passes until nothing is written any more. Starts the operator again after the crash."""
    server, writes = cluster.server, ("apply", "delete", "overwrite")
    for write in writes:
        setattr(server, write, crash.wrap(getattr(server, write)))
    for _ in range(20):
        with contextlib.suppress(ApiError, Killed):
            await cluster.reconcile()
        is_settled = not server.writes and not crash.happened
        if crash.happened:
            for write in writes:
                server.__dict__.pop(write, None)
            cluster.restart()
            crash = Crash()
        for kind, name in list(server.objects):
            if kind in ("StatefulSet", "Job", "Deployment"):
                cluster.come_up(ObjectId(kind, name))
        if is_settled:
            for write in writes:
                server.__dict__.pop(write, None)
            return
    pytest.fail("the operator does not stop writing")
