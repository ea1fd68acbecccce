"""The use cases of orders: what they set aside, take off the shelf and give back. One transaction each.

Every one may be repeated, and an order's events may come in any order: `domain/reservations.py` says where they end.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from chassis.database.engine import Database
from chassis.grpc.wire import timestamp
from chassis.messaging.outbox import Outbox
from chassis.observability import logs
from chassis.types.ids import OrderId, ProductId
from prometheus_client import Counter
from shopapi.events.v1.events_pb2 import ReservationRejected
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.errors import OutOfStock
from inventory_service.domain.movements import Cause, MovementKind
from inventory_service.domain.reservations import Reservation, ReservationStatus
from inventory_service.domain.stock import Change, Line, Stock, ensure_covered, merged
from inventory_service.repository.reservations import ReservationRepository
from inventory_service.service.books import Books

STOCK_OUTS = Counter("inventory_stock_outs_total", "Reservations refused for lack of stock")
LAPSED = Counter("inventory_reservations_lapsed_total", "Reservations whose time was over")
REJECTED = Counter("inventory_reservations_rejected_total", "Orders whose stock was gone when their event came")

_SWEEP = 100
_Step = Callable[[Stock, int], Stock]
"""What happens to a product's stock, for so many units of it."""

log = logs.get_logger(__name__)


