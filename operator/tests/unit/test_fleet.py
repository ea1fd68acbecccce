from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from platform_operator.api.kinds import PlatformKey
from platform_operator.api.spec import Maintenance, parse
from platform_operator.cache.observed import Platform
from platform_operator.errors import InvalidSpecError
from platform_operator.plan.fleet import Target, UpgradePolicy, choose_target, is_halted, is_open

NOW = datetime(2026, 1, 7, 12, 0, tzinfo=UTC)
OLD, NEW = ("1", "c1"), ("2", "c2")
RELEASE = Target(*NEW)
DEGRADED: dict[str, Any] = {"conditions": [{"type": "Degraded", "status": "True"}]}


def shop(
    name: str,
    target: tuple[str, str] = OLD,
    running: tuple[str, str] | None = OLD,
    *,
    spec: dict[str, Any] | None = None,
    **status: Any,
) -> Platform:
    stored = {"targetVersion": target[0], "targetCharts": target[1], **status}
    if running:
        stored |= {"version": running[0], "charts": running[1]}
    return Platform(PlatformKey("shops", name), name, 1, 1, False, spec or {}, stored)


DONE = shop("done", NEW, NEW)


def choose(
    one: Platform,
    *others: Platform,
    policy: UpgradePolicy | None = None,
    edited: bool = False,
    release: Target = RELEASE,
) -> Target:
    policy = policy or UpgradePolicy(concurrency=2)
    return choose_target(one, parse(one.spec), release, [one, *others], policy, NOW, edited=edited)


def reason(target: Target) -> str | None:
    return target.wait.reason.value if target.wait else None


def test_a_new_shop_gets_the_release_at_once() -> None:
    new = replace(shop("new"), status={})
    assert choose(new, shop("failed", NEW, OLD, **DEGRADED)) == RELEASE


def test_the_first_shop_is_upgraded_alone() -> None:
    assert choose(shop("a"), shop("b")) == RELEASE
    waiting = choose(shop("b"), shop("a", NEW, OLD))
    assert ((waiting.version, waiting.charts), reason(waiting)) == (OLD, "WaitingForTurn")


def test_when_the_first_runs_at_most_so_many_are_upgraded_at_once() -> None:
    assert choose(shop("c"), DONE, shop("b", NEW, OLD)) == RELEASE
    assert reason(choose(shop("d"), DONE, shop("b", NEW, OLD), shop("c", NEW, OLD))) == "WaitingForTurn"


def test_all_wait_for_the_canary_that_is_named() -> None:
    policy = UpgradePolicy("shops/z", 2)
    assert reason(choose(shop("a"), shop("z"), policy=policy)) == "WaitingForCanary"
    assert reason(choose(shop("a"), DONE, shop("z", NEW, OLD), policy=policy)) == "WaitingForCanary"
    assert choose(shop("z"), shop("a"), policy=policy) == RELEASE
    assert choose(shop("a"), shop("z", NEW, NEW), policy=policy) == RELEASE


def test_a_canary_that_does_not_follow_or_exist_is_not_waited_for() -> None:
    policy = UpgradePolicy("shops/z", 2)
    assert choose(shop("a"), policy=policy) == RELEASE
    assert choose(shop("a"), shop("z", spec={"version": "1"}), policy=policy) == RELEASE


def test_a_failed_upgrade_halts_the_others_and_goes_on_itself() -> None:
    failed = shop("b", NEW, OLD, **DEGRADED)
    assert reason(choose(shop("a"), DONE, failed)) == "UpgradesHalted"
    assert "shops/b" in str(choose(shop("a"), DONE, failed).wait)
    assert choose(failed, DONE, shop("a")) == RELEASE
    assert is_halted([failed, DONE], RELEASE)
    assert not is_halted([DONE], RELEASE)


@pytest.mark.parametrize(
    "other",
    [
        shop("own", ("9", "c2"), OLD, spec={"version": "9"}, **DEGRADED),
        shop("new", NEW, None, **DEGRADED),
        shop("old", OLD, OLD, **DEGRADED),
        shop("observed", NEW, OLD, mode="Observe", **DEGRADED),
        shop("later", NEW, NEW, **DEGRADED),
    ],
    ids=lambda one: one.key.name,
)
def test_what_is_no_failure_of_the_release_halts_nothing(other: Platform) -> None:
    assert choose(shop("a"), other) == RELEASE


def test_a_degraded_shop_is_not_upgraded() -> None:
    assert reason(choose(shop("a", **DEGRADED))) == "ShopDegraded"


def test_a_shop_with_a_version_of_its_own_waits_for_the_charts_alone() -> None:
    own = shop("own", spec={"version": "1"})
    assert choose(own) == Target("1", "c2")
    waiting = choose(own, shop("b", NEW, OLD))
    assert ((waiting.version, waiting.charts), reason(waiting)) == (OLD, "WaitingForTurn")


def test_a_version_that_the_user_sets_does_not_wait() -> None:
    failed = shop("b", NEW, OLD, **DEGRADED)
    assert choose(shop("a", spec={"version": "3"}), failed) == Target("3", "c2")


def test_a_change_of_the_user_takes_the_charts_and_leaves_the_version() -> None:
    target = choose(shop("a"), shop("b", NEW, OLD), edited=True)
    assert ((target.version, target.charts), reason(target)) == (("1", "c2"), "WaitingForTurn")
    own = choose(shop("a", spec={"version": "1"}), shop("b", NEW, OLD), edited=True)
    assert own == Target("1", "c2")


def test_an_unfinished_rollout_goes_on_with_the_operators_charts() -> None:
    target = choose(shop("a", ("1", "c1"), ("0", "c1")), shop("b", NEW, OLD))
    assert (target.version, target.charts) == ("1", "c2")


def test_a_shop_of_an_operator_without_targets_waits_too() -> None:
    old = replace(shop("a"), status={"version": "1"})
    target = choose(old, shop("b", NEW, OLD))
    assert ((target.version, target.charts), reason(target)) == (("1", ""), "WaitingForTurn")
    assert target.holds("c2")


def test_a_shop_outside_its_window_waits() -> None:
    maintenance = {"days": ["Wed"], "from": "13:00", "to": "14:00", "timeZone": "Europe/Berlin"}
    assert choose(shop("a", spec={"maintenance": maintenance})) == RELEASE, "12:00 UTC is 13:00 in Berlin in winter"
    assert reason(choose(shop("a", spec={"maintenance": maintenance | {"timeZone": "UTC"}}))) == "OutsideMaintenance"


@pytest.mark.parametrize(
    ("day", "hour", "minute", "opened"),
    [(5, 21, 59, False), (5, 22, 0, True), (6, 1, 59, True), (6, 2, 0, False), (6, 22, 0, False), (5, 1, 0, False)],
)
def test_a_window_that_passes_midnight_belongs_to_the_day_on_which_it_begins(
    day: int, hour: int, minute: int, opened: bool
) -> None:
    monday_night = Maintenance.model_validate({"days": ["Mon"], "from": "22:00", "to": "02:00"})
    assert is_open(monday_night, datetime(2026, 1, day, hour, minute, tzinfo=UTC)) is opened


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="Mars/Base is no time zone of the IANA database"):
        parse({"maintenance": {"timeZone": "Mars/Base"}})
