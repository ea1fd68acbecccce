"""The use cases of orders: they reserve, commit, fulfil and release stock. One transaction each.

Each of them may be repeated, and the events of an order may arrive in any order: `domain/reservations.py` says which
state they end in.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from chassis.database.engine import Database
from chassis.observability import logs
from chassis.types.ids import OrderId, ProductId
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.errors import OutOfStock
from inventory_service.domain.movements import MovementCause, MovementKind
from inventory_service.domain.reservations import Reservation, ReservationStatus
from inventory_service.domain.stock import Line, Stock, StockChange, ensure_allowed, ensure_available, merge_lines
from inventory_service.repository.reservations import ReservationRepository
from inventory_service.service.published_events import PublishedEvents
from inventory_service.service.stock_ledger import StockLedger

STOCK_OUTS = Counter("inventory_stock_outs_total", "Reservations refused for lack of stock")
REJECTED = Counter("inventory_reservations_rejected_total", "Orders rejected because their stock was gone")

_StockOperation = Callable[[Stock, int], Stock]
"""A method of Stock that changes it by a number of units, such as `Stock.reserve`."""

log = logs.get_logger(__name__)


class ReservationService:
    def __init__(
        self,
        database: Database,
        ledger: StockLedger,
        events: PublishedEvents,
        exact_up_to: int,
        now: Callable[[], datetime],
    ) -> None:
        """`exact_up_to` is the largest number of available units that a refusal names."""
        self._database = database
        self._ledger = ledger
        self._events = events
        self._exact_up_to = exact_up_to
        self._now = now

    async def reserve(self, order_id: OrderId, requested: Sequence[Line], until: datetime) -> None:
        """Reserves every line or none. Raises OverMaximum, OutOfStock.

        Repeating it for an order reserves nothing twice, and extends the reservation at least to `until`.
        """
        try:
            async with self._database.begin() as transaction:
                await self._reserve(transaction, order_id, requested, until, is_placed=False)
        except OutOfStock:
            STOCK_OUTS.inc()
            raise

    async def release(self, order_id: OrderId) -> None:
        """Makes the units that are reserved for an order available again; changes nothing where none are."""
        async with self._database.begin() as transaction:
            reservations = ReservationRepository(transaction)
            reservation = await reservations.lock(order_id)
            if reservation is not None and reservation.is_reserved:
                await self._change_held(transaction, [order_id], Stock.release_reserved)
                await reservations.close([order_id], ReservationStatus.RELEASED)

    async def reserve_placed_order(
        self, transaction: AsyncConnection, order_id: OrderId, lines: Sequence[Line], until: datetime
    ) -> None:
        """Extends the reservation of a placed order to the order's own expiry.

        Reserves again where the reservation expired before this event arrived; where the stock is gone by then,
        publishes that the reservation is rejected.
        """
        if await ReservationRepository(transaction).extend_pending(order_id, until):
            return
        try:
            await self._reserve(transaction, order_id, lines, until, is_placed=True)
        except OutOfStock:
            await self._reject(transaction, order_id)

    async def commit_confirmed_order(
        self, transaction: AsyncConnection, order_id: OrderId, lines: Sequence[Line] | None
    ) -> None:
        """Commits the units of a paid order: they stay on hand until it is shipped.

        Where its reservation expired, commits available units; where the stock is gone, publishes that the reservation
        is rejected. `lines` is None for an order that is known to hold its units. Raises LookupError if it does not.
        """
        if await ReservationRepository(transaction).commit_pending(order_id):
            await self._change_held(transaction, [order_id], Stock.commit_reserved)
            return
        try:
            await self._commit(transaction, order_id, lines)
        except OutOfStock:
            await self._reject(transaction, order_id)

    async def fulfil_shipped_order(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        """Takes the units of a shipped order from the stock on hand.

        The event does not say which units. Where none are held for the order, because this event overtook those of its
        placement and its payment, it is marked as shipped, and the next of them takes its units.
        """
        reservations = ReservationRepository(transaction)
        shipped = Reservation(order_id, ReservationStatus.EXPIRED, self._now(), is_shipped=True)
        reservation = await reservations.lock_or_create(shipped)
        if reservation.is_final:
            return
        await reservations.mark_as_shipped(order_id)
        if reservation.is_reserved:
            await self._change_held(transaction, [order_id], Stock.commit_reserved)
        if reservation.is_reserved or reservation.is_committed:
            await self._fulfil(transaction, order_id)

    async def release_cancelled_order(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        """Releases what is reserved or committed for a cancelled order. No later event of the order has an effect.

        A fulfilled order is cancelled only where an earlier release took its units from on hand at payment: they were
        not shipped, and return.
        """
        reservations = ReservationRepository(transaction)
        cancelled = Reservation(order_id, ReservationStatus.RELEASED, self._now(), is_cancelled=True)
        reservation = await reservations.lock_or_create(cancelled)
        if reservation.is_cancelled:
            return
        if reservation.is_reserved:
            await self._change_held(transaction, [order_id], Stock.release_reserved)
        elif reservation.is_committed:
            await self._change_held(transaction, [order_id], Stock.release_committed)
        elif reservation.is_fulfilled:
            await self._restock(transaction, order_id)
        await reservations.cancel(order_id)

    async def end_overdue(
        self, transaction: AsyncConnection, unknown: Sequence[OrderId], cancelled: Sequence[OrderId]
    ) -> None:
        """Makes the units of pending reservations available again.

        `unknown` are the reservations without an order, `cancelled` those of cancelled orders. Their rows must be
        locked. Locks all stock rows at once, in product order, as every use case does: two sweeps cannot deadlock.
        """
        if not unknown and not cancelled:
            return
        reservations = ReservationRepository(transaction)
        await self._change_held(transaction, [*unknown, *cancelled], Stock.release_reserved)
        await reservations.close(unknown, ReservationStatus.EXPIRED)
        for order_id in cancelled:
            await reservations.cancel(order_id)

    async def _reserve(
        self,
        transaction: AsyncConnection,
        order_id: OrderId,
        requested: Sequence[Line],
        until: datetime,
        *,
        is_placed: bool,
    ) -> None:
        """Stores a reservation with its lines, and reserves their units.

        Raises OutOfStock and, unless the order is placed, OverMaximum: an order that is placed keeps its units even if
        the maximum is lower now. Both errors are raised before any stock is changed, but after a new reservation was
        stored as pending: the caller rolls the transaction back, or closes the reservation.
        """
        new, lines = Reservation(order_id, ReservationStatus.PENDING, until), merge_lines(requested)
        stocks = await self._ledger.repository(transaction).create_reservation(new, lines)
        if stocks is None:
            await self._reserve_again(transaction, order_id, lines, until, is_placed=is_placed)
        else:
            await self._take(transaction, lines, stocks, Stock.reserve, is_placed=is_placed)

    async def _reserve_again(
        self,
        transaction: AsyncConnection,
        order_id: OrderId,
        lines: Sequence[Line],
        until: datetime,
        *,
        is_placed: bool,
    ) -> None:
        """Reserves for an order that has a reservation, as `_reserve` does, unless it holds its units already."""
        reservations = ReservationRepository(transaction)
        reservation = await reservations.lock_existing(order_id)
        if reservation.is_decided:
            return
        if reservation.is_shipped:
            await self._commit(transaction, order_id, lines)
            return
        if not reservation.is_reserved:
            await self._take_available(transaction, lines, Stock.reserve, is_placed=is_placed)
            await _store_lines(reservations, order_id, lines, is_new=False)
        await reservations.extend(order_id, until)

    async def _commit(self, transaction: AsyncConnection, order_id: OrderId, requested: Sequence[Line] | None) -> None:
        """Commits the units that are reserved for the order. If none are, it commits `requested` from available units.

        Raises OutOfStock, as `_reserve` does, and LookupError if no units are reserved and `requested` is None.
        """
        reservations = ReservationRepository(transaction)
        new = Reservation(order_id, ReservationStatus.PENDING, self._now())
        reservation = await reservations.lock_or_create(new)
        if reservation.is_decided:
            return
        if reservation is not new and reservation.is_reserved:
            await self._change_held(transaction, [order_id], Stock.commit_reserved)
        elif requested is None:
            raise LookupError(f"order {order_id} holds no units")
        else:
            lines = merge_lines(requested)
            await self._take_available(transaction, lines, Stock.commit_available, is_placed=True)
            await _store_lines(reservations, order_id, lines, is_new=reservation is new)
        await reservations.commit(order_id)
        if reservation.is_shipped:
            await self._fulfil(transaction, order_id)

    async def _fulfil(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        """Takes the committed units of the order from the stock on hand."""
        reservations = ReservationRepository(transaction)
        cause = MovementCause(MovementKind.SALE, order_id=order_id)
        await self._change_held(transaction, [order_id], Stock.fulfil, cause)
        await reservations.close([order_id], ReservationStatus.FULFILLED)

    async def _restock(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        cause = MovementCause(MovementKind.RETURN, order_id=order_id)
        await self._change_held(transaction, [order_id], Stock.restock, cause)

    async def _take_available(
        self, transaction: AsyncConnection, lines: Sequence[Line], operation: _StockOperation, *, is_placed: bool
    ) -> None:
        """Takes every line from the available units, as `_take` does, after it has locked their stock."""
        stocks = await self._ledger.repository(transaction).lock_stocks([line.product_id for line in lines])
        await self._take(transaction, lines, stocks, operation, is_placed=is_placed)

    async def _take(
        self,
        transaction: AsyncConnection,
        lines: Sequence[Line],
        stocks: Mapping[ProductId, Stock],
        operation: _StockOperation,
        *,
        is_placed: bool,
    ) -> None:
        """Takes every line from the available units of locked stock, or none.

        Raises OverMaximum (see `_reserve`) and OutOfStock before any stock is changed.
        """
        if not is_placed:
            ensure_allowed(lines, stocks)
        ensure_available(lines, stocks, self._exact_up_to)
        await self._ledger.record(transaction, _changes(lines, stocks, operation))

    async def _change_held(
        self,
        transaction: AsyncConnection,
        orders: Sequence[OrderId],
        operation: _StockOperation,
        cause: MovementCause | None = None,
    ) -> None:
        """Changes the stock of all lines that these orders have reservations for. Their rows must be locked."""
        lines, stocks = await self._ledger.repository(transaction).lock_held(orders)
        await self._ledger.record(transaction, _changes(lines, stocks, operation), cause)

    async def _reject(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        await ReservationRepository(transaction).close([order_id], ReservationStatus.EXPIRED)
        await self._events.reservation_rejected(transaction, order_id, self._now())
        REJECTED.inc()
        log.warning("the stock of an order is gone", order_id=str(order_id))


def _changes(lines: Sequence[Line], stocks: Mapping[ProductId, Stock], operation: _StockOperation) -> list[StockChange]:
    return [StockChange(stocks[line.product_id], operation(stocks[line.product_id], line.quantity)) for line in lines]


async def _store_lines(
    reservations: ReservationRepository, order_id: OrderId, lines: Sequence[Line], *, is_new: bool
) -> None:
    """Replaces the lines of the order's reservation; one that is new has none to remove."""
    if not is_new:
        await reservations.remove_lines(order_id)
    await reservations.add_lines(order_id, lines)
