"""Evicts products from the cache for good, and counts that as a change of what public answers show (docs/adr/0068).

An answer that was fetched between a change and the eviction may show the cached product of before. The change of the
database is counted by then, so the eviction is counted too: only once no process can read the old entry any more.
"""

from chassis.database.change_counts import ChangeCount
from chassis.database.engine import Database
from chassis.types.ids import ProductId
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.repository.cache import ProductCache


class EvictionService:
    def __init__(self, database: Database, cache: ProductCache, changes: ChangeCount) -> None:
        self._database = database
        self._cache = cache
        self._changes = changes
        self._uncounted: set[ProductId] = set()

    async def evict(self, transaction: AsyncConnection, product_id: ProductId) -> None:
        """Evicts a product whose change is committed, and counts it with `transaction`, or later if Redis is away."""
        if await self._cache.evict(product_id):
            await self._changes.count(transaction)
        else:
            self._uncounted.add(product_id)

    async def retry(self) -> None:
        """Retries evictions that Redis did not confirm, and counts those that it did or whose old entry has expired.

        Raises DatabaseUnavailable; then they are counted by the next call.
        """
        await self._cache.retry_evictions()
        done = {product_id for product_id in self._uncounted if not self._cache.is_eviction_pending(product_id)}
        if not done:
            return
        self._uncounted -= done  # before the transaction, during which one of them may fail again
        try:
            async with self._database.begin() as transaction:
                await self._changes.count(transaction)
        except BaseException:
            self._uncounted |= done
            raise
