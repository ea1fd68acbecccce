"""Completion: what kubectl_complete-ecommerce prints for the words of a command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_api_server import FakeApiServer
from kubectl_ecommerce.completion import FILES, NO_FILES, complete, print_completions
from shops import shop

from conftest import Plugin


def test_commands_are_completed_with_their_summaries() -> None:
    words, directive = complete(["re"])
    assert "resume\tlet the operator change a paused shop again" in words
    assert all(word.startswith("re") for word in words)
    assert directive == NO_FILES


def test_flags_of_a_command_are_completed() -> None:
    assert complete(["rollback", "--"])[0] == [
        "--help", "--namespace", "--context", "--kubeconfig", "--to", "--list", "--dry-run", "--output",
    ]  # fmt: skip
    assert complete(["status", "-o", ""]) == (["json", "yaml"], NO_FILES)
    assert complete(["status", "--kubeconfig", "x"]) == ([], FILES)
    assert complete(["rotate", ""])[0] == ["signing", "grpc", "databases", "owners", "broker", "cache", "admin", "all"]


def test_a_namespace_that_is_called_like_a_command_is_no_command(cluster: FakeApiServer, plugin: Plugin) -> None:
    assert [word.partition("\t")[0] for word in complete(["-n", "status", "rot"])[0]] == ["rotate"]
    assert complete(["rotate", "-n", "rotate", "g"])[0] == ["grpc"]
    assert complete(["rotate", "--dry-run", "g"])[0] == ["grpc"]
    cluster.add(shop("sample", "why"))
    assert complete(["-n", "why", "status", "s"])[0] == ["sample"]
    assert complete(["why", "--namespace", "why", "s"])[0] == ["sample"]


def test_shops_namespaces_and_contexts_are_completed(cluster: FakeApiServer, plugin: Plugin) -> None:
    for manifest in (shop(), shop("sample"), shop("other", "prod")):
        cluster.add(manifest)
    for name in ("prod", "shop"):
        cluster.add({"metadata": {"name": name}}, "Namespace", "v1")
    assert complete(["why", "s"])[0] == ["sample", "shop"]
    assert complete(["why", "-n", "prod", ""])[0] == ["other"]
    assert complete(["why", "--namespace=prod", ""])[0] == ["other"]
    assert complete(["why", "-n", ""])[0] == ["prod", "shop"]
    assert complete(["why", "--context", "f"])[0] == ["fake"]


def test_a_cluster_that_does_not_answer_completes_nothing(kubeconfig: Path) -> None:
    assert complete(["why", "--kubeconfig", "/nope", ""]) == ([], NO_FILES)


def test_the_last_line_is_the_directive(capsys: pytest.CaptureFixture[str]) -> None:
    print_completions(["sta"])
    assert capsys.readouterr().out == "status\tshow a shop as a tree, or all shops with -A\n:4\n"
