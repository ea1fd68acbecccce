"""How operations reach a shop."""

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
    """One request. Whatever is None in it is not sent."""

    method: str
    path: str
    """A template, whose `{order_id}` is filled in from `values`."""
    values: Values = field(default_factory=dict)
    query: Values = field(default_factory=dict)
    headers: Values = field(default_factory=dict)
    body: BaseModel | None = None
    """Its fields that were set, null among them: the shop tells null from left out."""


class Connection:
    """A shop's address, the connections to it, and who asks."""

    def __init__(self, url: str, http: httpx.AsyncClient, token: str | None) -> None:
        self.url = url.rstrip("/")
        self.http = http
        self._authorization = f"Bearer {token}" if token else None

    async def nothing(self, call: Call) -> None:
        """For answers without a body."""
        await self._send(call)

    async def whole(self, kind: type[_T], call: Call) -> _T:
        return TypeAdapter(kind).validate_json((await self._send(call)).content)

    async def data(self, kind: type[_T], call: Call) -> _T:
        """What an answer `{"data": …}` holds."""
        return TypeAdapter(kind).validate_python((await self._send(call)).json()["data"])

    async def _send(self, call: Call) -> httpx.Response:
        """Raises ProblemError, or httpx.TransportError where there is no answer."""
        path = call.path.format_map({name: quote(_text(value), safe="") for name, value in call.values.items()})
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
    """As JSON writes it: `true`, times in RFC 3339."""
    plain = to_jsonable_python(value)
    return str(plain).lower() if isinstance(plain, bool) else str(plain)
