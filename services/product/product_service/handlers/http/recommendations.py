"""The HTTP route of product recommendations."""

from typing import Annotated

from chassis.http.schemas import Data, PathId
from chassis.types.ids import ProductId
from fastapi import APIRouter, Query

from product_service.handlers.schemas import RecommendedProductResponse, recommended_product_response
from product_service.service.recommendations import RecommendationService


def routes(recommendations: RecommendationService) -> APIRouter:
    router = APIRouter(prefix="/api/v1/products", tags=["products"])

    @router.get("/{product_id}/recommendations", summary="Recommend products to buyers of a product")
    async def recommend(
        product_id: PathId,
        limit: Annotated[int, Query(ge=1, le=50, description="the maximum number of products")] = 10,
    ) -> Data[list[RecommendedProductResponse]]:
        """Returns what was bought together with it, then what is popular in its category, then what is popular."""
        found = await recommendations.recommend(ProductId(product_id), limit)
        return Data(data=[recommended_product_response(recommendation) for recommendation in found])

    return router
