"""The HTTP routes of the caller's cart."""

from typing import Annotated

from chassis.database import idempotency
from chassis.http.schemas import Data, KeyHeader, PathId
from chassis.types.ids import ProductId
from fastapi import APIRouter, Depends, Response

from order_service.domain.carts import Cart, CartOwner
from order_service.domain.items import Line
from order_service.handlers.dependencies import CART_TOKEN, CallerDependencies
from order_service.handlers.schemas import CartItemRequest, CartResponse, QuantityRequest
from order_service.service.carts import CartService

_NEW_CART: dict[str, object] = {
    CART_TOKEN: {"description": "the token of a guest's new cart", "schema": {"type": "string"}}
}


def routes(carts: CartService, callers: CallerDependencies) -> APIRouter:
    router = APIRouter(prefix="/api/v1/cart", tags=["cart"])
    Owner = Annotated[CartOwner, Depends(callers.cart_owner())]  # noqa: N806 - a type

    @router.get("", summary="Get the caller's cart at current prices")
    async def get_cart(owner: Owner) -> Data[CartResponse]:
        return Data(data=CartResponse.model_validate(await carts.get_cart(owner)))

    @router.post("", status_code=201, summary="Add a product to the cart", responses={201: {"headers": _NEW_CART}})
    async def add_to_cart(
        request: CartItemRequest, owner: Owner, response: Response, key: KeyHeader = None
    ) -> Data[CartResponse]:
        line = Line(ProductId(request.product_id), request.quantity)
        return _render(await carts.add_line(owner, line, None if key is None else idempotency.Key(key)), response)

    @router.put(
        "/{product_id}",
        summary="Set the quantity of a product in the cart",
        description="Adds the product if the cart does not hold it.",
        responses={200: {"headers": _NEW_CART}},
    )
    async def set_cart_quantity(
        product_id: PathId, request: QuantityRequest, owner: Owner, response: Response
    ) -> Data[CartResponse]:
        return _render(await carts.set_quantity(owner, Line(ProductId(product_id), request.quantity)), response)

    @router.delete("/{product_id}", status_code=204, summary="Remove a product from the cart")
    async def take_out_of_cart(product_id: PathId, owner: Owner) -> None:
        await carts.remove_line(owner, ProductId(product_id))

    @router.delete("", status_code=204, summary="Empty the cart")
    async def empty_cart(owner: Owner) -> None:
        await carts.empty_cart(owner)

    return router


def _render(cart: Cart, response: Response) -> Data[CartResponse]:
    if cart.cart_token is not None:
        response.headers[CART_TOKEN] = cart.cart_token
    return Data(data=CartResponse.model_validate(cart))
