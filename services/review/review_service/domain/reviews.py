"""Reviews, and the rating they add up to. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from chassis.types.ids import ProductId, UserId

ReviewId = NewType("ReviewId", int)


class ReviewStatus(StrEnum):
    PENDING = "pending"
    """Waits for an admin to look at it."""
    APPROVED = "approved"
    REJECTED = "rejected"

    @property
    def when_revised(self) -> "ReviewStatus":
        """What was rejected may be better now: somebody has to look."""
        return ReviewStatus.PENDING if self is ReviewStatus.REJECTED else self


class Sort(StrEnum):
    NEWEST = "newest"
    HELPFUL = "helpful"
    RATING_HIGH = "rating_high"
    RATING_LOW = "rating_low"


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
    status: ReviewStatus
    moderation_reason: str | None
    """Why it is hidden; None for one that is shown."""
    helpful_count: int
    created_at: datetime
    updated_at: datetime
    removed_at: datetime | None
    """When its author last removed it while it was hidden."""

    @property
    def is_removed(self) -> bool:
        """Whether its author has not said anything since then: a revision, by whatever release, has a time of its own."""
        return self.removed_at == self.updated_at

    @property
    def shown_rating(self) -> int | None:
        """What it counts in its product's rating: nothing unless it is shown."""
        return self.rating if self.status is ReviewStatus.APPROVED else None


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
    """What one review's change from `before` to `after` stars adds; None is no review, or one that is not shown."""
    return Rating((after is not None) - (before is not None), (after or 0) - (before or 0))


@dataclass(frozen=True, slots=True)
class Distribution:
    """A product's rating, and how many gave 1, 2, 3, 4 and 5 stars."""

    rating: Rating = Rating()
    counts: tuple[int, ...] = (0, 0, 0, 0, 0)
