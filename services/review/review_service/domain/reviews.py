"""Reviews, and the rating they add up to. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from chassis.kernel.ids import ProductId, UserId

ReviewId = NewType("ReviewId", int)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a buyer says of a product: 1 to 5 stars, and words if there are any."""

    rating: int
    title: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Review:
    id: ReviewId
    product_id: ProductId
    author_id: UserId
    rating: int
    title: str | None
    text: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Rating:
    """`count` reviews of a product gave `sum` stars. Also a difference of two ratings, to be added to one."""

    count: int = 0
    sum: int = 0

    @property
    def average(self) -> float:
        """To two decimals; 0 where nobody has rated."""
        return round(self.sum / self.count, 2) if self.count else 0.0


def difference(before: int | None, after: int | None) -> Rating:
    """What one review's change from `before` to `after` stars adds; None is no review."""
    return Rating((after is not None) - (before is not None), (after or 0) - (before or 0))
