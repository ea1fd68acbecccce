"""What becomes of an order once it is placed. One transaction each, which locks the order's row."""

from collections.abc import Callable
from datetime import datetime

from chassis.database.engine import Database
from chassis.http.authentication import Principal
from chassis.http.schemas import Paging
from chassis.observability import logs
from chassis.types.ids import OrderId, ProductId, UserId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.errors import NotItsPrice, UnknownOrder
from order_service.domain.orders import CancelReason, Order, OrderStatus, Parcel, Payment, Refund, Wanted
from order_service.repository.orders import OrderRepository
from order_service.service.journal import Journal

MISPAID = Counter(
    "orders_mispaid_total", "Payments for another amount than their order costs; each wants a person's eye"
)
_SWEEP = 100

log = logs.get_logger(__name__)


class Ordering:
    def __init__(self, database: Database, journal: Journal, now: Callable[[], datetime]) -> None:
        self._database = database
        self._journal = journal
        self._now = now

    async def order(self, principal: Principal, order_id: OrderId) -> Order:
        """Raises UnknownOrder, also for somebody else's."""
        async with self._database.begin() as transaction:
            found = await OrderRepository(transaction).find(order_id)
        return _visible(found, principal, order_id)

    async def orders(self, wanted: Wanted, paging: Paging) -> tuple[list[Order], int]:
        """One page of orders, newest first, and how many there are. Who may want what is the caller's to check."""
        async with self._database.begin() as transaction:
            repository = OrderRepository(transaction)
            page = await repository.page(wanted, paging.offset, paging.limit)
            return page, await repository.count(wanted)

    async def payable(self, order_id: OrderId) -> tuple[Order, bool]:
        """An order, and whether it may be paid now. Raises UnknownOrder."""
        async with self._database.begin() as transaction:
            found = _known(await OrderRepository(transaction).find(order_id), order_id)
        return found, found.is_payable(self._now())

    async def has_bought(self, buyer_id: UserId, product_id: ProductId) -> bool:
        """Whether a user has a product in an order that is paid and was not cancelled."""
        async with self._database.begin() as transaction:
            return await OrderRepository(transaction).has_bought(buyer_id, product_id)

    async def cancel(self, principal: Principal, order_id: OrderId) -> None:
        """Cancelling again changes nothing. Raises UnknownOrder, NotCancellable."""
        async with self._database.begin() as transaction:
            order = _visible(await OrderRepository(transaction).lock(order_id), principal, order_id)
            reason = CancelReason.BUYER if order.buyer_id == principal.user_id else CancelReason.ADMIN
            await self._journal.moved(transaction, order, order.cancelled(reason, self._now()))
        self._journal.wake()

    async def move(self, order_id: OrderId, status: OrderStatus, parcel: Parcel | None) -> Order:
        """For admins. Moving to where it is already changes nothing. Raises UnknownOrder, IllegalTransition."""
        async with self._database.begin() as transaction:
            order = _known(await OrderRepository(transaction).lock(order_id), order_id)
            moved = await self._journal.moved(transaction, order, order.moved(status, self._now(), parcel))
        self._journal.wake()
        return moved

    async def expire(self) -> int:
        """Cancels orders that were not paid in time; says how many."""
        now = self._now()
        async with self._database.begin() as transaction:
            lapsed = await OrderRepository(transaction).lock_lapsed(now, _SWEEP)
            for order in lapsed:
                await self._journal.moved(transaction, order, order.cancelled(CancelReason.EXPIRED, now))
        if lapsed:
            self._journal.wake()
        return len(lapsed)

    async def paid_within(self, transaction: AsyncConnection, order_id: OrderId, payment: Payment) -> None:
        """Confirms a pending order. One that was cancelled meanwhile stays so: payment gives the money back when it hears of that."""
        repository = OrderRepository(transaction)
        order = await repository.lock(order_id)
        if order is None or payment.amount.currency != order.total.currency:
            MISPAID.inc()
            log.error("a payment fits no order", order_id=str(order_id), payment_id=payment.id)
            return
        await repository.add_payment(order_id, payment)
        try:
            await self._journal.moved(transaction, order, order.paid(payment.amount, self._now()))
        except NotItsPrice as error:
            MISPAID.inc()
            log.error("order not confirmed", order_id=str(order_id), payment_id=payment.id, reason=str(error))  # noqa: TRY400 - the sender's fault, our trace says nothing

    async def refunded_within(self, transaction: AsyncConnection, order_id: OrderId, refund: Refund) -> None:
        """Records it, whatever the order's status, and whether or not its payment was heard of."""
        repository = OrderRepository(transaction)
        order = await repository.lock(order_id)
        if order is None or refund.amount.currency != order.total.currency:
            MISPAID.inc()
            log.error("a refund fits no order", order_id=str(order_id), refund_id=refund.id)
            return
        await repository.add_refund(order_id, refund)

    async def reject_within(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        """Inventory could not keep the stock: the hold had lapsed, and somebody else has it now.

        Raises NotCancellable of what was shipped: the stock was there after all, and a person must look.
        """
        order = await OrderRepository(transaction).lock(order_id)
        if order is None:
            log.warning("stock rejected for an order that was never stored", order_id=str(order_id))
            return
        await self._journal.moved(transaction, order, order.cancelled(CancelReason.OUT_OF_STOCK, self._now()))


def _known(order: Order | None, order_id: OrderId) -> Order:
    if order is None:
        raise UnknownOrder(order_id)
    return order


def _visible(order: Order | None, principal: Principal, order_id: OrderId) -> Order:
    if order is None or (order.buyer_id != principal.user_id and not principal.is_admin):
        raise UnknownOrder(order_id)
    return order
