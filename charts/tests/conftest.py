"""Fixtures that build the charts once and render them with Helm, each set of arguments once."""

import functools
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., list[Manifest]]

CHARTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def helm(find_tool: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Builds the dependencies of the charts; the returned function runs Helm and does not check its exit code."""
    subprocess.run([CHARTS / "build"], check=True, capture_output=True)
    command = find_tool("helm")
    environment = {"GOGC": "400", **os.environ}  # collecting garbage less often saves a quarter of Helm's time

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments], cwd=CHARTS, env=environment, check=False, capture_output=True, text=True, timeout=180
        )

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Returns `render(chart, *helm_arguments, release="shop")`, which returns the manifests and caches them."""

    @functools.cache
    def rendered(chart: str, *arguments: str, release: str = "shop") -> list[Manifest]:
        done = helm("template", release, chart, "--namespace", "tests", *arguments)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, "Helm warns"
        return [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]

    return rendered


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the path of a values file with random secrets for the platform."""
    path = tmp_path_factory.mktemp("values") / "secrets.yaml"
    path.write_text(subprocess.run([CHARTS / "secrets"], check=True, capture_output=True, text=True).stdout)
    return str(path)


@pytest.fixture(scope="session")
def kubectl(find_tool: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Returns a function that runs kubectl on the kind cluster and does not check its exit code."""
    command = find_tool("kubectl")

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        full = [command, "--context", "kind-ecommerce", *arguments]
        return subprocess.run(full, input=stdin, check=False, capture_output=True, text=True, timeout=180)

    return run


@pytest.fixture
def namespace(kubectl: Callable[..., subprocess.CompletedProcess[str]]) -> Iterator[str]:
    """Creates a namespace that admits only restricted pods, and deletes it after the test."""
    name = f"charts-{uuid.uuid4().hex[:8]}"
    created = kubectl("create", "namespace", name)
    assert created.returncode == 0, f"no cluster answers, run `make up`: {created.stderr}"
    kubectl(
        "label", "namespace", name, *(f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn"))
    )
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
