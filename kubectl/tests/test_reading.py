"""The commands that read: status, why and invariants."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml
from fake_api_server import FakeApiServer
from kubectl_ecommerce.output import Node, Style, Text, Tone, age, clean, tree
from shops import NEW, OLD, blocked, broken_shop, condition, new_shop, shop

from conftest import NOW, Plugin

Golden = Callable[[str, str], None]


@pytest.mark.parametrize("command", ["status", "why", "invariants"])
@pytest.mark.parametrize(
    ("name", "manifest", "arguments"),
    [
        ("broken", broken_shop(), ["shop"]),
        ("well", shop(), ["shop"]),
        ("new", new_shop(), ["fresh", "-n", "staging"]),
    ],
)
def test_a_reading_command_prints_its_golden_file(
    command: str,
    name: str,
    manifest: dict[str, object],
    arguments: list[str],
    cluster: FakeApiServer,
    plugin: Plugin,
    golden: Golden,
) -> None:
    cluster.add(manifest)
    golden(f"{command}-{name}", plugin(command, *arguments).text)


def test_all_shops_are_shown_in_one_line_each(cluster: FakeApiServer, plugin: Plugin, golden: Golden) -> None:
    observed = shop("calm", "prod", mode="Observe")
    for manifest in (broken_shop(), new_shop(), observed):
        cluster.add(manifest)
    golden("status-all", plugin("status", "-A").text)


def test_without_a_name_the_only_shop_of_the_namespace_is_meant(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    cluster.add(shop("other", "prod"))
    assert plugin("status").text.startswith("shop/shop  Ready  http://shop-gateway.shop.svc:8080\n")
    assert plugin("-n", "prod", "why").text == "prod/other is Ready: nothing blocks it.\n"


def test_several_shops_of_a_namespace_are_listed_and_have_to_be_named_to_be_explained(
    cluster: FakeApiServer, plugin: Plugin
) -> None:
    cluster.add(shop("a"))
    cluster.add(shop("b"))
    assert len(plugin("status").text.splitlines()) == 3
    assert plugin("why").error == "kubectl-ecommerce: this namespace has several shops (a, b): name one of them"


def test_an_empty_cluster_has_no_shops(cluster: FakeApiServer, plugin: Plugin) -> None:
    assert plugin("status", "-A").text == "There are no shops.\n"
    assert "there is no shop in this namespace" in plugin("why").error


def test_data_for_scripts_is_the_same_in_json_and_yaml(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(broken_shop())
    data = json.loads(plugin("status", "shop", "-o", "json").text)
    assert data == yaml.safe_load(plugin("status", "shop", "-o", "yaml").text)
    assert (data["state"], data["version"], data["target"]) == ("Degraded", OLD, NEW)
    order = next(row for row in data["services"] if row["name"] == "order")
    assert order["causes"] == [
        "Job shop-order-migrate-25f084f1: BackoffLimitExceeded",
        "Deployment shop-order: waits for Job shop-order-migrate-25f084f1",
    ]
    assert json.loads(plugin("status", "-A", "-o", "json").text)["shops"][0]["reasons"] == data["reasons"]


def test_why_gives_the_next_command_of_each_cause_once(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(broken_shop())
    causes = json.loads(plugin("why", "shop", "-o", "json").text)["causes"]
    assert {one["reason"]: one["command"] for one in causes} == {
        "MigrationFailed": "kubectl -n shop logs job/shop-order-migrate-25f084f1",
        "DeadLetters": "kubectl -n shop logs -l app.kubernetes.io/instance=shop --tail=-1 --prefix | "
        "grep -E 'event (failed|refused)'",
        "NoMailServer": "kubectl -n shop edit ecp shop",
        "RollingOut": "kubectl -n shop get ecp shop --watch",
    }
    assert [one["reason"] for one in causes] == ["MigrationFailed", "DeadLetters", "NoMailServer", "RollingOut"]


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("StatefulSet", "statefulset"),
        ("Cluster", "clusters.postgresql.cnpg.io"),
        ("RabbitmqCluster", "rabbitmqclusters.rabbitmq.com"),
    ],
)
def test_a_command_names_the_object_that_has_blocked_for_longest(
    cluster: FakeApiServer, plugin: Plugin, kind: str, resource: str
) -> None:
    early = blocked(kind, "shop-order-db", "NotReady", "no room") | {"since": "2026-01-31T09:00:00Z"}
    manifest = shop(
        conditions=[condition("Degraded", "True", "RolloutFailed", "It does not become ready.")],
        blocked=[blocked("Deployment", "shop-user", "NotReady", "crashes"), early],
    )
    cluster.add(manifest)
    (cause,) = json.loads(plugin("why", "shop", "-o", "json").text)["causes"]
    assert cause["command"] == f"kubectl -n shop describe {resource} shop-order-db"


def test_a_hibernated_shop_says_once_how_to_wake_it(cluster: FakeApiServer, plugin: Plugin) -> None:
    conditions = [
        condition(type_, status, "Hibernated", "No pod runs.")
        for type_, status in (("Ready", "False"), ("Upgraded", "False"), ("Hibernated", "True"))
    ]
    cluster.add(shop(conditions=conditions))
    data = json.loads(plugin("why", "-o", "json").text)
    assert data["state"] == "Hibernated"
    assert [(one["type"], one["command"]) for one in data["causes"]] == [
        ("Hibernated", "kubectl ecommerce wake shop -n shop")
    ]


def test_a_closed_shop_says_once_how_to_open_it(cluster: FakeApiServer, plugin: Plugin) -> None:
    conditions = [
        condition(type_, status, "Closed", "No service runs.")
        for type_, status in (("Ready", "False"), ("Upgraded", "False"), ("Closed", "True"))
    ]
    cluster.add(shop(conditions=conditions))
    data = json.loads(plugin("why", "-o", "json").text)
    assert data["state"] == "Closed"
    opening = """kubectl patch ecp shop -n shop --type merge --patch '{"spec": {"closed": false}}'"""
    assert [(one["type"], one["command"]) for one in data["causes"]] == [("Closed", opening)]


def test_a_reason_of_a_newer_operator_is_judged_by_its_status(cluster: FakeApiServer, plugin: Plugin) -> None:
    conditions = [condition("Ready", "True", "AsNew", "well"), condition("Degraded", "True", "Melted", "not well")]
    cluster.add(shop(conditions=conditions))
    (cause,) = json.loads(plugin("why", "shop", "-o", "json").text)["causes"]
    assert (cause["reason"], cause["command"]) == ("Melted", "kubectl -n shop describe ecp shop")


def test_a_message_cannot_write_to_the_terminal(cluster: FakeApiServer, plugin: Plugin) -> None:
    attack = "\x1b]0;owned\x07\nReady\u202e"
    cluster.add(shop(conditions=[condition("Degraded", "True", "RolloutFailed", attack)]))
    text = plugin("why", "shop").text
    assert "\\x1b]0;owned\\x07 Ready\\u202e" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_a_name_and_all_namespaces_exclude_each_other(cluster: FakeApiServer, plugin: Plugin) -> None:
    assert "leave out shop" in plugin("status", "shop", "-A").error


def test_a_tree_has_colours_and_wraps_messages_on_a_terminal_alone() -> None:
    root = Node(["shop"], branches=[Node(["a", Text("bad", Tone.BAD)], " ".join(["word"] * 30)), Node(["long", "x"])])
    assert tree(root, Style()).splitlines()[1:] == ["├─ a     bad", "│     " + " ".join(["word"] * 30), "└─ long  x"]
    lines = tree(root, Style(colour=True, width=60)).splitlines()
    assert lines[1] == "├─ a     \x1b[31mbad\x1b[0m"
    assert len(lines) == 6
    assert max(map(len, lines)) <= 60
    assert tree(root, Style(unicode=False)).splitlines()[-1] == "`- long  x"


@pytest.mark.parametrize(
    ("since", "text"),
    [
        ("2026-01-31T11:59:30Z", "30s"),
        ("2026-01-31T11:58:30Z", "90s"),
        ("2026-01-31T11:48:00Z", "12m"),
        ("2026-01-31T09:00:00Z", "3h"),
        ("2026-01-30T11:00:00Z", "1d"),
        ("2026-01-31T13:00:00Z", "0s"),
        ("", ""),
    ],
)
def test_an_age_is_short(since: str, text: str) -> None:
    assert age(since, NOW) == text


def test_a_text_is_one_line() -> None:
    assert clean("a\n  b\tc") == "a b c"


PENDING = {
    "applies": 30,
    "deletions": 1,
    "objects": [
        {
            "kind": "Deployment",
            "name": "shop-review",
            "reason": "NotRequired",
            "message": "is not required any more",
        },
        {"kind": "Service", "name": "shop-order", "reason": "LostFields", "message": "spec.ports was set by kubectl"},
    ],
}


@pytest.mark.parametrize("mode", ["Manage", "Observe"])
def test_a_diff_shows_what_is_pending(mode: str, cluster: FakeApiServer, plugin: Plugin, golden: Golden) -> None:
    held = blocked("StatefulSet", "shop-old-db", "Held", "is not deleted without permission")
    cluster.add(shop(mode=mode, pending=PENDING, blocked=[held]))
    golden(f"diff-{mode.lower()}", plugin("diff").text)


def test_a_diff_says_that_the_newest_spec_is_not_seen_yet(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop(observedGeneration=1))
    assert plugin("diff").text == (
        "shop/shop: the operator has not seen the newest spec yet; this is about the one before.\n"
        "shop/shop: the operator has nothing to change.\n"
    )
