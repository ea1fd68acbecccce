"""The benchmark of `make bench-operator` runs: two shops, on a control plane of its own with simulated nodes.

It asserts what the operator must never do, with any number of shops. What it measured has no thresholds.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from shop_e2e.bench_operator.plot import plot
from shop_e2e.bench_operator.report import Figures, kept, table
from shop_e2e.bench_operator.tenants import CONCURRENCY

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[3]
_SECONDS = 300


@pytest.fixture(scope="module")
def tools() -> None:
    """The programs that a cluster is simulated with."""
    subprocess.run([ROOT / "hack/cluster/simulated-tools"], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory, tools: None) -> Figures:
    """The figures of a smoke run."""
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "shop_e2e.bench_operator", "--shops", "2", "--smoke", "--keep", str(folder)]
    process = subprocess.run(command, timeout=_SECONDS, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    (run,) = kept(folder)
    return run


def test_a_restart_and_a_resync_write_nothing(figures: Figures) -> None:
    assert (figures.fleet.restart_writes, figures.fleet.resync.writes) == (0, 0)
    assert figures.fleet.leader_kept


def test_an_object_is_applied_by_few_requests(figures: Figures) -> None:
    assert figures.fleet.creation.requests < 2 * figures.bare.objects, "one for each object, and those of the passes"


def test_a_new_release_reaches_all_shops_by_way_of_one(figures: Figures) -> None:
    assert figures.fleet.upgrade is not None
    assert figures.fleet.upgrade.most_before_first == 1


def test_the_table_and_the_plot_show_each_run(figures: Figures, tmp_path: Path) -> None:
    assert "| shops | 2 | 2 |" in table([figures, figures])
    plot([figures]).savefig(tmp_path / "plot.svg")
    assert "Shops created per second" in (tmp_path / "plot.svg").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("tools")
def test_a_changed_plan_reaches_all_tenants_a_few_at_a_time() -> None:
    command = [sys.executable, "-m", "shop_e2e.bench_operator", "--tenants", str(2 * CONCURRENCY)]
    command += ["--timeout", str(_SECONDS - 60)]
    process = subprocess.run(command, timeout=_SECONDS, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    (at_once,) = re.findall(r"tenants that took it at once.*\| (\d+) \|", process.stdout)
    assert 0 < int(at_once) <= CONCURRENCY
