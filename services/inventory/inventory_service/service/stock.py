"""The use cases of who reads and who sets stock, one transaction each."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from uuid import UUID

from chassis.database import idempotency
from chassis.database.engine import Database
from chassis.database.idempotency import Claim, KeyRepository
from chassis.http.authentication import Principal
from chassis.http.schemas import Paging
from chassis.messaging.outbox import Outbox
from chassis.types.ids import ProductId, UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.clients.products import Products
from inventory_service.domain.errors import NotTheSeller, Shortage
from inventory_service.domain.movements import Cause, Movement, MovementKind
from inventory_service.domain.stock import Change, Line, Stock, merged, shortages
from inventory_service.service.books import Books

_BATCH = 100


class StockKeeping:
    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        products: Products,
        books: Books,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._products = products
        self._books = books
        self._now = now
        self._new_id = new_id

    async def stock_of(self, product_id: ProductId) -> Stock:
        """Zeros for a product whose stock was never set."""
        (stock,) = await self.stocks_of([product_id])
        return stock

    async def stocks_of(self, product_ids: Collection[ProductId]) -> list[Stock]:
        """One for each product; zeros where it was never set."""
        async with self._database.begin() as transaction:
            stocks = await self._books.stock(transaction).stocks(product_ids)
        return [stocks.get(product_id, Stock(product_id)) for product_id in product_ids]

    async def shortages(self, wanted: Sequence[Line]) -> list[Shortage]:
        """What of a basket could not be had now; nothing is reserved."""
        lines = merged(wanted)
        async with self._database.begin() as transaction:
            stocks = await self._books.stock(transaction).stocks([line.product_id for line in lines])
        return shortages(lines, stocks)

    async def history(self, principal: Principal, product_id: ProductId, paging: Paging) -> tuple[list[Movement], int]:
        """One page of a product's movements, newest first, and how many there are. Raises UnknownProduct, NotTheSeller."""
        if not principal.is_admin:  # an admin also looks into what the catalogue has given up
            await self._seller(principal, product_id)
        async with self._database.begin() as transaction:
            return await self._books.stock(transaction).history(product_id, paging.offset, paging.limit)

    async def count(
        self, principal: Principal, product_id: ProductId, on_hand: int, low_stock_threshold: int | None
    ) -> Stock:
        """Sets what is in the warehouse, and below what the seller wants to know; None leaves that.

        Raises UnknownProduct, NotTheSeller, BelowReserved.
        """
        seller_id = await self._seller(principal, product_id)
        async with self._database.begin() as transaction:
            before = await self._books.stock(transaction).lock_or_create(product_id)
            change = Change(before, before.on_terms(seller_id, low_stock_threshold).counted(on_hand))
            await self._books.stock(transaction).store_terms(product_id, seller_id, low_stock_threshold)
            cause = Cause(MovementKind.SET, actor_id=principal.user_id)
            has_news = await self._books.write(transaction, [change], cause)
        if has_news:
            self._outbox.wake()
        return change.after

    async def adjust(
        self, principal: Principal, product_id: ProductId, delta: int, reason: str, key: idempotency.Key | None
    ) -> Movement:
        """Adds to what is in the warehouse, or takes from it: once, however often it is asked for under one key.

        Raises KeyReused, UnknownProduct, NotTheSeller, BelowReserved, TooMuchStock.
        """
        seller_id, has_news = await self._seller(principal, product_id), False
        claim = Claim(self._new_id(), idempotency.fingerprint([product_id, delta, reason]))
        async with self._database.begin() as transaction:
            adjustment_id = claim.resource_id
            if key is not None:
                held = await KeyRepository(transaction).claim(principal.user_id, key, claim, self._now())
                adjustment_id = claim.resolve(held)
            if adjustment_id == claim.resource_id:
                cause = Cause(MovementKind.ADJUST, principal.user_id, reason=reason, adjustment_id=adjustment_id)
                has_news = await self._adjust(transaction, product_id, seller_id, delta, cause)
            adjustment = await self._books.stock(transaction).adjustment(adjustment_id)
        if has_news:
            self._outbox.wake()
        return adjustment

    async def announce(self) -> None:
        """Tells the shop of products that it has not heard of: those in stock since before it was told anything."""
        async with self._database.begin() as transaction:
            stocks = await self._books.stock(transaction).lock_unannounced(_BATCH)
            has_news = await self._books.write(transaction, [Change(stock, stock) for stock in stocks])
        if has_news:
            self._outbox.wake()

    async def _adjust(
        self, transaction: AsyncConnection, product_id: ProductId, seller_id: UserId, delta: int, cause: Cause
    ) -> bool:
        before = await self._books.stock(transaction).lock_or_create(product_id)
        change = Change(before, before.on_terms(seller_id, None).adjusted(delta))
        await self._books.stock(transaction).store_terms(product_id, seller_id, None)
        return await self._books.write(transaction, [change], cause)

    async def _seller(self, principal: Principal, product_id: ProductId) -> UserId:
        """Who sells a product, which must be the caller or of no matter to an admin. Raises UnknownProduct, NotTheSeller."""
        seller_id = await self._products.seller_of(product_id)
        if seller_id != principal.user_id and not principal.is_admin:
            raise NotTheSeller(product_id)
        return seller_id
