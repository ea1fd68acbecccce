"""FastAPI dependencies for the caller and the caller's cart."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from chassis.http.authentication import Authenticator, Principal
from fastapi import Depends, Header

from order_service.domain.carts import CartOwner, CartToken
from order_service.service.carts import CartService

CART_TOKEN = "Cart-Token"  # noqa: S105 - a header's name
CartTokenHeader = Annotated[
    str | None,
    Header(
        alias=CART_TOKEN,
        pattern="^[A-Za-z0-9_-]{43}$",
        description="a guest's cart; with an access token, that cart is merged into the caller's own and deleted",
    ),
]


class CallerDependencies:
    """Makes dependencies that read the access token and the cart token of a request."""

    def __init__(self, auth: Authenticator, carts: CartService) -> None:
        self._auth = auth
        self._carts = carts

    def buyer(self) -> Callable[..., Awaitable[Principal]]:
        """Returns a dependency that gives the authenticated caller, or answers 401 without a valid access token.

        If the token of a guest's cart is sent, that cart is merged into the caller's.
        """

        async def buyer(
            principal: Annotated[Principal, Depends(self._auth.required)], cart_token: CartTokenHeader = None
        ) -> Principal:
            await self._merge(principal, cart_token)
            return principal

        return buyer

    def cart_owner(self) -> Callable[..., Awaitable[CartOwner]]:
        """Returns a dependency that gives the owner of the cart, a buyer or a guest.

        It answers 401 for an invalid access token.
        """

        async def cart_owner(
            principal: Annotated[Principal | None, Depends(self._auth.shown_to)], cart_token: CartTokenHeader = None
        ) -> CartOwner:
            if principal is None:
                return CartOwner(None, None if cart_token is None else CartToken(cart_token))
            await self._merge(principal, cart_token)
            return CartOwner(principal.user_id)

        return cart_owner

    async def _merge(self, principal: Principal, cart_token: str | None) -> None:
        if cart_token is not None:
            await self._carts.merge_guest_cart(principal.user_id, CartToken(cart_token))
