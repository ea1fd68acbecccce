"""A service's tests run again when something changes on which they depend, and only then."""

import ast
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from devtools.test_result_cache import suite_of

pytest_plugins = ["pytester"]

_ROOT = Path(__file__).parents[3]
_PACKAGES = {
    "chassis",
    "chassis_testing",
    "ecommerce_client",
    "devtools",
    "platform_operator",
    "shop_e2e",
    "shopapi",
} | {f"{service.name}_service" for service in (_ROOT / "services").iterdir()}


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Runs pytest on a repository with two services, whose tests pass, and one test of both."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the many plugins of this repository take seconds
    for path in (
        "services/order/tests/unit/test_order.py",
        "services/user/tests/unit/test_user.py",
        "e2e/test_shop.py",
    ):
        write(pytester, path, "def test_it(): pass")
    write(pytester, "services/chassis/chassis/settings.py", "ONE = 1")
    write(pytester, "pyproject.toml", "[tool.pytest.ini_options]")
    write(pytester, ".gitignore", "cache\n__pycache__\n.pytest_cache")
    subprocess.run(["git", "init", "--quiet"], cwd=pytester.path, check=True)

    def run_pytest(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-p", "devtools.test_result_cache", *(arguments or ("services", "e2e")))

    return run_pytest


def write(pytester: pytest.Pytester, path: str, text: str) -> None:
    file = pytester.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_passed_tests_are_deselected_and_reported(run: Callable[..., pytest.RunResult]) -> None:
    run().assert_outcomes(passed=3)

    again = run()

    again.assert_outcomes(passed=1, deselected=2)
    again.stdout.fnmatch_lines(["services/order is unchanged and its 1 tests passed: not run again"])


@pytest.mark.parametrize(
    ("path", "again"),
    [
        ("services/order/order_service/domain/orders.py", 2),
        ("services/order/tests/service/new_harness.py", 2),
        ("services/chassis/chassis/settings.py", 3),
        ("proto/shopapi/order.proto", 3),
        ("constraints.txt", 3),
        ("hack/compose/stripe-mock", 3),
        ("pyproject.toml", 3),
        ("docs/architecture.md", 1),
    ],
)
def test_tests_that_depend_on_a_change_run_again(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester, path: str, again: int
) -> None:
    run().assert_outcomes(passed=3)

    write(pytester, path, "[tool.pytest.ini_options]\n# changed")

    run().assert_outcomes(passed=again, deselected=3 - again)


def test_a_failed_suite_runs_again(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    write(pytester, "services/order/tests/unit/test_worse.py", "def test_worse(): assert False")
    run().assert_outcomes(passed=3, failed=1)

    run().assert_outcomes(passed=2, failed=1, deselected=1)


@pytest.mark.parametrize(
    "part",
    [("-k", "it", "services"), ("services/order/tests/unit",), ("--maxfail=1", "services"), ("--lf", "services")],
)
def test_a_partial_run_is_not_cached(run: Callable[..., pytest.RunResult], part: tuple[str, ...]) -> None:
    run(*part)

    run().assert_outcomes(passed=3)


def test_results_of_parallel_workers_are_cached_together(run: Callable[..., pytest.RunResult]) -> None:
    side_by_side = ("-p", "xdist", "--numprocesses=2", "services", "e2e")
    run(*side_by_side).assert_outcomes(passed=3)

    run(*side_by_side).assert_outcomes(passed=1)


def test_only_tests_of_one_service_form_a_suite() -> None:
    assert suite_of("services/order/tests/unit/test_order_carts.py::test_a[b::c]") == "services/order"
    assert suite_of("e2e/tests/integration/test_integration_races.py::test_a") is None
    assert suite_of("services/Dockerfile") is None


@pytest.mark.parametrize("file", sorted((_ROOT / "services").glob("*/tests/**/*.py")), ids=lambda file: file.stem)
def test_a_services_tests_read_only_what_the_cache_key_covers(file: Path) -> None:
    text, service = file.read_text(), file.relative_to(_ROOT).parts[1]
    imported = {name.split(".")[0] for node in ast.walk(ast.parse(text)) for name in _imported_by(node)}

    assert imported & _PACKAGES <= {"chassis", "chassis_testing", "shopapi", f"{service}_service"}
    assert not re.search(r"parents\[[3-9]\]", text), "that leads out of the service's folder"


def _imported_by(node: ast.AST) -> list[str]:
    match node:
        case ast.ImportFrom(module=str(module)):
            return [module]
        case ast.Import(names=names):
            return [one.name for one in names]
        case _:
            return []
