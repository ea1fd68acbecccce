"""Statements on orders, their items, history, payments and refunds. Those of placing, reading and paying are prepared.

Items never change; everything else changes only while the order's row is locked.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database.statements import Command, Connection, Record, Statement, insert_rows
from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import Money
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    Uuid,
    and_,
    any_,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.addresses import Address
from order_service.domain.items import Item
from order_service.domain.open_orders import OpenOrders
from order_service.domain.orders import (
    FINAL_STATUSES,
    PAID_STATUSES,
    Actor,
    CancelReason,
    FormerShipment,
    ManualPayment,
    Order,
    OrderQuery,
    OrderStatus,
    PayableOrder,
    Payment,
    PaymentSummary,
    Refund,
    Shipment,
    StatusChange,
)
from order_service.repository.tables import (
    buyers,
    manual_payments,
    order_history,
    order_items,
    orders,
    payments,
    refunds,
)

_BY_ID = select(orders).where(orders.c.id == bindparam("order_id"))
_ORDER_IDS = any_(bindparam("order_ids", type_=ARRAY(Uuid)))


def _sum_payments() -> Select[Any]:
    zero: ColumnElement[int] = literal_column("0")
    movements = union_all(
        select(
            payments.c.order_id, payments.c.amount.label("paid"), zero.label("refunded"), zero.label("manual")
        ).where(payments.c.order_id == _ORDER_IDS),
        select(refunds.c.order_id, zero, refunds.c.amount, zero).where(refunds.c.order_id == _ORDER_IDS),
        select(manual_payments.c.order_id, zero, zero, manual_payments.c.amount).where(
            manual_payments.c.order_id == _ORDER_IDS
        ),
    ).subquery()
    return select(
        movements.c.order_id,
        func.sum(movements.c.paid).label("paid"),
        func.sum(movements.c.refunded).label("refunded"),
        func.sum(movements.c.manual).label("manual"),
    ).group_by(movements.c.order_id)


def _as_read(row: Record) -> Record:
    return row


_FIND = Statement(_BY_ID, _as_read)
_LOCK = Statement(_BY_ID.with_for_update(), _as_read)
_FIND_PAYABLE = Statement(
    select(
        orders.c.id,
        orders.c.buyer_id,
        orders.c.status,
        orders.c.total_amount,
        orders.c.currency,
        orders.c.expires_at,
        buyers.c.erased_at.is_not(None).label("is_buyer_erased"),
    )
    .outerjoin_from(orders, buyers, buyers.c.id == orders.c.buyer_id)
    .where(orders.c.id == bindparam("order_id")),
    lambda row: PayableOrder(
        OrderId(row["id"]),
        UserId(row["buyer_id"]),
        OrderStatus(row["status"]),
        Money(row["total_amount"], row["currency"]),
        row["expires_at"],
        row["is_buyer_erased"],
    ),
)
_ITEMS = Statement(
    select(order_items).where(order_items.c.order_id == _ORDER_IDS).order_by(order_items.c.product_id), _as_read
)
_HISTORY = Statement(
    select(order_history).where(order_history.c.order_id == _ORDER_IDS).order_by(order_history.c.position), _as_read
)
_PAYMENT_SUMS = Statement(_sum_payments(), _as_read)
_MANUAL_PAYMENTS = Statement(select(manual_payments).where(manual_payments.c.order_id == _ORDER_IDS), _as_read)
_OPEN_ORDERS = Statement(
    select(orders.c.id, order_items.c.product_id, order_items.c.quantity)
    .outerjoin_from(
        orders,
        order_items,
        and_(
            order_items.c.order_id == orders.c.id,
            order_items.c.product_id == any_(bindparam("products", type_=ARRAY(BigInteger))),
        ),
    )
    .where(
        orders.c.buyer_id == bindparam("buyer_id"),
        orders.c.status == OrderStatus.PENDING,
        orders.c.expires_at > bindparam("at"),
        orders.c.id != bindparam("but"),
    ),
    _as_read,
)
_ADD = Statement(
    insert(orders)
    .values(
        {
            column: bindparam(column.key)
            for column in (
                orders.c.id,
                orders.c.buyer_id,
                orders.c.status,
                orders.c.total_amount,
                orders.c.shipping_amount,
                orders.c.tax_amount,
                orders.c.currency,
                orders.c.shipping_address,
                orders.c.created_at,
                orders.c.expires_at,
            )
        }
    )
    .on_conflict_do_nothing()
    .returning(orders.c.id),
    _as_read,
)
_ADD_ITEMS = Command(insert_rows(*order_items.c))
_ADD_HISTORY = Command(insert_rows(*order_history.c))
_ADD_PAYMENT = Command(
    insert(payments).values({column: bindparam(column.key) for column in payments.c}).on_conflict_do_nothing()
)
_ADD_REFUND = Command(
    insert(refunds).values({column: bindparam(column.key) for column in refunds.c}).on_conflict_do_nothing()
)
_STORE_CHANGE = Command(
    update(orders)
    .where(orders.c.id == bindparam("order_id"))
    .values(
        {
            column: bindparam(column.key)
            for column in (
                orders.c.status,
                orders.c.cancel_reason,
                orders.c.carrier,
                orders.c.tracking_number,
                orders.c.former_shipments,
                orders.c.shipping_address,
            )
        }
    )
)


class OrderReader:
    """Reads orders without locks, in a transaction or without one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, order_id: OrderId) -> Order | None:
        """Reads by primary key."""
        return await self._one(_FIND, order_id)

    async def find_payable(self, order_id: OrderId) -> PayableOrder | None:
        """Reads the order and its buyer by primary key."""
        return await _FIND_PAYABLE.first(self._connection, order_id=order_id)

    async def open_orders(
        self, buyer_id: UserId, but: OrderId, products: Sequence[ProductId], at: datetime
    ) -> OpenOrders:
        """Returns the buyer's unpaid orders except one, and their units of the products; uses orders_of_a_buyer.

        They are all that the buyer has until the end of the transaction only if the buyer's row is locked.
        """
        rows = await _OPEN_ORDERS.all(self._connection, buyer_id=buyer_id, but=but, products=products, at=at)
        units: dict[ProductId, int] = defaultdict(int)
        for row in rows:
            if row["product_id"] is not None:
                units[row["product_id"]] += row["quantity"]
        return OpenOrders(len({row["id"] for row in rows}), units)

    async def _one(self, statement: Statement[Record], order_id: OrderId) -> Order | None:
        found = await self._with_details(await statement.all(self._connection, order_id=order_id))
        return found[0] if found else None

    async def _with_details(self, rows: Sequence[Record]) -> list[Order]:
        """Returns the orders of these rows.

        Items, history and payments are read after the rows, for which the statement may have waited to lock them.
        """
        ids = [row["id"] for row in rows]
        items = await self._rows_by_order(_ITEMS, ids)
        history = await self._rows_by_order(_HISTORY, ids)
        paid = await self._rows_by_order(_PAYMENT_SUMS, ids)
        paid_manually = [order_id for order_id, (sums,) in paid.items() if sums["manual"]]
        manual = await self._rows_by_order(_MANUAL_PAYMENTS, paid_manually)
        return [_order(row, items[row["id"]], history[row["id"]], paid[row["id"]], manual[row["id"]]) for row in rows]

    async def _rows_by_order(
        self, statement: Statement[Record], order_ids: Sequence[OrderId]
    ) -> dict[OrderId, list[Record]]:
        """Returns the rows by order id.

        Items, history and manual payments are read by primary key; the sums of what was paid along payments_of_an_order
        and refunds_of_an_order.
        """
        rows: dict[OrderId, list[Record]] = defaultdict(list)
        if order_ids:
            for row in await statement.all(self._connection, order_ids=order_ids):
                rows[row["order_id"]].append(row)
        return rows


