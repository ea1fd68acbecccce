"""Carts over HTTP."""

from typing import Annotated

from chassis.http.schemas import Data, Id, Money, PathId, Quantity, RequestBody, ResponseBody
from chassis.types.ids import ProductId
from fastapi import APIRouter, Depends, Response
from pydantic import Field

from order_service.domain.carts import Cart
from order_service.domain.orders import Line
from order_service.handlers.callers import CART_TOKEN, Callers
from order_service.service.carts import Carts, Shopper


class CartItemRequest(RequestBody):
    product_id: Id
    quantity: Quantity


class QuantityRequest(RequestBody):
    quantity: Quantity


class CartLineAnswer(ResponseBody):
    """As the shop would sell it now. What is not for sale any more has no name and price."""

    product_id: int
    quantity: int
    name: str | None
    unit_price: Money | None
    total: Annotated[Money | None, Field(description="null also where it is more than any order may be")]
    available: Annotated[
        bool | None,
        Field(description="for sale, and enough of it in stock; null where the stock is not known at the moment"),
    ]


class CartAnswer(ResponseBody):
    lines: list[CartLineAnswer]
    totals: Annotated[list[Money], Field(description="one per currency, of what is for sale, before shipping and tax")]
    cart_token: Annotated[str | None, Field(description="of a guest's new cart: send it as Cart-Token from now on")]


_NEW_CART: dict[str, object] = {CART_TOKEN: {"description": "of a guest's new cart", "schema": {"type": "string"}}}


def routes(carts: Carts, callers: Callers) -> APIRouter:
    router = APIRouter(prefix="/api/v1/cart", tags=["cart"])
    Caller = Annotated[Shopper, Depends(callers.shopper())]  # noqa: N806 - a type

    @router.get("", summary="One's cart, at the prices of this moment")
    async def get_cart(shopper: Caller) -> Data[CartAnswer]:
        return Data(data=CartAnswer.model_validate(await carts.look(shopper)))

    @router.post("", status_code=201, summary="Put more of a product in", responses={201: {"headers": _NEW_CART}})
    async def add_to_cart(request: CartItemRequest, shopper: Caller, response: Response) -> Data[CartAnswer]:
        return _shown(await carts.add(shopper, Line(ProductId(request.product_id), request.quantity)), response)

    @router.put("/{product_id}", summary="Set a product's quantity", responses={200: {"headers": _NEW_CART}})
    async def set_cart_quantity(
        product_id: PathId, request: QuantityRequest, shopper: Caller, response: Response
    ) -> Data[CartAnswer]:
        return _shown(await carts.put(shopper, Line(ProductId(product_id), request.quantity)), response)

    @router.delete("/{product_id}", status_code=204, summary="Take a product out")
    async def take_out_of_cart(product_id: PathId, shopper: Caller) -> None:
        await carts.take_out(shopper, ProductId(product_id))

    @router.delete("", status_code=204, summary="Empty one's cart")
    async def empty_cart(shopper: Caller) -> None:
        await carts.empty(shopper)

    return router


def _shown(cart: Cart, response: Response) -> Data[CartAnswer]:
    if cart.cart_token is not None:
        response.headers[CART_TOKEN] = cart.cart_token
    return Data(data=CartAnswer.model_validate(cart))
