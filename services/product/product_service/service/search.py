"""Finding products: lists, facets, suggestions. One transaction each, so that all of an answer is of one reading of the words."""

from collections.abc import Sequence
from dataclasses import replace

from chassis.database.engine import Database
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import with_subtrees
from product_service.domain.errors import PageTooDeep
from product_service.domain.lists import COUNTED, CategoryCount, Facets, Page, Position, Sort, Wanted
from product_service.domain.search import Question
from product_service.repository.categories import CategoryRepository
from product_service.repository.search import Conditions, Reading, SearchRepository

SEARCHES = Counter(
    "product_searches_total",
    "Searches by words: found as written, found after correction, or nothing found",
    ["outcome"],
)

_WORDS_AT_ONCE = 200


class Finding:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, wanted: Wanted, sort: Sort | None, number: int, limit: int, after: Position | None, *, with_facets: bool
    ) -> Page:
        """The page behind `after`, or else the one with this number. In the order of `sort`: relevance where there are words and it says
        nothing else, newest first where it says nothing or there are no words to be relevant to. Raises PageTooDeep.
        """
        order = order_of(wanted, sort)
        async with self._database.begin() as transaction:
            repository = SearchRepository(transaction)
            await repository.prepare()
            conditions, total = await self._understood(transaction, wanted)
            offset = 0 if after else (number - 1) * limit
            if offset >= COUNTED and total > COUNTED:
                raise PageTooDeep
            rows = await repository.page(
                conditions, order, after.key if after else None, offset, limit + 1, is_counted=total <= COUNTED
            )
            facets = await self._facets(transaction, conditions) if with_facets else None
        if conditions.reading is not None and after is None:
            _count(conditions.reading, total)
        shown = after.page if after else number
        return Page(
            listings=[listing for listing, _ in rows[:limit]],
            number=shown,
            total=min(total, COUNTED),
            total_is_exact=total <= COUNTED,
            next=Position(order, rows[limit - 1][1], shown + 1) if len(rows) > limit else None,
            facets=facets,
        )

    async def suggestions(self, question: Question, limit: int) -> list[str]:
        """Names that begin as it is written, then those that have all the words, then, where there are none, those that have the words
        that may have been meant. Each time the most popular first.
        """
        async with self._database.begin() as transaction:
            repository = SearchRepository(transaction)
            await repository.prepare()
            names = _best(await repository.names_from(question.text)) if question.words else []
            if len(names) < limit:
                written = await repository.read(question)
                found = await repository.names_with(written)
                if not names and not found:
                    found = await repository.names_with(await repository.read_again(question, written))
                names += [name for name, _ in found]
        return _distinct(names)[:limit]

    async def forget_words(self) -> None:
        """Words that no product has any more, since it was renamed or deleted, some at a time: to take another for one of them finds
        nothing, and they may be of somebody whose account was erased.
        """
        after: str | None = ""
        while after is not None:
            async with self._database.begin() as transaction:
                after = await SearchRepository(transaction).forget_words(after, _WORDS_AT_ONCE)

    async def _understood(self, transaction: AsyncConnection, wanted: Wanted) -> tuple[Conditions, int]:
        """The conditions, and how many products fit them. What is not found as it was written is read again: the words mean the same
        whatever else narrows the list.
        """
        repository, categories = SearchRepository(transaction), None
        if wanted.category_id is not None:
            categories = await CategoryRepository(transaction).subtree(wanted.category_id)
        written = None if wanted.question is None else await repository.read(wanted.question)
        conditions = Conditions(wanted, written, categories)
        total = await repository.count(conditions)
        if total > 0 or wanted.question is None or written is None:
            return conditions, total
        again = replace(conditions, reading=await repository.read_again(wanted.question, written))
        return again, 0 if again == conditions else await repository.count(again)

    async def _facets(self, transaction: AsyncConnection, conditions: Conditions) -> Facets:
        counts = await SearchRepository(transaction).count_choices(conditions)
        categories = {category.id: category for category in await CategoryRepository(transaction).all()}
        parents = {category.id: category.parent_id for category in categories.values()}
        totals = with_subtrees(counts.by_category, parents)
        return Facets(
            categories=[
                CategoryCount(category_id, categories[category_id].name, count)
                for category_id, count in sorted(totals.items(), key=lambda item: (-item[1], item[0]))
            ],
            price_ranges=counts.by_price,
            in_stock=sorted(counts.by_stock, key=lambda choice: not choice.in_stock),
        )


def order_of(wanted: Wanted, sort: Sort | None) -> Sort:
    """The order of a list that asks for `sort`, or for none."""
    if wanted.question is None:
        return Sort.NEWEST if sort in (None, Sort.RELEVANCE) else sort
    return sort or Sort.RELEVANCE


def _count(reading: Reading, total: int) -> None:
    SEARCHES.labels("nothing" if total == 0 else "corrected" if reading.is_corrected else "as_written").inc()


def _best(names: Sequence[tuple[str, int]]) -> list[str]:
    """The most popular first, in the order they came where they are equally so."""
    return [name for name, _ in sorted(names, key=lambda named: -named[1])]


def _distinct(names: Sequence[str]) -> list[str]:
    """Each once, whatever its case."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.casefold(), name)
    return list(first.values())
