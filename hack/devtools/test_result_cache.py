"""A pytest plugin (`-p devtools.test_result_cache`) that caches test results: a service's own tests that passed are
deselected until something changes on which they depend.

A service's tests depend on its folder, on shared packages, on the versions of Python and of every library, and on the
test servers: they may read nothing else (hack/tests/unit/test_devtools_test_result_cache.py). Tests of several services
together always run. Each run reports what it deselected. The cache is in the user's cache folder.
"""

import hashlib
import os
import platform
import sys
from collections import Counter
from pathlib import Path

import pytest

from devtools.content_digest import content_digest

SHARED = (
    "services/chassis",
    "proto",
    "charts/rabbitmq/files",
    "hack/images/stores",
    "hack/compose/stripe-mock",
    "hack/compose/test-env",
    "hack/cluster/toolchain/stripe-mock",
    "conftest.py",
    "constraints.txt",
    "pyproject.toml",
)
_COMPLETE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


def pytest_configure(config: pytest.Config) -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    config.pluginmanager.register(TestResultCache(config, cache / "ecommerce-passed"))


def suite_of(nodeid: str) -> str | None:
    """Returns the folder of the service whose own test this is, like services/order; None for other tests."""
    parts = nodeid.partition("::")[0].split("/")
    return "/".join(parts[:2]) if len(parts) > 3 and (parts[0], parts[2]) == ("services", "tests") else None


class TestResultCache:
    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._config = config
        suites = [f"services/{tests.parent.name}" for tests in sorted((config.rootpath / "services").glob("*/tests"))]
        environment = f"{sys.version} {platform.platform()} {config.option.markexpr}"
        self._files = {
            # of the contents at the start: what changes while tests run has not passed them
            suite: folder / _file_name(suite, environment, content_digest(config.rootpath, suite, *SHARED))
            for suite in suites
        }
        self._cached = {suite: int(file.read_text()) for suite, file in self._files.items() if file.exists()}
        self._passed: Counter[str] = Counter()
        self._failed: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        left_out = [item for item in items if suite_of(item.nodeid) in self._cached]
        if left_out:
            self._config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if suite_of(item.nodeid) not in self._cached]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        suite = suite_of(report.nodeid)
        if suite is None:
            return
        if not report.passed:
            self._failed.add(suite)
        elif report.when == "call":
            self._passed[suite] += 1

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Writes the cache once, in the process where the reports of all workers come together."""
        if hasattr(self._config, "workerinput") or exitstatus not in _COMPLETE or self._is_partial():
            return
        for suite, tests in self._passed.items():
            if suite not in self._failed and self._is_selected(suite):
                self._files[suite].parent.mkdir(parents=True, exist_ok=True)
                self._files[suite].write_text(str(tests))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for suite, tests in self._cached.items():
            if self._is_selected(suite):
                terminalreporter.write_line(f"{suite} is unchanged and its {tests} tests passed: not run again")

    def _is_partial(self) -> bool:
        return any(self._config.getoption(option, default=None) for option in ("keyword", "maxfail", "lf"))

    def _is_selected(self, suite: str) -> bool:
        """Returns whether the whole suite was selected, not only some of its files."""
        tests = self._config.rootpath / suite / "tests"
        asked = [(self._config.invocation_params.dir / argument).resolve() for argument in self._config.args]
        return any(tests.is_relative_to(path) for path in asked)


def _file_name(suite: str, environment: str, content: str) -> str:
    digest = hashlib.sha256(f"{environment} {content}".encode()).hexdigest()
    return f"{suite.replace('/', '-')}-{digest[:20]}"
