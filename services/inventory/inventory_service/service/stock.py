"""The use cases of stock, one transaction each."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from chassis.database import Database
from chassis.kernel.ids import OrderId, ProductId
from chassis.outbox import Outbox
from chassis.tokens import Principal
from chassis.wire import timestamp
from prometheus_client import Counter
from shopapi.events.v1.events_pb2 import ReservationRejected
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.clients.products import Products
from inventory_service.domain.errors import NotTheSeller, OutOfStock, Shortage
from inventory_service.domain.stock import Line, ReservationStatus, Stock, ensure_covered, merged, shortages
from inventory_service.repository.stock import StockRepository

STOCK_OUTS = Counter("inventory_stock_outs_total", "Reservations refused for lack of stock")
_SWEEP = 100


class StockKeeping:
    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        products: Products,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._products = products
        self._now = now
        self._new_id = new_id

    async def stock_of(self, product_id: ProductId) -> Stock:
        """Zeros for a product whose stock was never set."""
        async with self._database.begin() as transaction:
            stocks = await StockRepository(transaction).stocks([product_id])
        return stocks.get(product_id, Stock(product_id))

    async def shortages(self, wanted: Sequence[Line]) -> list[Shortage]:
        """What of a basket could not be had now; nothing is reserved."""
        lines = merged(wanted)
        async with self._database.begin() as transaction:
            stocks = await StockRepository(transaction).stocks([line.product_id for line in lines])
        return shortages(lines, stocks)

    async def count(self, principal: Principal, product_id: ProductId, on_hand: int) -> Stock:
        """Sets what is in the warehouse. Raises UnknownProduct, NotTheSeller, BelowReserved."""
        seller = await self._products.seller_of(product_id)
        if seller != principal.user_id and not principal.is_admin:
            raise NotTheSeller(product_id)
        async with self._database.begin() as transaction:
            repository = StockRepository(transaction)
            await repository.ensure_record(product_id)
            counted = (await repository.lock_stocks([product_id]))[product_id].counted(on_hand)
            await repository.store(counted)
        return counted

    async def reserve(self, order_id: OrderId, wanted: Sequence[Line], until: datetime) -> None:
        """Sets every line aside or none. Repeating it for an order changes nothing. Raises OutOfStock."""
        try:
            async with self._database.begin() as transaction:
                await self._reserve(StockRepository(transaction), order_id, wanted, until)
        except OutOfStock:
            STOCK_OUTS.inc()
            raise

    async def release(self, order_id: OrderId) -> None:
        """Gives an order's stock back; one that holds none is left as it is."""
        async with self._database.begin() as transaction:
            await self.release_within(transaction, order_id)

    async def release_within(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        repository = StockRepository(transaction)
        status = await repository.lock_reservation(order_id)
        if status is not None and status.holds_stock:
            await self._give_back(repository, order_id, ReservationStatus.RELEASED)
        elif status is ReservationStatus.EXPIRED:
            await repository.close(order_id, ReservationStatus.RELEASED)

    async def extend_within(
        self, transaction: AsyncConnection, order_id: OrderId, lines: Sequence[Line], until: datetime
    ) -> None:
        """The order exists: holds its stock until the order's own expiry. A hold that lapsed before this was known is
        taken again; where the stock is gone by now, the order hears of it.
        """
        repository = StockRepository(transaction)
        status = await repository.lock_reservation(order_id)
        if status is ReservationStatus.RELEASED:
            return  # the order was cancelled, and that event came first
        try:
            async with transaction.begin_nested():
                await self._reserve(repository, order_id, lines, until)
        except OutOfStock:
            await self._reject(transaction, order_id)

    async def expire(self) -> int:
        """Gives back what lapsed reservations hold; says how many there were."""
        async with self._database.begin() as transaction:
            repository = StockRepository(transaction)
            lapsed = await repository.lapsed(self._now(), _SWEEP)
            for order_id in lapsed:
                await self._give_back(repository, order_id, ReservationStatus.EXPIRED)
        return len(lapsed)

    async def _reserve(
        self, repository: StockRepository, order_id: OrderId, wanted: Sequence[Line], until: datetime
    ) -> None:
        status = await repository.claim_reservation(order_id, until)
        if status is None or not status.holds_stock:
            lines = merged(wanted)
            ensure_covered(lines, await repository.lock_stocks([line.product_id for line in lines]))
            await repository.set_aside(lines, 1)
            await repository.replace_lines(order_id, lines)
        await repository.hold(order_id, until)

    async def _give_back(self, repository: StockRepository, order_id: OrderId, status: ReservationStatus) -> None:
        lines = await repository.lines(order_id)
        await repository.lock_stocks([line.product_id for line in lines])
        await repository.set_aside(lines, -1)
        await repository.close(order_id, status)

    async def _reject(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        now = self._now()
        payload = ReservationRejected(order_id=str(order_id), rejected_at=timestamp(now))
        await self._outbox.record(transaction, self._new_id(), str(order_id), payload, now)
