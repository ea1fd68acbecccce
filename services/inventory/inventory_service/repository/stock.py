"""Statements on stock and its ledger; those on the stock of given products are prepared.

Locks: a transaction that needs several rows locks them in product order, after the row of a reservation.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from chassis.database.statements import Command, Connection, Record, Statement, as_read, insert_rows, sent_rows
from chassis.types.ids import OrderId, ProductId, UserId
from sqlalchemy import ARRAY, BigInteger, Select, any_, bindparam, exists, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.movements import Movement, MovementCause, MovementKind, MovementPosition
from inventory_service.domain.reservations import Reservation
from inventory_service.domain.stock import Line, Stock, StockTerms
from inventory_service.repository.reservations import SELECT_LINES, to_line
from inventory_service.repository.tables import movements, reservation_lines, reservations, stock


def _to_movement(row: Record) -> Movement:
    cause = MovementCause(
        kind=MovementKind(row["kind"]),
        actor_id=None if row["actor_id"] is None else UserId(row["actor_id"]),
        order_id=None if row["order_id"] is None else OrderId(row["order_id"]),
        reason=row["reason"],
        adjustment_id=row["adjustment_id"],
    )
    return Movement(ProductId(row["product_id"]), row["delta"], row["on_hand"], row["at"], cause, row["id"])


_UNITS = (
    stock.c.product_id,
    stock.c.on_hand,
    stock.c.held.label("held"),
    stock.c.committed,
    stock.c.low_stock_threshold,
    stock.c.seller_id,
    stock.c.max_per_order,
    stock.c.announced,
    stock.c.revision,
)
_OF_PRODUCTS = (
    select(*_UNITS)
    .where(stock.c.product_id == any_(bindparam("products", type_=ARRAY(BigInteger))))
    .order_by(stock.c.product_id)
)
_READ = Statement(_OF_PRODUCTS, as_read)
_LOCK = Statement(_OF_PRODUCTS.with_for_update(key_share=True), as_read)


def _lock_held() -> Select[Any]:
    """Returns the statement that reads the lines of reservations, and locks the stock of their products.

    The reservations' rows are locked before, so that the lines are those that they have.
    """
    lines = SELECT_LINES.subquery("lines")
    return (
        select(*_UNITS, lines.c.quantity)
        .join_from(lines, stock, stock.c.product_id == lines.c.product_id)
        .order_by(stock.c.product_id)
        .with_for_update(key_share=True, of=stock)
    )


def _create_reservation() -> Select[Any]:
    """Returns the statement that creates a reservation with its lines, and locks the stock of its products.

    One statement, so that no stock row is locked while lines are still to be sent. It begins with the reservation: if
    the order has one already, there is no row, and no stock is locked. Otherwise there is one for each product with
    stock, or a row without a product if none has any.
    """
    created = (
        insert(reservations)
        .values(
            {
                column: bindparam(column.key)
                for column in (reservations.c.order_id, reservations.c.status, reservations.c.held_until)
            }
        )
        .on_conflict_do_nothing()
        .returning(reservations.c.order_id)
        .cte("created")
    )
    sent = sent_rows(reservation_lines.c.product_id, reservation_lines.c.quantity)
    locked = (
        select(*_UNITS)
        .where(
            stock.c.product_id == any_(bindparam("product_id", type_=ARRAY(BigInteger))),
            exists(select(created.c.order_id)),
        )
        .order_by(stock.c.product_id)
        .with_for_update(key_share=True, of=stock)
        .cte("locked")
    )
    lines = select(created.c.order_id, locked.c.product_id, sent.c.quantity).select_from(
        created.join(sent, true()).join(locked, locked.c.product_id == sent.c.product_id)
    )
    added = insert(reservation_lines).from_select(list(reservation_lines.c), lines).cte("added")
    return select(*locked.c).select_from(created.outerjoin(locked, true())).add_cte(added)


_CREATE = Command(insert(stock).values(product_id=bindparam("product"), on_hand=0).on_conflict_do_nothing())
_CHANGED = sent_rows(
    stock.c.product_id, stock.c.on_hand, stock.c.held, stock.c.committed, stock.c.announced, stock.c.revision
)
_STORE = Command(
    update(stock)
    .where(stock.c.product_id == _CHANGED.c.product_id)
    .values(
        {
            stock.c[column.key]: column
            for column in (
                _CHANGED.c.on_hand,
                _CHANGED.c.held,
                _CHANGED.c.committed,
                _CHANGED.c.announced,
                _CHANGED.c.revision,
            )
        }
    )
)
_STORE_TERMS = Command(
    update(stock)
    .where(stock.c.product_id == bindparam("product"))
    .values(
        seller_id=bindparam("seller"),
        low_stock_threshold=func.coalesce(bindparam("threshold", type_=BigInteger), stock.c.low_stock_threshold),
        max_per_order=func.coalesce(bindparam("maximum", type_=BigInteger), stock.c.max_per_order),
    )
)
_APPEND = Command(
    insert_rows(
        movements.c.product_id,
        movements.c.kind,
        movements.c.delta,
        movements.c.on_hand,
        movements.c.actor_id,
        movements.c.order_id,
        movements.c.reason,
        movements.c.adjustment_id,
        movements.c.at,
    )
)
_LOCK_HELD = Statement(_lock_held(), as_read)
_CREATE_RESERVATION = Statement(_create_reservation(), as_read)
_ADJUSTMENT = Statement(select(movements).where(movements.c.adjustment_id == bindparam("adjustment")), _to_movement)


class StockReader:
    """Reads stock without locks, in a transaction or without one."""

    def __init__(self, connection: Connection, low_stock_threshold: int) -> None:
        """`low_stock_threshold`, in units, applies to products without a threshold of their own."""
        self._connection = connection
        self._low_stock_threshold = low_stock_threshold

    async def stocks(self, products: Collection[ProductId]) -> dict[ProductId, Stock]:
        """Reads stock by primary key."""
        return self._by_product(await _READ.all(self._connection, products=list(products)))

    def _by_product(self, rows: Sequence[Record]) -> dict[ProductId, Stock]:
        return {row["product_id"]: self._stock(row) for row in rows}

    def _stock(self, row: Record) -> Stock:
        threshold = row["low_stock_threshold"]
        return Stock(
            product_id=ProductId(row["product_id"]),
            on_hand=row["on_hand"],
            reserved=row["held"] - row["committed"],
            committed=row["committed"],
            low_stock_threshold=self._low_stock_threshold if threshold is None else threshold,
            seller_id=None if row["seller_id"] is None else UserId(row["seller_id"]),
            max_per_order=row["max_per_order"],
            published_as_available=row["announced"],
            revision=row["revision"],
        )


class StockRepository(StockReader):
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection, low_stock_threshold: int) -> None:
        """`low_stock_threshold`, in units, applies to products without a threshold of their own."""
        super().__init__(transaction, low_stock_threshold)
        self._transaction = transaction

    async def lock_stocks(self, products: Collection[ProductId]) -> dict[ProductId, Stock]:
        """Reads stock by primary key and locks each row, in product order."""
        return self._by_product(await _LOCK.all(self._transaction, products=list(products)))

    async def lock_held(self, orders: Sequence[OrderId]) -> tuple[list[Line], dict[ProductId, Stock]]:
        """Returns the sum of the lines of these orders' reservations, and the stock of their products.

        The reservations' rows must be locked. Locks each stock row, in product order.
        """
        rows = await _LOCK_HELD.all(self._transaction, orders=orders)
        return [to_line(row) for row in rows], self._by_product(rows)

    async def create_reservation(self, new: Reservation, lines: Sequence[Line]) -> dict[ProductId, Stock] | None:
        """Creates a reservation with its lines, one per product, and returns the stock of its products.

        Locks the reservation and then each stock row, in product order. A line of a product without stock is left out.
        Returns None and changes nothing if the order has a reservation already.
        """
        rows = await _CREATE_RESERVATION.all(
            self._transaction,
            order_id=new.order_id,
            status=new.status,
            held_until=new.held_until,
            product_id=[line.product_id for line in lines],
            quantity=[line.quantity for line in lines],
        )
        return self._by_product([row for row in rows if row["product_id"] is not None]) if rows else None

    async def lock_or_create(self, product_id: ProductId) -> Stock:
        """Returns a product's stock, its row locked; creates the row where there is none."""
        locked = await self.lock_stocks([product_id])
        if not locked:
            await _CREATE.execute(self._transaction, product=product_id)
            locked = await self.lock_stocks([product_id])
        return locked[product_id]

    async def lock_unpublished(self, limit: int) -> list[Stock]:
        """Locks and returns products whose last published availability is out of date. Reads the whole table."""
        query = (
            select(*_UNITS)
            .where((stock.c.on_hand > stock.c.held) != stock.c.announced)
            .order_by(stock.c.product_id)
            .limit(limit)
            .with_for_update(key_share=True, skip_locked=True)
        )
        return [self._stock(row) for row in (await self._transaction.execute(query)).mappings()]

    async def store(self, stocks: Sequence[Stock]) -> None:
        """Writes units, published availability and revision. The rows must be locked."""
        await _STORE.execute(
            self._transaction,
            product_id=[changed.product_id for changed in stocks],
            on_hand=[changed.on_hand for changed in stocks],
            held=[changed.held for changed in stocks],
            committed=[changed.committed for changed in stocks],
            announced=[changed.published_as_available for changed in stocks],
            revision=[changed.revision for changed in stocks],
        )

    async def store_terms(self, product_id: ProductId, seller_id: UserId, terms: StockTerms) -> None:
        """Writes a product's seller and the terms that are not None. The row must be locked."""
        await _STORE_TERMS.execute(
            self._transaction,
            product=product_id,
            seller=seller_id,
            threshold=terms.low_stock_threshold,
            maximum=terms.max_per_order,
        )

    async def append(self, entries: Sequence[Movement]) -> None:
        """Appends to the ledger. The stock rows must be locked, so that movement ids follow each product's history."""
        causes = [movement.cause for movement in entries]
        await _APPEND.execute(
            self._transaction,
            product_id=[movement.product_id for movement in entries],
            kind=[cause.kind for cause in causes],
            delta=[movement.delta for movement in entries],
            on_hand=[movement.on_hand for movement in entries],
            actor_id=[cause.actor_id for cause in causes],
            order_id=[cause.order_id for cause in causes],
            reason=[cause.reason for cause in causes],
            adjustment_id=[cause.adjustment_id for cause in causes],
            at=[movement.at for movement in entries],
        )

    async def history(
        self, product_id: ProductId, offset: int, limit: int, after: MovementPosition | None = None
    ) -> list[Movement]:
        """Returns one page of a product's movements, newest first, along movements_by_product.

        The page begins after the movement at `after`, or else after `offset` movements.
        """
        is_older = true() if after is None else movements.c.id < after.id
        page = select(movements).where(movements.c.product_id == product_id, is_older)
        rows = await self._transaction.execute(page.order_by(movements.c.id.desc()).offset(offset).limit(limit))
        return [_to_movement(row) for row in rows.mappings()]

    async def count_movements(self, product_id: ProductId) -> int:
        """Counts along movements_by_product."""
        count = select(func.count()).select_from(movements).where(movements.c.product_id == product_id)
        return await self._transaction.scalar(count) or 0

    async def adjustment(self, adjustment_id: UUID) -> Movement:
        """Returns an adjustment that exists, along one_movement_of_an_adjustment."""
        return await _ADJUSTMENT.one(self._transaction, adjustment=adjustment_id)
