"""Measures the operator with many shops: `python -m shop_e2e.bench_operator`, or `make bench-operator`.

The API server, its controllers and its scheduler are real; nodes, pods and volumes are simulated (kwok). The figures
have no thresholds. Each run is kept in .bench/operator, in place of an earlier one with as many shops; `--write` writes
all that are kept into docs/measurements.md, as a table and as a plot.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from pathlib import Path

from devtools.dashboard_plots import save

from shop_e2e.bench_operator.bare_loop import measure_bare_loop
from shop_e2e.bench_operator.control_plane import control_plane
from shop_e2e.bench_operator.fleet import RELEASE, Options, measure_fleet
from shop_e2e.bench_operator.plot import plot
from shop_e2e.bench_operator.report import Figures, keep, kept, table, write
from shop_e2e.bench_operator.tenants import TenantFigures, measure_tenants, tenant_table

ROOT = Path(__file__).resolve().parents[3]
CHARTS = ROOT / "charts"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shops", type=int, default=100, help="shops; 0: no run, only --write [%(default)s]")
    parser.add_argument("--bare", type=int, default=20, help="shops of the bare loop, at most [%(default)s]")
    parser.add_argument("--tenants", type=int, default=0, help="measure so many tenants of one plan instead of shops")
    parser.add_argument("--quick", action="store_true", help="5 changes and a resync in 30 s, not 100 and 120 s")
    parser.add_argument("--smoke", action="store_true", help="1 change and a resync in 5 s: it shows that all runs")
    parser.add_argument("--no-upgrade", action="store_true", help="leave out the upgrade of the fleet")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds, of tenants for all [%(default)s]")
    parser.add_argument("--keep", type=Path, default=ROOT / ".bench/operator", help="the folder of runs [%(default)s]")
    parser.add_argument("--write", action="store_true", help="write the table and the plot of all runs into docs")
    parsed = parser.parse_args()
    if parsed.tenants:
        print(tenant_table(asyncio.run(_measure_tenants(parsed.tenants, parsed.timeout))))
        return 0
    if parsed.shops:
        changes, resync = (1, 5) if parsed.smoke else (5, 30) if parsed.quick else (100, 120)
        options = Options(parsed.shops, changes, resync, not parsed.no_upgrade, parsed.timeout)
        figures = asyncio.run(measure(options, min(parsed.bare, parsed.shops)))
        print(table([figures]))
        keep(parsed.keep, figures)
    if parsed.write:
        runs = kept(parsed.keep)
        write(ROOT / "docs/measurements.md", runs)
        save(plot(runs), ROOT / "docs/pictures/operator-fleet.svg")
    return 0


async def _measure_tenants(tenants: int, seconds: float) -> TenantFigures:
    with tempfile.TemporaryDirectory(prefix="bench-operator-") as name:
        async with control_plane(Path(name), tenants) as plane, asyncio.timeout(seconds):
            return await measure_tenants(plane, Path(name), CHARTS, tenants, say)


async def measure(options: Options, bare_shops: int) -> Figures:
    bare = await measure_bare_loop(CHARTS, RELEASE, bare_shops)
    say(bare)
    with tempfile.TemporaryDirectory(prefix="bench-operator-") as name:
        async with control_plane(Path(name), options.shops) as plane:
            fleet = await measure_fleet(plane, Path(name), CHARTS, options, say)
    return Figures(options.shops, f"{os.cpu_count()} processors, {platform.machine()}", bare_shops, bare, fleet)


def say(what: object) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
