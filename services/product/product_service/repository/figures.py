"""Statements on what other services tell of products: stock, ratings, orders. Whatever is older than what is known changes nothing."""

from collections.abc import Sequence
from typing import Any

from chassis.types.ids import ProductId
from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.domain.categories import CategoryId
from product_service.domain.products import Listing
from product_service.repository.products import LISTED, LIVE, listing_of
from product_service.repository.tables import co_purchases, products


class FigureRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def tell_availability(self, product_id: ProductId, is_available: bool, revision: int) -> None:
        newer = update(products).where(products.c.id == product_id, products.c.stock_revision < revision)
        await self._transaction.execute(newer.values(in_stock=is_available, stock_revision=revision))

    async def tell_rating(self, product_id: ProductId, stars: int, count: int, revision: int) -> None:
        newer = update(products).where(products.c.id == product_id, products.c.rating_revision < revision)
        await self._transaction.execute(newer.values(rating_stars=stars, rating_count=count, rating_revision=revision))

    async def count_order(self, product_ids: Sequence[ProductId]) -> None:
        """One paid order of these products. Their rows are locked first, in the order of their ids; so no two orders that share a
        pair count it at once. Products that were never here are left out.
        """
        one_of_them = products.c.id == any_(literal(product_ids, ARRAY(BigInteger)))
        wanted = select(products.c.id).where(one_of_them).order_by(products.c.id).with_for_update(key_share=True)
        known = list((await self._transaction.scalars(wanted)).all())
        counted = update(products).where(products.c.id == any_(literal(known, ARRAY(BigInteger))))
        await self._transaction.execute(counted.values(orders_count=products.c.orders_count + 1))
        await self._transaction.execute(_COUNT_PAIRS, {"known": known})

    async def bought_with(self, product_id: ProductId, limit: int) -> list[Listing]:
        """What was in the most paid orders together with a product, along co_purchases_by_count."""
        wanted = (
            select(*LISTED)
            .join(co_purchases, co_purchases.c.other_id == products.c.id)
            .where(co_purchases.c.product_id == product_id, LIVE)
            .order_by(co_purchases.c.orders_count.desc(), co_purchases.c.other_id)
            .limit(limit)
        )
        return [listing_of(row) for row in await self._transaction.execute(wanted)]

    async def popular(
        self, limit: int, without: Sequence[ProductId], category_id: CategoryId | None = None
    ) -> list[Listing]:
        """What was in the most paid orders, the newest first where as many: along products_by_popularity, or the one in a category."""
        where: list[ColumnElement[bool]] = [LIVE, products.c.id.not_in(without)]
        if category_id is not None:
            where.append(products.c.category_id == category_id)
        wanted = select(*LISTED).where(*where).order_by(*_MOST_POPULAR).limit(limit)
        return [listing_of(row) for row in await self._transaction.execute(wanted)]


_MOST_POPULAR: tuple[ColumnElement[Any], ...] = (products.c.orders_count.desc(), products.c.id.desc())
_COUNT_PAIRS = text("""
    INSERT INTO co_purchases (product_id, other_id, orders_count)
    SELECT one, other, 1 FROM unnest(CAST(:known AS bigint[])) AS one, unnest(CAST(:known AS bigint[])) AS other
    WHERE one <> other
    ORDER BY one, other
    ON CONFLICT (product_id, other_id) DO UPDATE SET orders_count = co_purchases.orders_count + 1
""")
