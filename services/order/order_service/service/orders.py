"""The use cases of placed orders.

Each takes one transaction, its own or the caller's, and locks the order's row before it changes the order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from chassis.database.engine import Database
from chassis.http.authentication import Principal
from chassis.http.cursors import CursorPaging, TimePosition
from chassis.observability import logs
from chassis.types.ids import OrderId, ProductId, UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.errors import UnknownOrder, WrongAmountPaid
from order_service.domain.expiry import ExpiryPolicy
from order_service.domain.orders import (
    CancelReason,
    Order,
    OrderQuery,
    OrderStatus,
    PayableOrder,
    Payment,
    Refund,
    Shipment,
)
from order_service.repository.buyers import BuyerRepository
from order_service.repository.orders import OrderReader, OrderRepository
from order_service.service.published_events import OrderEvents

MOVED = Counter("orders_moved_total", "Orders that reached a status after they were placed", ["status"])
CANCELLED = Counter("orders_cancelled_total", "Orders that were cancelled", ["reason"])
REVENUE = Counter("orders_revenue_minor_units_total", "Totals of the orders that were paid", ["currency"])
MISPAID = Counter(
    "orders_mispaid_total", "Payments and refunds that do not match their order; each needs a manual check"
)

log = logs.get_logger(__name__)


class OrderService:
    def __init__(
        self, database: Database, events: OrderEvents, expiry: ExpiryPolicy, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._events = events
        self._expiry = expiry
        self._now = now

    async def get_order(self, principal: Principal, order_id: OrderId) -> Order:
        """Raises UnknownOrder, also for another buyer's order."""
        async with self._database.read() as connection:
            order = await OrderReader(connection).find(order_id)
        return _visible(order, principal, order_id)

    async def list_orders(self, query: OrderQuery, paging: CursorPaging[TimePosition]) -> tuple[list[Order], int]:
        """Returns one page of orders, newest first, and the total number of orders that match.

        The caller of this method checks that the user may see what the query selects.
        """
        async with self._database.begin() as transaction:
            repository = OrderRepository(transaction)
            page = await repository.page(query, paging.offset, paging.limit, paging.after)
            return page, await repository.count(query) if paging.counted is None else paging.counted

    async def get_payable(self, order_id: OrderId) -> tuple[PayableOrder, bool]:
        """Returns what a payment needs to know of an order, and whether it can be paid now.

        Raises UnknownOrder.
        """
        async with self._database.read() as connection:
            order = await OrderReader(connection).find_payable(order_id)
        if order is None:
            raise UnknownOrder(order_id)
        return order, order.is_payable(self._now(), self._expiry.margin)

    async def has_bought(self, buyer_id: UserId, product_id: ProductId) -> bool:
        """Returns whether the buyer has the product in an order that is paid and not cancelled."""
        async with self._database.begin() as transaction:
            return await OrderRepository(transaction).has_bought(buyer_id, product_id)

    async def get_statuses(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, tuple[OrderStatus, datetime]]:
        """Returns the status and the expiry of each of these orders that is stored."""
        async with self._database.begin() as transaction:
            return await OrderRepository(transaction).statuses(order_ids)

    async def cancel_order(self, principal: Principal, order_id: OrderId) -> None:
        """Cancels the order; does nothing if it is cancelled already. Raises UnknownOrder, NotCancellable."""
        async with self._database.begin() as transaction:
            order = _visible(await OrderRepository(transaction).lock(order_id), principal, order_id)
            reason = CancelReason.ADMIN if principal.is_admin else CancelReason.BUYER
            await self._store_change(transaction, order, order.cancel(reason, self._now()))

    async def change_status(self, order_id: OrderId, status: OrderStatus, shipment: Shipment | None) -> Order:
        """Changes the status as an admin; does nothing if the order has it already.

        Raises UnknownOrder, IllegalTransition, OrderRefunded.
        """
        async with self._database.begin() as transaction:
            order = _existing(await OrderRepository(transaction).lock(order_id), order_id)
            changed = order.change_status(status, self._now(), shipment)
            return await self._store_change(transaction, order, changed)

    async def cancel_expired(self, transaction: AsyncConnection, order: Order) -> None:
        """Cancels an order that has expired. Its row must be locked. The payment service closes its open payment."""
        await self._store_change(transaction, order, order.cancel(CancelReason.EXPIRED, self._now()))

    async def record_manual_payment(self, admin_id: UserId, order_id: OrderId, reason: str) -> Order:
        """Records that the order was paid without the provider; does nothing if it is recorded with this reason.

        Payments through the provider are closed or refunded by the payment service, which receives the event.

        Raises UnknownOrder, AlreadyPaid, IllegalTransition.
        """
        async with self._database.begin() as transaction:
            repository = OrderRepository(transaction)
            order = _existing(await repository.lock(order_id), order_id)
            paid = order.pay_manually(reason, admin_id, self._now())
            if paid.manual_payment is not None and paid is not order:
                await repository.add_manual_payment(order_id, paid.manual_payment)
                await self._events.record_paid_manually(transaction, paid, paid.manual_payment)
            if paid.status is not order.status:
                await self._store_change(transaction, order, paid)
        return paid

    async def correct_shipment(self, order_id: OrderId, shipment: Shipment) -> Order:
        """Corrects the shipment of a shipped order, and publishes it again; does nothing if it is the same.

        Raises UnknownOrder, NotShipped.
        """
        async with self._database.begin() as transaction:
            repository, now = OrderRepository(transaction), self._now()
            order = _existing(await repository.lock(order_id), order_id)
            corrected = order.correct_shipment(shipment, now)
            if corrected is not order:
                await repository.store_change(order, corrected)
                await self._events.record_shipment_correction(transaction, corrected, now)
        return corrected

    async def record_payment(self, transaction: AsyncConnection, order_id: OrderId, payment: Payment) -> None:
        """Records a captured payment, and confirms the order if it is pending.

        An order that has been cancelled stays so: the payment service refunds it when it receives the cancellation.
        """
        repository = OrderRepository(transaction)
        order = await repository.lock(order_id)
        if order is None or payment.amount.currency != order.total.currency:
            MISPAID.inc()
            log.error("a payment fits no order", order_id=str(order_id), payment_id=payment.id)
            return
        await repository.add_payment(order_id, payment)
        await self._confirm(transaction, order, payment)

    async def record_refund(self, transaction: AsyncConnection, order_id: OrderId, refund: Refund) -> None:
        """Records a refund, whatever the order's status, and whether or not its payment has been received."""
        repository = OrderRepository(transaction)
        order = await repository.lock(order_id)
        if order is None or refund.amount.currency != order.total.currency:
            MISPAID.inc()
            log.error("a refund fits no order", order_id=str(order_id), refund_id=refund.id)
            return
        await repository.add_refund(order_id, refund)

    async def repeat_closure(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        """Publishes again that an order was cancelled or paid manually, which the payment service does not know.

        The event has another id. It changes nothing where the first one has taken effect.
        """
        order = await OrderRepository(transaction).lock(order_id)
        if order is None:
            return
        if order.status is OrderStatus.CANCELLED:
            await self._events.record_status_change(transaction, order)
        elif order.manual_payment is not None:
            await self._events.record_paid_manually(transaction, order, order.manual_payment)

    async def cancel_pending_of_buyer(self, transaction: AsyncConnection, buyer_id: UserId) -> None:
        """Cancels the buyer's orders that are not paid yet, so that their stock is free.

        The buyer's row must be locked.
        """
        for order in await OrderRepository(transaction).lock_pending_of_buyer(buyer_id):
            await self._store_change(transaction, order, order.cancel(CancelReason.BUYER, self._now()))

    async def cancel_out_of_stock(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        """Cancels an order after its reservation expired and its stock was reserved for another buyer.

        Raises NotCancellable if the order was shipped: then the stock was there after all, and an operator must look at
        it.
        """
        order = await OrderRepository(transaction).lock(order_id)
        if order is None:
            log.warning("stock rejected for an order that was never stored", order_id=str(order_id))
            return
        await self._store_change(transaction, order, order.cancel(CancelReason.OUT_OF_STOCK, self._now()))

    async def _confirm(self, transaction: AsyncConnection, order: Order, payment: Payment) -> None:
        try:
            confirmed = order.confirm(payment.amount, self._now())
        except WrongAmountPaid as error:
            MISPAID.inc()
            log.error(  # noqa: TRY400 - the reason says all that a traceback would
                "order not confirmed", order_id=str(order.id), payment_id=payment.id, reason=str(error)
            )
            return
        await self._store_change(transaction, order, confirmed)

    async def _store_change(self, transaction: AsyncConnection, before: Order, after: Order) -> Order:
        """Stores a status change with its history and event, and returns the order as it is stored.

        Does nothing if `after` is `before`. The order's row must be locked. When the order of an erased buyer reaches
        its final status, its address is deleted.
        """
        if after is before:
            return before
        if after.status.is_final and await BuyerRepository(transaction).is_erased(after.buyer_id):
            after = replace(after, shipping_address=None)
        await OrderRepository(transaction).store_change(before, after)
        await self._events.record_status_change(transaction, after)
        _report_status_change(after)
        return after


def _existing(order: Order | None, order_id: OrderId) -> Order:
    if order is None:
        raise UnknownOrder(order_id)
    return order


def _visible(order: Order | None, principal: Principal, order_id: OrderId) -> Order:
    if order is None or (order.buyer_id != principal.user_id and not principal.is_admin):
        raise UnknownOrder(order_id)
    return order


def _report_status_change(order: Order) -> None:
    MOVED.labels(order.status).inc()
    if order.status is OrderStatus.CONFIRMED:
        REVENUE.labels(order.total.currency).inc(order.total.amount)
    if order.status is OrderStatus.CANCELLED:
        CANCELLED.labels(order.cancel_reason).inc()
    log.info("order moved", order_id=str(order.id), status=order.status, reason=order.cancel_reason)
