"""Computes the usage of a tenant: pods and storage that the API server counts, orders that its shop counts. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from kubernetes.utils import quantity

from platform_operator.invariants.scrape_results import PlacedOrders


def parse_quantity(text: str) -> int:
    """Returns a Kubernetes quantity as a number, such as bytes, rounded up as Kubernetes does. Raises ValueError."""
    try:
        number: Decimal = quantity.parse_quantity(text)  # type: ignore[no-untyped-call]
        return math.ceil(number)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{text!r} is no quantity of Kubernetes") from error


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
