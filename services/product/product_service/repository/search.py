"""Statements that find products. What is found is narrowed along products_by_words, and paged along the index of its order.

Texts that come from outside are parameters throughout. Words reach to_tsquery() without punctuation, so none of them is an operator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Double,
    Integer,
    Select,
    Text,
    and_,
    any_,
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
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import CategoryId
from product_service.domain.lists import COUNTED, PRICE_STEPS, Key, PriceRange, Sort, StockCount, Wanted, price_range
from product_service.domain.products import Listing
from product_service.domain.search import MAX_CORRECTED, Question, may_be_misspelt, meant
from product_service.repository.products import LISTED, LIVE, listing_of
from product_service.repository.tables import products, search_words

_SIMILAR = 0.2
"""Trigrams that two words must share to be looked at: less than any that `meant` accepts have, but for the shortest."""
_CANDIDATES = 30
_SUGGESTED_FROM = 200
"""How many names suggestions are chosen from, at most."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a search was understood as: a tsquery, the same for names alone, and whether words were taken for others."""

    anywhere: str
    in_name: str
    text: str
    is_corrected: bool = False


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a list asks for, as the database understands it: the reading of its words, the whole of its category."""

    wanted: Wanted
    reading: Reading | None
    categories: Sequence[CategoryId] | None

    @property
    def are_none(self) -> bool:
        return self.reading is None and self.wanted == Wanted()


@dataclass(frozen=True, slots=True)
class Counts:
    """What facets are made of: how many products there are in each category itself, in each price range, in stock and out of it."""

    by_category: Mapping[CategoryId, int]
    by_price: Sequence[PriceRange]
    by_stock: Sequence[StockCount]


class SearchRepository:
    """Reads within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def prepare(self) -> None:
        """Statements are planned for what they ask for, since how to find a word depends on how many products have it; and a search keeps
        to one processor.
        """
        await self._transaction.execute(_PREPARE, {"similar": str(_SIMILAR)})

    async def read(self, question: Question) -> Reading:
        """The words as they were written, the last one perhaps not to its end."""
        return await self._understood(question, {})

    async def read_again(self, question: Question, written: Reading) -> Reading:
        """Where no product has all the words as they were written: each that no product has as one that a name has and that may have
        been meant.

        No plan may expect to come upon such a product soon by going through all of them: there may be none.
        """
        if not any(map(may_be_misspelt, question.words)):
            return written
        await self._transaction.execute(_BITMAPS_ONLY)
        is_found = await self._transaction.scalar(select(_some_product_has(_read(written.anywhere))))
        meant_by = {} if is_found else await self._meant_by(question)
        await self._transaction.execute(_ANY_PLAN)
        return await self._understood(question, meant_by) if any(meant_by.values()) else written

    async def count(self, conditions: Conditions) -> int:
        """How many there are; COUNTED + 1 stands for more than COUNTED."""
        some = select(literal(1)).where(*_narrowed(conditions)).limit(COUNTED + 1).subquery()
        return await self._transaction.scalar(select(func.count()).select_from(some)) or 0

    async def page(
        self, conditions: Conditions, sort: Sort, after: Key | None, offset: int, limit: int, *, is_counted: bool
    ) -> list[tuple[Listing, Key]]:
        """Products in order, each with its key; from behind the key `after`, or else from `offset`. Where all that fit were counted, they
        are found first and sorted then: going through an index in its order until enough of them came might go through all of it.
        Else only ids and keys are gone through on the way there: where an index has the order, it is read alone.
        """
        source, order = _ordered(conditions, sort, is_counted)
        names = [f"key_{number}" for number in range(len(order.columns))]
        source = source.add_columns(*(key.label(name) for name, key in zip(names, order.columns, strict=True)))
        if after is not None:
            source = source.where(order.behind(after))
        if is_counted and not conditions.are_none:
            found = source.cte("found").prefix_with("MATERIALIZED")
            few = select(found).order_by(*(order.directed(found.c[name]) for name in names))
        else:
            few = source.order_by(*map(order.directed, order.columns))
        page = few.offset(offset).limit(limit).subquery("page")
        keys = [page.c[name] for name in names]
        rows = await self._transaction.execute(
            select(*LISTED, *keys).join(page, page.c.id == products.c.id).order_by(*map(order.directed, keys))
        )
        return [(listing_of(row), tuple(row[len(LISTED) :])) for row in rows]

    async def count_choices(self, conditions: Conditions) -> Counts:
        """What fits all conditions, but for the one on what it is counted by. Goes through the products once, along products_by_facet
        where no others narrow the list.
        """
        wanted = conditions.wanted
        others = replace(wanted, min_price=None, max_price=None, in_stock=None)
        cells = (
            select(
                products.c.category_id,
                products.c.price_currency,
                _PRICE_STEP.label("step"),
                products.c.in_stock,
                and_(true(), *_of_category(conditions.categories)).label("fits_category"),
                and_(true(), *_of_price(wanted)).label("fits_price"),
                func.count().label("products"),
            )
            .where(*_narrowed(Conditions(others, conditions.reading, None)))
            .group_by(*map(literal_column, "123456"))
            .cte("cells")
        )
        fits_stock = and_(true(), *([] if wanted.in_stock is None else [cells.c.in_stock.is_(wanted.in_stock)]))
        fits_category, fits_price = cells.c.fits_category, cells.c.fits_price
        columns = (cells.c.category_id, cells.c.price_currency, cells.c.step, cells.c.in_stock)
        counted_by = {
            columns[:1]: fits_price & fits_stock,
            columns[1:3]: fits_category & fits_stock,
            columns[3:]: fits_category & fits_price,
        }
        counts = [
            select(
                *(column if column in chosen else cast(null(), column.type) for column in columns),
                cast(func.sum(cells.c.products), BigInteger),
            )
            .where(fitting)
            .group_by(*chosen)
            for chosen, fitting in counted_by.items()
        ]
        rows = (await self._transaction.execute(union_all(*counts))).all()
        priced = sorted((currency, step, count) for _, currency, step, _, count in rows if currency is not None)
        return Counts(
            by_category={CategoryId(category): count for category, _, _, _, count in rows if category is not None},
            by_price=[price_range(*choice) for choice in priced],
            by_stock=[StockCount(in_stock, count) for _, _, _, in_stock, count in rows if in_stock is not None],
        )

    async def names_from(self, beginning: str) -> list[tuple[str, int]]:
        """Names that begin so, along products_by_plain_name; and how often they were ordered."""
        plain_name = func.search_text(products.c.name)
        wanted = (
            select(products.c.name, products.c.orders_count)
            .where(LIVE, plain_name.like(beginning + "%"))
            .order_by(text("search_text(products.name) USING ~<~"))
            .limit(_SUGGESTED_FROM)
        )
        return [(row.name, row.orders_count) for row in await self._transaction.execute(wanted)]

    async def names_with(self, reading: Reading) -> list[tuple[str, int]]:
        """Names with these words, the most popular first; and how often they were ordered."""
        await self._transaction.execute(_BITMAPS_ONLY)
        some = (
            select(products.c.name, products.c.orders_count, products.c.id)
            .where(LIVE, _has(_read(reading.in_name)))
            .limit(_SUGGESTED_FROM * 10)
            .subquery()
        )
        best_known = select(some.c.name, some.c.orders_count).order_by(some.c.orders_count.desc(), some.c.id.desc())
        rows = (await self._transaction.execute(best_known.limit(_SUGGESTED_FROM))).all()
        await self._transaction.execute(_ANY_PLAN)
        return [(row.name, row.orders_count) for row in rows]

    async def forget_words(self, after: str, limit: int) -> str | None:
        """Of the next so many words that may be meant by misspelt ones, those that no product has; then the last of the words that it
        looked at, or None where no more come. Whoever is about to teach some is waited for, and waits: none is forgotten unseen.
        """
        await self._transaction.execute(_LEARN_NO_WORDS)
        word = search_words.c.word
        words = (await self._transaction.scalars(select(word).where(word > after).order_by(word).limit(limit))).all()
        is_said = _some_product_has(func.plainto_tsquery(literal_column("'simple'"), word))
        await self._transaction.execute(delete(search_words).where(word.in_(words), not_(is_said)))
        return words[-1] if len(words) == limit else None

    async def _understood(self, question: Question, meant_by: Mapping[str, Sequence[str]]) -> Reading:
        anywhere, in_name = (_tsquery(question, meant_by, in_name=in_name) for in_name in (False, True))
        row = (await self._transaction.execute(select(cast(anywhere, Text), cast(in_name, Text)))).one()
        meaning = " ".join((meant_by.get(word) or [word])[0] for word in question.words)
        return Reading(row[0], row[1], meaning, is_corrected=bool(meant_by))

    async def _meant_by(self, question: Question) -> dict[str, list[str]]:
        """By each word that no product has what may have been meant by it: of the first MAX_CORRECTED of them."""
        found: dict[str, list[str]] = {}
        for word in filter(may_be_misspelt, dict.fromkeys(question.words)):
            as_written = _one_word(word, _flags(word == question.words[-1]))
            if not await self._transaction.scalar(select(_some_product_has(as_written))):
                found[word] = await self._similar(word)
            if len(found) == MAX_CORRECTED:
                break
        return found

    async def _similar(self, word: str) -> list[str]:
        """Along search_words_by_trigram."""
        likeness = func.similarity(search_words.c.word, word)
        wanted = select(search_words.c.word).where(search_words.c.word.op("%")(word))
        nearest = wanted.order_by(likeness.desc(), search_words.c.word).limit(_CANDIDATES)
        return meant(word, (await self._transaction.scalars(nearest)).all())


