"""Who is calling, and with which cart."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from chassis.http.authentication import Authenticator, Principal
from fastapi import Depends, Header

from order_service.domain.carts import CartToken
from order_service.service.carts import Carts, Shopper

CART_TOKEN = "Cart-Token"  # noqa: S105 - a header's name
CartTokenHeader = Annotated[
    str | None,
    Header(
        alias=CART_TOKEN,
        pattern="^[A-Za-z0-9_-]{43}$",
        description="a guest's cart; with an access token, that cart is merged into one's own and is gone",
    ),
]


class Callers:
    """FastAPI dependencies over tokens of both kinds."""

    def __init__(self, auth: Authenticator, carts: Carts) -> None:
        self._auth = auth
        self._carts = carts

    def required(self) -> Callable[..., Awaitable[Principal]]:
        """The caller, a guest's cart that they bring merged into theirs; 401 without a valid token."""

        async def caller(
            principal: Annotated[Principal, Depends(self._auth.required)], cart_token: CartTokenHeader = None
        ) -> Principal:
            await self._merge(principal, cart_token)
            return principal

        return caller

    def shopper(self) -> Callable[..., Awaitable[Shopper]]:
        """Who shops, logged in or not; 401 for a bad token."""

        async def shopper(
            principal: Annotated[Principal | None, Depends(self._auth.optional)], cart_token: CartTokenHeader = None
        ) -> Shopper:
            if principal is None:
                return Shopper(None, None if cart_token is None else CartToken(cart_token))
            await self._merge(principal, cart_token)
            return Shopper(principal.user_id)

        return shopper

    async def _merge(self, principal: Principal, cart_token: str | None) -> None:
        if cart_token is not None:
            await self._carts.merge(principal.user_id, CartToken(cart_token))
