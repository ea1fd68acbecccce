"""Lists, which the shop answers page by page."""

from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

from ecommerce_client.connection import Call, Connection, Values

MOST = 100
"""Items on the largest page that a shop gives."""


class Page(Protocol):
    """What every page has."""

    @property
    def data(self) -> Sequence[object]: ...
    @property
    def page(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def total(self) -> int: ...


@runtime_checkable
class Linked(Protocol):
    """A page that names the one that follows."""

    @property
    def next(self) -> str | None: ...


PageT = TypeVar("PageT", bound=Page)
ItemT = TypeVar("ItemT")


class Listing(Generic[PageT, ItemT]):
    """`await` it for one page; `async for` over it for every item from that page on, however many pages there are.

    Both raise ProblemError.
    """

    def __init__(self, connection: Connection, kind: type[PageT], call: Call) -> None:
        self._connection = connection
        self._kind = kind
        self._call = call

    def __await__(self) -> Generator[Any, None, PageT]:
        return self._fetch(self._call.query).__await__()

    async def __aiter__(self) -> AsyncIterator[ItemT]:
        query: Values | None = {**self._call.query, "limit": self._call.query.get("limit") or MOST}
        while query is not None:
            page = await self._fetch(query)
            for item in cast("Sequence[ItemT]", page.data):
                yield item
            query = following(page, query)

    async def _fetch(self, query: Values) -> PageT:
        return await self._connection.whole(self._kind, replace(self._call, query=query))


def following(page: Page, query: Values) -> Values | None:
    """What to ask for after a page: behind its last item where it says how, else its number's successor; None after the last."""
    if isinstance(page, Linked):
        return None if page.next is None else {**query, "page": None, "cursor": page.next}
    is_last = page.page * page.limit >= page.total or not page.data
    return None if is_last else {**query, "page": page.page + 1}
