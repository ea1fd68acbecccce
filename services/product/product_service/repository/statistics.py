"""Queries on product statistics that other services report: stock, ratings, orders. Outdated reports change nothing."""

from collections.abc import Sequence
from typing import Any

from chassis.database.statements import Command, Statement
from chassis.types.ids import ProductId
from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, bindparam, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import CategoryId
from product_service.domain.products import ListedProduct
from product_service.repository.products import LISTED_COLUMNS, NOT_DELETED, to_listed_product
from product_service.repository.tables import co_purchases, products


class StatisticsRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def update_availability(self, product_id: ProductId, is_available: bool, revision: int) -> None:
        newer = update(products).where(products.c.id == product_id, products.c.stock_revision < revision)
        await self._transaction.execute(newer.values(in_stock=is_available, stock_revision=revision))

    async def update_rating(self, product_id: ProductId, stars: int, count: int, revision: int) -> None:
        newer = update(products).where(products.c.id == product_id, products.c.rating_revision < revision)
        await self._transaction.execute(newer.values(rating_stars=stars, rating_count=count, rating_revision=revision))

    async def count_order(self, product_ids: Sequence[ProductId]) -> None:
        """Counts a paid order of these products and of each pair of them. Unknown products are left out.

        The rows are locked first, in the order of their ids, so that no two orders count the same pair concurrently.
        """
        known = await _LOCK_ALL.all(self._transaction, product_ids=product_ids)
        await _COUNT_ORDER.execute(self._transaction, product_ids=known)
        if len(known) > 1:
            await _COUNT_PAIRS.execute(self._transaction, known=known)

    async def list_bought_together(self, product_id: ProductId, limit: int) -> list[ListedProduct]:
        """Returns what was in the most paid orders together with a product, along the index co_purchases_by_count."""
        query = (
            select(*LISTED_COLUMNS)
            .join(co_purchases, co_purchases.c.other_id == products.c.id)
            .where(co_purchases.c.product_id == product_id, NOT_DELETED)
            .order_by(co_purchases.c.orders_count.desc(), co_purchases.c.other_id)
            .limit(limit)
        )
        return [to_listed_product(row) for row in (await self._transaction.execute(query)).mappings()]

    async def list_popular(
        self, limit: int, excluding: Sequence[ProductId], category_id: CategoryId | None = None
    ) -> list[ListedProduct]:
        """Returns what was in the most paid orders; of products with the same number, the newest first.

        Uses the index products_by_popularity, or products_by_popularity_in_category.
        """
        where: list[ColumnElement[bool]] = [NOT_DELETED, products.c.id.not_in(excluding)]
        if category_id is not None:
            where.append(products.c.category_id == category_id)
        query = select(*LISTED_COLUMNS).where(*where).order_by(*_MOST_POPULAR).limit(limit)
        return [to_listed_product(row) for row in (await self._transaction.execute(query)).mappings()]


_MOST_POPULAR: tuple[ColumnElement[Any], ...] = (products.c.orders_count.desc(), products.c.id.desc())
_IS_ONE_OF_THEM = products.c.id == any_(bindparam("product_ids", type_=ARRAY(BigInteger)))
_LOCK_ALL = Statement(
    select(products.c.id).where(_IS_ONE_OF_THEM).order_by(products.c.id).with_for_update(key_share=True),
    lambda row: ProductId(row["id"]),
)
_COUNT_ORDER = Command(update(products).where(_IS_ONE_OF_THEM).values(orders_count=products.c.orders_count + 1))
_COUNT_PAIRS = Command(
    text("""
        INSERT INTO co_purchases (product_id, other_id, orders_count)
        SELECT one, other, 1 FROM unnest(CAST(:known AS bigint[])) AS one, unnest(CAST(:known AS bigint[])) AS other
        WHERE one <> other
        ORDER BY one, other
        ON CONFLICT (product_id, other_id) DO UPDATE SET orders_count = co_purchases.orders_count + 1
    """).bindparams(bindparam("known", type_=ARRAY(BigInteger)))
)
