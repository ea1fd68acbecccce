"""The benchmark of `make bench` runs: a smoke of it, on the test servers, with this shop and the floor alone.

It asserts what the benchmark says that it did. What it measured means nothing, on few requests beside other tests.
"""

import asyncio
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from shop_e2e.bench.__main__ import SMOKE, main
from shop_e2e.bench.profiles import time_per_library
from shop_e2e.bench.samples import Case, Sample, summarize
from shop_e2e.bench.targets.floor import COMMIT
from shop_e2e.bench.targets.target import OVERLOAD, RACE, WORKS

_SECONDS = 900


@pytest.fixture(scope="module")
async def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smoke run's results."""
    folder = tmp_path_factory.mktemp("bench")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shop_e2e.bench", "--smoke", "--output", str(folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(_SECONDS):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return folder


@pytest.fixture(scope="module")
def results(output: Path) -> Mapping[str, Any]:
    return dict(json.loads((output / "results.json").read_text()))


def test_each_work_of_the_shop_is_measured_and_never_refused(results: Mapping[str, Any]) -> None:
    measured = {row["case"]["work"]: row for row in results["summaries"] if row["target"] == "this shop"}

    assert set(measured) == set(WORKS) - {RACE, OVERLOAD}
    assert {work: row["failures"] for work, row in measured.items() if row["failures"]} == {}
    assert all(row["actions"] > 0 and row["rate"]["median"] > 0 for row in measured.values())
    assert all(measured[work]["processor_per_1000"] >= 0 for work in measured)


def test_the_floor_is_measured_beside_it(results: Mapping[str, Any]) -> None:
    measured = {row["case"]["work"]: row for row in results["summaries"] if row["target"] == "floor"}

    assert set(measured) == {"list", COMMIT}
    assert measured[COMMIT]["commits_per_action"] == 1


def test_a_race_sells_exactly_the_stock(results: Mapping[str, Any]) -> None:
    assert [(race["target"], race["stock"], race["sold"]) for race in results["races"]] == [("this shop", 5, 5)]


def test_of_an_overload_each_journey_is_counted_once(results: Mapping[str, Any]) -> None:
    [overload] = results["overloads"]

    assert overload["offered"] == pytest.approx(3 * overload["peak"])
    began = overload["served"]["journeys"] + overload["refused"]["requests"] + len(overload["failures"])
    assert began == math.ceil(overload["offered"] * SMOKE.overload_seconds)
    assert overload["served"]["journeys"]
    assert overload["failures"] == []


def test_memory_and_starts_are_measured_and_settings_named(results: Mapping[str, Any]) -> None:
    lives = {life["target"]: life for life in results["lives"]}

    assert set(lives) == {"this shop", "floor"}
    assert all(life["start_seconds"] > 0 and life["rest_bytes"] > 0 for life in lives.values())
    assert results["servers"]["server_version"].startswith("17")
    assert "RATE_LIMITS" in results["targets"]["this shop"]["settings that differ from the defaults"]


def test_an_overload_without_journeys_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--works", OVERLOAD])

    assert ended.value.code == 2
    assert "overload needs journey" in capsys.readouterr().err


def test_results_are_a_table_and_a_plot_too(output: Path) -> None:
    table = (output / "results.md").read_text()

    assert "| list | this shop |" in table
    assert "20 buyers, 5 units, 5 sold" in table
    assert "| this shop, round 1 |" in table
    assert (output / "results.svg").read_text().startswith("<?xml")


def test_a_summary_has_the_median_of_rates_and_the_quantiles_of_all_times() -> None:
    case = Case(90, 8, "list")
    rounds = [
        Sample("this shop", case, number, times, len(times), seconds, 0.5, 0.1, 0, ())
        for number, times, seconds in ((1, [1.0, 2.0], 1.0), (2, [3.0, 4.0], 0.5), (3, [5.0, 6.0, 7.0], 1.0))
    ]

    [summary] = summarize(rounds)

    assert (summary.rate.median, summary.rate.least, summary.rate.most) == (3.0, 2.0, 4.0)
    assert (summary.p50, summary.p99, summary.actions) == (4.0, 7.0, 7)
    assert (summary.processor_per_1000, summary.processor_per_action) == (250.0, 250.0)


def test_a_journey_is_one_action_of_several_requests() -> None:
    journeys = Sample("this shop", Case(90, 1, "journey"), 1, [100.0, 100.0], 10, 1.0, 0.5, 0.1, 14, ())

    [summary] = summarize([journeys])

    assert (summary.rate.median, summary.processor_per_1000, summary.processor_per_action) == (2.0, 50.0, 250.0)
    assert summary.commits_per_action == 7.0


def test_a_case_that_only_failed_has_no_summary() -> None:
    failed = Sample("this shop", Case(90, 1, "pay"), 1, [], 3, 1.0, 0.1, 0.1, 0, ("Refused 503",))

    assert summarize([failed]) == []


def test_samples_are_counted_for_the_innermost_library_of_each_service() -> None:
    client = 'process 1:"python -m shop_e2e.bench"'
    order, user = (
        f'{client};process {pid}:"python -m {name}_service serve"' for pid, name in ((2, "order"), (3, "user"))
    )
    place = "place (order_service/service/placing.py:9)"
    stacks = [
        f"{order};{place};execute (sqlalchemy/engine/base.py:1);dumps (json/__init__.py:2) 3",
        f"{order};{place} 1",
        f"{user};<module> (<string>:1) 2",
        f"{user};Program.serve (chassis/runtime/process.py:80);run (uvloop/__init__.py:3) 6",
        f"{client};read (shop_e2e/bench/http_client.py:1);wait (asyncpg/pool.py:1) 7",
    ]

    assert time_per_library(stacks) == {
        "order": {"SQLAlchemy": 0.75, "service": 0.25},
        "user": {"other": 0.25, "event loop": 0.75},
    }
