"""How the plugin writes: to readers that are gone, full disks and terminals without Unicode, and texts of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_api_server import FakeApiServer
from kubectl_ecommerce.errors import UnreachableError, from_kubectl
from shops import condition, shop

from conftest import Plugin

ATTACK = "\x1b]0;owned\x07 Größe → 5\u202e"
RAW = {"\x1b", "\x07", "\u202e"}

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command of the plugin in a shell, on a kubectl that knows many shops with such a message."""
    shops = [shop(f"s{i}", conditions=[condition("Ready", "False", "Applying", ATTACK)]) for i in range(300)]
    (tmp_path / "shops").write_text(json.dumps({"items": shops}))
    (tmp_path / "shop").write_text(json.dumps(shops[0]))
    (tmp_path / "kubectl").write_text(
        f'#!/bin/sh\ncase "$3" in s0) cat {tmp_path}/shop;; *) cat {tmp_path}/shops;; esac\n'
    )
    (tmp_path / "kubectl").chmod(0o755)

    def call(command: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
        line = f"{sys.executable} -m kubectl_ecommerce {command}"
        path = f"{tmp_path}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "PYTHONIOENCODING": encoding}
        script = ["bash", "-c", f"set -o pipefail; {line}"]
        return subprocess.run(script, env=environment, capture_output=True, check=False)

    return call


@pytest.mark.parametrize("command", ["status -A", "status -A -o json", "--help"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_is_gone_ends_the_command_quietly(
    unbuffered: str, command: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    done = run(f"{command} | true")
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_output_that_is_closed_gets_nothing(run: Run) -> None:
    done = run("status -A >&-")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["status -A", "--help"])
def test_output_that_cannot_be_written_is_an_error_of_one_line(command: str, run: Run) -> None:
    done = run(f"{command} > /dev/full")
    expected = b"kubectl-ecommerce: the output cannot be written (No space left on device)\n"
    assert (done.returncode, done.stderr) == (1, expected)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_gets_escapes(encoding: str, run: Run) -> None:
    done = run("why s0", encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2192 5" in done.stdout
    data = yaml.safe_load(run("why s0 -o yaml", encoding).stdout.decode(encoding))
    assert data["causes"][0]["message"] == ATTACK


def test_data_for_scripts_cannot_write_to_the_terminal_either(run: Run) -> None:
    for form, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        text = run(f"why s0 -o {form}").stdout.decode()
        assert not RAW & set(text)
        assert load(text)["causes"][0]["message"] == ATTACK


def test_texts_of_pods_and_operators_cannot_write_to_the_terminal(
    cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster.add(shop())
    result = {"backupId": ATTACK, "size": ATTACK, "cutTime": ATTACK, "closedSeconds": 1, "invariants": ATTACK}
    complete: dict[str, Any] = condition("Complete", "True", "Succeeded", "Whole.")
    cluster.status_of_created = {"phase": "Succeeded", "completionTime": "now", "conditions": [complete], **result}
    for command in (["backup", "--name", "a"], ["restore", "--newest", "--name", "b"]):
        assert not RAW & set(plugin(*command).text)
    monkeypatch.setattr("kubectl_ecommerce.kubectl.Kubectl.run", lambda *_, **__: json.dumps(shop()) + ATTACK)
    monkeypatch.setattr("kubectl_ecommerce.kubectl.Kubectl.read", lambda *_: shop())
    text = plugin("resend-events", "shop", "--since", "2026-01-31T08:00:00Z", "--service", "order").text
    assert not RAW & set(text)


def test_what_a_command_in_a_pod_says_is_no_failure_of_the_cluster() -> None:
    said = "order_service: connection refused by shop-order-db:5432"
    error = from_kubectl(f"{said}\ncommand terminated with exit code 1\n")
    assert str(error) == f"{said}."
    assert not isinstance(error, UnreachableError)


def test_a_bundle_that_does_not_fit_leaves_no_file(
    cluster: FakeApiServer, plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cluster.add(shop())
    monkeypatch.setattr("tarfile.TarFile.addfile", full)
    path = tmp_path / "bundle.tar.gz"
    line = plugin("support-bundle", "--file", str(path)).error
    assert f"{path} cannot be written (No space left on device): name another one with --file" in line
    assert not path.exists()
