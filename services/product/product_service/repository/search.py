"""Queries that search for products. Terms use the index products_by_term, pages the index of their order.

All user input is passed as parameters. Words reach to_tsquery() without punctuation, so none of them is an operator.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

from chassis.database.statements import Connection, Record, Statement
from chassis.types.ids import ProductId
from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Double,
    Integer,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    delete,
    func,
    literal,
    literal_column,
    not_,
    null,
    select,
    text,
    true,
    tuple_,
    union,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import CategoryId
from product_service.domain.folding import bigrams, is_unspaced
from product_service.domain.products import ListedProduct
from product_service.domain.search import (
    MAX_COUNTED,
    PRICE_STEPS,
    PriceRange,
    ProductFilter,
    Sort,
    SortKey,
    StockCount,
    price_range,
)
from product_service.domain.search_terms import (
    MAX_CORRECTED_WORDS,
    SearchLanguage,
    SearchTerms,
    find_corrections,
    is_correctable,
)
from product_service.repository.products import LISTED_COLUMNS, NOT_DELETED, to_listed_product
from product_service.repository.tables import BY_PEOPLE, products, search_words

_MIN_SIMILARITY = 0.2
"""Trigram similarity of candidates for a correction: below that of any correction except the shortest."""
_MAX_CANDIDATES = 30
_Tsquery = ColumnElement[Any]
_MAX_SUGGESTION_CANDIDATES = 200
"""The number of names that suggestions are chosen from, at most."""


@dataclass(frozen=True, slots=True)
class Interpretation:
    """The meaning of search terms: a tsquery for all texts, one for names alone, and whether words were corrected."""

    anywhere: str
    in_name: str
    text: str
    is_corrected: bool = False


@dataclass(frozen=True, slots=True)
class Conditions:
    """The filters of a query, with the search terms interpreted and the category's descendants looked up."""

    filters: ProductFilter
    interpretation: Interpretation | None
    categories: tuple[CategoryId, ...] | None

    @property
    def are_empty(self) -> bool:
        return self.interpretation is None and self.filters == ProductFilter()


@dataclass(frozen=True, slots=True)
class FacetCounts:
    """The number of products in each category without its descendants, in each price range, and by availability."""

    by_category: Mapping[CategoryId, int]
    by_price: Sequence[PriceRange]
    by_stock: Sequence[StockCount]


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Sorted products with their sort keys, and the number of all matches; MAX_COUNTED + 1 means more than that."""

    products: Sequence[tuple[ListedProduct, SortKey]]
    total: int


class ListRepository:
    """Reads lists of products by prepared statements, without a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find_currencies(self) -> tuple[str, str] | None:
        """Returns the first and the last currency of all products by their codes, None if there is no product.

        Uses the index products_by_price_in_currency.
        """
        found = await _FIND_CURRENCIES.first(self._connection)
        return None if found is None or found[0] is None else found

    async def find_page(
        self, conditions: Conditions, sort: Sort, after: SortKey | None, offset: int, limit: int
    ) -> FoundPage:
        """Returns sorted products, starting after the key `after`, or else at `offset`.

        All matches are found first, then counted and sorted: to scan the index of the order until there are enough
        matches might scan all of it. If there are too many to count, only ids and keys are read up to the page: from
        the index alone, if there is one for the order.
        """
        values = {**_values(conditions, sort), **_cursor_values(after), "offset": offset, "limit": limit}
        found = await self._find_page(sort, values, is_counted=True)
        if found.total <= MAX_COUNTED or conditions.are_empty:
            return found
        return await self._find_page(sort, values, is_counted=False)

    async def find_names_starting_with(self, prefix: str) -> list[tuple[str, int]]:
        """Returns names with this prefix and their numbers of orders, along the index products_by_folded_name."""
        return await _NAMES_STARTING_WITH.all(self._connection, pattern=prefix + "%")

    async def _find_page(self, sort: Sort, values: Mapping[str, object], *, is_counted: bool) -> FoundPage:
        rows = await _page_statement(frozenset(values), sort, is_counted).all(self._connection, **values)
        return FoundPage([found for _, found in rows if found is not None], rows[0][0])


