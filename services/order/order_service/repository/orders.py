"""Statements on orders, their items, history, payments and refunds. Those of placing, reading and paying are prepared.

Items never change; everything else changes only while the order's row is locked.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chassis.database.statements import Command, Connection, Record, Statement, as_read, insert_rows, sent_rows
from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import Money
from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    ColumnElement,
    Select,
    Table,
    Uuid,
    and_,
    any_,
    bindparam,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
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
    idempotency_keys,
    manual_payments,
    order_history,
    order_items,
    orders,
    payments,
    refunds,
)

_PLACED_COLUMNS = (
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


def _details_of(order_id: ColumnElement[UUID]) -> Sequence[ColumnElement[Any]]:
    """Returns what belongs to an order as columns: JSON of its items, history and manual payment, and sums of payments.

    They are read by primary key, and along payments_of_an_order and refunds_of_an_order. One statement reads all of
    them at the same moment.
    """
    return (
        _json_rows(order_items, order_id, order_items.c.product_id).label("items"),
        _json_rows(order_history, order_id, order_history.c.position).label("history"),
        _sum_of(payments, order_id).label("paid"),
        _sum_of(refunds, order_id).label("refunded"),
        select(func.to_json(manual_payments.table_valued()))
        .where(manual_payments.c.order_id == order_id)
        .scalar_subquery()
        .label("manual_payment"),
    )


def _json_rows(table: Table, order_id: ColumnElement[UUID], position: "Column[Any]") -> ColumnElement[Any]:
    rows = func.json_agg(aggregate_order_by(func.to_json(table.table_valued()), position))
    return select(rows).where(table.c.order_id == order_id).scalar_subquery()


def _sum_of(table: Table, order_id: ColumnElement[UUID]) -> ColumnElement[Any]:
    return select(func.sum(table.c.amount)).where(table.c.order_id == order_id).scalar_subquery()


def open_orders_columns(*conditions: ColumnElement[bool]) -> Sequence[ColumnElement[Any]]:
    """Returns the columns of `to_open_orders`, whose parameters are `buyer_id` and `at`.

    `conditions` restrict which of the buyer's orders count. They are found along orders_of_a_buyer.
    """
    opened = (
        select(orders.c.id)
        .where(
            orders.c.buyer_id == bindparam("buyer_id"),
            orders.c.status == OrderStatus.PENDING,
            orders.c.expires_at > bindparam("at"),
            *conditions,
        )
        .cte("opened")
    )
    units = (
        select(order_items.c.product_id, func.sum(order_items.c.quantity).label("units"))
        .join(opened, opened.c.id == order_items.c.order_id)
        .group_by(order_items.c.product_id)
        .subquery()
    )
    return (
        select(func.count()).select_from(opened).scalar_subquery().label("open_orders"),
        select(func.json_object_agg(units.c.product_id, units.c.units)).scalar_subquery().label("open_units"),
    )


def to_open_orders(row: Record) -> OpenOrders:
    units = row["open_units"] or {}  # the keys of a JSON object are strings
    return OpenOrders(row["open_orders"], {ProductId(int(product)): int(count) for product, count in units.items()})


def _add_with_details() -> Select[Any]:
    """Returns the statement that stores an order with its items and its first history entry, if it is new.

    It adds no row if an order has the id already. With `requires_key` it also adds none unless an idempotency key was
    claimed for the id; it locks the row of that key. It returns a row only for an order that was added.
    """
    own_key = select(idempotency_keys.c.key).where(idempotency_keys.c.resource_id == bindparam("id")).with_for_update()
    is_allowed = or_(not_(bindparam("requires_key", type_=Boolean)), exists(select(own_key.cte("own_key"))))
    stored = {each: bindparam(each.key, type_=each.type) for each in _PLACED_COLUMNS}
    added = (
        insert(orders)
        .from_select(list(stored), select(*stored.values()).where(is_allowed))
        .on_conflict_do_nothing()
        .returning(orders.c.id, orders.c.status, orders.c.created_at)
        .cte("added")
    )
    item_columns = [each for each in order_items.c if each is not order_items.c.order_id]
    items = insert(order_items).from_select(
        [order_items.c.order_id, *item_columns], select(added.c.id, *sent_rows(*item_columns).c)
    )
    placed_by = bindparam("placed_by", type_=order_history.c.by.type)
    history = insert(order_history).from_select(
        list(order_history.c), select(added.c.id, literal(0), added.c.status, added.c.created_at, placed_by)
    )
    return select(added.c.id).add_cte(items.cte("items"), history.cte("history"))


_FIND = Statement(
    select(orders, *_details_of(orders.c.id)).where(orders.c.id == bindparam("order_id")),
    lambda row: _order(row, row),
)
_LOCK = Statement(select(orders).where(orders.c.id == bindparam("order_id")).with_for_update(), as_read)
_DETAILS = Statement(
    select(orders.c.id, *_details_of(orders.c.id)).where(
        orders.c.id == any_(bindparam("order_ids", type_=ARRAY(Uuid)))
    ),
    as_read,
)
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
_OPEN_ORDERS = Statement(select(*open_orders_columns(orders.c.id != bindparam("but"))), to_open_orders)
_ADD = Statement(_add_with_details(), as_read)
_ADD_PAYMENT = Command(
    insert(payments).values({column: bindparam(column.key) for column in payments.c}).on_conflict_do_nothing()
)
_ADD_REFUND = Command(
    insert(refunds).values({column: bindparam(column.key) for column in refunds.c}).on_conflict_do_nothing()
)
_CHANGE = (
    update(orders)
    .where(orders.c.id == bindparam("changed_id"))
    .values(
        {
            orders.c.status: bindparam("new_status"),
            **{
                each: bindparam(each.key)
                for each in (
                    orders.c.cancel_reason,
                    orders.c.carrier,
                    orders.c.tracking_number,
                    orders.c.former_shipments,
                    orders.c.shipping_address,
                )
            },
        }
    )
)
_STORE_CHANGE = Command(insert_rows(*order_history.c).add_cte(_CHANGE.cte("changed")))
"""Changes an order and adds the rows of its history, if it has new ones."""


class OrderReader:
    """Reads orders without locks, in a transaction or without one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, order_id: OrderId) -> Order | None:
        """Reads the order with its details, by primary key."""
        return await _FIND.first(self._connection, order_id=order_id)

    async def find_payable(self, order_id: OrderId) -> PayableOrder | None:
        """Reads the order and its buyer by primary key."""
        return await _FIND_PAYABLE.first(self._connection, order_id=order_id)

    async def open_orders(self, buyer_id: UserId, but: OrderId, at: datetime) -> OpenOrders:
        """Returns the buyer's unpaid orders except one; uses orders_of_a_buyer.

        They are all that the buyer has until the end of the transaction only if the buyer's row is locked.
        """
        return await _OPEN_ORDERS.one(self._connection, buyer_id=buyer_id, but=but, at=at)

    async def _with_details(self, rows: Sequence[Record]) -> list[Order]:
        """Returns the orders of these rows.

        Their details are read by a later statement than the rows, for which that one may have waited to lock them.
        """
        if not rows:
            return []
        found = await _DETAILS.all(self._connection, order_ids=[row["id"] for row in rows])
        details = {each["id"]: each for each in found}
        return [_order(row, details[row["id"]]) for row in rows]


