"""Charts as the tests see them: built once, rendered by Helm, each rendering kept."""

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., list[Manifest]]

CHARTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def helm(find_tool: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Helm on charts whose dependencies are built; does not check the outcome."""
    subprocess.run([CHARTS / "build"], check=True, capture_output=True)
    command = find_tool("helm")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments], cwd=CHARTS, check=False, capture_output=True, text=True, timeout=60
        )

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """`render(chart, *helm's arguments, release="shop")`: the manifests; the same arguments are rendered once."""

    @functools.cache
    def rendered(chart: str, *arguments: str, release: str = "shop") -> list[Manifest]:
        done = helm("template", release, chart, "--namespace", "tests", *arguments)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, "Helm warns"
        return [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]

    return rendered


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of random secrets for the platform."""
    path = tmp_path_factory.mktemp("values") / "secrets.yaml"
    path.write_text(subprocess.run([CHARTS / "secrets"], check=True, capture_output=True, text=True).stdout)
    return str(path)


@pytest.fixture(scope="session")
def kubectl(find_tool: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs kubectl against the kind cluster; does not check the outcome."""
    command = find_tool("kubectl")

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        whole = [command, "--context", "kind-ecommerce", *arguments]
        return subprocess.run(whole, input=stdin, check=False, capture_output=True, text=True, timeout=180)

    return run
