"""The stock ledger: each change of a product's stock on hand is a movement, and its movements add up to its stock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from chassis.types.ids import OrderId, ProductId, UserId

from inventory_service.domain.stock import StockChange


class MovementKind(StrEnum):
    SET = "set"
    """The seller or an admin set the stock on hand to another number."""
    ADJUST = "adjust"
    SALE = "sale"
    """The units of an order left: it was shipped."""
    RETURN = "return"
    """The units of a cancelled order came back, which an earlier release had taken from on hand at payment."""


@dataclass(frozen=True, slots=True)
class MovementCause:
    """Why units moved, and on behalf of which user (a seller or an admin) or order."""

    kind: MovementKind
    actor_id: UserId | None = None
    order_id: OrderId | None = None
    reason: str | None = None
    adjustment_id: UUID | None = None
    """Identifies an adjustment, so that a repeated request finds the one that it made."""


@dataclass(frozen=True, slots=True)
class Movement:
    """An entry of the ledger: `delta` units came (or left, below zero), which left `on_hand` units."""

    product_id: ProductId
    delta: int
    on_hand: int
    at: datetime
    cause: MovementCause
    id: int | None = None
    """Assigned by the database; None before the movement is stored."""


class MovementPosition(NamedTuple):
    """The position of a movement in the history of its product, which is ordered by id."""

    id: int

    @classmethod
    def of(cls, movement: Movement) -> "MovementPosition":
        return cls(movement.id or 0)


def movements_of(changes: Sequence[StockChange], cause: MovementCause, at: datetime) -> list[Movement]:
    """Returns the ledger entries of these changes: none for a change that leaves the stock on hand as it was."""
    return [
        Movement(change.after.product_id, delta, change.after.on_hand, at, cause)
        for change in changes
        if (delta := change.after.on_hand - change.before.on_hand)
    ]
