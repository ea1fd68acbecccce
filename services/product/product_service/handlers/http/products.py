"""The HTTP routes of single products."""

from typing import Annotated

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.encoding import UNCONFIRMED, JsonResponse
from chassis.http.schemas import Data, PathId
from chassis.types.ids import ProductId
from fastapi import APIRouter, Depends

from product_service.handlers.schemas import (
    ProductDetailsResponse,
    ProductRequest,
    ProductResponse,
    product_details_json,
)
from product_service.service.details import ProductDetailsService
from product_service.service.products import ProductService


def routes(products: ProductService, details: ProductDetailsService, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/products", tags=["products"])
    seller_or_admin = auth.role(Role.SELLER, Role.ADMIN)

    @router.get(
        "/{product_id}",
        summary="Get a product with its variants, seller, stock and rating",
        response_model=Data[ProductDetailsResponse],
    )
    async def get_details(product_id: PathId) -> JsonResponse:
        found = await details.get_details(ProductId(product_id))
        return JsonResponse({"data": product_details_json(found)}, headers=UNCONFIRMED if found.degraded else None)

    @router.post("", status_code=201, summary="Add a product, sold by the caller")
    async def add_product(
        request: ProductRequest, principal: Annotated[Principal, Depends(seller_or_admin)]
    ) -> Data[ProductResponse]:
        return Data(data=ProductResponse.model_validate(await products.add(principal, request.to_content())))

    @router.put("/{product_id}", summary="Replace the content of a product")
    async def revise_product(
        product_id: PathId, request: ProductRequest, principal: Annotated[Principal, Depends(seller_or_admin)]
    ) -> Data[ProductResponse]:
        revised = await products.revise(principal, ProductId(product_id), request.to_content())
        return Data(data=ProductResponse.model_validate(revised))

    @router.delete("/{product_id}", status_code=204, summary="Delete a product")
    async def delete_product(product_id: PathId, principal: Annotated[Principal, Depends(seller_or_admin)]) -> None:
        await products.delete(principal, ProductId(product_id))

    return router
