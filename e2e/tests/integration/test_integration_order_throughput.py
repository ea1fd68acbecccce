"""Many orders at once are sold consistently, and what they cause is done soon afterwards."""

from pathlib import Path

import pytest
from shop_e2e.bench.order_throughput import measure_order_throughput
from shop_e2e.bench.servers import shared_servers


@pytest.mark.parametrize("orders", [48, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_each_of_many_orders_at_once_is_paid_once_and_its_events_and_mails_are_delivered(
    orders: int, tmp_path: Path
) -> None:
    measured = await measure_order_throughput(shared_servers(), orders, 16, tmp_path, print)

    print(measured)
    assert len(measured.ordered) == orders
    assert measured.is_consistent