@dataclass(frozen=True, slots=True)
class _Order:
    """An order that is an index, read forwards or backwards. The id keeps pages from overlapping where the rest is equal."""

    columns: tuple[ColumnElement[Any], ...]
    is_descending: bool

    def directed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column.desc() if self.is_descending else column.asc()

    def behind(self, key: Key) -> ColumnElement[bool]:
        ours, theirs = (
            tuple_(*self.columns),
            tuple_(*(literal(v, c.type) for v, c in zip(key, self.columns, strict=True))),
        )
        return ours < theirs if self.is_descending else ours > theirs


_ORDERS: Mapping[Sort, _Order] = {
    Sort.NEWEST: _Order((products.c.created_at, products.c.id), True),
    Sort.CHEAPEST: _Order((products.c.price_amount, products.c.id), False),
    Sort.DEAREST: _Order((products.c.price_amount, products.c.id), True),
    Sort.RATING: _Order((products.c.rating_average, products.c.rating_count, products.c.id), True),
    Sort.POPULAR: _Order((products.c.orders_count, products.c.id), True),
    Sort.NAME: _Order((func.lower(products.c.name), products.c.id), False),
}


def _ordered(conditions: Conditions, sort: Sort, is_counted: bool) -> tuple[Select[Any], _Order]:
    """The ids of a list, and its order."""
    if sort is not Sort.RELEVANCE or conditions.reading is None:
        return select(products.c.id).where(*_narrowed(conditions)), _ORDERS[sort]
    scored = select(products.c.id, _score(conditions.reading).label("score")).where(*_narrowed(conditions))
    ranked = (scored if is_counted else _best_known(scored, conditions.reading)).subquery("ranked")
    return select(ranked.c.id), _Order((ranked.c.score, ranked.c.id), True)


