"""Reviews over HTTP. Of an author, answers tell the id and the name that everybody may see, and nothing else."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.schemas import Data, PageOf, PageQuery, PathId, RequestBody, ResponseBody, StorableText
from chassis.types.ids import ProductId
from fastapi import APIRouter, Depends, Query
from pydantic import Field

from review_service.domain.reviews import Distribution, Opinion, Review, ReviewId, ReviewStatus, Sort
from review_service.service.reviews import Page, Reviews


class ReviewRequest(RequestBody):
    rating: Annotated[int, Field(ge=1, le=5, description="stars", examples=[5])]
    title: Annotated[StorableText | None, Field(max_length=200, examples=["Keeps its warmth"])] = None
    text: Annotated[StorableText | None, Field(max_length=10_000)] = None

    def to_opinion(self) -> Opinion:
        return Opinion(self.rating, self.title, self.text)


class ModerationRequest(RequestBody):
    status: Annotated[ReviewStatus, Field(strict=False, examples=["rejected"])]
    reason: Annotated[
        StorableText | None, Field(max_length=500, description="for the author", examples=["insults"])
    ] = None


class ReviewAnswer(ResponseBody):
    id: int
    product_id: int
    author_id: int
    author_name: Annotated[str | None, Field(description="null where it cannot be known now")]
    rating: int
    title: str | None
    text: str | None
    status: Annotated[ReviewStatus, Field(description="only approved reviews are shown and counted")]
    moderation_reason: str | None
    helpful_count: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, review: Review, author_name: str | None) -> "ReviewAnswer":
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


class ReviewPage(PageOf[ReviewAnswer]):
    degraded: Annotated[Sequence[str], Field(description="parts that are missing: authors", examples=[[]])]


class RatingAnswer(ResponseBody):
    product_id: int
    average: Annotated[float, Field(description="of 1 to 5 stars, to two decimals; 0 where nobody has rated")]
    count: int
    distribution: Annotated[
        dict[str, int],
        Field(description="how many gave 1 to 5 stars", examples=[{"1": 0, "2": 1, "3": 0, "4": 4, "5": 7}]),
    ]

    @classmethod
    def of(cls, product_id: int, found: Distribution) -> "RatingAnswer":
        return cls(
            product_id=product_id,
            average=found.rating.average,
            count=found.rating.count,
            distribution={str(stars): count for stars, count in enumerate(found.counts, start=1)},
        )


def routes(reviews: Reviews, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["reviews"])
    caller = Depends(auth.required)

    @router.get("/products/{product_id}/reviews", summary="Reviews of a product")
    async def list_reviews(
        product_id: PathId,
        paging: PageQuery,
        sort: Sort = Sort.NEWEST,
        min_rating: Annotated[int, Query(ge=1, le=5)] = 1,
    ) -> ReviewPage:
        found = await reviews.page(ProductId(product_id), sort, min_rating, paging)
        return _page(found, paging.page, paging.limit)

    @router.get("/products/{product_id}/rating", summary="What a product's reviews add up to")
    async def get_rating(product_id: PathId) -> Data[RatingAnswer]:
        return Data(data=RatingAnswer.of(product_id, await reviews.distribution(ProductId(product_id))))

    @router.post("/products/{product_id}/reviews", status_code=201, summary="Review a product that one has bought")
    async def add_review(
        product_id: PathId, request: ReviewRequest, principal: Annotated[Principal, caller]
    ) -> Data[ReviewAnswer]:
        return await _answer(reviews, await reviews.add(principal.user_id, ProductId(product_id), request.to_opinion()))

    @router.put("/reviews/{review_id}", summary="Replace one's review")
    async def revise_review(
        review_id: PathId, request: ReviewRequest, principal: Annotated[Principal, caller]
    ) -> Data[ReviewAnswer]:
        return await _answer(
            reviews, await reviews.revise(principal.user_id, ReviewId(review_id), request.to_opinion())
        )

    @router.delete("/reviews/{review_id}", status_code=204, summary="Remove a review: its author, or an admin")
    async def remove_review(review_id: PathId, principal: Annotated[Principal, caller]) -> None:
        """A hidden one that its author removes loses its words, and stays the only one they may write: replace it, and an admin looks
        at it again.
        """
        await reviews.remove(principal, ReviewId(review_id))

    @router.post("/reviews/{review_id}/helpful", summary="Find a review helpful; once, however often it is said")
    async def find_helpful(review_id: PathId, principal: Annotated[Principal, caller]) -> Data[ReviewAnswer]:
        return await _answer(reviews, await reviews.find_helpful(principal.user_id, ReviewId(review_id)))

    @router.delete("/reviews/{review_id}/helpful", status_code=204, summary="Take that back")
    async def find_no_longer_helpful(review_id: PathId, principal: Annotated[Principal, caller]) -> None:
        await reviews.find_no_longer_helpful(principal.user_id, ReviewId(review_id))

    return router


def moderation_routes(reviews: Reviews, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/reviews", tags=["moderation"])
    admin = Depends(auth.role(Role.ADMIN))

    @router.get("", summary="Reviews of all products by their status, newest first: for admins")
    async def list_reviews_by_status(
        paging: PageQuery, _principal: Annotated[Principal, admin], status: ReviewStatus = ReviewStatus.PENDING
    ) -> ReviewPage:
        return _page(await reviews.queue(status, paging), paging.page, paging.limit)

    @router.put("/{review_id}/moderation", summary="Show or hide a review: an admin")
    async def moderate_review(
        review_id: PathId, request: ModerationRequest, _principal: Annotated[Principal, admin]
    ) -> Data[ReviewAnswer]:
        return await _answer(reviews, await reviews.moderate(ReviewId(review_id), request.status, request.reason))

    return router


async def _answer(reviews: Reviews, review: Review) -> Data[ReviewAnswer]:
    return Data(data=ReviewAnswer.of(review, await reviews.name_of(review.author_id)))


def _page(found: Page, page: int, limit: int) -> ReviewPage:
    names = found.names
    data = [ReviewAnswer.of(review, names.by_user.get(review.author_id)) for review in found.reviews]
    degraded = [] if names.is_complete else ["authors"]
    return ReviewPage(data=data, page=page, limit=limit, total=found.total, degraded=degraded)
