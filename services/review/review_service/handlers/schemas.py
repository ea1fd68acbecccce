"""The request and response bodies and the query filters of the HTTP API.

Of an author, responses contain the id and the public name alone.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from chassis.http.cursors import CursorPageOf, CursorPaging, cursor_paging, cursor_problem
from chassis.http.schemas import RequestBody, ResponseBody, StorableText
from fastapi import Depends, Query
from pydantic import Field

from review_service.domain.reviews import RatingDistribution, Review, ReviewContent, ReviewPosition, ReviewStatus, Sort
from review_service.service.queries import Page

SortQuery = Annotated[Sort, Query(description="the order of the reviews; reviews of one rank come newest first")]
MinRatingQuery = Annotated[int, Query(ge=1, le=5, description="only reviews with at least this many stars")]
ReviewPaging = CursorPaging[ReviewPosition]
PagingQuery = Annotated[ReviewPaging, Depends(cursor_paging(ReviewPosition))]
StatusQuery = Annotated[ReviewStatus, Query(description="only reviews with this status")]


def ensure_sorted(paging: ReviewPaging, sort: Sort) -> None:
    """Raises a 422 problem for the cursor of a list in another order."""
    if paging.after is not None and paging.after.sort is not sort:
        raise cursor_problem(f"send it with sort={paging.after.sort}, or leave it out")


class ReviewRequest(RequestBody):
    rating: Annotated[int, Field(ge=1, le=5, description="stars", examples=[5])]
    title: Annotated[StorableText | None, Field(max_length=200, examples=["Keeps its warmth"])] = None
    text: Annotated[StorableText | None, Field(max_length=10_000)] = None

    def to_content(self) -> ReviewContent:
        return ReviewContent(self.rating, self.title, self.text)


class ModerationRequest(RequestBody):
    status: Annotated[ReviewStatus, Field(strict=False, examples=["rejected"])]
    reason: Annotated[
        StorableText | None, Field(max_length=500, description="for the author", examples=["insults"])
    ] = None


class ReviewResponse(ResponseBody):
    id: int
    product_id: int
    author_id: int
    author_name: Annotated[str | None, Field(description="null where it is unknown or cannot be read now")]
    rating: int
    title: str | None
    text: str | None
    status: Annotated[ReviewStatus, Field(description="only approved reviews are shown and counted")]
    moderation_reason: Annotated[str | None, Field(description="why an admin hid the review, for its author")]
    helpful_count: Annotated[int, Field(description="how many users find the review helpful")]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, review: Review, author_name: str | None) -> "ReviewResponse":
        return cls(
            id=review.id,
            product_id=review.product_id,
            author_id=review.author_id,
            author_name=author_name,
            rating=review.rating,
            title=review.title,
            text=review.text,
            status=review.status,
            moderation_reason=review.moderation_reason,
            helpful_count=review.helpful_count,
            created_at=review.created_at,
            updated_at=review.updated_at,
        )


class ReviewPage(CursorPageOf[ReviewResponse]):
    degraded: Annotated[
        Sequence[str],
        Field(description="parts that are incomplete: `authors` where names are missing", examples=[[]]),
    ]

    @classmethod
    def of(cls, page: Page, paging: ReviewPaging, sort: Sort = Sort.NEWEST) -> "ReviewPage":
        names = page.names
        return cls(
            data=[ReviewResponse.of(review, names.by_user.get(review.author_id)) for review in page.reviews],
            page=paging.page,
            limit=paging.limit,
            total=page.total,
            next=paging.next_cursor(page.reviews, page.total, lambda review: ReviewPosition.of(review, sort)),
            degraded=[] if names.is_complete else ["authors"],
        )


class RatingResponse(ResponseBody):
    product_id: int
    average: Annotated[float, Field(description="1 to 5 stars, rounded to two decimals; 0 without reviews")]
    count: int
    distribution: Annotated[
        dict[str, int],
        Field(
            description="the number of reviews by their stars, 1 to 5",
            examples=[{"1": 0, "2": 1, "3": 0, "4": 4, "5": 7}],
        ),
    ]

    @classmethod
    def of(cls, product_id: int, distribution: RatingDistribution) -> "RatingResponse":
        return cls(
            product_id=product_id,
            average=distribution.rating.average,
            count=distribution.rating.count,
            distribution={str(stars): count for stars, count in enumerate(distribution.counts, start=1)},
        )
