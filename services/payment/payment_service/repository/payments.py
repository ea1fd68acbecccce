"""Statements on payments, and on the orders that they pay. Those of one payment are prepared.

Locks: an order's row first, then its payments, then their refunds. An order is locked also where only its payment is
updated twice in a transaction: PostgreSQL then locks the order to check the foreign key, and would do so too late. What
one statement stores of a payment locks the payment alone, until it returns (docs/adr/0074).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database.statements import Command, Connection, Record, Statement
from chassis.types.ids import OrderId, UserId
from chassis.types.money import Money
from sqlalchemy import ColumnElement, Insert, Select, and_, bindparam, func, or_, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.domain.failures import Failure, FailureCode
from payment_service.domain.payment_methods import PaymentMethod
from payment_service.domain.payments import Payment, PaymentId, PaymentQuery, PaymentStatus
from payment_service.repository.check_schedule import PAYMENT_CHECKS
from payment_service.repository.tables import orders, payments


def _to_payment(row: Record) -> Payment:
    return Payment(
        id=PaymentId(row["id"]),
        order_id=OrderId(row["order_id"]),
        buyer_id=UserId(row["buyer_id"]),
        amount=Money(row["amount"], row["currency"]),
        provider=row["provider"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        status=PaymentStatus(row["status"]),
        intent_id=row["intent_id"],
        method=None if row["method_ref"] is None else PaymentMethod(row["method_ref"], row["customer_ref"]),
        failure=None
        if row["failure_code"] is None
        else Failure(FailureCode(row["failure_code"]), row["failure_reason"]),
        captured=row["captured"],
        refunded=row["refunded"],
        refunding=row["refunding"],
        pay_until=row["pay_until"],
    )


_LOCK_ORDER = Statement(
    select(orders.c.cancelled_at).where(orders.c.id == bindparam("order_id")).with_for_update(),
    lambda row: row["cancelled_at"] is not None,
)
_ADD_ORDER = Statement(
    insert(orders).values(id=bindparam("order_id")).on_conflict_do_nothing().returning(orders.c.id),
    lambda row: OrderId(row["id"]),
)
_IMMUTABLE = (
    payments.c.order_id,
    payments.c.buyer_id,
    payments.c.amount,
    payments.c.currency,
    payments.c.provider,
    payments.c.created_at,
    payments.c.pay_until,
)
_MUTABLE = (
    payments.c.status,
    payments.c.intent_id,
    payments.c.method_ref,
    payments.c.customer_ref,
    payments.c.failure_code,
    payments.c.failure_reason,
    payments.c.captured,
    payments.c.refunded,
    payments.c.refunding,
    payments.c.updated_at,
)
_NEW = (payments.c.id, payments.c.next_check_at, *_IMMUTABLE, *_MUTABLE)
"""The columns of a new payment."""


def _add_first() -> Insert:
    """Returns the statement that stores an order and its first payment: neither, if the order is stored already."""
    new_order = insert(orders).values(id=bindparam("order_id")).on_conflict_do_nothing().returning(orders.c.id)
    order_id = new_order.cte("new_order").c.id
    values = [
        order_id if column is payments.c.order_id else bindparam(column.key, type_=column.type) for column in _NEW
    ]
    return insert(payments).from_select(list(_NEW), select(*values))


_ADD_FIRST = Statement(_add_first().returning(payments.c.id), lambda _: True)
_ADD = Command(insert(payments).values({column: bindparam(column.key) for column in _NEW}))
_STORE_BY_ID = (
    update(payments)
    .where(payments.c.id == bindparam("payment_id"))
    .values({column: bindparam(column.key) for column in _MUTABLE})
)
_STORE = Command(_STORE_BY_ID)
_STORE_ENDED = Command(
    _STORE_BY_ID.values(
        PAYMENT_CHECKS.clearing_unless_rescheduled(bindparam("updated_at", type_=payments.c.updated_at.type))
    )
)
_BY_ID = select(payments).where(payments.c.id == bindparam("payment_id"))
_FIND = Statement(_BY_ID, _to_payment)
_LOCK = Statement(_BY_ID.with_for_update(), _to_payment)
_LOCK_WITH_ORDER = Statement(
    select(*payments.c, orders.c.cancelled_at)
    .join_from(orders, payments, payments.c.order_id == orders.c.id)
    .where(payments.c.id == bindparam("payment_id"))
    .with_for_update(of=(orders, payments)),
    lambda row: (_to_payment(row), row["cancelled_at"] is not None),
)
"""Locks in the order of its FROM and its OF: the order's row, then the payment's. Returns what is stored once both are
locked.
"""
_CONFIRM = Statement(
    update(payments)
    .where(
        payments.c.id == bindparam("payment_id"),
        payments.c.status == PaymentStatus.PENDING,
        payments.c.failure_code.is_(None),
    )
    .values(
        status=PaymentStatus.PROCESSING,
        method_ref=bindparam("new_method_ref"),
        customer_ref=bindparam("new_customer_ref"),
        updated_at=bindparam("at"),
        next_check_at=bindparam("check_at"),
        attempts=0,
    )
    .returning(*payments.c),
    _to_payment,
)
_STORE_INTENT = Statement(
    update(payments)
    .where(
        payments.c.id == bindparam("payment_id"),
        payments.c.intent_id.is_(None),
        or_(*(payments.c.status == status for status in PaymentStatus if status.is_open)),
    )
    .values(intent_id=bindparam("new_intent_id"), updated_at=bindparam("at"))
    .returning(*payments.c),
    _to_payment,
)
_FIND_LIVE_OF_ORDER = Statement(
    select(payments).where(payments.c.order_id == bindparam("order_id"), payments.c.status != PaymentStatus.FAILED),
    _to_payment,
)
_FIND_LATEST_OF_ORDER = Statement(
    select(payments)
    .where(payments.c.order_id == bindparam("order_id"))
    .order_by(payments.c.status == PaymentStatus.FAILED, payments.c.created_at.desc())
    .limit(1),
    _to_payment,
)
_FIND_ID_BY_INTENT = Statement(
    select(payments.c.id).where(payments.c.intent_id == bindparam("intent_id")), lambda row: PaymentId(row["id"])
)


class PaymentReader:
    """Reads single payments without locks, in a transaction or without one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, payment_id: PaymentId) -> Payment | None:
        """Finds a payment by primary key."""
        return await _FIND.first(self._connection, payment_id=payment_id)

    async def find_live_of_order(self, order_id: OrderId) -> Payment | None:
        """Finds the payment of an order that has not failed. Along one_live_payment_per_order."""
        return await _FIND_LIVE_OF_ORDER.first(self._connection, order_id=order_id)

    async def find_latest_of_order(self, order_id: OrderId) -> Payment | None:
        """Finds the live payment of an order, or else the last one that failed. Along payments_of_an_order."""
        return await _FIND_LATEST_OF_ORDER.first(self._connection, order_id=order_id)

    async def find_id_by_intent(self, intent_id: str) -> PaymentId | None:
        """Finds a payment's id by its intent, along the unique index of intent_id."""
        return await _FIND_ID_BY_INTENT.first(self._connection, intent_id=intent_id)


