"""Deletes and redacts the products of sellers whose accounts were erased."""

from collections.abc import Callable
from datetime import datetime, timedelta

from chassis.database.engine import Database
from chassis.types.ids import UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.repository.products import ProductRepository
from product_service.repository.sellers import SellerRepository
from product_service.service.products import ProductService
from product_service.service.published_events import PublishedEvents

WITHDRAWN = Counter("product_withdrawn_total", "Products deleted because their seller's account was erased")

_BATCH = 100
_WATCH_PERIOD = timedelta(days=1)
"""How long erased sellers are checked for new products: far longer than an access token issued before is valid."""


class SellerService:
    def __init__(
        self,
        database: Database,
        events: PublishedEvents,
        products: ProductService,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._events = events
        self._products = products
        self._now = now

    async def record_erasure(self, transaction: AsyncConnection, user_id: UserId) -> None:
        """Records that a user's account was erased: `clean_up_erased_sellers` then handles the user's products.

        They are not deleted here, since there may be many.
        """
        await SellerRepository(transaction).add_erased(user_id, self._now())

    async def clean_up_erased_sellers(self) -> int:
        """Deletes the products of erased sellers in batches until none is left, and returns their number.

        Then redacts all their deleted products, including those that the seller or an admin deleted. The deletion comes
        first because other services depend on it.
        """
        total = 0
        while deleted := await self._delete_batch():
            total += deleted
        while await self._redact_batch():
            pass
        return total

    async def _delete_batch(self) -> int:
        now = self._now()
        async with self._database.begin() as transaction:
            product_ids = await SellerRepository(transaction).lock_undeleted_products(now - _WATCH_PERIOD, _BATCH)
            if product_ids:
                await ProductRepository(transaction).delete(product_ids, now)
                await self._events.record_product_changed(transaction, product_ids)
        await self._products.after_commit(*product_ids)
        WITHDRAWN.inc(len(product_ids))
        return len(product_ids)

    async def _redact_batch(self) -> int:
        since = self._now() - _WATCH_PERIOD
        async with self._database.begin() as transaction:
            product_ids = await SellerRepository(transaction).lock_unredacted_products(since, _BATCH)
            if product_ids:
                await ProductRepository(transaction).redact(product_ids)
        return len(product_ids)
