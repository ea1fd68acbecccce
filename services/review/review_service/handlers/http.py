"""Reviews over HTTP. Of an author, answers tell the id and nothing else."""

from datetime import datetime
from typing import Annotated

from chassis.kernel.ids import ProductId
from chassis.schemas import Answer, Data, PageOf, PageQuery, PathId, Request, Text
from chassis.tokens import Authenticator, Principal
from fastapi import APIRouter, Depends
from pydantic import Field

from review_service.domain.reviews import Opinion, ReviewId
from review_service.service.reviews import Reviews


class ReviewRequest(Request):
    rating: Annotated[int, Field(ge=1, le=5, description="stars", examples=[5])]
    title: Annotated[Text | None, Field(max_length=200, examples=["Keeps its warmth"])] = None
    text: Annotated[Text | None, Field(max_length=10_000)] = None

    def to_opinion(self) -> Opinion:
        return Opinion(self.rating, self.title, self.text)


class ReviewAnswer(Answer):
    id: int
    product_id: int
    author_id: int
    rating: int
    title: str | None
    text: str | None
    created_at: datetime
    updated_at: datetime


def routes(reviews: Reviews, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["reviews"])
    caller = Depends(auth.required)

    @router.get("/products/{product_id}/reviews", summary="Reviews of a product, newest first")
    async def list_reviews(product_id: PathId, paging: PageQuery) -> PageOf[ReviewAnswer]:
        page, total = await reviews.page(ProductId(product_id), paging.offset, paging.limit)
        data = [ReviewAnswer.model_validate(review) for review in page]
        return PageOf(data=data, page=paging.page, limit=paging.limit, total=total)

    @router.post("/products/{product_id}/reviews", status_code=201, summary="Review a product that one has ordered")
    async def add_review(
        product_id: PathId, request: ReviewRequest, principal: Annotated[Principal, caller]
    ) -> Data[ReviewAnswer]:
        review = await reviews.add(principal.user_id, ProductId(product_id), request.to_opinion())
        return Data(data=ReviewAnswer.model_validate(review))

    @router.put("/reviews/{review_id}", summary="Replace one's review")
    async def revise_review(
        review_id: PathId, request: ReviewRequest, principal: Annotated[Principal, caller]
    ) -> Data[ReviewAnswer]:
        review = await reviews.revise(principal.user_id, ReviewId(review_id), request.to_opinion())
        return Data(data=ReviewAnswer.model_validate(review))

    @router.delete("/reviews/{review_id}", status_code=204, summary="Remove a review: its author, or an admin")
    async def remove_review(review_id: PathId, principal: Annotated[Principal, caller]) -> None:
        await reviews.remove(principal, ReviewId(review_id))

    return router