class PaymentWriter:
    """Takes the steps of a payment that need no transaction.

    Each is one statement, which changes nothing where its condition does not hold.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_first(self, payment: Payment, next_check_at: datetime) -> bool:
        """Stores a payment with its order.

        Returns False and stores nothing if the order is stored already: it has a payment, or was cancelled before.
        """
        return await _ADD_FIRST.first(self._connection, **_new_values(payment, next_check_at)) is not None

    async def store_intent(self, payment_id: PaymentId, intent_id: str, at: datetime) -> Payment | None:
        """Returns the payment with its new intent. None if it has ended or has an intent: then it is not changed."""
        return await _STORE_INTENT.first(self._connection, payment_id=payment_id, new_intent_id=intent_id, at=at)

    async def confirm(
        self, payment_id: PaymentId, method: PaymentMethod, at: datetime, next_check_at: datetime
    ) -> Payment | None:
        """Records that the provider may charge `method` from now on, and returns the payment, which is PROCESSING.

        Returns None if it is not confirmable: then it is not changed.

        The order is not locked. Its cancellation locks the payment too: it finds the payment confirmed and closes it,
        or has closed it before.
        """
        return await _CONFIRM.first(
            self._connection,
            payment_id=payment_id,
            new_method_ref=method.ref,
            new_customer_ref=method.customer,
            at=at,
            check_at=next_check_at,
        )


class PaymentRepository(PaymentReader):
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    async def lock_order(self, order_id: OrderId) -> bool:
        """Locks the order's row, which it inserts if there is none. Returns whether the order is cancelled."""
        is_cancelled = await _LOCK_ORDER.first(self._transaction, order_id=order_id)
        if is_cancelled is not None:
            return is_cancelled
        if await _ADD_ORDER.first(self._transaction, order_id=order_id) is not None:
            return False
        return await _LOCK_ORDER.one(self._transaction, order_id=order_id)  # inserted since it was looked for

    async def cancel_order(self, order_id: OrderId, at: datetime) -> None:
        """Records when the order was cancelled; the first time stays. The row must be locked."""
        first = func.coalesce(orders.c.cancelled_at, at)
        await self._transaction.execute(update(orders).where(orders.c.id == order_id).values(cancelled_at=first))

    async def add(self, payment: Payment, next_check_at: datetime) -> None:
        """Inserts a payment. The order's row must be locked."""
        await _ADD.execute(self._transaction, **_new_values(payment, next_check_at))

    async def store(self, payment: Payment) -> None:
        """Stores the columns that change. The row must be locked."""
        await _STORE.execute(self._transaction, payment_id=payment.id, **_mutable_values(payment))

    async def store_ended(self, payment: Payment) -> None:
        """Stores a payment that has ended, as `store` does. It is checked no more, unless it was rescheduled."""
        await _STORE_ENDED.execute(self._transaction, payment_id=payment.id, **_mutable_values(payment))

    async def lock(self, payment_id: PaymentId) -> Payment:
        """Locks and returns a payment, by primary key. Raises LookupError if it does not exist."""
        return await _LOCK.one(self._transaction, payment_id=payment_id)

    async def lock_with_order(self, payment_id: PaymentId) -> tuple[Payment, bool]:
        """Locks the row of a payment's order and then the payment, by primary keys.

        Returns the payment, and whether its order is cancelled. Raises LookupError if it does not exist.
        """
        return await _LOCK_WITH_ORDER.one(self._transaction, payment_id=payment_id)

    async def lock_all_of_order(self, order_id: OrderId) -> list[Payment]:
        """Locks and returns all payments of an order, oldest first. The order's row must be locked."""
        all_of_order = select(payments).where(payments.c.order_id == order_id).order_by(payments.c.created_at)
        return await self._all(all_of_order.with_for_update())

    async def list_live_of_orders(self, order_ids: Sequence[OrderId]) -> list[Payment]:
        """Lists the payments of these orders that have not failed. Along one_live_payment_per_order."""
        is_live = payments.c.status != PaymentStatus.FAILED
        return await self._all(select(payments).where(payments.c.order_id.in_(order_ids), is_live))

    async def page(
        self, query: PaymentQuery, offset: int, limit: int, after: tuple[datetime, UUID] | None = None
    ) -> list[Payment]:
        """Returns one page of payments, newest first.

        Along payments_of_a_buyer, payments_of_an_order, payments_by_status, payments_by_time or the index of intent_id.
        The page begins after the payment with the time and id `after`, or else after `offset` payments.
        """
        is_older = true() if after is None else tuple_(payments.c.created_at, payments.c.id) < after
        page = (
            select(payments)
            .where(_matches(query), is_older)
            .order_by(payments.c.created_at.desc(), payments.c.id.desc())
            .offset(offset)
            .limit(limit)
        )
        return await self._all(page)

    async def count(self, query: PaymentQuery) -> int:
        """Counts with the same indexes as `page`."""
        count = select(func.count()).select_from(payments).where(_matches(query))
        return await self._transaction.scalar(count) or 0

    async def is_order_cancelled(self, order_id: OrderId) -> bool:
        return await self._transaction.scalar(select(orders.c.cancelled_at).where(orders.c.id == order_id)) is not None

    async def closed_among(self, order_ids: Sequence[OrderId]) -> frozenset[OrderId]:
        """Returns those of these orders for which nothing may be captured, by primary key."""
        closed = select(orders.c.id).where(orders.c.id.in_(order_ids), orders.c.cancelled_at.is_not(None))
        return frozenset(OrderId(row.id) for row in await self._transaction.execute(closed))

    async def _all(self, statement: Select[Any]) -> list[Payment]:
        return [_to_payment(row) for row in (await self._transaction.execute(statement)).mappings()]


