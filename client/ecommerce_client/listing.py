"""Lists, which the shop returns page by page."""

from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

from ecommerce_client.connection import Call, Connection, Values

MAX_LIMIT = 100
"""The number of items on the largest page that a shop returns."""


class Page(Protocol):
    """The fields that every page has."""

    @property
    def data(self) -> Sequence[object]: ...
    @property
    def page(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def total(self) -> int: ...


@runtime_checkable
class CursorPage(Protocol):
    """A page with a cursor for the next page."""

    @property
    def next(self) -> str | None: ...


PageT = TypeVar("PageT", bound=Page)
ItemT = TypeVar("ItemT")


class Listing(Generic[PageT, ItemT]):
    """A list of items. `await` returns one page; `async for` yields every item from that page on, on all later pages.

    Both raise ProblemError.
    """

    def __init__(self, connection: Connection, kind: type[PageT], call: Call) -> None:
        self._connection = connection
        self._kind = kind
        self._call = call

    def __await__(self) -> Generator[Any, None, PageT]:
        return self._fetch(self._call.query).__await__()

    async def __aiter__(self) -> AsyncIterator[ItemT]:
        query: Values | None = {**self._call.query, "limit": self._call.query.get("limit") or MAX_LIMIT}
        while query is not None:
            page = await self._fetch(query)
            for item in cast("Sequence[ItemT]", page.data):
                yield item
            query = next_query(page, query)

    async def _fetch(self, query: Values) -> PageT:
        return await self._connection.fetch(self._kind, replace(self._call, query=query))


def next_query(page: Page, query: Values) -> Values | None:
    """Returns the query of the next page, by cursor if the page has one, else by page number; None after the last."""
    if isinstance(page, CursorPage):
        return None if page.next is None else {**query, "page": None, "cursor": page.next}
    is_last = page.page * page.limit >= page.total or not page.data
    return None if is_last else {**query, "page": page.page + 1}
