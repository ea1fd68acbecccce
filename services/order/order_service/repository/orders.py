"""Statements on orders and their items. Locks: an order's row; its items never change."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chassis.kernel.ids import OrderId, ProductId, UserId
from chassis.kernel.money import Money
from sqlalchemy import Row, Select, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.orders import CancelReason, Item, Order, OrderStatus
from order_service.repository.tables import order_items, orders


class OrderRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add_once(self, order: Order) -> Order:
        """The order that is stored under this id now: this very one, or the one that came first, for which this waits."""
        new = insert(orders).values(
            id=order.id,
            buyer_id=order.buyer_id,
            status=order.status,
            total_amount=order.total.amount,
            currency=order.total.currency,
            created_at=order.created_at,
            expires_at=order.expires_at,
        )
        inserted = await self._transaction.execute(new.on_conflict_do_nothing().returning(orders.c.id))
        if inserted.first() is None:
            (first,) = await self._all(select(orders).where(orders.c.id == order.id))
            return first
        await self._transaction.execute(insert(order_items), [_item_row(order.id, item) for item in order.items])
        return order

    async def find(self, order_id: OrderId) -> Order | None:
        """By primary key, without a lock."""
        return await self._one(select(orders).where(orders.c.id == order_id))

    async def lock(self, order_id: OrderId) -> Order | None:
        """By primary key, its row locked."""
        return await self._one(select(orders).where(orders.c.id == order_id).with_for_update())

    async def lock_lapsed(self, at: datetime, limit: int) -> list[Order]:
        """Pending orders whose time is over, locked; those that somebody else has locked are left to them."""
        wanted = (
            select(orders)
            .where(orders.c.status == OrderStatus.PENDING, orders.c.expires_at <= at)
            .order_by(orders.c.expires_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return await self._all(wanted)

    async def page_of(self, buyer_id: UserId, offset: int, limit: int) -> list[Order]:
        """A buyer's orders, newest first, along orders_of_a_buyer."""
        wanted = (
            select(orders)
            .where(orders.c.buyer_id == buyer_id)
            .order_by(orders.c.created_at.desc(), orders.c.id.desc())
            .offset(offset)
            .limit(limit)
        )
        return await self._all(wanted)

    async def count_of(self, buyer_id: UserId) -> int:
        """How many orders a buyer has, along orders_of_a_buyer."""
        wanted = select(func.count()).select_from(orders).where(orders.c.buyer_id == buyer_id)
        return await self._transaction.scalar(wanted) or 0

    async def store_cancellation(self, order: Order) -> None:
        """The row must be locked."""
        changed = update(orders).where(orders.c.id == order.id)
        await self._transaction.execute(changed.values(status=order.status, cancel_reason=order.cancel_reason))

    async def has_ordered(self, buyer_id: UserId, product_id: ProductId) -> bool:
        """Along orders_of_a_buyer, then the items' primary key: a buyer has fewer orders than a product has buyers."""
        wanted = (
            select(order_items.c.order_id)
            .join(orders, orders.c.id == order_items.c.order_id)
            .where(
                orders.c.buyer_id == buyer_id,
                orders.c.status != OrderStatus.CANCELLED,
                order_items.c.product_id == product_id,
            )
        )
        return bool(await self._transaction.scalar(select(exists(wanted))))

    async def _one(self, wanted: Select[Any]) -> Order | None:
        found = await self._all(wanted)
        return found[0] if found else None

    async def _all(self, wanted: Select[Any]) -> list[Order]:
        rows = (await self._transaction.execute(wanted)).all()
        items = await self._items([row.id for row in rows])
        return [_order(row, items[row.id]) for row in rows]

    async def _items(self, order_ids: Sequence[OrderId]) -> dict[OrderId, list[Row[Any]]]:
        """By order, each in product order."""
        wanted = select(order_items).where(order_items.c.order_id.in_(order_ids)).order_by(order_items.c.product_id)
        found: dict[OrderId, list[Row[Any]]] = {order_id: [] for order_id in order_ids}
        for row in await self._transaction.execute(wanted):
            found[row.order_id].append(row)
        return found


def _item_row(order_id: OrderId, item: Item) -> dict[str, object]:
    return {
        "order_id": order_id,
        "product_id": item.product_id,
        "name": item.name,
        "quantity": item.quantity,
        "unit_amount": item.unit_price.amount,
    }


def _order(row: Row[Any], items: Sequence[Row[Any]]) -> Order:
    return Order(
        id=OrderId(row.id),
        buyer_id=UserId(row.buyer_id),
        items=tuple(
            Item(ProductId(item.product_id), item.name, item.quantity, Money(item.unit_amount, row.currency))
            for item in items
        ),
        total=Money(row.total_amount, row.currency),
        created_at=row.created_at,
        expires_at=row.expires_at,
        status=OrderStatus(row.status),
        cancel_reason=None if row.cancel_reason is None else CancelReason(row.cancel_reason),
    )
