"""What the plugin says when it cannot do its work: one line, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_api_server import FakeApiServer
from kubectl_ecommerce.errors import from_kubectl
from shops import shop

from conftest import Plugin

SHOP_KIND = "platform.ecommerce.dev/v1beta1"


def test_a_shop_that_does_not_exist(cluster: FakeApiServer, plugin: Plugin) -> None:
    assert plugin("why", "nope", "-n", "prod").error == (
        "kubectl-ecommerce: there is no shop nope in namespace prod: list all with kubectl ecommerce status -A"
    )


def test_a_cluster_without_the_operator(
    cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path))
    del cluster.kinds[SHOP_KIND]
    line = plugin("status", "-A").error
    assert "the server doesn't have a resource type" in line
    assert "Install the operator in this cluster (helm install ecommerce-operator charts/operator)" in line


@pytest.mark.parametrize("command", ["status", "pause", "rollback"])
def test_a_right_that_is_missing(command: str, cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.forbidden.add("ecommerceplatforms")
    line = plugin(command, "shop").error
    assert 'User "clerk" cannot GET it. Ask an administrator of the cluster for this right' in line


def test_a_context_that_does_not_exist(plugin: Plugin) -> None:
    line = plugin("status", "--context", "nope").error
    assert "nope" in line
    assert line.endswith("List the contexts with kubectl config get-contexts.")


def test_a_kubeconfig_that_does_not_exist(plugin: Plugin) -> None:
    assert "no such file or directory" in plugin("status", "--kubeconfig", "/nope").error


def test_a_cluster_that_does_not_answer(kubeconfig: Path, cluster: FakeApiServer, plugin: Plugin) -> None:
    port = cluster.url.rpartition(":")[2]
    kubeconfig.write_text(kubeconfig.read_text().replace(port, "1"))
    assert "Check that the cluster runs with kubectl cluster-info" in plugin("status").error


def test_a_machine_without_kubectl(plugin: Plugin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install it and add it to PATH" in plugin("status").error


def test_a_change_that_the_api_server_refuses(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    cluster.invalid = "spec.mode: Invalid value: mode must be Manage or Observe"
    assert "mode must be Manage or Observe" in plugin("pause").error


def test_the_error_is_not_the_hint_at_kubectls_own_help() -> None:
    stderr = 'error: invalid argument "30" for "--timeout" flag\nSee \'kubectl wait --help\' for usage.\n'
    assert str(from_kubectl(stderr)) == 'invalid argument "30" for "--timeout" flag.'


@pytest.mark.parametrize(
    "arguments",
    [[], ["nope"], ["support-bundle", "--lines", "0"], ["status", "-o", "xml"], ["rollback", "--to", "1", "--list"]],
)
def test_wrong_arguments_have_an_exit_code_of_their_own(
    arguments: list[str], plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        plugin(*arguments)
    assert raised.value.code == 2
    assert "usage: kubectl ecommerce" in capsys.readouterr().err
