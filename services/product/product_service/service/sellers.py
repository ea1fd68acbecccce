"""What becomes of the products of somebody whose account is erased: nobody can buy them any more, and nothing is left of their words."""

from collections.abc import Callable
from datetime import datetime, timedelta

from chassis.database.engine import Database
from chassis.types.ids import UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.repository.products import ProductRepository
from product_service.repository.sellers import SellerRepository
from product_service.service.products import Products

WITHDRAWN = Counter("product_withdrawn_total", "Products deleted because their seller's account was erased")

_BATCH = 100
_WATCHED = timedelta(days=1)
"""For so long, an access token that was given out before the erasure might still add products: far longer than any is valid."""


class Sellers:
    def __init__(self, database: Database, products: Products, now: Callable[[], datetime]) -> None:
        self._database = database
        self._products = products
        self._now = now

    async def erased_within(self, transaction: AsyncConnection, user_id: UserId) -> None:
        """From now on, `withdraw` deletes what this user sells, and what they said of it: in batches, since it may be much."""
        await SellerRepository(transaction).remember_erased(user_id, self._now())

    async def withdraw(self) -> int:
        """Deletes products of sellers whose accounts are erased, until none is left; says how many there were. Then takes the words of
        all that were deleted, whoever did it: what others deal with is gone first.
        """
        total = 0
        while deleted := await self._withdraw_some():
            total += deleted
        while await self._silence_some():
            pass
        return total

    async def _withdraw_some(self) -> int:
        now = self._now()
        async with self._database.begin() as transaction:
            left_behind = await SellerRepository(transaction).lock_left_behind(now - _WATCHED, _BATCH)
            if left_behind:
                await ProductRepository(transaction).delete(left_behind, now)
                await self._products.tell_within(transaction, left_behind)
        await self._products.after(*left_behind)
        WITHDRAWN.inc(len(left_behind))
        return len(left_behind)

    async def _silence_some(self) -> int:
        async with self._database.begin() as transaction:
            still_saying = await SellerRepository(transaction).lock_still_saying(self._now() - _WATCHED, _BATCH)
            if still_saying:
                await ProductRepository(transaction).silence(still_saying)
        return len(still_saying)