class OrderRepository(OrderReader):
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    async def add_once(self, order: Order) -> Order:
        """Stores the order unless one with its id is stored; returns the stored one.

        Waits for a concurrent transaction with the same id.
        """
        added = await _ADD.first(
            self._transaction,
            id=order.id,
            buyer_id=order.buyer_id,
            status=order.status,
            total_amount=order.total.amount,
            shipping_amount=order.shipping.amount,
            tax_amount=order.tax.amount,
            currency=order.total.currency,
            shipping_address=None if order.shipping_address is None else asdict(order.shipping_address),
            created_at=order.created_at,
            expires_at=order.expires_at,
        )
        if added is None:
            return await self._existing(order.id)
        await _ADD_ITEMS.execute(
            self._transaction,
            order_id=[order.id] * len(order.items),
            product_id=[item.product_id for item in order.items],
            seller_id=[item.seller_id for item in order.items],
            name=[item.name for item in order.items],
            quantity=[item.quantity for item in order.items],
            unit_amount=[item.unit_price.amount for item in order.items],
        )
        await self._add_history(order, since=0)
        return order

    async def lock(self, order_id: OrderId) -> Order | None:
        """Reads by primary key and locks the row."""
        return await self._one(_LOCK, order_id)

    async def list_expired(self, last_expiry: datetime, at: datetime, limit: int) -> dict[OrderId, datetime]:
        """Returns pending orders that have expired with their expiry, the oldest first, without a lock.

        Those that are postponed beyond `at` are left out. Uses the index orders_by_expiry.
        """
        query = (
            select(orders.c.id, orders.c.expires_at)
            .where(_is_expired(last_expiry, at))
            .order_by(orders.c.expires_at)
            .limit(limit)
        )
        return {OrderId(row.id): row.expires_at for row in await self._transaction.execute(query)}

    async def lock_expired(self, order_ids: Sequence[OrderId], last_expiry: datetime, at: datetime) -> list[Order]:
        """Locks those of these orders that `list_expired` would still return.

        Skips those that another transaction has locked.
        """
        query = select(orders).where(orders.c.id.in_(order_ids), _is_expired(last_expiry, at))
        return await self._all(query.with_for_update(skip_locked=True))

    async def postpone_expiry(self, order_id: OrderId, until: datetime) -> None:
        """Sets the time before which an expired order is not asked about again. The row must be locked."""
        await self._transaction.execute(update(orders).where(orders.c.id == order_id).values(expiry_check_at=until))

    async def statuses(self, order_ids: Sequence[OrderId]) -> dict[OrderId, tuple[OrderStatus, datetime]]:
        """Returns the status and the expiry of each of these orders that is stored, by primary key, without a lock."""
        query = select(orders.c.id, orders.c.status, orders.c.expires_at).where(orders.c.id.in_(order_ids))
        rows = await self._transaction.execute(query)
        return {OrderId(row.id): (OrderStatus(row.status), row.expires_at) for row in rows}

    async def lock_pending_of_buyer(self, buyer_id: UserId) -> list[Order]:
        """Locks the buyer's pending orders, in the order of their ids; uses the index orders_of_a_buyer."""
        pending = select(orders).where(orders.c.buyer_id == buyer_id, orders.c.status == OrderStatus.PENDING)
        return await self._all(pending.order_by(orders.c.id).with_for_update())

    async def page(
        self, query: OrderQuery, offset: int, limit: int, after: tuple[datetime, UUID] | None = None
    ) -> list[Order]:
        """Returns one page of orders, newest first; uses orders_of_a_buyer, orders_by_status or orders_by_time.

        The page begins after the order with the time and id `after`, or else after `offset` orders.
        """
        is_older = true() if after is None else tuple_(orders.c.created_at, orders.c.id) < after
        rows = (
            select(orders)
            .where(_matches(query), is_older)
            .order_by(orders.c.created_at.desc(), orders.c.id.desc())
            .offset(offset)
            .limit(limit)
        )
        return await self._all(rows)

    async def count(self, query: OrderQuery) -> int:
        """Counts with the same indexes as `page`."""
        return await self._transaction.scalar(select(func.count()).select_from(orders).where(_matches(query))) or 0

    async def store_change(self, before: Order, after: Order) -> None:
        """Stores the columns and the history that differ from `before`. The row must be locked."""
        shipment = after.shipment or Shipment()
        await _STORE_CHANGE.execute(
            self._transaction,
            order_id=after.id,
            status=after.status,
            cancel_reason=after.cancel_reason,
            carrier=shipment.carrier,
            tracking_number=shipment.tracking_number,
            former_shipments=[_former_shipment_json(former) for former in after.former_shipments],
            shipping_address=None if after.shipping_address is None else asdict(after.shipping_address),
        )
        await self._add_history(after, since=len(before.history))

    async def add_payment(self, order_id: OrderId, payment: Payment) -> None:
        """Stores a payment once, by primary key."""
        await _ADD_PAYMENT.execute(
            self._transaction,
            id=payment.id,
            order_id=order_id,
            amount=payment.amount.amount,
            completed_at=payment.at,
        )

    async def add_manual_payment(self, order_id: OrderId, payment: ManualPayment) -> None:
        """Stores the manual payment of an order, which has none. The order's row must be locked."""
        new = insert(manual_payments).values(
            order_id=order_id,
            amount=payment.amount.amount,
            reason=payment.reason,
            recorded_by=payment.recorded_by,
            paid_at=payment.at,
        )
        await self._transaction.execute(new)

    async def add_refund(self, order_id: OrderId, refund: Refund) -> None:
        """Stores a refund once, by primary key."""
        await _ADD_REFUND.execute(
            self._transaction,
            id=refund.id,
            payment_id=refund.payment_id,
            order_id=order_id,
            amount=refund.amount.amount,
            refunded_at=refund.at,
        )

    async def redact_addresses(self, buyer_id: UserId) -> None:
        """Deletes the addresses of the buyer's finished orders; uses the index orders_of_a_buyer.

        Locks all orders with an address first, to wait for a transaction that is just finishing one.
        """
        addressed = and_(orders.c.buyer_id == buyer_id, orders.c.shipping_address.is_not(None))
        await self._transaction.execute(select(orders.c.id).where(addressed).order_by(orders.c.id).with_for_update())
        await self._transaction.execute(
            update(orders).where(addressed, orders.c.status.in_(FINAL_STATUSES)).values(shipping_address=None)
        )

    async def has_bought(self, buyer_id: UserId, product_id: ProductId) -> bool:
        """Returns whether the buyer has the product in a paid order.

        Uses orders_of_a_buyer, then the items' primary key: a buyer has fewer orders than a product has buyers.
        """
        purchases = (
            select(order_items.c.order_id)
            .join(orders, orders.c.id == order_items.c.order_id)
            .where(
                orders.c.buyer_id == buyer_id,
                orders.c.status.in_(PAID_STATUSES),
                order_items.c.product_id == product_id,
            )
        )
        return bool(await self._transaction.scalar(select(exists(purchases))))

    async def _add_history(self, order: Order, since: int) -> None:
        added = order.history[since:]
        if added:
            await _ADD_HISTORY.execute(
                self._transaction,
                order_id=[order.id] * len(added),
                position=list(range(since, len(order.history))),
                status=[change.status for change in added],
                at=[change.at for change in added],
                by=[change.by for change in added],
            )

    async def _existing(self, order_id: OrderId) -> Order:
        order = await self.find(order_id)
        if order is None:
            raise LookupError(f"order {order_id} vanished: nothing ever deletes one")
        return order

    async def _all(self, query: Select[Any]) -> list[Order]:
        """Returns the orders that a query selects, which is built for the call."""
        return await self._with_details((await self._transaction.execute(query)).mappings().all())


