"""A service that `make new-service` creates passes every check; an invalid name is refused without a trace."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_TOOLS = Path(sys.executable).parent
_MYPY_CACHE = Path(os.environ.get("MYPY_CACHE_DIR", _ROOT / ".mypy_cache"))
_READ = ("pyproject.toml", "conftest.py", "hack/pyproject.toml", "proto/shopapi/services.toml")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the files from which a new service is created and in which it is registered."""
    for name in _READ:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_ROOT / name, tmp_path / name)
    template = "services/chassis/template"
    shutil.copytree(_ROOT / template, tmp_path / template, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def new(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, _ROOT / "hack/new-service", "--root", repository, *arguments],
        check=False, capture_output=True, text=True,
    )  # fmt: skip


def passes(repository: Path, *command: str) -> None:
    """Runs a command with the new service installed, as `make setup` does."""
    environment = {**os.environ, "PYTHONPATH": str(repository / "services/coupon")}
    done = subprocess.run(
        [_TOOLS / command[0], *command[1:]],
        check=False, capture_output=True, text=True, cwd=repository, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_service_passes_every_check(repository: Path) -> None:
    made = new(repository, "coupon")

    assert made.returncode == 0, made.stderr
    assert "http://127.0.0.1:8088/swagger/" in made.stdout
    package, tests = "services/coupon/coupon_service", "services/coupon/tests"
    passes(repository, "ruff", "check", "services/coupon")
    passes(repository, "ruff", "format", "--check", "services/coupon")
    passes(repository, "lint-imports", "--no-cache")
    passes(repository, "mypy", f"--cache-dir={_MYPY_CACHE / 'new'}", package, tests)
    passes(repository, "pytest", "-p", "no:cacheprovider", tests)


def test_a_new_service_is_registered_wherever_other_services_are(repository: Path) -> None:
    made = new(repository, "gallery", "--plural", "galleries")

    assert made.returncode == 0, made.stderr
    for path in ("pyproject.toml", "hack/pyproject.toml"):
        text = (repository / path).read_text()
        assert text.count("gallery") == text.count("review"), path
    declared = tomllib.loads((repository / "proto/shopapi/services.toml").read_text())
    assert list(declared)[-2:] == ["gallery", "gateway"]
    assert (declared["gallery"]["http"], declared["gallery"]["grpc"]) == (8088, 9098)
    assert declared["gallery"]["database"] == "galleries_db"
    assert not [path for path in (repository / "services/gallery").rglob("*") if "sample" in path.name]
    assert not [
        path
        for path in (repository / "services/gallery").rglob("*")
        if path.is_file() and "sample" in path.read_text().lower()
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["Coupon"], "'Coupon' is not a valid name: write 2 to 20 lower-case letters and digits"),
        (["gift-card"], "'gift-card' is not a valid name"),
        (["9lives"], "'9lives' is not a valid name"),
        (["../order"], "'../order' is not a valid name"),
        (["chassis"], "services/chassis exists already"),
        (["class"], "choose another name"),
        (["router"], "choose another name"),
        (["sheep", "--plural", "sheep"], "write another --plural"),
    ],
)
def test_a_bad_name_is_refused_in_one_line_and_nothing_is_created(
    repository: Path, arguments: list[str], complaint: str
) -> None:
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}

    refused = new(repository, *arguments)

    assert refused.returncode == 1
    assert refused.stderr.startswith("hack/new-service: ")
    assert complaint in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
