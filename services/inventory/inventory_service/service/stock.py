"""The use cases that read and set stock: one transaction each, one prepared statement where stock is displayed."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from uuid import UUID

from chassis.database import idempotency
from chassis.database.engine import Database
from chassis.database.idempotency import Claim, KeyRepository
from chassis.http.authentication import Principal
from chassis.http.cursors import CursorPaging
from chassis.types.ids import ProductId, UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.clients.products import Products
from inventory_service.domain.errors import Excess, NotTheSeller, Shortage
from inventory_service.domain.movements import Movement, MovementCause, MovementKind, MovementPosition
from inventory_service.domain.stock import (
    Line,
    ShownStock,
    Stock,
    StockChange,
    StockTerms,
    find_excesses,
    find_shortages,
    merge_lines,
    show_stock,
)
from inventory_service.service.stock_ledger import StockLedger

_BATCH = 100


class StockService:
    def __init__(
        self,
        database: Database,
        products: Products,
        ledger: StockLedger,
        exact_up_to: int,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        """`exact_up_to` is the largest number of units that the public is told."""
        self._database = database
        self._products = products
        self._ledger = ledger
        self._exact_up_to = exact_up_to
        self._now = now
        self._new_id = new_id

    async def stock_of(self, product_id: ProductId) -> Stock:
        """Returns zeros for a product whose stock was never set."""
        (stock,) = await self.stocks_of([product_id])
        return stock

    def show_to(self, principal: Principal | None, stock: Stock) -> ShownStock:
        """Returns what the caller may see: the seller and admins exact counts, the public none above the limit."""
        may_see_all = principal is not None and (principal.is_admin or principal.user_id == stock.seller_id)
        return show_stock(stock, None if may_see_all else self._exact_up_to)

    async def stocks_of(self, product_ids: Collection[ProductId]) -> list[Stock]:
        """Returns the stock of each product, with zeros where it was never set."""
        async with self._database.read() as connection:
            stocks = await self._ledger.reader(connection).stocks(product_ids)
        return [stocks.get(product_id, Stock(product_id)) for product_id in product_ids]

    async def shortages_and_excesses(self, requested: Sequence[Line]) -> tuple[list[Shortage], list[Excess]]:
        """Returns the products with too few units available, and those of which one order may not have so many.

        Reserves nothing.
        """
        lines = merge_lines(requested)
        async with self._database.read() as connection:
            stocks = await self._ledger.reader(connection).stocks([line.product_id for line in lines])
        return find_shortages(lines, stocks, self._exact_up_to), find_excesses(lines, stocks)

    async def history(
        self, principal: Principal, product_id: ProductId, paging: CursorPaging[MovementPosition]
    ) -> tuple[list[Movement], int]:
        """Returns one page of a product's movements, newest first, and their total number.

        Raises UnknownProduct, NotTheSeller.
        """
        if not principal.is_admin:  # an admin also reads the history of a product that left the catalogue
            await self._authorized_seller(principal, product_id)
        async with self._database.begin() as transaction:
            repository = self._ledger.repository(transaction)
            page = await repository.history(product_id, paging.offset, paging.limit, paging.after)
            return page, await repository.count_movements(product_id) if paging.counted is None else paging.counted

    async def set_stock(
        self,
        principal: Principal,
        product_id: ProductId,
        on_hand: int,
        terms: StockTerms,
        expected_revisions: Collection[int] | None,
    ) -> Stock:
        """Sets the units on hand and the seller's terms of the product.

        `on_hand` is what is in the building: the units of paid orders that are not shipped are part of it. With
        `expected_revisions`, the stock must have one of them.

        Raises UnknownProduct, NotTheSeller, StockChanged, BelowReserved.
        """
        seller_id = await self._authorized_seller(principal, product_id)
        async with self._database.begin() as transaction:
            repository = self._ledger.repository(transaction)
            before = await repository.lock_or_create(product_id)
            before.ensure_revision(expected_revisions)
            change = StockChange(before, before.with_terms(seller_id, terms).with_on_hand(on_hand))
            await repository.store_terms(product_id, seller_id, terms)
            cause = MovementCause(MovementKind.SET, actor_id=principal.user_id)
            await self._ledger.record(transaction, [change], cause)
        return change.result if change.is_effective else before

    async def adjust_stock(
        self, principal: Principal, product_id: ProductId, delta: int, reason: str, key: idempotency.Key | None
    ) -> Movement:
        """Adds units to the stock on hand, or takes units away. Requests with the same key take effect once.

        Raises IdempotencyKeyReused, UnknownProduct, NotTheSeller, BelowReserved, TooMuchStock.
        """
        seller_id = await self._authorized_seller(principal, product_id)
        claim = Claim(self._new_id(), idempotency.fingerprint([product_id, delta, reason]))
        async with self._database.begin() as transaction:
            adjustment_id = claim.resource_id
            if key is not None:
                held = await KeyRepository(transaction).claim(principal.user_id, key, claim, self._now())
                adjustment_id = claim.resolve(held)
            if adjustment_id == claim.resource_id:
                cause = MovementCause(
                    MovementKind.ADJUST, principal.user_id, reason=reason, adjustment_id=adjustment_id
                )
                await self._adjust(transaction, product_id, seller_id, delta, cause)
            return await self._ledger.repository(transaction).adjustment(adjustment_id)

    async def publish_missing_availability(self) -> None:
        """Publishes the availability of products whose last event says otherwise, or that never had one.

        These are products whose stock was set by a release that published no such event.
        """
        async with self._database.begin() as transaction:
            stocks = await self._ledger.repository(transaction).lock_unpublished(_BATCH)
            await self._ledger.record(transaction, [StockChange(stock, stock) for stock in stocks])

    async def _adjust(
        self, transaction: AsyncConnection, product_id: ProductId, seller_id: UserId, delta: int, cause: MovementCause
    ) -> None:
        """Raises BelowReserved, TooMuchStock."""
        repository = self._ledger.repository(transaction)
        before = await repository.lock_or_create(product_id)
        change = StockChange(before, before.with_terms(seller_id, StockTerms()).adjust(delta))
        await repository.store_terms(product_id, seller_id, StockTerms())
        await self._ledger.record(transaction, [change], cause)

    async def _authorized_seller(self, principal: Principal, product_id: ProductId) -> UserId:
        """Returns the seller of a product, if that is the caller or the caller is an admin.

        Raises UnknownProduct, NotTheSeller.
        """
        seller_id = await self._products.seller_of(product_id)
        if seller_id != principal.user_id and not principal.is_admin:
            raise NotTheSeller(product_id)
        return seller_id
