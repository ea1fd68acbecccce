"""Many orders at once are sold consistently, and what they cause is done soon afterwards."""

from pathlib import Path

import pytest
from shop_e2e.bench.rush import run_rush
from shop_e2e.bench.servers import shared_servers


@pytest.mark.parametrize("orders", [48, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_each_order_of_a_rush_is_paid_once_and_its_events_and_mails_are_delivered(
    orders: int, tmp_path: Path
) -> None:
    rush = await run_rush(shared_servers(), orders, 16, tmp_path, print)

    print(rush)
    assert len(rush.ordered) == orders
    assert rush.is_consistent