def _is_expired(last_expiry: datetime, at: datetime) -> ColumnElement[bool]:
    is_due = or_(orders.c.expiry_check_at.is_(None), orders.c.expiry_check_at <= at)
    return and_(orders.c.status == OrderStatus.PENDING, orders.c.expires_at <= last_expiry, is_due)


def _matches(query: OrderQuery) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if query.buyer_id is not None:
        conditions.append(orders.c.buyer_id == query.buyer_id)
    if query.status is not None:
        conditions.append(orders.c.status == query.status)
    if query.placed_from is not None:
        conditions.append(orders.c.created_at >= query.placed_from)
    if query.placed_before is not None:
        conditions.append(orders.c.created_at < query.placed_before)
    return and_(*conditions)


def _order(
    row: Record,
    items: Sequence[Record],
    history: Sequence[Record],
    paid: Sequence[Record],
    manual: Sequence[Record],
) -> Order:
    currency = row["currency"]
    return Order(
        id=OrderId(row["id"]),
        buyer_id=UserId(row["buyer_id"]),
        items=tuple(
            Item(
                ProductId(item["product_id"]),
                item["name"],
                item["quantity"],
                Money(item["unit_amount"], currency),
                UserId(item["seller_id"]),
            )
            for item in items
        ),
        shipping=Money(row["shipping_amount"], currency),
        tax=Money(row["tax_amount"], currency),
        total=Money(row["total_amount"], currency),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        history=tuple(StatusChange(OrderStatus(each["status"]), each["at"], Actor(each["by"])) for each in history),
        shipping_address=None if row["shipping_address"] is None else Address(**row["shipping_address"]),
        status=OrderStatus(row["status"]),
        cancel_reason=None if row["cancel_reason"] is None else CancelReason(row["cancel_reason"]),
        shipment=_shipment(row),
        former_shipments=tuple(_former_shipment(stored) for stored in row["former_shipments"]),
        payment=_payment_summary(paid[0], currency) if paid else None,
        manual_payment=_manual_payment(manual[0], currency) if manual else None,
    )


def _shipment(row: Record) -> Shipment | None:
    is_known = row["carrier"] is not None or row["tracking_number"] is not None
    return Shipment(row["carrier"], row["tracking_number"]) if is_known else None


def _former_shipment_json(former: FormerShipment) -> dict[str, str | None]:
    return asdict(former) | {"replaced_at": former.replaced_at.isoformat()}


def _former_shipment(stored: dict[str, str]) -> FormerShipment:
    replaced_at = datetime.fromisoformat(stored["replaced_at"])
    return FormerShipment(stored["carrier"], stored["tracking_number"], replaced_at)


def _payment_summary(sums: Record, currency: str) -> PaymentSummary:
    """Returns what was paid and refunded; a refund received before its payment counts as paid, too."""
    refunded = int(sums["refunded"])
    paid = max(int(sums["paid"]), refunded) + int(sums["manual"])
    return PaymentSummary(Money(paid, currency), Money(refunded, currency))


def _manual_payment(row: Record, currency: str) -> ManualPayment:
    return ManualPayment(Money(row["amount"], currency), row["reason"], UserId(row["recorded_by"]), row["paid_at"])
