"""Surge windows: which one is open, what it does, and when the next change is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_reconciler import DEPLOYMENT, KEY, NOW, FakeCluster, FakeHelm, Manifest

from platform_operator.api.kinds import PLATFORM, PlatformKey
from platform_operator.api.spec import parse
from platform_operator.errors import InvalidSpecError
from platform_operator.plan.surge import greatest_factor, surge_at
from platform_operator.render.values import Installation, Scale, chart_values

FRIDAY = {"from": "2026-11-27T06:00:00Z", "until": "2026-11-28T00:00:00Z", "factor": 2}


def spec(*windows: dict[str, Any], **others: Any) -> Any:
    return parse({"surge": list(windows), **others})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_a_window_contains_its_beginning_and_not_its_end() -> None:
    times = ("2026-11-27T05:59:59Z", "2026-11-27T06:00:00Z", "2026-11-27T23:59:59Z", "2026-11-28T00:00:00Z")
    assert [surge_at(spec(FRIDAY), at(time)).factor for time in times] == [1, 2, 2, 1]


def test_the_next_look_is_at_the_next_boundary_and_there_is_none_after_the_last() -> None:
    assert surge_at(spec(FRIDAY), at("2026-11-01T00:00:00Z")).next_change == at("2026-11-27T06:00:00Z")
    assert surge_at(spec(FRIDAY), at("2026-11-27T06:00:00Z")).next_change == at("2026-11-28T00:00:00Z")
    assert surge_at(spec(FRIDAY), at("2026-11-28T00:00:00Z")).next_change is None


def test_times_without_an_offset_are_those_of_the_named_zone_or_utc() -> None:
    local = {"from": "2026-07-01T06:00:00", "until": "2026-12-01T06:00:00", "factor": 2}
    summer, winter = at("2026-07-01T04:00:00Z"), at("2026-12-01T05:00:00Z")
    berlin = spec(local | {"timeZone": "Europe/Berlin"})
    assert surge_at(berlin, summer - timedelta(seconds=1)).next_change == summer
    assert surge_at(berlin, summer).next_change == winter
    assert surge_at(spec(local), summer).next_change == at("2026-07-01T06:00:00Z")


def test_of_windows_that_overlap_the_greatest_factor_counts() -> None:
    peak = {"from": "2026-11-27T18:00:00Z", "until": "2026-11-27T20:00:00Z", "factor": 5}
    both = spec(FRIDAY, peak)
    times = ("2026-11-27T17:00:00Z", "2026-11-27T19:00:00Z", "2026-11-27T21:00:00Z")
    assert [surge_at(both, at(time)).factor for time in times] == [2, 5, 2]
    assert surge_at(both, at(times[0])).dump() == {"now": FRIDAY, "next": peak}
    assert greatest_factor(both) == 5


@pytest.mark.parametrize(
    "wrong", [{"from": "tomorrow"}, {"until": "2026-02-30T00:00:00Z"}, {"timeZone": "Europe/Atlantis"}]
)
def test_a_time_that_does_not_exist_is_an_invalid_spec(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError):
        spec(FRIDAY | wrong)


BERLIN = {"factor": 2, "timeZone": "Europe/Berlin"}
"""Clocks skip 02:00 to 03:00 on 2026-03-29, and show it twice on 2026-10-25."""


def test_a_window_that_ends_before_it_begins_in_its_zone_is_refused_with_what_to_do() -> None:
    window = {"from": "2026-03-29T02:30:00", "until": "2026-03-29T03:10:00"}
    with pytest.raises(InvalidSpecError, match=r"2026-03-29T01:30:00Z until 2026-03-29T01:10:00Z.*write both with Z"):
        spec(window | BERLIN)


def test_a_time_that_clocks_skip_is_as_much_later_and_one_that_they_show_twice_the_first() -> None:
    skipped = spec({"from": "2026-03-29T01:00:00", "until": "2026-03-29T02:30:00"} | BERLIN)
    assert surge_at(skipped, at("2026-03-29T00:00:00Z")).next_change == at("2026-03-29T01:30:00Z")
    twice = spec({"from": "2026-10-25T02:30:00", "until": "2026-10-25T03:00:00"} | BERLIN)
    opened = [at("2026-10-25T00:00:00Z") + timedelta(minutes=30 * number) for number in range(6)]
    assert [surge_at(twice, one).factor for one in opened] == [1, 2, 2, 2, 1, 1]


def test_the_order_of_windows_is_that_of_instants() -> None:
    first = {"from": "2026-03-29T01:00:00", "until": "2026-03-29T03:10:00"} | BERLIN
    other = {"from": "2026-03-29T02:30:00", "until": "2026-03-29T06:00:00"} | BERLIN
    both, morning = spec(first, other), at("2026-03-29T01:00:00Z")
    assert surge_at(both, morning).next_change == at("2026-03-29T01:10:00Z")
    later = {"from": "2026-03-29T03:20:00", "until": "2026-03-29T06:00:00"} | BERLIN
    coming = surge_at(spec(other, later), morning).next
    assert coming is not None
    assert coming.begins == at("2026-03-29T01:20:00Z")


def test_a_time_zone_is_checked_without_a_look_at_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(folder: str) -> None:
        pytest.fail(f"the event loop waits while {folder} is read")

    monkeypatch.setattr("os.walk", walk)
    window = {"from": "2026-07-01T06:00:00", "until": "2026-12-01T06:00:00", "factor": 2, "timeZone": "Asia/Tokyo"}
    assert spec(window).surge[0].time_zone == "Asia/Tokyo"


def pods(profile: str, factor: float, **order: Any) -> tuple[int, int]:
    """Returns the replicas and the minimum of the autoscaler of the order service."""
    parsed = parse({"profile": profile, "services": {"order": order}})
    made = chart_values(KEY, parsed, Installation("1"), profile, scale=Scale(factor, factor))["order"]
    return made["replicas"], made["autoscaling"]["min"]


def test_pods_are_multiplied_up_to_the_limit_of_the_profile_or_the_service() -> None:
    assert [pods("large", factor)[1] for factor in (1, 1.5, 2, 50)] == [3, 5, 6, 10]
    assert pods("medium", 50, autoscaling={"max": 7})[1] == 7
    assert [pods("medium", factor, replicas=2)[0] for factor in (1, 2, 50)] == [2, 4, 4]
    assert pods("medium", 2, replicas=9)[0] == 9, "more than the limit stays as it is"


def test_no_window_changes_the_pods_themselves() -> None:
    """A changed variable would replace each pod at the beginning and at the end of a window."""
    parsed = spec(FRIDAY | {"factor": 3}, profile="large", services={"order": {"replicas": 4}})
    calm, busy = (
        chart_values(KEY, parsed, Installation("1"), "small", scale=Scale(factor, 3))["order"] for factor in (1.0, 3.0)
    )
    assert calm["env"] == busy["env"] != {}
    assert calm["replicas"] < busy["replicas"]


class ScalableHelm(FakeHelm):
    """A Helm whose service has as many pods as its values say."""

    async def template(self, chart: Path, key: PlatformKey, chart_values: Manifest) -> list[Manifest]:
        self.replicas = chart_values["order"]["autoscaling"]["min"]
        return await super().template(chart, key, chart_values)


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    cluster = FakeCluster(tmp_path)
    cluster.helm = ScalableHelm()
    cluster.restart()
    return cluster


def come_up(cluster: FakeCluster) -> None:
    stored = cluster.server.objects[DEPLOYMENT]
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    stored["status"] |= dict.fromkeys(counts, stored["spec"]["replicas"])
    stored["status"]["observedGeneration"] = stored["metadata"]["generation"]
    cluster.server.touch(stored)


async def test_a_shop_scales_at_the_beginning_and_returns_at_the_end(cluster: FakeCluster) -> None:
    begins = NOW + timedelta(hours=1)
    window = {"from": "2026-01-01T01:00:00Z", "until": "2026-01-01T03:00:00Z", "factor": 2}
    cluster.spec({"profile": "medium", "surge": [window]})
    await cluster.converge()

    def status() -> Any:
        return cluster.server.objects[PLATFORM.kind, "shop"]["status"].get("surge")

    come_up(cluster)
    assert (await cluster.reconcile()).delay == 3600
    assert status() == {"next": window}
    for now, expected, fewest in (
        (begins, {"now": window}, 4),
        (begins + timedelta(hours=2), None, 2),
    ):
        cluster.now = now
        await cluster.reconcile()
        come_up(cluster)
        requeue = await cluster.reconcile()
        assert (status(), cluster.server.objects[DEPLOYMENT]["spec"]["replicas"]) == (expected, fewest)
        assert requeue.delay == (7200 if expected else None)


async def test_a_shop_that_waits_for_its_upgrade_scales_in_its_window(cluster: FakeCluster) -> None:
    window = {"from": "2026-01-01T01:00:00Z", "until": "2026-01-01T03:00:00Z", "factor": 2}
    maintenance = {"from": "04:00", "to": "05:00"}
    cluster.spec({"profile": "medium", "surge": [window], "maintenance": maintenance})
    await cluster.converge()
    come_up(cluster)
    await cluster.reconcile()
    cluster.upgrade_operator("2")
    await cluster.reconcile()
    cluster.helm.values = {}
    cluster.now = NOW + timedelta(hours=1)
    await cluster.reconcile()
    assert cluster.helm.values["order"]["autoscaling"]["min"] == 4
    assert cluster.helm.values["global"]["image"]["tag"] == "1"