class OrderRepository(OrderReader):
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    async def add_once(self, order: Order, *, requires_key: bool) -> Order | None:
        """Stores the order unless one with its id is stored; returns the stored one.

        With `requires_key` it is stored only if an idempotency key stands for its id, whose row is locked. Without such
        a key it returns None. Waits for concurrent transactions with the same key or id.
        """
        (placed,) = order.history
        added = await _ADD.first(
            self._transaction,
            requires_key=requires_key,
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
            placed_by=placed.by,
            product_id=[item.product_id for item in order.items],
            seller_id=[item.seller_id for item in order.items],
            name=[item.name for item in order.items],
            quantity=[item.quantity for item in order.items],
            unit_amount=[item.unit_price.amount for item in order.items],
        )
        return await self.find(order.id) if added is None else order

    async def lock(self, order_id: OrderId) -> Order | None:
        """Locks the row, by primary key, and reads the order with its details."""
        locked = await self._with_details(await _LOCK.all(self._transaction, order_id=order_id))
        return locked[0] if locked else None

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
        shipment, since = after.shipment or Shipment(), len(before.history)
        added = after.history[since:]
        await _STORE_CHANGE.execute(
            self._transaction,
            changed_id=after.id,
            new_status=after.status,
            cancel_reason=after.cancel_reason,
            carrier=shipment.carrier,
            tracking_number=shipment.tracking_number,
            former_shipments=[_former_shipment_json(former) for former in after.former_shipments],
            shipping_address=None if after.shipping_address is None else asdict(after.shipping_address),
            order_id=[after.id] * len(added),
            position=list(range(since, len(after.history))),
            status=[change.status for change in added],
            at=[change.at for change in added],
            by=[change.by for change in added],
        )

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