def _score(reading: Reading) -> ColumnElement[float]:
    """Below 1 for how well and where the words fit (name before description, in PostgreSQL's own weights), 1 more where the name has
    them all, 1 more where it is them: who fills a description with words does not come before who sells the thing.
    """
    fits = cast(func.ts_rank(products.c.search, _read(reading.anywhere)), Double)
    is_in_name = cast(_has(_read(reading.in_name)), Integer)
    is_the_name = cast(func.search_text(products.c.name) == reading.text, Integer)
    return fits + is_in_name + is_the_name


def _best_known(scored: Select[Any], reading: Reading) -> CompoundSelect[Any]:
    """Of too many to rank, the most ordered; and whatever has the words for its name, along products_by_plain_name."""
    most_ordered = _ORDERS[Sort.POPULAR]
    best_known = scored.order_by(*map(most_ordered.directed, most_ordered.columns)).limit(COUNTED)
    so_named = scored.where(func.search_text(products.c.name) == reading.text).limit(COUNTED)
    return union(select(best_known.subquery()), select(so_named.subquery()))


def _narrowed(conditions: Conditions) -> list[ColumnElement[bool]]:
    wanted = conditions.wanted
    narrowed: list[ColumnElement[bool]] = [LIVE, *_of_category(conditions.categories), *_of_price(wanted)]
    if conditions.reading is not None:
        narrowed.append(_has(_read(conditions.reading.anywhere)))
    if wanted.currency is not None:
        narrowed.append(products.c.price_currency == wanted.currency)
    if wanted.in_stock is not None:
        narrowed.append(products.c.in_stock.is_(wanted.in_stock))
    if wanted.seller_id is not None:
        narrowed.append(products.c.seller_id == wanted.seller_id)
    if wanted.min_rating is not None:
        narrowed.append(products.c.rating_average >= wanted.min_rating)
    return narrowed


