"""The ledger: each change of what is on hand is a movement, and all of a product's movements add up to its stock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from chassis.types.ids import OrderId, ProductId, UserId

from inventory_service.domain.stock import Change


class MovementKind(StrEnum):
    SET = "set"
    """A count found another number."""
    ADJUST = "adjust"
    SALE = "sale"
    RETURN = "return"
    """A cancelled order's sale came back."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why stock moves, and who moved it: a seller or admin, or an order."""

    kind: MovementKind
    actor_id: UserId | None = None
    order_id: OrderId | None = None
    reason: str | None = None
    adjustment_id: UUID | None = None
    """What a repeated request finds its adjustment by."""


@dataclass(frozen=True, slots=True)
class Movement:
    """`delta` units came or went, which left `on_hand`."""

    product_id: ProductId
    delta: int
    on_hand: int
    at: datetime
    cause: Cause
    id: int | None = None
    """The ledger's own; None before it is written."""


def movements(changes: Sequence[Change], cause: Cause, at: datetime) -> list[Movement]:
    """What the ledger says of these changes: nothing of one that leaves as much on hand as there was."""
    return [
        Movement(change.after.product_id, delta, change.after.on_hand, at, cause)
        for change in changes
        if (delta := change.after.on_hand - change.before.on_hand)
    ]