class Reservations:
    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        books: Books,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._books = books
        self._now = now
        self._new_id = new_id

    async def reserve(self, order_id: OrderId, wanted: Sequence[Line], until: datetime) -> None:
        """Sets every line aside or none. Repeating it for an order changes nothing. Raises OutOfStock."""
        try:
            async with self._database.begin() as transaction:
                has_news = await self._hold(transaction, order_id, wanted, until)
        except OutOfStock:
            STOCK_OUTS.inc()
            raise
        if has_news:
            self._outbox.wake()

    async def release(self, order_id: OrderId) -> None:
        """Gives back what is set aside for an order; one that holds none is left as it is."""
        has_news = False
        async with self._database.begin() as transaction:
            reservations = ReservationRepository(transaction)
            held = await reservations.lock(order_id)
            if held is not None and held.holds_stock:
                has_news = await self._give_back(transaction, [order_id])
                await reservations.close([order_id], ReservationStatus.RELEASED)
        if has_news:
            self._outbox.wake()

    async def placed_within(
        self, transaction: AsyncConnection, order_id: OrderId, lines: Sequence[Line], until: datetime
    ) -> None:
        """The order exists: holds its stock until the order's own expiry. A hold that lapsed before this was known is
        taken again; where the stock is gone by now, the order hears of it.
        """
        try:
            await self._hold(transaction, order_id, lines, until)
        except OutOfStock:
            await self._reject(transaction, order_id)

    async def confirmed_within(self, transaction: AsyncConnection, order_id: OrderId, lines: Sequence[Line]) -> None:
        """The order is paid: its stock leaves the shelf. As with `placed_within` where it has lapsed."""
        try:
            await self._sell(transaction, order_id, lines)
        except OutOfStock:
            await self._reject(transaction, order_id)

    async def cancelled_within(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        """The order is cancelled: what it holds or has taken is back, and no other event of it has an effect any more."""
        reservations = ReservationRepository(transaction)
        cancelled = Reservation(order_id, ReservationStatus.RELEASED, self._now(), is_cancelled=True)
        held = await reservations.lock(order_id) or await reservations.lock_or_create(cancelled)
        if held.is_cancelled:
            return
        if held.holds_stock:
            await self._give_back(transaction, [order_id])
        elif held.status is ReservationStatus.COMMITTED:
            await self._restock(transaction, order_id)
        await reservations.cancel(order_id)

    async def expire(self) -> None:
        """Gives back what lapsed reservations hold."""
        while await self._expire_some() == _SWEEP:
            pass

    async def _expire_some(self) -> int:
        """All rows of stock are locked at once, in product order, as everywhere: two sweeps cannot wait for each other."""
        has_news = False
        async with self._database.begin() as transaction:
            reservations = ReservationRepository(transaction)
            lapsed = await reservations.lock_lapsed(self._now(), _SWEEP)
            if lapsed:
                has_news = await self._give_back(transaction, lapsed)
                await reservations.close(lapsed, ReservationStatus.EXPIRED)
        if has_news:
            self._outbox.wake()
        LAPSED.inc(len(lapsed))
        return len(lapsed)

    async def _hold(
        self, transaction: AsyncConnection, order_id: OrderId, wanted: Sequence[Line], until: datetime
    ) -> bool:
        """Whether there is an event for the relay. Raises OutOfStock: then the reservation's row may be new, and nothing else."""
        reservations, new = ReservationRepository(transaction), Reservation(order_id, ReservationStatus.PENDING, until)
        held, has_news = await reservations.lock_or_create(new), False
        if held.is_settled:
            return False
        if held is new or not held.holds_stock:
            lines = merged(wanted)
            has_news = await self._take(transaction, lines, Stock.set_aside)
            await _note(reservations, order_id, lines, is_new=held is new)
        if held is not new:
            await reservations.hold(order_id, until)
        return has_news

    async def _sell(self, transaction: AsyncConnection, order_id: OrderId, wanted: Sequence[Line]) -> None:
        """What is set aside, or else what can be had now. Raises OutOfStock, as `_hold` does."""
        reservations = ReservationRepository(transaction)
        new = Reservation(order_id, ReservationStatus.PENDING, self._now())
        held = await reservations.lock(order_id) or await reservations.lock_or_create(new)
        if held.is_settled:
            return
        cause = Cause(MovementKind.SALE, order_id=order_id)
        if held is not new and held.holds_stock:
            await self._move(transaction, await reservations.lines([order_id]), Stock.sold, cause)
        else:
            lines = merged(wanted)
            await self._take(transaction, lines, Stock.sold_at_once, cause)
            await _note(reservations, order_id, lines, is_new=held is new)
        await reservations.close([order_id], ReservationStatus.COMMITTED)

    async def _give_back(self, transaction: AsyncConnection, orders: Sequence[OrderId]) -> bool:
        return await self._move(transaction, await ReservationRepository(transaction).lines(orders), Stock.freed)

    async def _restock(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        lines = await ReservationRepository(transaction).lines([order_id])
        await self._move(transaction, lines, Stock.returned, Cause(MovementKind.RETURN, order_id=order_id))

    async def _take(
        self, transaction: AsyncConnection, lines: Sequence[Line], step: _Step, cause: Cause | None = None
    ) -> bool:
        """Every line or none. Raises OutOfStock before anything is written."""
        stocks = await self._locked(transaction, lines)
        ensure_covered(lines, stocks)
        return await self._books.write(transaction, _changes(lines, stocks, step), cause)

    async def _move(
        self, transaction: AsyncConnection, lines: Sequence[Line], step: _Step, cause: Cause | None = None
    ) -> bool:
        stocks = await self._locked(transaction, lines)
        return await self._books.write(transaction, _changes(lines, stocks, step), cause)

    async def _locked(self, transaction: AsyncConnection, lines: Sequence[Line]) -> Mapping[ProductId, Stock]:
        return await self._books.stock(transaction).lock_stocks([line.product_id for line in lines])

    async def _reject(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        await ReservationRepository(transaction).close([order_id], ReservationStatus.EXPIRED)
        now = self._now()
        payload = ReservationRejected(order_id=str(order_id), rejected_at=timestamp(now))
        await self._outbox.record(transaction, self._new_id(), str(order_id), payload, now)
        REJECTED.inc()
        log.warning("the stock of an order is gone", order_id=str(order_id))


def _changes(lines: Sequence[Line], stocks: Mapping[ProductId, Stock], step: _Step) -> list[Change]:
    return [Change(stocks[line.product_id], step(stocks[line.product_id], line.quantity)) for line in lines]


async def _note(reservations: ReservationRepository, order_id: OrderId, lines: Sequence[Line], *, is_new: bool) -> None:
    """What the order's reservation is of."""
    if not is_new:
        await reservations.remove_lines(order_id)
    await reservations.add_lines(order_id, lines)