def _of_category(categories: Sequence[CategoryId] | None) -> list[ColumnElement[bool]]:
    return [] if categories is None else [products.c.category_id == any_(literal(categories, ARRAY(BigInteger)))]


def _of_price(wanted: Wanted) -> list[ColumnElement[bool]]:
    at_least = [] if wanted.min_price is None else [products.c.price_amount >= wanted.min_price]
    at_most = [] if wanted.max_price is None else [products.c.price_amount <= wanted.max_price]
    return at_least + at_most


_PRICE_STEP = func.width_bucket(products.c.price_amount, literal(list(PRICE_STEPS), ARRAY(BigInteger)), type_=Integer)
_Tsquery = ColumnElement[Any]


def _tsquery(question: Question, meant_by: Mapping[str, Sequence[str]], *, in_name: bool) -> _Tsquery:
    """What has all the words, each as one that was meant by it where there are any; the last word may be the beginning of one."""
    if not question.words:
        return _read(" & ".join(map(_quoted, question.symbols)))
    last = len(question.words) - 1
    words = [
        _any_of([_one_word(other, _flags(False, in_name)) for other in meant_by[word]])
        if meant_by.get(word)
        else _one_word(word, _flags(number == last, in_name))
        for number, word in enumerate(question.words)
    ]
    return reduce(lambda one, other: one.op("&&", return_type=TSQUERY())(other), words)


def _one_word(word: str, flags: str) -> _Tsquery:
    """A word as it is written, or with the stem that it has in English."""
    quoted = _quoted(word) + flags
    return _any_of([func.to_tsquery(literal_column(f"'{config}'"), quoted) for config in ("simple", "english")])


def _flags(is_beginning: bool, in_name: bool = False) -> str:
    """After a word of a tsquery. Words of a name have the weights A and B."""
    flags = "*" * is_beginning + "AB" * in_name
    return f":{flags}" if flags else ""


def _any_of(queries: Sequence[_Tsquery]) -> _Tsquery:
    return reduce(lambda one, other: one.op("||", return_type=TSQUERY())(other), queries)


def _quoted(lexeme: str) -> str:
    """As a tsquery is written: nothing between the quotes is an operator."""
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"


def _read(tsquery: str) -> _Tsquery:
    return cast(literal(tsquery, Text), TSQUERY)


def _has(tsquery: _Tsquery) -> ColumnElement[bool]:
    return products.c.search.bool_op("@@")(tsquery)


def _some_product_has(tsquery: _Tsquery) -> ColumnElement[bool]:
    return select(literal(1)).where(LIVE, _has(tsquery)).exists()


_PREPARE = text(
    "SELECT set_config('plan_cache_mode', 'force_custom_plan', true),"
    " set_config('max_parallel_workers_per_gather', '0', true),"
    " set_config('pg_trgm.similarity_threshold', :similar, true)"
)
_LEARN_NO_WORDS = text("LOCK TABLE search_words IN SHARE ROW EXCLUSIVE MODE")
_OTHER_SCANS = ("enable_seqscan", "enable_indexscan", "enable_indexonlyscan")
_BITMAPS_ONLY, _ANY_PLAN = (
    select(*(func.set_config(scan, value, literal_column("true")) for scan in _OTHER_SCANS)) for value in ("off", "on")
)
