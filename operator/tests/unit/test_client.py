"""What becomes of the API server's answers."""

from __future__ import annotations

from typing import Any

import pytest

from platform_operator.api.kinds import PLATFORM
from platform_operator.client import Api
from platform_operator.errors import ApiError


class Client:
    """Answers everything with the same bytes."""

    def __init__(self, status: int, text: bytes) -> None:
        self.status, self.text = status, text

    async def param_serialize(self, verb: str, path: str, **_: Any) -> tuple[str, str, dict[str, str]]:
        return verb, path, {}

    async def call_api(self, *_: Any, **__: Any) -> Client:
        return self

    async def read(self) -> bytes:
        return self.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"message": "' + "é".encode() * 200 + b'"}', "é" * 200),
        (b"x" + "é".encode() * 200, "x" + "é" * 99 + "\N{REPLACEMENT CHARACTER}"),
    ],
)
async def test_a_refusal_is_told_in_whatever_characters_it_comes(text: bytes, message: str) -> None:
    client: Any = Client(503, text)
    with pytest.raises(ApiError) as raised:
        await Api(client, lambda: None).list(PLATFORM, None)
    assert (raised.value.status, str(raised.value)) == (503, message)