class SearchRepository:
    """Reads and writes within one transaction. Words are also found by their stems in `language`."""

    def __init__(self, transaction: AsyncConnection, language: SearchLanguage) -> None:
        self._transaction = transaction
        self._language = language

    async def interpret(self, terms: SearchTerms) -> Interpretation:
        """Interprets the words as written; the last one may be incomplete."""
        return await self._interpret(terms, {})

    async def interpret_corrected(self, terms: SearchTerms, as_written: Interpretation) -> Interpretation:
        """Corrects each word that no product has to similar words of product names.

        Returns `as_written` if some product has all the words, or there is no correction.
        """
        if not any(map(is_correctable, terms.words)):
            return as_written
        # A plan that scans all products in the hope of an early match would be slow: there may be none.
        await _BITMAP_SCANS_ONLY.first(self._transaction)
        is_found = await self._transaction.scalar(select(_exists(_tsquery_literal(as_written.anywhere))))
        corrections = {} if is_found else await self._find_corrections(terms)
        await _ALL_SCANS.first(self._transaction)
        return await self._interpret(terms, corrections) if any(corrections.values()) else as_written

    async def find_names_containing(self, interpretation: Interpretation) -> list[tuple[str, int]]:
        """Returns names with these words and their numbers of orders, the most popular first."""
        await _BITMAP_SCANS_ONLY.first(self._transaction)
        names = await _NAMES_CONTAINING.all(self._transaction, in_name=interpretation.in_name)
        await _ALL_SCANS.first(self._transaction)
        return names

    async def count_facets(self, conditions: Conditions) -> FacetCounts:
        """Counts the products for each facet that meet every condition except the facet's own.

        Scans the products once: along the index products_by_facet, if only facets restrict the list.
        """
        filters = conditions.filters
        values = _values(conditions)
        other_values = values.keys() - {"categories", "min_price", "max_price", "in_stock"}
        cells = (
            select(
                products.c.category_id,
                products.c.price_currency,
                _PRICE_STEP.label("step"),
                products.c.in_stock,
                and_(true(), *_where(values.keys() & {"categories"})).label("matches_category"),
                and_(true(), *_where(values.keys() & {"min_price", "max_price"})).label("matches_price"),
                func.count().label("products"),
            )
            .where(*_where(other_values))
            .group_by(*map(literal_column, "123456"))
            .cte("cells")
        )
        stock = [] if filters.in_stock is None else [cells.c.in_stock.is_(filters.in_stock)]
        matches_stock = and_(true(), *stock)
        matches_category, matches_price = cells.c.matches_category, cells.c.matches_price
        columns = (cells.c.category_id, cells.c.price_currency, cells.c.step, cells.c.in_stock)
        conditions_by_facet = {
            columns[:1]: matches_price & matches_stock,
            columns[1:3]: matches_category & matches_stock,
            columns[3:]: matches_category & matches_price,
        }
        counts = [
            select(
                *(column if column in facet else cast(null(), column.type) for column in columns),
                cast(func.sum(cells.c.products), BigInteger),
            )
            .where(condition)
            .group_by(*facet)
            for facet, condition in conditions_by_facet.items()
        ]
        rows = (await self._transaction.execute(union_all(*counts), values)).all()
        priced = sorted((currency, step, count) for _, currency, step, _, count in rows if currency is not None)
        return FacetCounts(
            by_category={CategoryId(category): count for category, _, _, _, count in rows if category is not None},
            by_price=[price_range(*choice) for choice in priced],
            by_stock=[StockCount(in_stock, count) for _, _, _, in_stock, count in rows if in_stock is not None],
        )

    async def prune_vocabulary(self, after: str, limit: int) -> str | None:
        """Deletes those of the next `limit` words after this one that no product has.

        Returns the last of the words that were checked, or None if no more follow. Locks the vocabulary against
        transactions that add words, so that no word is deleted that a concurrent transaction uses.
        """
        await self._transaction.execute(_LOCK_VOCABULARY)
        word = search_words.c.word
        words = (await self._transaction.scalars(select(word).where(word > after).order_by(word).limit(limit))).all()
        is_used = _exists(func.plainto_tsquery(literal_column("'simple'"), word))
        unused = (await self._transaction.scalars(select(word).where(word.in_(words), not_(is_used)))).all()
        if unused:  # a statement that deletes nothing would count as a change of what is shown
            await self._transaction.execute(delete(search_words).where(word.in_(unused)))
        return words[-1] if len(words) == limit else None

    async def reindex(self, after: ProductId, limit: int) -> ProductId | None:
        """Indexes those of the next `limit` products after this id that are indexed for another language.

        Returns the last of the ids that were checked, or None if no more follow. Uses the primary key, and locks the
        rows that it changes in the order of their ids. The trigger index_product computes the terms.
        """
        key = products.c.id
        ids = (await self._transaction.scalars(select(key).where(key > after).order_by(key).limit(limit))).all()
        outdated = select(key).where(key.in_(ids), products.c.search_language != self._language).order_by(key)
        locked = (await self._transaction.scalars(outdated.with_for_update(key_share=True))).all()
        if locked:  # a statement that updates nothing would count as a change of what is shown
            reindexed = update(products).where(key.in_(locked)).values(search_language=self._language)
            await self._transaction.execute(reindexed)
        return ProductId(ids[-1]) if len(ids) == limit else None

    async def _interpret(self, terms: SearchTerms, corrections: Mapping[str, Sequence[str]]) -> Interpretation:
        anywhere, in_name = (self._tsquery(terms, corrections, in_name=in_name) for in_name in (False, True))
        row = (await self._transaction.execute(select(cast(anywhere, Text), cast(in_name, Text)))).one()
        text = " ".join((corrections.get(word) or [word])[0] for word in terms.words)
        return Interpretation(row[0], row[1], text, is_corrected=bool(corrections))

    def _tsquery(self, terms: SearchTerms, corrections: Mapping[str, Sequence[str]], *, in_name: bool) -> _Tsquery:
        """Returns a query for all the words, each replaced by any of its corrections; the last word may be a prefix."""
        if not terms.words:
            return _tsquery_literal(" & ".join(map(_quote, terms.symbols)))
        last = len(terms.words) - 1
        words = [
            _any_of([_word_tsquery(other, self._language, in_name=in_name) for other in corrections[word]])
            if corrections.get(word)
            else _word_tsquery(word, self._language, is_prefix=number == last, in_name=in_name)
            for number, word in enumerate(terms.words)
        ]
        return reduce(lambda one, other: one.op("&&", return_type=TSQUERY())(other), words)

    async def _find_corrections(self, terms: SearchTerms) -> dict[str, list[str]]:
        """Returns the corrections of the words that no product has, of the first MAX_CORRECTED_WORDS of them."""
        corrections: dict[str, list[str]] = {}
        for word in filter(is_correctable, dict.fromkeys(terms.words)):
            as_written = _word_tsquery(word, self._language, is_prefix=word == terms.words[-1])
            if not await self._transaction.scalar(select(_exists(as_written))):
                corrections[word] = await self._find_similar(word)
            if len(corrections) == MAX_CORRECTED_WORDS:
                break
        return corrections

    async def _find_similar(self, word: str) -> list[str]:
        """Looks up corrections of a word in the vocabulary, along the index search_words_by_trigram."""
        similarity = func.similarity(search_words.c.word, word)
        similar = select(search_words.c.word).where(search_words.c.word.op("%")(word))
        nearest = similar.order_by(similarity.desc(), search_words.c.word).limit(_MAX_CANDIDATES)
        return find_corrections(word, (await self._transaction.scalars(nearest)).all())


