"""Sends the requests of operations to a shop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python

from ecommerce_client.errors import ProblemError

_T = TypeVar("_T")
Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Call:
    """One request. A value that is None is not sent."""

    method: str
    path: str
    """A template like `/orders/{order_id}`, which is filled in from `path_values`."""
    path_values: Values = field(default_factory=dict)
    query: Values = field(default_factory=dict)
    headers: Values = field(default_factory=dict)
    body: BaseModel | None = None
    """Only its fields that were set are sent, null included, because the shop distinguishes null from omitted."""


class Connection:
    """The URL of a shop, the HTTP connections to it, and the access token of the caller."""

    def __init__(self, url: str, http: httpx.AsyncClient, token: str | None) -> None:
        self.url = url.rstrip("/")
        self.http = http
        self._authorization = f"Bearer {token}" if token else None

    async def send(self, call: Call) -> None:
        """Sends a request whose response has no body."""
        await self._request(call)

    async def fetch(self, kind: type[_T], call: Call) -> _T:
        """Returns the body of the response."""
        return TypeAdapter(kind).validate_json((await self._request(call)).content)

    async def fetch_data(self, kind: type[_T], call: Call) -> _T:
        """Returns the member `data` of a response `{"data": …}`."""
        return TypeAdapter(kind).validate_python((await self._request(call)).json()["data"])

    async def _request(self, call: Call) -> httpx.Response:
        """Raises ProblemError, or httpx.TransportError if there is no response."""
        path = call.path.format_map({name: quote(_text(value), safe="") for name, value in call.path_values.items()})
        headers = _present({"Authorization": self._authorization, **call.headers})
        content = None
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            content = call.body.model_dump_json(exclude_unset=True)
        response = await self.http.request(
            call.method, self.url + path, params=_present(call.query), headers=headers, content=content
        )
        if response.is_error:
            raise ProblemError(response)
        return response


def _present(values: Values) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: object) -> str:
    """Returns a value in the notation of JSON: `true`, times in RFC 3339."""
    plain = to_jsonable_python(value)
    return str(plain).lower() if isinstance(plain, bool) else str(plain)
