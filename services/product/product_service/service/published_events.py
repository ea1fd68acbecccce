"""The events that the product service publishes."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from chassis.grpc.wire import timestamp
from chassis.messaging.outbox import Outbox
from chassis.types.ids import ProductId
from shopapi.events.v1.events_pb2 import ProductChanged
from sqlalchemy.ext.asyncio import AsyncConnection


class PublishedEvents:
    """Records events in the outbox."""

    def __init__(self, outbox: Outbox, now: Callable[[], datetime], new_id: Callable[[], UUID]) -> None:
        self._outbox = outbox
        self._now = now
        self._new_id = new_id

    async def record_product_changed(self, transaction: AsyncConnection, product_ids: Sequence[ProductId]) -> None:
        """Records a product.changed event for each product in the transaction that changes it."""
        now = self._now()
        for product_id in product_ids:
            changed = ProductChanged(product_id=product_id, changed_at=timestamp(now))
            await self._outbox.record(transaction, self._new_id(), str(product_id), changed, now)
