"""The HTTP route of product recommendations."""

from typing import Annotated

from chassis.http.encoding import JsonResponse
from chassis.http.schemas import Data, PathId
from chassis.types.ids import ProductId
from fastapi import APIRouter, Query

from product_service.handlers.schemas import RecommendedProductResponse, recommended_product_json
from product_service.service.recommendations import RecommendationService


def routes(recommendations: RecommendationService) -> APIRouter:
    router = APIRouter(prefix="/api/v1/products", tags=["products"])

    @router.get(
        "/{product_id}/recommendations",
        summary="Recommend products to buyers of a product",
        response_model=Data[list[RecommendedProductResponse]],
    )
    async def recommend(
        product_id: PathId,
        limit: Annotated[int, Query(ge=1, le=50, description="the maximum number of products")] = 10,
    ) -> JsonResponse:
        """Returns what was bought together with it, then what is popular in its category, then what is popular."""
        found = await recommendations.recommend(ProductId(product_id), limit)
        return JsonResponse({"data": [recommended_product_json(recommendation) for recommendation in found]})

    return router
