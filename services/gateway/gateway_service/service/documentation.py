"""Serves the merged OpenAPI document, from the documents of all upstreams."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

from gateway_service.domain.openapi import Document, merge_documents
from gateway_service.domain.routes import Upstream

_MAX_AGE_SECONDS = 30.0
_INCOMPLETE_MAX_AGE_SECONDS = 3.0
"""The maximum age of a document in which an upstream is missing."""


class Documentation:
    """Caches the merged document."""

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
        self._expires_at = float("-inf")
        self._refreshing = asyncio.Lock()
        self._merged = b""

    async def current(self) -> bytes:
        """Returns the document as JSON, at most 30 s old.

        For an upstream that does not respond, its last document is used.
        """
        async with self._refreshing:
            if self._clock() >= self._expires_at:
                await self._refresh()
        return self._merged

    async def _refresh(self) -> None:
        fetched = await asyncio.gather(*(self._fetch(upstream) for upstream in self._documents))
        for upstream, document in zip(self._documents, fetched, strict=True):
            self._documents[upstream] = document or self._documents[upstream]
        self._merged = json.dumps(
            merge_documents(self._documents, self._title, self._version), ensure_ascii=False
        ).encode()
        self._expires_at = self._clock() + (_MAX_AGE_SECONDS if all(fetched) else _INCOMPLETE_MAX_AGE_SECONDS)
