"""Statements on recorded sales, and the sales reports made from them.

A recorded sale never changes; refunds are rows of their own.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chassis.database.statements import Command, insert_rows
from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import Money
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    Integer,
    Subquery,
    and_,
    case,
    func,
    literal,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.items import Item
from order_service.domain.orders import OrderStatus
from order_service.domain.sales import Conversion, Interval, IntervalSales, MoneySum, TimeRange, TopProduct
from order_service.repository.tables import manual_payments, order_history, order_items, orders, refunds, sales

_CHARGES = ProductId(0)
"""The product id of a row for shipping and tax; no product has this id."""


_ADD = Command(insert_rows(*sales.c).on_conflict_do_nothing())


class SalesRepository:
    """Reads and writes within one transaction.

    Reports for a seller count only what that seller sold; a seller of None means all.
    """

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add(self, order_id: OrderId, items: Sequence[Item], charges: Money, at: datetime) -> None:
        """Records a sale once, by primary key.

        `charges` are shipping and tax, so that the rows of an order add up to its total.
        """
        rows = [(item.product_id, item.seller_id, item.name, item.quantity, item.total) for item in items]
        if charges.amount > 0:
            rows.append((_CHARGES, UserId(0), "shipping and tax", 0, charges))
        products, sellers, names, quantities, amounts = zip(*rows, strict=True)
        await _ADD.execute(
            self._transaction,
            order_id=[order_id] * len(rows),
            product_id=products,
            seller_id=sellers,
            name=names,
            quantity=quantities,
            amount=[amount.amount for amount in amounts],
            currency=[amount.currency for amount in amounts],
            sold_at=[at] * len(rows),
        )

    async def by_interval(self, period: TimeRange, interval: Interval, seller_id: UserId | None) -> list[IntervalSales]:
        """Returns the intervals and currencies with a sale or refund.

        Uses the indexes sales_by_time or sales_of_a_seller, and refunds_by_time.
        """
        starts = period.divide(interval)
        movements = union_all(_sold(period, starts, seller_id), _refunded(period, starts, seller_id)).subquery()
        query = (
            select(
                movements.c.number,
                movements.c.currency,
                func.sum(movements.c.orders).label("orders"),
                func.sum(movements.c.units).label("units"),
                func.sum(movements.c.revenue).label("revenue"),
                func.sum(movements.c.refunds).label("refunds"),
            )
            .group_by(movements.c.number, movements.c.currency)
            .order_by(movements.c.number, movements.c.currency)
        )
        return [_interval_sales(starts[row.number - 1], row) for row in await self._transaction.execute(query)]

    async def top_products(self, period: TimeRange, limit: int, seller_id: UserId | None) -> list[TopProduct]:
        """Returns the products with most units sold first, each at its newest name.

        Uses the index sales_by_time or sales_of_a_seller.
        """
        units = func.sum(sales.c.quantity)
        query = (
            select(
                sales.c.product_id,
                func.array_agg(aggregate_order_by(sales.c.name, sales.c.sold_at.desc()))[1].label("name"),
                func.count().label("orders"),
                units.label("units"),
                func.sum(sales.c.amount).label("revenue"),
                sales.c.currency,
            )
            .where(_within(period, seller_id), sales.c.product_id != _CHARGES)
            .group_by(sales.c.product_id, sales.c.currency)
            .order_by(units.desc(), sales.c.product_id, sales.c.currency)
            .limit(limit)
        )
        return [_top_product(row) for row in await self._transaction.execute(query)]

    async def conversion(self, period: TimeRange, seller_id: UserId | None) -> Conversion:
        """Counts with the index orders_by_time, and with order_items_of_a_seller if a seller is given."""
        confirmed = and_(order_history.c.order_id == orders.c.id, order_history.c.status == OrderStatus.CONFIRMED)
        query = (
            select(func.count(), func.count(order_history.c.order_id))
            .select_from(orders.outerjoin(order_history, confirmed))
            .where(orders.c.created_at >= period.start, orders.c.created_at < period.end)
        )
        if seller_id is not None:
            sellers = select(order_items.c.order_id).where(
                order_items.c.seller_id == seller_id, order_items.c.order_id == orders.c.id
            )
            query = query.where(sellers.exists())
        placed, paid = (await self._transaction.execute(query)).one()
        return Conversion(placed, paid)


def _sold(period: TimeRange, starts: Sequence[datetime], seller_id: UserId | None) -> Any:
    return (
        select(
            _interval_number(sales.c.sold_at, starts),
            sales.c.currency,
            func.count(sales.c.order_id.distinct()).label("orders"),
            func.sum(sales.c.quantity).label("units"),
            func.sum(sales.c.amount).label("revenue"),
            literal_column("0").label("refunds"),
        )
        .where(_within(period, seller_id))
        .group_by("number", sales.c.currency)
    )


def _refunded(period: TimeRange, starts: Sequence[datetime], seller_id: UserId | None) -> Any:
    """Selects what was given back of recorded sales.

    A seller's part of a refund is the seller's share of the order; fractions of a minor unit are rounded once per
    reported row.
    """
    returned = _returned(period)
    shares = _shares(returned, seller_id)
    return (
        select(
            _interval_number(returned.c.at, starts),
            shares.c.currency,
            literal_column("0"),
            literal_column("0"),
            literal_column("0"),
            func.round(func.sum(returned.c.amount * shares.c.sellers / shares.c.total)),
        )
        .join(shares, shares.c.order_id == returned.c.order_id)
        .where(shares.c.sellers > 0)
        .group_by("number", shares.c.currency)
    )


def _returned(period: TimeRange) -> Subquery:
    """Selects the refunds in the period, and the manual payments of orders that were cancelled in it.

    Refunds of an order that was paid manually are left out: that payment takes the place of what they returned. Uses
    the index refunds_by_time, reads all manual payments, and the history by primary key.
    """
    paid_manually = select(manual_payments.c.order_id).where(manual_payments.c.order_id == refunds.c.order_id)
    is_cancelled = and_(
        order_history.c.order_id == manual_payments.c.order_id, order_history.c.status == OrderStatus.CANCELLED
    )
    return union_all(
        select(refunds.c.order_id, refunds.c.amount, refunds.c.refunded_at.label("at")).where(
            refunds.c.refunded_at >= period.start, refunds.c.refunded_at < period.end, ~paid_manually.exists()
        ),
        select(manual_payments.c.order_id, manual_payments.c.amount, order_history.c.at)
        .join(order_history, is_cancelled)
        .where(order_history.c.at >= period.start, order_history.c.at < period.end),
    ).subquery()


def _shares(returned: Subquery, seller_id: UserId | None) -> Subquery:
    """Selects the seller's amount and the total of each order of which something was given back.

    Uses the primary key of sales.
    """
    sellers_amount: ColumnElement[Any] = (
        sales.c.amount if seller_id is None else case((sales.c.seller_id == seller_id, sales.c.amount), else_=0)
    )
    return (
        select(
            sales.c.order_id,
            sales.c.currency,
            func.sum(sellers_amount).label("sellers"),
            func.nullif(func.sum(sales.c.amount), 0).label("total"),
        )
        .where(sales.c.order_id.in_(select(returned.c.order_id)))
        .group_by(sales.c.order_id, sales.c.currency)
        .subquery()
    )


def _within(period: TimeRange, seller_id: UserId | None) -> ColumnElement[bool]:
    within = and_(sales.c.sold_at >= period.start, sales.c.sold_at < period.end)
    return within if seller_id is None else and_(within, sales.c.seller_id == seller_id)


def _interval_number(at: ColumnElement[datetime], starts: Sequence[datetime]) -> ColumnElement[int]:
    """Returns the number of the interval that a time is in, counted from 1.

    PostgreSQL gets the starts, not the name of the zone: it may know other zones, or other rules for them.
    """
    bounds = literal(starts, ARRAY(DateTime(timezone=True)))
    return func.width_bucket(at, bounds, type_=Integer).label("number")


def _interval_sales(start: datetime, row: Any) -> IntervalSales:
    return IntervalSales(
        start,
        int(row.orders),
        int(row.units),
        MoneySum(int(row.revenue), row.currency),
        MoneySum(int(row.refunds), row.currency),
    )


def _top_product(row: Any) -> TopProduct:
    revenue = MoneySum(int(row.revenue), row.currency)
    return TopProduct(ProductId(row.product_id), row.name, row.orders, int(row.units), revenue)
