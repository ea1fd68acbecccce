"""The way in."""

from __future__ import annotations

import httpx

from ecommerce_client.connection import Connection
from ecommerce_client.operations import Operations

TIMEOUT = 15.0
"""Seconds, for each of connecting, sending, and waiting for an answer."""


class Client(Operations):
    """A shop's API: `await shop.order.get_order(id)` is the operation `order.get_order` of its OpenAPI document.

    Operations raise ProblemError for every error that the shop answers, httpx.TransportError where it does not answer, and
    pydantic.ValidationError where the answer is not what this version of the client knows.
    """

    def __init__(self, url: str, *, token: str | None = None, http: httpx.AsyncClient | None = None) -> None:
        """`url` is the gateway's, without a path; `token` an access token. Whoever brings `http` closes it."""
        self.url = url
        self._http = http or httpx.AsyncClient(timeout=TIMEOUT)
        self._closes = http is None
        super().__init__(Connection(url, self._http, token))

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._closes:
            await self._http.aclose()

    def with_token(self, token: str) -> Client:
        """The same shop and connections, on behalf of whom the access token is of; good until this client is closed."""
        return Client(self.url, token=token, http=self._http)
