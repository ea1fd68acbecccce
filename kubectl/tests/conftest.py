from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_api_server import FakeApiServer, served
from kubectl_ecommerce.cli import run

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Outcome:
    """What one run of the plugin has printed, and its exit code."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        assert self.code == 0, self.stderr
        return self.stdout

    @property
    def error(self) -> str:
        """The only line of standard error of a run that has failed."""
        assert (self.code, self.stdout) == (1, ""), self.stdout
        (line,) = self.stderr.splitlines()
        return line


Plugin = Callable[..., Outcome]


@pytest.fixture(scope="session")
def server() -> Iterator[FakeApiServer]:
    with served(FakeApiServer()) as started:
        yield started


@pytest.fixture(scope="session")
def kubectl_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder in which kubectl caches which kinds the cluster serves."""
    return tmp_path_factory.mktemp("kubectl")


@pytest.fixture
def cluster(server: FakeApiServer) -> FakeApiServer:
    """The API server, without objects."""
    server.reset()
    return server


@pytest.fixture
def kubeconfig(cluster: FakeApiServer, kubectl_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubeconfig of the cluster, whose context is in namespace shop."""
    path = tmp_path / "config"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "fake", "cluster": {"server": cluster.url}}],
                "users": [{"name": "clerk", "user": {"token": "t"}}],
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "clerk", "namespace": "shop"}}],
                "current-context": "fake",
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setenv("KUBECACHEDIR", str(kubectl_cache))
    return path


@pytest.fixture
def plugin(kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> Plugin:
    """Runs the plugin with arguments on the cluster, at NOW."""

    def call(*arguments: str) -> Outcome:
        code = run(arguments, NOW)
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compares a text with a golden file. A missing file is written, and the test fails: look at it, and run again."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / f"{name}.txt"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            pytest.fail(f"{path} is written: read it, and run the test again")
        assert text == path.read_text()

    return compare
