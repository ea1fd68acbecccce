"""The entry point of the package."""

from __future__ import annotations

import httpx

from ecommerce_client.connection import Connection
from ecommerce_client.operations import Operations

TIMEOUT = 15.0
"""Seconds, for each of connecting, sending, and waiting for a response."""


class Client(Operations):
    """Calls the API of a shop: `await shop.order.get_order(id)` is its operation `order.get_order`.

    Operations raise ProblemError if the shop returns an error, httpx.TransportError if it does not respond, and
    pydantic.ValidationError if this version of the client does not know the format of the response.
    """

    def __init__(self, url: str, *, token: str | None = None, http: httpx.AsyncClient | None = None) -> None:
        """Takes the `url` of the gateway, without a path, and an access `token`. The caller closes a given `http`."""
        self.url = url
        self._http = http or httpx.AsyncClient(timeout=TIMEOUT)
        self._owns_http = http is None
        super().__init__(Connection(url, self._http, token))

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._owns_http:
            await self._http.aclose()

    def with_token(self, token: str) -> Client:
        """Returns a client for another access token. It shares the connections, until this client is closed."""
        return Client(self.url, token=token, http=self._http)
