"""The commands that change a shop: pause, resume, rollback and retry."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_api_server import FakeApiServer
from shops import NEW, OLD, release, shop

from conftest import NOW, Plugin

Golden = Callable[[str, str], None]


def test_a_paused_shop_is_observed_until_it_is_resumed(cluster: FakeApiServer, plugin: Plugin) -> None:
    stored = cluster.add(shop())
    assert "paused: the operator changes and repairs nothing" in plugin("pause", "shop").text
    assert stored["spec"] == {"mode": "Observe"}
    assert plugin("pause", "shop").text == "shop/shop: is paused already\n"
    assert "resumed" in plugin("resume", "shop").text
    assert stored["spec"] == {"mode": "Manage"}
    assert plugin("resume", "shop").text == "shop/shop: is not paused\n"
    assert len(cluster.patches) == 2


def test_the_earlier_name_of_the_mode_is_resumed_too(cluster: FakeApiServer, plugin: Plugin) -> None:
    stored = cluster.add(shop(spec={"paused": True}))
    plugin("resume", "shop")
    assert stored["spec"] == {"mode": "Manage"}


@pytest.mark.parametrize("command", [["pause"], ["rollback", "--to", "1"]])
def test_a_dry_run_changes_nothing(command: list[str], cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    cluster.add(release(1, "1.4.1"))
    assert "(dry run: nothing was changed)" in plugin(*command, "--dry-run").text
    assert cluster.patches == []


def _releases(cluster: FakeApiServer, *versions: str) -> None:
    for revision, version in enumerate(versions, start=1):
        cluster.add(release(revision, version))


def test_a_rollback_sets_the_version_that_ran_before(cluster: FakeApiServer, plugin: Plugin) -> None:
    stored = cluster.add(shop(spec={"version": NEW}, version=NEW, targetVersion=NEW))
    _releases(cluster, "1.4.1", OLD, OLD, NEW, NEW)  # a release may have new settings alone
    assert f"spec.version was {NEW} and is {OLD}" in plugin("rollback").text
    assert stored["spec"]["version"] == OLD


@pytest.mark.parametrize(
    "status",
    [
        {"targetVersion": NEW},  # on its way
        {"upgrade": {"version": NEW, "phase": "RolledBack", "step": "user"}},  # and back
    ],
)
def test_a_rollback_during_an_upgrade_keeps_the_version_that_runs(
    status: dict[str, Any], cluster: FakeApiServer, plugin: Plugin
) -> None:
    stored = cluster.add(shop(spec={"version": NEW}, **status))
    _releases(cluster, "1.4.1", OLD, NEW)
    plugin("rollback", "shop")
    assert stored["spec"]["version"] == OLD


@pytest.mark.parametrize("name", ["1", "1.4.1"])
def test_a_rollback_goes_to_a_release_by_its_revision_or_version(
    name: str, cluster: FakeApiServer, plugin: Plugin
) -> None:
    stored = cluster.add(shop())
    _releases(cluster, "1.4.1", OLD)
    plugin("rollback", "shop", "--to", name)
    assert stored["spec"]["version"] == "1.4.1"


def test_a_rollback_to_a_release_that_is_not_kept_is_refused(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    _releases(cluster, OLD)
    assert (
        "has no release 7: see kubectl ecommerce rollback shop --list -n shop" in plugin("rollback", "--to", "7").error
    )
    assert "has no release of another version" in plugin("rollback").error
    assert cluster.patches == []


def test_a_rollback_to_the_version_of_the_spec_changes_nothing(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop(spec={"version": OLD}))
    _releases(cluster, OLD)
    assert plugin("rollback", "--to", OLD).text == f"shop/shop: spec.version is {OLD} already\n"
    assert cluster.patches == []


def test_the_releases_are_listed_newest_first(cluster: FakeApiServer, plugin: Plugin, golden: Golden) -> None:
    cluster.add(shop())
    _releases(cluster, "1.4.1", OLD, NEW)
    golden("rollback-list", plugin("rollback", "--list").text)
    found = json.loads(plugin("rollback", "--list", "-o", "json").text)["releases"]
    assert [one["revision"] for one in found] == [3, 2, 1]


def test_an_upgrade_that_has_failed_is_tried_again(cluster: FakeApiServer, plugin: Plugin) -> None:
    stored = cluster.add(shop(upgrade={"version": NEW, "phase": "RolledBack", "step": "user"}))
    assert plugin("retry").text == f"shop/shop: the upgrade to {NEW} is tried again\n"
    request = str(int(NOW.timestamp()))
    assert stored["metadata"]["annotations"] == {"platform.ecommerce.dev/retry-upgrade": request}


@pytest.mark.parametrize("status", [{}, {"upgrade": {"version": NEW, "phase": "RollingOut", "step": "user"}}])
def test_there_is_nothing_to_try_again_without_a_failed_upgrade(
    status: dict[str, Any], cluster: FakeApiServer, plugin: Plugin
) -> None:
    cluster.add(shop(**status))
    assert "has no upgrade that has failed" in plugin("retry").error
    assert cluster.patches == []
