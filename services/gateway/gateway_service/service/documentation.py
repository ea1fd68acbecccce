"""The documentation of everything, put together from what the services say of themselves."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

from gateway_service.domain.openapi import Document, merged
from gateway_service.domain.routes import Upstream

_FRESH_SECONDS = 30.0
_INCOMPLETE_SECONDS = 3.0
"""How soon a service that did not answer is asked again."""


class Documentation:
    def __init__(
        self,
        title: str,
        version: str,
        upstreams: Sequence[Upstream],
        fetch: Callable[[Upstream], Awaitable[Document | None]],
        clock: Callable[[], float],
    ) -> None:
        self._title = title
        self._version = version
        self._fetch = fetch
        self._clock = clock
        self._documents: dict[Upstream, Document | None] = dict.fromkeys(upstreams)
        self._stale_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._merged = b""

    async def current(self) -> bytes:
        """OpenAPI as JSON text, not older than half a minute. A service that went away is shown as it was last seen."""
        async with self._fetching:
            if self._clock() >= self._stale_at:
                await self._refresh()
        return self._merged

    async def _refresh(self) -> None:
        answers = await asyncio.gather(*(self._fetch(upstream) for upstream in self._documents))
        for upstream, document in zip(self._documents, answers, strict=True):
            self._documents[upstream] = document or self._documents[upstream]
        self._merged = json.dumps(merged(self._documents, self._title, self._version), ensure_ascii=False).encode()
        self._stale_at = self._clock() + (_FRESH_SECONDS if all(answers) else _INCOMPLETE_SECONDS)
