"""The use cases of orders. Placing one spans three services; it may be stopped anywhere, and repeated under its key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chassis import logs
from chassis.database import Database
from chassis.kernel.ids import OrderId, ProductId, UserId
from chassis.outbox import Outbox
from chassis.problems import DatabaseUnavailable, NeighbourUnavailable
from chassis.rpc import RpcProblem
from chassis.schemas import Paging
from chassis.tokens import Principal
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.clients.inventory import Inventory
from order_service.clients.products import Products
from order_service.domain.errors import UnknownOrder
from order_service.domain.idempotency import Claim, IdempotencyKey, fingerprint
from order_service.domain.orders import CancelReason, Line, Order, merged
from order_service.repository.keys import KeyRepository
from order_service.repository.orders import OrderRepository
from order_service.service import events

PLACED = Counter("orders_placed_total", "Orders that were placed")
REVENUE = Counter("orders_revenue_minor_units_total", "Totals of the orders that were placed", ["currency"])
CANCELLED = Counter("orders_cancelled_total", "Orders that were cancelled", ["reason"])

_SWEEP = 100
_KEYS_KEPT = timedelta(days=7)

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """`hold`: how long stock is set aside for an order that is being placed; `payable`: how long for one that is not paid."""

    hold: timedelta
    payable: timedelta


class Ordering:
    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        products: Products,
        inventory: Inventory,
        terms: Terms,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._products = products
        self._inventory = inventory
        self._terms = terms
        self._now = now
        self._new_id = new_id

    async def place(self, buyer_id: UserId, wanted: Sequence[Line], key: IdempotencyKey | None) -> Order:
        """The order that the key stands for; without a key a new one.

        Everything after the claim is idempotent by the order's id, so requests under one key may run at once, and one that
        stopped halfway is finished by the next. Raises KeyReused, UnknownProducts, MixedCurrencies, TotalTooLarge, OutOfStock.
        """
        lines = merged(wanted)
        order_id, stored = await self._claim(buyer_id, lines, key)
        if stored is not None:
            return stored
        offers = await self._products.offers([line.product_id for line in lines])
        now = self._now()
        order = Order.place(order_id, buyer_id, lines, offers, at=now, expires_at=now + self._terms.payable)
        await self._inventory.reserve(order.id, lines, until=now + self._terms.hold)
        try:
            return await self._store(order)
        except DatabaseUnavailable:
            raise  # it may have been stored all the same: the stock lapses by itself unless it was
        except Exception:
            if key is None:  # under a key, another request may be storing the order at this moment
                await self._release(order.id)
            raise

    async def order(self, principal: Principal, order_id: OrderId) -> Order:
        """Raises UnknownOrder, also for somebody else's."""
        async with self._database.begin() as transaction:
            found = await OrderRepository(transaction).find(order_id)
        return _visible(found, principal, order_id)

    async def orders_of(self, buyer_id: UserId, paging: Paging) -> tuple[list[Order], int]:
        """One page of a buyer's orders, newest first, and how many there are."""
        async with self._database.begin() as transaction:
            repository = OrderRepository(transaction)
            page = await repository.page_of(buyer_id, paging.offset, paging.limit)
            return page, await repository.count_of(buyer_id)

    async def has_ordered(self, buyer_id: UserId, product_id: ProductId) -> bool:
        """Whether a user has a product in an order that was not cancelled."""
        async with self._database.begin() as transaction:
            return await OrderRepository(transaction).has_ordered(buyer_id, product_id)

    async def cancel(self, principal: Principal, order_id: OrderId) -> None:
        """Cancelling again changes nothing. Raises UnknownOrder, NotCancellable."""
        async with self._database.begin() as transaction:
            order = _visible(await OrderRepository(transaction).lock(order_id), principal, order_id)
            reason = CancelReason.BUYER if order.buyer_id == principal.user_id else CancelReason.ADMIN
            await self._cancel_within(transaction, order, reason)
        self._outbox.nudge()

    async def expire(self) -> int:
        """Cancels orders that were not paid in time; says how many."""
        async with self._database.begin() as transaction:
            lapsed = await OrderRepository(transaction).lock_lapsed(self._now(), _SWEEP)
            for order in lapsed:
                await self._cancel_within(transaction, order, CancelReason.EXPIRED)
        if lapsed:
            self._outbox.nudge()
        return len(lapsed)

    async def reject_within(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        """Inventory could not keep the stock: the hold had lapsed, and somebody else has it now. Raises NotCancellable."""
        order = await OrderRepository(transaction).lock(order_id)
        if order is None:
            log.warning("stock rejected for an order that was never stored", order_id=str(order_id))
            return
        await self._cancel_within(transaction, order, CancelReason.OUT_OF_STOCK)

    async def forget_keys(self) -> None:
        """A key is remembered for a week: longer than anybody repeats a request."""
        async with self._database.begin() as transaction:
            await KeyRepository(transaction).forget(before=self._now() - _KEYS_KEPT)

    async def _claim(
        self, buyer_id: UserId, lines: Sequence[Line], key: IdempotencyKey | None
    ) -> tuple[OrderId, Order | None]:
        """The order id to work under, and the order if it is stored already. Committed before anything else begins."""
        claim = Claim(OrderId(self._new_id()), fingerprint(lines))
        if key is None:
            return claim.order_id, None
        async with self._database.begin() as transaction:
            order_id = claim.settled_by(await KeyRepository(transaction).hold(buyer_id, key, claim, self._now()))
            return order_id, await OrderRepository(transaction).find(order_id)

    async def _store(self, order: Order) -> Order:
        """The order as it is stored: this one, or the one that a request under the same key has stored first."""
        async with self._database.begin() as transaction:
            stored = await OrderRepository(transaction).add_once(order)
            if stored is not order:
                return stored
            payload = events.placed(order)
            await self._outbox.record(transaction, self._new_id(), str(order.id), payload, order.created_at)
        self._outbox.nudge()
        PLACED.inc()
        REVENUE.labels(order.total.currency).inc(order.total.amount)
        log.info("order placed", order_id=str(order.id))
        return order

    async def _release(self, order_id: OrderId) -> None:
        """So that the stock is free at once; where this fails, it is when its hold lapses."""
        try:
            await self._inventory.release(order_id)
        except (NeighbourUnavailable, RpcProblem) as error:
            log.warning("stock stays on hold until it lapses", order_id=str(order_id), reason=str(error))

    async def _cancel_within(self, transaction: AsyncConnection, order: Order, reason: CancelReason) -> None:
        """The order's row must be locked."""
        cancelled, now = order.cancelled(reason), self._now()
        if cancelled is order:
            return
        await OrderRepository(transaction).store_cancellation(cancelled)
        payload = events.cancelled(cancelled, reason, now)
        await self._outbox.record(transaction, self._new_id(), str(order.id), payload, now)
        CANCELLED.labels(reason).inc()
        log.info("order cancelled", order_id=str(order.id), reason=reason)


def _visible(order: Order | None, principal: Principal, order_id: OrderId) -> Order:
    if order is None or (order.buyer_id != principal.user_id and not principal.is_admin):
        raise UnknownOrder(order_id)
    return order
