"""Statements on sellers whose accounts were erased."""

from datetime import datetime

from chassis.types.ids import ProductId, UserId
from sqlalchemy import ColumnElement, and_, literal_column, not_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.repository.products import LIVE
from product_service.repository.tables import erased_sellers, products

_HAS_WORDS = products.c.name != literal_column("''")
"""As the index has it, so that every plan may use that: what_has_no_name_says_nothing."""


class SellerRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def remember_erased(self, user_id: UserId, at: datetime) -> None:
        new = insert(erased_sellers).values(user_id=user_id, received_at=at)
        await self._transaction.execute(new.on_conflict_do_nothing())

    async def lock_left_behind(self, since: datetime, limit: int) -> list[ProductId]:
        """Products whose sellers were erased since then, along erased_sellers_by_age and products_by_seller; locked, but for those that
        somebody else has locked.
        """
        return await self._lock(since, LIVE, limit)

    async def lock_still_saying(self, since: datetime, limit: int) -> list[ProductId]:
        """The same of deleted products that have words, along deleted_products_with_words."""
        return await self._lock(since, and_(not_(LIVE), _HAS_WORDS), limit)

    async def _lock(self, since: datetime, which: ColumnElement[bool], limit: int) -> list[ProductId]:
        wanted = (
            select(products.c.id)
            .join(erased_sellers, erased_sellers.c.user_id == products.c.seller_id)
            .where(erased_sellers.c.received_at >= since, which)
            .order_by(products.c.id)
            .limit(limit)
            .with_for_update(of=products, skip_locked=True)
        )
        return [ProductId(product_id) for product_id in await self._transaction.scalars(wanted)]
