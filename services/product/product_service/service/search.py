"""Product search: lists, facets and suggestions.

A list is read without a transaction. All parts of a response use the same interpretation of the words.
"""

from collections.abc import Sequence
from dataclasses import replace

from chassis.database.engine import Database
from chassis.types.bounded_cache import BoundedCache
from chassis.types.ids import ProductId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import add_up_subtrees
from product_service.domain.errors import CurrencyRequired, PageTooDeep
from product_service.domain.search import (
    MAX_COUNTED,
    CategoryCount,
    Cursor,
    Facets,
    PageRequest,
    ProductFilter,
    ResultPage,
    Sort,
    effective_sort,
)
from product_service.domain.search_terms import SearchLanguage, SearchTerms
from product_service.repository.categories import CategoryRepository, CategoryTreeRepository
from product_service.repository.search import Conditions, FoundPage, Interpretation, ListRepository, SearchRepository

SEARCHES = Counter(
    "product_searches_total",
    "Searches by words: found as written, found after correction, or nothing found",
    ["outcome"],
)

_INTERPRETATIONS = 10_000
"""How many searches are remembered with their interpretation, about 1 KiB each."""
_PRUNE_BATCH = 200
_REINDEX_BATCH = 500


class SearchService:
    def __init__(self, database: Database, language: SearchLanguage) -> None:
        self._database = database
        self._language = language
        self._interpretations = BoundedCache[SearchTerms, Interpretation](_INTERPRETATIONS)

    async def search(
        self, filters: ProductFilter, sort: Sort | None, request: PageRequest, *, with_facets: bool
    ) -> ResultPage:
        """Returns a page of the products that pass the filters, sorted by `effective_sort`.

        Raises PageTooDeep, CurrencyRequired.
        """
        order = effective_sort(filters, sort)
        conditions = await self._conditions(filters, order)
        found = await self._find_page(conditions, order, request)
        if found.total == 0 and conditions.interpretation is not None:
            corrected = await self._correct(conditions)
            found = found if corrected == conditions else await self._find_page(corrected, order, request)
            conditions = corrected
        if conditions.interpretation is not None and request.after is None:
            _count_search(conditions.interpretation, found.total)
        rows, number = found.products, request.after.page if request.after else request.number
        return ResultPage(
            products=[listed for listed, _ in rows[: request.limit]],
            number=number,
            total=min(found.total, MAX_COUNTED),
            total_is_exact=found.total <= MAX_COUNTED,
            next=Cursor(order, rows[request.limit - 1][1], number + 1) if len(rows) > request.limit else None,
            facets=await self._count_facets(conditions) if with_facets else None,
        )

    async def suggest(self, terms: SearchTerms, limit: int) -> list[str]:
        """Returns names that begin with the terms as written, then those that contain all of them.

        If there are none, returns the names that contain the corrected terms. Each group is sorted by popularity.
        """
        names = await self._find_names_starting_with(terms) if terms.words else []
        if len(names) < limit:
            as_written = await self._interpret(terms)
            async with self._database.begin() as transaction:
                repository = SearchRepository(transaction, self._language)
                found = await repository.find_names_containing(as_written)
                if not names and not found:
                    corrected = await repository.interpret_corrected(terms, as_written)
                    found = await repository.find_names_containing(corrected)
            names += [name for name, _ in found]
        return _unique(names)[:limit]

    async def prune_vocabulary(self) -> None:
        """Deletes the words that no product has any more, because it was renamed or deleted, in batches.

        A misspelt word that is corrected to one of them finds nothing, and they may stem from a user whose account was
        erased.
        """
        after: str | None = ""
        while after is not None:
            async with self._database.begin() as transaction:
                after = await SearchRepository(transaction, self._language).prune_vocabulary(after, _PRUNE_BATCH)

    async def reindex(self) -> None:
        """Indexes the products for this shop's language that are indexed for another, in batches."""
        after: ProductId | None = ProductId(0)
        while after is not None:
            async with self._database.begin() as transaction:
                after = await SearchRepository(transaction, self._language).reindex(after, _REINDEX_BATCH)

    async def _conditions(self, filters: ProductFilter, sort: Sort) -> Conditions:
        """Interprets the filters of a list, with its words as written. Raises CurrencyRequired."""
        categories = None
        async with self._database.read() as connection:
            if filters.currency is None and filters.compares_prices(sort):
                filters = replace(filters, currency=await _find_only_currency(ListRepository(connection)))
            if filters.category_id is not None:
                categories = tuple(await CategoryTreeRepository(connection).subtree(filters.category_id))
        as_written = None if filters.terms is None else await self._interpret(filters.terms)
        return Conditions(filters, as_written, categories)

    async def _find_page(self, conditions: Conditions, sort: Sort, request: PageRequest) -> FoundPage:
        """Raises PageTooDeep."""
        offset = 0 if request.after else (request.number - 1) * request.limit
        after = request.after.key if request.after else None
        async with self._database.read() as connection:
            found = await ListRepository(connection).find_page(conditions, sort, after, offset, request.limit + 1)
        if offset >= MAX_COUNTED and found.total > MAX_COUNTED:
            raise PageTooDeep
        return found

    async def _interpret(self, terms: SearchTerms) -> Interpretation:
        """Interprets the words as written. The words alone decide on that, so it is cached."""
        known = self._interpretations.get(terms)
        if known is not None:
            return known
        async with self._database.begin() as transaction:
            interpretation = await SearchRepository(transaction, self._language).interpret(terms)
        self._interpretations.put(terms, interpretation)
        return interpretation

    async def _correct(self, conditions: Conditions) -> Conditions:
        """Corrects terms that find nothing as written, independently of the other filters."""
        terms, as_written = conditions.filters.terms, conditions.interpretation
        if terms is None or as_written is None:
            return conditions
        async with self._database.begin() as transaction:
            corrected = await SearchRepository(transaction, self._language).interpret_corrected(terms, as_written)
        return replace(conditions, interpretation=corrected)

    async def _find_names_starting_with(self, terms: SearchTerms) -> list[str]:
        async with self._database.read() as connection:
            return _by_popularity(await ListRepository(connection).find_names_starting_with(terms.text))

    async def _count_facets(self, conditions: Conditions) -> Facets:
        async with self._database.begin() as transaction:
            return await self._facets(transaction, conditions)

    async def _facets(self, transaction: AsyncConnection, conditions: Conditions) -> Facets:
        counts = await SearchRepository(transaction, self._language).count_facets(conditions)
        categories = {category.id: category for category in await CategoryRepository(transaction).list_all()}
        parents = {category.id: category.parent_id for category in categories.values()}
        totals = add_up_subtrees(counts.by_category, parents)
        return Facets(
            categories=[
                CategoryCount(category_id, categories[category_id].name, count)
                for category_id, count in sorted(totals.items(), key=lambda item: (-item[1], item[0]))
            ],
            price_ranges=counts.by_price,
            in_stock=sorted(counts.by_stock, key=lambda choice: not choice.in_stock),
        )


async def _find_only_currency(repository: ListRepository) -> str | None:
    """Returns the currency that all products of the shop have, None without products. Raises CurrencyRequired."""
    currencies = await repository.find_currencies()
    if currencies is None:
        return None
    first, last = currencies
    if first != last:
        raise CurrencyRequired(first, last)
    return first


def _count_search(interpretation: Interpretation, total: int) -> None:
    SEARCHES.labels("nothing" if total == 0 else "corrected" if interpretation.is_corrected else "as_written").inc()


def _by_popularity(names: Sequence[tuple[str, int]]) -> list[str]:
    """Sorts names by their number of orders, the highest first; names with the same number keep their order."""
    return [name for name, _ in sorted(names, key=lambda named: -named[1])]


def _unique(names: Sequence[str]) -> list[str]:
    """Removes names that differ from an earlier one only in case."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.casefold(), name)
    return list(first.values())
