"""`kubectl ecommerce tenants`: all tenants in a line each, or one with its reasons."""

from __future__ import annotations

import json
from collections.abc import Callable

from fake_api_server import FakeApiServer
from kubectl_ecommerce.completion import NO_FILES, complete
from shops import Manifest, condition, tenant

from conftest import Plugin

Golden = Callable[[str, str], None]


def tenants() -> list[Manifest]:
    well = condition("Ready", "True", "Ready", "The shop is as the plan and the Tenant say.")
    free = condition("HostConflict", "False", "HostFree", "No other shop has the host.")
    taken = condition(
        "HostConflict", "True", "HostTaken", "The tenant acme has the host a.example.com: choose another."
    )
    waits = condition("PlanApplied", "False", "WaitingForTurn", "The plan has changed. It waits for acme.")
    new = tenant("new")
    del new["status"]
    return [
        tenant("acme", "Ready", well, free, host="a.example.com"),
        tenant("bakery", "Progressing", condition("Ready", "False", "Progressing", "It waits."), taken, waits),
        new,
    ]


def test_all_tenants_are_shown_in_one_line_each(cluster: FakeApiServer, plugin: Plugin, golden: Golden) -> None:
    assert plugin("tenants").text == "There are no tenants.\n"
    for manifest in reversed(tenants()):
        cluster.add(manifest)
    golden("tenants", plugin("tenants").text)
    rows = json.loads(plugin("tenants", "-o", "json").text)["tenants"]
    assert [(one["name"], one["state"], one["reasons"]) for one in rows] == [
        ("acme", "Ready", []),
        ("bakery", "Progressing", ["Progressing", "HostTaken", "WaitingForTurn"]),
        ("new", "NotReported", []),
    ]


def test_one_tenant_is_shown_with_its_reasons_and_usage(cluster: FakeApiServer, plugin: Plugin, golden: Golden) -> None:
    for manifest in tenants():
        cluster.add(manifest)
    golden("tenants-bakery", plugin("tenants", "bakery").text)
    golden("tenants-new", plugin("tenants", "new").text)
    assert "there is no tenant other: list all with" in plugin("tenants", "other").error


def test_tenants_are_completed(cluster: FakeApiServer, plugin: Plugin) -> None:
    for manifest in tenants():
        cluster.add(manifest)
    assert complete(["tenants", ""]) == (["acme", "bakery", "new"], NO_FILES)