def _order(row: Record, details: Record) -> Order:
    """Returns the order of its row and its details, which are columns of the same row or of another one."""
    currency, manual = row["currency"], details["manual_payment"]
    return Order(
        id=OrderId(row["id"]),
        buyer_id=UserId(row["buyer_id"]),
        items=tuple(_item(each, currency) for each in details["items"] or ()),
        shipping=Money(row["shipping_amount"], currency),
        tax=Money(row["tax_amount"], currency),
        total=Money(row["total_amount"], currency),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        history=tuple(_status_change(each) for each in details["history"] or ()),
        shipping_address=None if row["shipping_address"] is None else Address(**row["shipping_address"]),
        status=OrderStatus(row["status"]),
        cancel_reason=None if row["cancel_reason"] is None else CancelReason(row["cancel_reason"]),
        shipment=_shipment(row),
        former_shipments=tuple(_former_shipment(stored) for stored in row["former_shipments"]),
        payment=_payment_summary(details, currency),
        manual_payment=None if manual is None else _manual_payment(manual, currency),
    )


def _item(row: Record, currency: str) -> Item:
    price = Money(row["unit_amount"], currency)
    return Item(ProductId(row["product_id"]), row["name"], row["quantity"], price, UserId(row["seller_id"]))


def _status_change(row: Record) -> StatusChange:
    return StatusChange(OrderStatus(row["status"]), _time(row["at"]), Actor(row["by"]))


def _time(text: str) -> datetime:
    """Returns a time of a JSON row, in UTC, as the driver returns it. PostgreSQL writes it in the session's zone."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _shipment(row: Record) -> Shipment | None:
    is_known = row["carrier"] is not None or row["tracking_number"] is not None
    return Shipment(row["carrier"], row["tracking_number"]) if is_known else None


def _former_shipment_json(former: FormerShipment) -> dict[str, str | None]:
    return asdict(former) | {"replaced_at": former.replaced_at.isoformat()}


def _former_shipment(stored: dict[str, str]) -> FormerShipment:
    replaced_at = datetime.fromisoformat(stored["replaced_at"])
    return FormerShipment(stored["carrier"], stored["tracking_number"], replaced_at)


def _payment_summary(details: Record, currency: str) -> PaymentSummary | None:
    """Returns what was paid and refunded, or None if nothing was.

    A refund received before its payment counts as paid, too.
    """
    sums = (details["paid"], details["refunded"], details["manual_payment"])
    if all(each is None for each in sums):
        return None
    refunded = int(details["refunded"] or 0)
    manual = 0 if details["manual_payment"] is None else details["manual_payment"]["amount"]
    paid = max(int(details["paid"] or 0), refunded) + manual
    return PaymentSummary(Money(paid, currency), Money(refunded, currency))


def _manual_payment(row: Record, currency: str) -> ManualPayment:
    amount = Money(row["amount"], currency)
    return ManualPayment(amount, row["reason"], UserId(row["recorded_by"]), _time(row["paid_at"]))
