"""One key of a buyer stands for one order, however often and however much at once it is sent. Pure."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

from chassis.kernel.ids import OrderId

from order_service.domain.errors import KeyReused
from order_service.domain.orders import Line

IdempotencyKey = NewType("IdempotencyKey", str)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a key stands for: the order with this id, of the lines with this fingerprint."""

    order_id: OrderId
    fingerprint: str

    def settled_by(self, held: "Claim") -> OrderId:
        """The order id to go on with, where `held` is the claim that came first. Raises KeyReused."""
        if held.fingerprint != self.fingerprint:
            raise KeyReused
        return held.order_id


def fingerprint(lines: Sequence[Line]) -> str:
    """Equal for what would be the same order; `lines` are merged."""
    wanted = [[line.product_id, line.quantity] for line in lines]
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
