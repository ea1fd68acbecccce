"""Configures all tests, and keeps the standard library's `operator` importable.

pytest's importlib mode names a test of the folder operator/ `operator.tests.unit.test_…`. Unless the module `operator`
looks like a package, pytest replaces it by an empty one. operator/tests/unit/test_standard_library.py checks this.
"""

import fcntl
import operator
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

vars(operator)["__path__"] = []

# Plain tracebacks: structlog's default draws frames around every local variable, which takes seconds.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])

# A slow machine is not a failure of the tested code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def find_tool() -> Callable[[str], str]:
    """Finds a command by its variable (HELM), on PATH, or where hack/cluster/host-tools puts it; else fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    kept = Path(os.environ.get("HOST_TOOLS", cache / "ecommerce-tools"))

    def find(name: str) -> str:
        found = os.environ.get(name.upper()) or shutil.which(name) or shutil.which(name, path=kept)
        if found is None:
            pytest.fail(f"no {name}: put it on PATH, set {name.upper()}, or run hack/cluster/host-tools")
        return found

    return find


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Runs cluster tests in parallel, except those marked `undisturbed`, which run alone."""
    if item.get_closest_marker("cluster") is None:
        return (yield)
    with _on_the_cluster(undisturbed=item.get_closest_marker("undisturbed") is not None):
        return (yield)


@contextmanager
def _on_the_cluster(*, undisturbed: bool) -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / "ecommerce-cluster-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if undisturbed else fcntl.LOCK_SH)
        yield
