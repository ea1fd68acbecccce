"""Moderation of reviews by admins over HTTP."""

from typing import Annotated

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.schemas import Data, PageQuery, PathId
from fastapi import APIRouter, Depends

from review_service.domain.reviews import ReviewId, ReviewStatus
from review_service.handlers.schemas import ModerationRequest, ReviewPage, ReviewResponse, StatusQuery
from review_service.service.moderation import ModerationService
from review_service.service.queries import ReviewQueries


def routes(moderation: ModerationService, queries: ReviewQueries, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/reviews", tags=["moderation"])
    admin = Depends(auth.role(Role.ADMIN))

    @router.get(
        "",
        summary="List reviews by status",
        description="Contains reviews of all products, newest first.",
    )
    async def list_reviews_by_status(
        paging: PageQuery, _principal: Annotated[Principal, admin], status: StatusQuery = ReviewStatus.PENDING
    ) -> ReviewPage:
        return ReviewPage.of(await queries.reviews_by_status(status, paging), paging)

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
