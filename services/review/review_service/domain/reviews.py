"""Reviews and the ratings that they add up to. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, NewType

from chassis.types.ids import ProductId, UserId

ReviewId = NewType("ReviewId", int)


class ReviewStatus(StrEnum):
    PENDING = "pending"
    """The review is hidden until an admin moderates it."""
    APPROVED = "approved"
    REJECTED = "rejected"

    @property
    def after_revision(self) -> "ReviewStatus":
        """A rejected review that is revised must be moderated again; any other keeps its status."""
        return ReviewStatus.PENDING if self is ReviewStatus.REJECTED else self


class Sort(StrEnum):
    NEWEST = "newest"
    HELPFUL = "helpful"
    RATING_HIGH = "rating_high"
    RATING_LOW = "rating_low"


@dataclass(frozen=True, slots=True)
class ReviewContent:
    """What an author writes: 1 to 5 stars, and optionally a title and a text."""

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
    """Why the review is hidden; None where it is shown."""
    helpful_count: int
    created_at: datetime
    updated_at: datetime
    removed_at: datetime | None
    """When its author last removed the review while it was hidden."""

    @property
    def is_removed(self) -> bool:
        """True if the author has removed the review and not revised it since.

        A revision, by any release, changes `updated_at` alone.
        """
        return self.removed_at == self.updated_at

    @property
    def shown_rating(self) -> int | None:
        """The stars that count in the product's rating; None for a hidden review."""
        return self.rating if self.status is ReviewStatus.APPROVED else None


@dataclass(frozen=True, slots=True)
class ReviewQuery:
    """The reviews that a list shows, and its order: those with a status, of all products if `product_id` is None."""

    status: ReviewStatus
    product_id: ProductId | None = None
    sort: Sort = Sort.NEWEST
    min_rating: int = 1


class ReviewPosition(NamedTuple):
    """The position of a review in a list: by descending rank, and the newest first among those of one rank."""

    sort: Sort
    rank: int
    created_at: datetime
    id: int

    @classmethod
    def of(cls, review: Review, sort: Sort) -> "ReviewPosition":
        return cls(sort, _rank(review, sort), review.created_at, review.id)


def _rank(review: Review, sort: Sort) -> int:
    match sort:
        case Sort.NEWEST:
            return 0
        case Sort.HELPFUL:
            return review.helpful_count
        case Sort.RATING_HIGH:
            return review.rating
        case Sort.RATING_LOW:
            return -review.rating


@dataclass(frozen=True, slots=True)
class Rating:
    """The rating of a product: `count` reviews with `sum` stars in total. Also the difference of two ratings."""

    count: int = 0
    sum: int = 0

    @property
    def average(self) -> float:
        """The average in stars, rounded to two decimals; 0 without reviews."""
        return round(self.sum / self.count, 2) if self.count else 0.0


def rating_difference(before: int | None, after: int | None) -> Rating:
    """Returns what a rating gains when one review changes from `before` to `after` stars.

    None stands for no review or a hidden one.
    """
    return Rating((after is not None) - (before is not None), (after or 0) - (before or 0))


@dataclass(frozen=True, slots=True)
class RatingDistribution:
    """The rating of a product, and how many reviews have 1, 2, 3, 4 and 5 stars."""

    rating: Rating = Rating()
    counts: tuple[int, ...] = (0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class RatingRevision:
    """The rating of a product after a change, with the number of that change."""

    product_id: ProductId
    rating: Rating
    revision: int
