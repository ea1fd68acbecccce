"""Moderation of reviews by admins over HTTP."""

from typing import Annotated

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.schemas import Data, PathId
from fastapi import APIRouter, Depends

from review_service.domain.reviews import ReviewId, ReviewQuery, ReviewStatus, Sort
from review_service.handlers.schemas import (
    ModerationRequest,
    PagingQuery,
    ReviewPage,
    ReviewResponse,
    StatusQuery,
    ensure_sorted,
)
from review_service.service.moderation import ModerationService
from review_service.service.queries import ReviewQueries


def routes(moderation: ModerationService, queries: ReviewQueries, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/reviews", tags=["moderation"])
    admin = Depends(auth.role(Role.ADMIN))

    @router.get(
        "",
        summary="List reviews by status",
        description="Contains reviews of all products, newest first."
        " A list is followed to its end by `next`: send it as `cursor`.",
    )
    async def list_reviews_by_status(
        paging: PagingQuery, _principal: Annotated[Principal, admin], status: StatusQuery = ReviewStatus.PENDING
    ) -> ReviewPage:
        ensure_sorted(paging, Sort.NEWEST)
        return ReviewPage.of(await queries.list_reviews(ReviewQuery(status), paging), paging)

    @router.put(
        "/{review_id}/moderation",
        summary="Moderate a review",
        description="Approved reviews are shown, all others are hidden.",
    )
    async def moderate_review(
        review_id: PathId, request: ModerationRequest, _principal: Annotated[Principal, admin]
    ) -> Data[ReviewResponse]:
        review = await moderation.moderate(ReviewId(review_id), request.status, request.reason)
        return Data(data=ReviewResponse.of(review, await queries.author_name(review)))

    return router
