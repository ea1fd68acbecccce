"""Orders continue while every part of the shop is killed, restarted, disconnected and slowed down; afterwards all data
is consistent.
"""

import os
import random

import pytest
from shop_e2e.faults.chaos_run import run_chaos

pytestmark = pytest.mark.alone


async def test_five_hundred_orders_in_a_chaos_run_leave_consistent_data(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))

    report = await run_chaos(500, seed, tmp_path_factory.mktemp("chaos-logs"), print)

    print(report)
    assert report.inconsistencies == []
    assert report.lost == []


@pytest.mark.slow
async def test_ten_thousand_orders_in_a_chaos_run_leave_consistent_data(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))

    report = await run_chaos(10_000, seed, tmp_path_factory.mktemp("chaos-logs"), print, fault_interval=12)

    print(report)
    assert report.inconsistencies == []
    assert report.lost == []
