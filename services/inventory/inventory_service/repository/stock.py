"""Statements on stock and its ledger. Locks: a transaction that needs several rows locks them in product order."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from chassis.database.statements import Connection, Record, Statement
from chassis.types.ids import OrderId, ProductId, UserId
from sqlalchemy import ARRAY, BigInteger, Row, Select, any_, bindparam, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.movements import Movement, MovementCause, MovementKind, MovementPosition
from inventory_service.domain.stock import Stock, StockTerms
from inventory_service.repository.tables import movements, stock

_FIND_ALL = Statement(
    select(*(column.label(column.key) for column in stock.c)).where(
        stock.c.product_id == any_(bindparam("product_ids", type_=ARRAY(BigInteger)))
    ),
    lambda row: row,
)


class DisplayedStockRepository:
    """Reads stock without locks, by a prepared statement."""

    def __init__(self, connection: Connection, low_stock_threshold: int) -> None:
        """`low_stock_threshold`, in units, applies to products without a threshold of their own."""
        self._connection = connection
        self._low_stock_threshold = low_stock_threshold

    async def find_all(self, products: Collection[ProductId]) -> dict[ProductId, Stock]:
        """Reads by primary key. Products whose stock was never set are left out."""
        rows = await _FIND_ALL.all(self._connection, product_ids=list(products))
        return {row["product_id"]: _stock(row, self._low_stock_threshold) for row in rows}


class StockRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection, low_stock_threshold: int) -> None:
        """`low_stock_threshold`, in units, applies to products without a threshold of their own."""
        self._transaction = transaction
        self._low_stock_threshold = low_stock_threshold

    async def lock_stocks(self, products: Collection[ProductId]) -> dict[ProductId, Stock]:
        """Reads stock by primary key and locks each row, in product order."""
        query = select(stock).where(stock.c.product_id.in_(products)).order_by(stock.c.product_id)
        return await self._read(query.with_for_update(key_share=True))

    async def lock_or_create(self, product_id: ProductId) -> Stock:
        """Returns a product's stock, its row locked; creates the row where there is none."""
        locked = await self.lock_stocks([product_id])
        if not locked:
            await self._transaction.execute(
                insert(stock).values(product_id=product_id, on_hand=0).on_conflict_do_nothing()
            )
            locked = await self.lock_stocks([product_id])
        return locked[product_id]

    async def lock_unpublished(self, limit: int) -> list[Stock]:
        """Locks and returns products whose last published availability is out of date. Reads the whole table."""
        query = (
            select(stock)
            .where((stock.c.on_hand > stock.c.held) != stock.c.announced)
            .order_by(stock.c.product_id)
            .limit(limit)
            .with_for_update(key_share=True, skip_locked=True)
        )
        return list((await self._read(query)).values())

    async def store(self, stocks: Sequence[Stock]) -> None:
        """Writes units, published availability and revision. The rows must be locked."""
        rows = [
            {
                "product": changed.product_id,
                "on_hand": changed.on_hand,
                "held": changed.held,
                "committed": changed.committed,
                "announced": changed.published_as_available,
                "revision": changed.revision,
            }
            for changed in stocks
        ]
        by_id = stock.c.product_id == bindparam("product")
        await self._transaction.execute(update(stock).where(by_id), rows)

    async def store_terms(self, product_id: ProductId, seller_id: UserId, terms: StockTerms) -> None:
        """Writes a product's seller and the terms that are not None. The row must be locked."""
        changed = {name: term for name, term in asdict(terms).items() if term is not None}
        columns: dict[str, int] = {"seller_id": seller_id, **changed}
        await self._transaction.execute(update(stock).where(stock.c.product_id == product_id).values(columns))

    async def append(self, entries: Sequence[Movement]) -> None:
        """Appends to the ledger. The stock rows must be locked, so that movement ids follow each product's history."""
        rows = [
            {
                "product_id": movement.product_id,
                "kind": movement.cause.kind,
                "delta": movement.delta,
                "on_hand": movement.on_hand,
                "actor_id": movement.cause.actor_id,
                "order_id": movement.cause.order_id,
                "reason": movement.cause.reason,
                "adjustment_id": movement.cause.adjustment_id,
                "at": movement.at,
            }
            for movement in entries
        ]
        await self._transaction.execute(insert(movements), rows)

    async def history(
        self, product_id: ProductId, offset: int, limit: int, after: MovementPosition | None = None
    ) -> list[Movement]:
        """Returns one page of a product's movements, newest first, along movements_by_product.

        The page begins after the movement at `after`, or else after `offset` movements.
        """
        is_older = true() if after is None else movements.c.id < after.id
        page = select(movements).where(movements.c.product_id == product_id, is_older)
        rows = await self._transaction.execute(page.order_by(movements.c.id.desc()).offset(offset).limit(limit))
        return [_movement(row) for row in rows]

    async def count_movements(self, product_id: ProductId) -> int:
        """Counts along movements_by_product."""
        count = select(func.count()).select_from(movements).where(movements.c.product_id == product_id)
        return await self._transaction.scalar(count) or 0

    async def adjustment(self, adjustment_id: UUID) -> Movement:
        """Returns an adjustment that exists, along one_movement_of_an_adjustment."""
        query = select(movements).where(movements.c.adjustment_id == adjustment_id)
        return _movement((await self._transaction.execute(query)).one())

    async def _read(self, query: Select[Any]) -> dict[ProductId, Stock]:
        rows = (await self._transaction.execute(query)).mappings()
        return {row["product_id"]: _stock(row, self._low_stock_threshold) for row in rows}


def _stock(row: Record, low_stock_threshold: int) -> Stock:
    threshold = row["low_stock_threshold"]
    return Stock(
        product_id=ProductId(row["product_id"]),
        on_hand=row["on_hand"],
        reserved=row["held"] - row["committed"],
        committed=row["committed"],
        low_stock_threshold=low_stock_threshold if threshold is None else threshold,
        seller_id=None if row["seller_id"] is None else UserId(row["seller_id"]),
        max_per_order=row["max_per_order"],
        published_as_available=row["announced"],
        revision=row["revision"],
    )


def _movement(row: Row[Any]) -> Movement:
    cause = MovementCause(
        kind=MovementKind(row.kind),
        actor_id=None if row.actor_id is None else UserId(row.actor_id),
        order_id=None if row.order_id is None else OrderId(row.order_id),
        reason=row.reason,
        adjustment_id=row.adjustment_id,
    )
    return Movement(ProductId(row.product_id), row.delta, row.on_hand, row.at, cause, row.id)
