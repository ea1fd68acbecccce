"""Reviews of a product and its rating over HTTP."""

from typing import Annotated

from chassis.http.authentication import Authenticator, Principal
from chassis.http.encoding import UNCONFIRMED
from chassis.http.schemas import Data, PathId
from chassis.types.ids import ProductId
from fastapi import APIRouter, Depends, Response

from review_service.domain.reviews import ReviewId, ReviewQuery, ReviewStatus, Sort
from review_service.handlers.schemas import (
    MinRatingQuery,
    PagingQuery,
    RatingResponse,
    ReviewPage,
    ReviewRequest,
    ReviewResponse,
    SortQuery,
    ensure_sorted,
)
from review_service.service.queries import ReviewQueries
from review_service.service.reviews import ReviewService


def routes(reviews: ReviewService, queries: ReviewQueries, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["reviews"])
    caller = Depends(auth.required)

    @router.get(
        "/products/{product_id}/reviews",
        summary="List the reviews of a product",
        description="Contains approved reviews alone. A list is followed to its end by `next`: send it as `cursor`,"
        " with the same sort.",
    )
    async def list_reviews(
        response: Response,
        product_id: PathId,
        paging: PagingQuery,
        sort: SortQuery = Sort.NEWEST,
        min_rating: MinRatingQuery = 1,
    ) -> ReviewPage:
        ensure_sorted(paging, sort)
        response.headers.update(UNCONFIRMED)  # the names of authors are kept for a minute
        query = ReviewQuery(ReviewStatus.APPROVED, ProductId(product_id), sort, min_rating)
        return ReviewPage.of(await queries.list_reviews(query, paging), paging, sort)

    @router.get("/products/{product_id}/rating", summary="Get the rating of a product")
    async def get_rating(response: Response, product_id: PathId) -> Data[RatingResponse]:
        distribution, exists = await queries.rating_distribution(ProductId(product_id))
        if not exists:
            response.headers.update(UNCONFIRMED)
        return Data(data=RatingResponse.of(product_id, distribution))

    @router.post(
        "/products/{product_id}/reviews",
        status_code=201,
        summary="Review a product",
        description="The caller must have bought the product, and may review it once.",
    )
    async def add_review(
        product_id: PathId, request: ReviewRequest, principal: Annotated[Principal, caller]
    ) -> Data[ReviewResponse]:
        review = await reviews.add(principal.user_id, ProductId(product_id), request.to_content())
        return Data(data=ReviewResponse.of(review, await queries.author_name(review)))

    @router.put(
        "/reviews/{review_id}",
        summary="Replace a review",
        description="For its author. A rejected review is pending again, until an admin moderates it.",
    )
    async def revise_review(
        review_id: PathId, request: ReviewRequest, principal: Annotated[Principal, caller]
    ) -> Data[ReviewResponse]:
        review = await reviews.revise(principal.user_id, ReviewId(review_id), request.to_content())
        return Data(data=ReviewResponse.of(review, await queries.author_name(review)))

    @router.delete(
        "/reviews/{review_id}",
        status_code=204,
        summary="Remove a review",
        description=(
            "For its author and admins. When the author removes a hidden review, its title and text are deleted, but "
            "it remains the one review that the author may write of the product. If the author replaces it, it is "
            "pending again, until an admin moderates it."
        ),
    )
    async def remove_review(review_id: PathId, principal: Annotated[Principal, caller]) -> None:
        await reviews.remove(principal, ReviewId(review_id))

    return router