@dataclass(frozen=True, slots=True)
class _Order:
    """An order that an index has, read forwards or backwards. The id keeps pages of equal rows from overlapping."""

    columns: tuple[ColumnElement[Any], ...]
    is_descending: bool

    def directed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column.desc() if self.is_descending else column.asc()

    def after(self, columns: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        """Returns the condition that rows with these keys come after the parameters `after_0`, `after_1` and so on."""
        row = tuple_(*columns)
        bound = tuple_(*(bindparam(f"after_{number}", type_=key.type) for number, key in enumerate(self.columns)))
        return row < bound if self.is_descending else row > bound


_ORDERS: Mapping[Sort, _Order] = {
    Sort.NEWEST: _Order((products.c.created_at, products.c.id), True),
    Sort.PRICE_ASC: _Order((products.c.price_amount, products.c.id), False),
    Sort.PRICE_DESC: _Order((products.c.price_amount, products.c.id), True),
    Sort.RATING: _Order((products.c.rating_average, products.c.rating_count, products.c.id), True),
    Sort.POPULAR: _Order((products.c.orders_count, products.c.id), True),
    Sort.NAME: _Order((products.c.name.collate(BY_PEOPLE), products.c.id), False),
}


@lru_cache(maxsize=256)
def _page_statement(
    names: frozenset[str], sort: Sort, is_counted: bool
) -> Statement[tuple[int, tuple[ListedProduct, SortKey] | None]]:
    """Returns the statement for a page of the products that meet the conditions with these names.

    Each row has the number of matches; a page without products is one row. If not `is_counted`, the number is
    MAX_COUNTED + 1.
    """
    source, order = _ordered(names, sort, is_counted)
    keys = [f"key_{number}" for number in range(len(order.columns))]
    source = source.add_columns(*(key.label(name) for name, key in zip(keys, order.columns, strict=True)))
    is_after = "after_0" in names
    found_keys: tuple[ColumnElement[Any], ...]
    if is_counted and not names.isdisjoint(_CONDITIONS):
        found = source.limit(MAX_COUNTED + 1).cte("found").prefix_with("MATERIALIZED")
        counted = select(func.count().label("total")).select_from(found).cte("counted")
        found_keys = tuple(found.c[name] for name in keys)
        ids = select(found).where(select(counted.c.total).scalar_subquery() <= MAX_COUNTED)
        ids = ids.where(order.after(found_keys)) if is_after else ids
    else:
        counted = _count_all() if is_counted else _COUNT_NOTHING
        found_keys = order.columns
        ids = source.where(order.after(found_keys)) if is_after else source
    place = bindparam("offset", type_=Integer), bindparam("limit", type_=Integer)
    page = ids.order_by(*map(order.directed, found_keys)).offset(place[0]).limit(place[1]).subquery("page")
    page_keys = [page.c[name] for name in keys]
    listed = counted.outerjoin(page.join(products, products.c.id == page.c.id), true())
    rows = select(counted.c.total, *LISTED_COLUMNS, *page_keys).select_from(listed)

    def to_found(row: Record) -> tuple[int, tuple[ListedProduct, SortKey] | None]:
        is_empty = row["id"] is None
        return row["total"], None if is_empty else (to_listed_product(row), tuple(row[key] for key in keys))

    return Statement(rows.order_by(*map(order.directed, page_keys)), to_found)


def _count_all() -> CTE:
    some = select(literal(1)).where(NOT_DELETED).limit(MAX_COUNTED + 1).subquery()
    return select(func.count().label("total")).select_from(some).cte("counted")


_COUNT_NOTHING = select(literal_column(str(MAX_COUNTED + 1), Integer).label("total")).cte("counted")


def _ordered(names: frozenset[str], sort: Sort, is_counted: bool) -> tuple[Select[Any], _Order]:
    """Returns a query for the ids of the matching products, and their order."""
    if sort is not Sort.RELEVANCE or "anywhere" not in names:
        return select(products.c.id).where(*_where(names)), _ORDERS[sort]
    scored = select(products.c.id, _SCORE.label("score")).where(*_where(names))
    ranked = (scored if is_counted else _preselect(scored)).subquery("ranked")
    return select(ranked.c.id), _Order((ranked.c.score, ranked.c.id), True)


def _preselect(scored: Select[Any]) -> CompoundSelect[Any]:
    """Selects the products to rank if there are too many: the most popular, and those with exactly this name.

    The latter are found along the index products_by_folded_name.
    """
    popularity = _ORDERS[Sort.POPULAR]
    most_popular = scored.order_by(*map(popularity.directed, popularity.columns)).limit(MAX_COUNTED)
    same_name = scored.where(_IS_THE_NAME).limit(MAX_COUNTED)
    return union(select(most_popular.subquery()), select(same_name.subquery()))


def _values(conditions: Conditions, sort: Sort | None = None) -> dict[str, object]:
    """Returns the values of the conditions in _CONDITIONS, and of the score if `sort` needs it, that are set."""
    filters, interpretation = conditions.filters, conditions.interpretation
    values: dict[str, object | None] = {
        "categories": conditions.categories,
        "min_price": filters.min_price,
        "max_price": filters.max_price,
        "currency": filters.currency,
        "in_stock": filters.in_stock,
        "seller_id": filters.seller_id,
        "min_rating": filters.min_rating,
    }
    if interpretation is not None:
        values["anywhere"] = interpretation.anywhere
    if interpretation is not None and sort is Sort.RELEVANCE:
        values |= {"in_name": interpretation.in_name, "text": interpretation.text}
    return {name: value for name, value in values.items() if value is not None}


def _cursor_values(after: SortKey | None) -> dict[str, object]:
    return {f"after_{number}": value for number, value in enumerate(after or ())}


def _where(names: Collection[str]) -> list[ColumnElement[bool]]:
    return [NOT_DELETED, *(condition for name, condition in _CONDITIONS.items() if name in names)]


_PRICE_STEP = func.width_bucket(products.c.price_amount, literal(list(PRICE_STEPS), ARRAY(BigInteger)), type_=Integer)


def _word_tsquery(word: str, language: SearchLanguage, *, is_prefix: bool = False, in_name: bool = False) -> _Tsquery:
    """Returns a query for a word as written, or with its stem; in a script without spaces, for it as part of a text."""
    if is_unspaced(word):
        return _tsquery_literal(_part_tsquery(word, in_name))
    quoted = _quote(word) + _flags(is_prefix, in_name)
    configs = dict.fromkeys((SearchLanguage.SIMPLE, language))
    return _any_of([func.to_tsquery(literal_column(f"'{config}'"), quoted) for config in configs])


def _part_tsquery(word: str, in_name: bool) -> str:
    """Returns a query for letters that follow one another, as search_bigrams() of the database indexes them."""
    pairs = [_quote(pair) + _flags(False, in_name) for pair in bigrams(word)]
    return " <-> ".join(pairs) or _quote(word) + _flags(True, in_name)


def _flags(is_prefix: bool, in_name: bool) -> str:
    """Returns the suffix of a word of a tsquery. Words of a name have the weights A and B."""
    flags = "*" * is_prefix + "AB" * in_name
    return f":{flags}" if flags else ""


def _any_of(queries: Sequence[_Tsquery]) -> _Tsquery:
    return reduce(lambda one, other: one.op("||", return_type=TSQUERY())(other), queries)


def _quote(lexeme: str) -> str:
    """Quotes a lexeme for a tsquery: nothing between the quotes is an operator."""
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"


def _tsquery_literal(tsquery: str) -> _Tsquery:
    return cast(literal(tsquery, Text), TSQUERY)


def _matches(tsquery: _Tsquery) -> ColumnElement[bool]:
    return products.c.terms.bool_op("@@")(tsquery)


def _exists(tsquery: _Tsquery) -> ColumnElement[bool]:
    """Returns a condition that is true if any product matches."""
    return select(literal(1)).where(NOT_DELETED, _matches(tsquery)).exists()


def _tsquery_parameter(name: str) -> _Tsquery:
    return cast(bindparam(name, type_=Text), TSQUERY)


_CONDITIONS: Mapping[str, ColumnElement[bool]] = {
    "categories": products.c.category_id == any_(bindparam("categories", type_=ARRAY(BigInteger))),
    "min_price": products.c.price_amount >= bindparam("min_price"),
    "max_price": products.c.price_amount <= bindparam("max_price"),
    "currency": products.c.price_currency == bindparam("currency"),
    "in_stock": products.c.in_stock == bindparam("in_stock"),
    "seller_id": products.c.seller_id == bindparam("seller_id"),
    "min_rating": products.c.rating_average >= bindparam("min_rating"),
    "anywhere": _matches(_tsquery_parameter("anywhere")),
}
"""The conditions that a list may have, by the names of their parameters."""

_IS_THE_NAME = products.c.plain_name == bindparam("text")
_SCORE: ColumnElement[float] = (
    cast(func.ts_rank(products.c.terms, _tsquery_parameter("anywhere")), Double)
    + cast(_matches(_tsquery_parameter("in_name")), Integer)
    + cast(_IS_THE_NAME, Integer)
)
"""The relevance of a product.

It is the rank of the match below 1 (names before descriptions, in PostgreSQL's own weights), plus 1 if the name
contains all the words, plus 1 if the name consists of them. So a product whose description is stuffed with words never
comes before a product that is named so.
"""


def _name_and_orders(row: Record) -> tuple[str, int]:
    return row["name"], row["orders_count"]


_FIND_CURRENCIES = Statement(
    select(func.min(products.c.price_currency).label("first"), func.max(products.c.price_currency).label("last")).where(
        NOT_DELETED
    ),
    lambda row: (row["first"], row["last"]),
)
_NAMES_STARTING_WITH = Statement(
    select(products.c.name, products.c.orders_count)
    .where(NOT_DELETED, products.c.plain_name.like(bindparam("pattern")))
    .order_by(text("products.plain_name USING ~<~"))
    .limit(_MAX_SUGGESTION_CANDIDATES),
    _name_and_orders,
)
_SOME_NAMES = (
    select(products.c.name, products.c.orders_count, products.c.id)
    .where(NOT_DELETED, _matches(_tsquery_parameter("in_name")))
    .limit(_MAX_SUGGESTION_CANDIDATES * 10)
    .subquery()
)
_NAMES_CONTAINING = Statement(
    select(_SOME_NAMES.c.name, _SOME_NAMES.c.orders_count)
    .order_by(_SOME_NAMES.c.orders_count.desc(), _SOME_NAMES.c.id.desc())
    .limit(_MAX_SUGGESTION_CANDIDATES),
    _name_and_orders,
)
PLANNER: Mapping[str, str] = {
    "plan_cache_mode": "force_custom_plan",
    "max_parallel_workers_per_gather": "0",
    "pg_trgm.similarity_threshold": str(_MIN_SIMILARITY),
}
"""PostgreSQL's parameters for each connection.

Statements are planned for their actual parameters, since how best to find a word depends on how many products have it;
and a search uses one processor.
"""
_LOCK_VOCABULARY = text("LOCK TABLE search_words IN SHARE ROW EXCLUSIVE MODE")
_OTHER_SCANS = ("enable_seqscan", "enable_indexscan", "enable_indexonlyscan")
_BITMAP_SCANS_ONLY, _ALL_SCANS = (
    Statement(select(*(func.set_config(scan, value, literal_column("true")) for scan in _OTHER_SCANS)), bool)
    for value in ("off", "on")
)
