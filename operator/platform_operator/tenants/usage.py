"""Computes the usage of a tenant: pods and storage that the API server counts, orders that its shop counts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from platform_operator.invariants.scrape_results import PlacedOrders

_FACTORS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
}  # fmt: skip


def parse_quantity(quantity: str) -> int:
    """Returns a Kubernetes quantity as a number, such as bytes, rounded down; 0 for text that is no quantity."""
    parts = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", quantity)
    return int(float(parts[1]) * _FACTORS[parts[2]]) if parts and parts[2] in _FACTORS else 0


@dataclass
class OrderCounter:
    """Counts the orders of one tenant from counters of its shop's pods, which begin at 0 when a pod starts.

    A pod that ran before `since` has counted orders before: only what it counts from now on is new.
    """

    tenant: str
    """The UID of the Tenant: the orders of an earlier one of that name are not those of this one."""
    since: float
    """When the counter began, in seconds of the epoch."""
    _known: dict[float, int] = field(default_factory=dict)
    _total: int = 0

    def add(self, orders: PlacedOrders | None, stored: int) -> int:
        """Returns the counted orders that are not in the `stored` total.

        The total that is written with them is the same however often a write is repeated: a write that failed is made
        up for, and one whose answer was lost counts nothing twice, even if `stored` is the total before it.
        """
        self._total = max(self._total, stored) + self._new(orders)
        return self._total - stored

    def _new(self, orders: PlacedOrders | None) -> int:
        if orders is None:
            return 0
        before = self._known.get(orders.started, 0 if orders.started >= self.since else orders.placed)
        self._known[orders.started] = orders.placed
        return max(0, orders.placed - before)


def usage(stored: Mapping[str, Any], used: Mapping[str, str], new_orders: int, now: datetime) -> dict[str, Any]:
    """Returns `status.usage`. Days are those of UTC."""
    today, yesterday = (time.strftime("%Y-%m-%d") for time in (now, now - timedelta(days=1)))
    day, before = stored.get("day"), stored.get("ordersToday", 0)
    last = stored.get("ordersYesterday") if day == today else before if day == yesterday else 0 if day else None
    return {
        "pods": parse_quantity(used.get("pods", "0")),
        "storageRequested": used.get("requests.storage", "0"),
        "day": today,
        "ordersToday": (before if day == today else 0) + new_orders,
        **({} if last is None else {"ordersYesterday": last}),
        "ordersTotal": stored.get("ordersTotal", 0) + new_orders,
    }
