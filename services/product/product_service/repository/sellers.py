"""Queries on sellers whose accounts were erased."""

from datetime import datetime

from chassis.types.ids import ProductId, UserId
from sqlalchemy import ColumnElement, and_, literal_column, not_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.repository.products import NOT_DELETED
from product_service.repository.tables import erased_sellers, products

_HAS_TEXT = products.c.name != literal_column("''")
"""A product without a name has no other text either, by the constraint what_has_no_name_says_nothing.

The condition is written like that of the index deleted_products_with_words, so that every query plan may use the index.
"""


class SellerRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add_erased(self, user_id: UserId, at: datetime) -> None:
        new = insert(erased_sellers).values(user_id=user_id, received_at=at)
        await self._transaction.execute(new.on_conflict_do_nothing())

    async def lock_undeleted_products(self, since: datetime, limit: int) -> list[ProductId]:
        """Locks products whose sellers were erased since then; skips those that another transaction has locked.

        Uses the indexes erased_sellers_by_age and products_by_seller.
        """
        return await self._lock(since, NOT_DELETED, limit)

    async def lock_unredacted_products(self, since: datetime, limit: int) -> list[ProductId]:
        """Locks their deleted products that still have texts, along the index deleted_products_with_words."""
        return await self._lock(since, and_(not_(NOT_DELETED), _HAS_TEXT), limit)

    async def _lock(self, since: datetime, condition: ColumnElement[bool], limit: int) -> list[ProductId]:
        query = (
            select(products.c.id)
            .join(erased_sellers, erased_sellers.c.user_id == products.c.seller_id)
            .where(erased_sellers.c.received_at >= since, condition)
            .order_by(products.c.id)
            .limit(limit)
            .with_for_update(of=products, skip_locked=True)
        )
        return [ProductId(product_id) for product_id in await self._transaction.scalars(query)]
