"""Statements on the sales figures. Rows are facts that never change: what was sold, and what was given back of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import Money
from sqlalchemy import ColumnElement, Subquery, and_, case, func, literal_column, select, union_all
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.orders import Item, OrderStatus
from order_service.domain.sales import Conversion, Figures, Interval, Span, Sum, TopProduct
from order_service.repository.tables import order_history, order_items, orders, refunds, sales

_CHARGES = ProductId(0)
"""The product of a row that is shipping and tax; no product has that id."""


class SalesRepository:
    """Reads and writes within one transaction. Where a seller is named, only what they sold counts."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add(self, order_id: OrderId, items: Sequence[Item], charges: Money, at: datetime) -> None:
        """Once, by primary key. `charges` are shipping and tax, so that the rows of an order add up to its total."""
        rows = [
            _row(order_id, item.product_id, item.seller_id, item.name, item.quantity, item.total, at) for item in items
        ]
        if charges.amount > 0:
            rows.append(_row(order_id, _CHARGES, UserId(0), "shipping and tax", 0, charges, at))
        await self._transaction.execute(insert(sales).on_conflict_do_nothing(), rows)

    async def figures(self, span: Span, interval: Interval, seller_id: UserId | None) -> list[Figures]:
        """Per interval and currency, where anything happened. Along sales_by_time or sales_of_a_seller, and refunds_by_time."""
        movements = union_all(_sold(span, interval, seller_id), _given_back(span, interval, seller_id)).subquery()
        wanted = (
            select(
                movements.c.start,
                movements.c.currency,
                func.sum(movements.c.orders).label("orders"),
                func.sum(movements.c.units).label("units"),
                func.sum(movements.c.revenue).label("revenue"),
                func.sum(movements.c.refunds).label("refunds"),
            )
            .group_by(movements.c.start, movements.c.currency)
            .order_by(movements.c.start, movements.c.currency)
        )
        return [_figures(row) for row in await self._transaction.execute(wanted)]

    async def top_products(self, span: Span, limit: int, seller_id: UserId | None) -> list[TopProduct]:
        """Most units first, each at its newest name. Along sales_by_time or sales_of_a_seller."""
        units = func.sum(sales.c.quantity)
        wanted = (
            select(
                sales.c.product_id,
                func.array_agg(aggregate_order_by(sales.c.name, sales.c.sold_at.desc()))[1].label("name"),
                func.count().label("orders"),
                units.label("units"),
                func.sum(sales.c.amount).label("revenue"),
                sales.c.currency,
            )
            .where(_within(span, seller_id), sales.c.product_id != _CHARGES)
            .group_by(sales.c.product_id, sales.c.currency)
            .order_by(units.desc(), sales.c.product_id, sales.c.currency)
            .limit(limit)
        )
        return [_top(row) for row in await self._transaction.execute(wanted)]

    async def conversion(self, span: Span, seller_id: UserId | None) -> Conversion:
        """Along orders_by_time, and a seller's items."""
        confirmed = and_(order_history.c.order_id == orders.c.id, order_history.c.status == OrderStatus.CONFIRMED)
        wanted = (
            select(func.count(), func.count(order_history.c.order_id))
            .select_from(orders.outerjoin(order_history, confirmed))
            .where(orders.c.created_at >= span.start, orders.c.created_at < span.end)
        )
        if seller_id is not None:
            theirs = select(order_items.c.order_id).where(
                order_items.c.seller_id == seller_id, order_items.c.order_id == orders.c.id
            )
            wanted = wanted.where(theirs.exists())
        placed, paid = (await self._transaction.execute(wanted)).one()
        return Conversion(placed, paid)


def _sold(span: Span, interval: Interval, seller_id: UserId | None) -> Any:
    start = _start_of(interval, sales.c.sold_at)
    return (
        select(
            start.label("start"),
            sales.c.currency,
            func.count(sales.c.order_id.distinct()).label("orders"),
            func.sum(sales.c.quantity).label("units"),
            func.sum(sales.c.amount).label("revenue"),
            literal_column("0").label("refunds"),
        )
        .where(_within(span, seller_id))
        .group_by(start, sales.c.currency)
    )


def _given_back(span: Span, interval: Interval, seller_id: UserId | None) -> Any:
    """Of orders that were sold. A refund is a seller's in the share that they have in the order; halves of a unit of money
    are rounded once per row of the answer.
    """
    shares = _shares(span, seller_id)
    start = _start_of(interval, refunds.c.refunded_at)
    return (
        select(
            start,
            shares.c.currency,
            literal_column("0"),
            literal_column("0"),
            literal_column("0"),
            func.round(func.sum(refunds.c.amount * shares.c.theirs / shares.c.everything)),
        )
        .join(shares, shares.c.order_id == refunds.c.order_id)
        .where(refunds.c.refunded_at >= span.start, refunds.c.refunded_at < span.end, shares.c.theirs > 0)
        .group_by(start, shares.c.currency)
    )


def _shares(span: Span, seller_id: UserId | None) -> Subquery:
    """Of each order that something was given back for: what a seller has in it, and what it came to. Along the sales' primary key."""
    is_theirs: ColumnElement[Any] = (
        sales.c.amount if seller_id is None else case((sales.c.seller_id == seller_id, sales.c.amount), else_=0)
    )
    touched = select(refunds.c.order_id).where(refunds.c.refunded_at >= span.start, refunds.c.refunded_at < span.end)
    return (
        select(
            sales.c.order_id,
            sales.c.currency,
            func.sum(is_theirs).label("theirs"),
            func.nullif(func.sum(sales.c.amount), 0).label("everything"),
        )
        .where(sales.c.order_id.in_(touched))
        .group_by(sales.c.order_id, sales.c.currency)
        .subquery()
    )


def _within(span: Span, seller_id: UserId | None) -> ColumnElement[bool]:
    within = and_(sales.c.sold_at >= span.start, sales.c.sold_at < span.end)
    return within if seller_id is None else and_(within, sales.c.seller_id == seller_id)


def _start_of(interval: Interval, at: ColumnElement[datetime]) -> ColumnElement[datetime]:
    return func.date_trunc(literal_column(f"'{interval.value}'"), at, literal_column("'UTC'"))


def _row(
    order_id: OrderId, product_id: ProductId, seller_id: UserId, name: str, quantity: int, amount: Money, at: datetime
) -> dict[str, object]:
    return {
        "order_id": order_id,
        "product_id": product_id,
        "seller_id": seller_id,
        "name": name,
        "quantity": quantity,
        "amount": amount.amount,
        "currency": amount.currency,
        "sold_at": at,
    }


def _figures(row: Any) -> Figures:
    return Figures(
        row.start,
        int(row.orders),
        int(row.units),
        Sum(int(row.revenue), row.currency),
        Sum(int(row.refunds), row.currency),
    )


def _top(row: Any) -> TopProduct:
    revenue = Sum(int(row.revenue), row.currency)
    return TopProduct(ProductId(row.product_id), row.name, row.orders, int(row.units), revenue)
