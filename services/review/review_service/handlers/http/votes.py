"""Helpful votes over HTTP."""

from typing import Annotated

from chassis.http.authentication import Authenticator, Principal
from chassis.http.schemas import Data, PathId
from fastapi import APIRouter, Depends

from review_service.domain.reviews import ReviewId
from review_service.handlers.schemas import ReviewResponse
from review_service.service.queries import ReviewQueries
from review_service.service.votes import VoteService


def routes(votes: VoteService, queries: ReviewQueries, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/reviews/{review_id}/helpful", tags=["reviews"])
    caller = Depends(auth.required)

    @router.post(
        "", summary="Vote for a review as helpful", description="A second vote of the same user changes nothing."
    )
    async def find_helpful(review_id: PathId, principal: Annotated[Principal, caller]) -> Data[ReviewResponse]:
        review = await votes.add_vote(principal.user_id, ReviewId(review_id))
        return Data(data=ReviewResponse.of(review, await queries.author_name(review)))

    @router.delete("", status_code=204, summary="Take back a helpful vote")
    async def find_no_longer_helpful(review_id: PathId, principal: Annotated[Principal, caller]) -> None:
        await votes.remove_vote(principal.user_id, ReviewId(review_id))

    return router