def _matches(query: PaymentQuery) -> ColumnElement[bool]:
    columns = payments.c
    equal = [
        (columns.buyer_id, query.buyer_id),
        (columns.order_id, query.order_id),
        (columns.status, query.status),
        (columns.intent_id, query.provider_ref),
    ]
    conditions = [column == value for column, value in equal if value is not None]
    if query.begun_from is not None:
        conditions.append(columns.created_at >= query.begun_from)
    if query.begun_before is not None:
        conditions.append(columns.created_at < query.begun_before)
    return and_(true(), *conditions)


def _new_values(payment: Payment, next_check_at: datetime) -> dict[str, object]:
    return {
        "id": payment.id,
        "next_check_at": next_check_at,
        "order_id": payment.order_id,
        "buyer_id": payment.buyer_id,
        "amount": payment.amount.amount,
        "currency": payment.amount.currency,
        "provider": payment.provider,
        "created_at": payment.created_at,
        "pay_until": payment.pay_until,
        **_mutable_values(payment),
    }


def _mutable_values(payment: Payment) -> dict[str, object]:
    method, failure = payment.method, payment.failure
    return {
        "status": payment.status,
        "intent_id": payment.intent_id,
        "method_ref": None if method is None else method.ref,
        "customer_ref": None if method is None else method.customer,
        "failure_code": None if failure is None else failure.code,
        "failure_reason": None if failure is None else failure.reason,
        "captured": payment.captured,
        "refunded": payment.refunded,
        "refunding": payment.refunding,
        "updated_at": payment.updated_at,
    }
