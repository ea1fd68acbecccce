"""The events that this service publishes, recorded in the outbox within the caller's transaction."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from chassis.messaging.outbox import Outbox
from shopapi.events.v1.events_pb2 import RatingChanged
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.domain.reviews import RatingRevision


class PublishedEvents:
    def __init__(self, outbox: Outbox, new_id: Callable[[], UUID]) -> None:
        self._outbox = outbox
        self._new_id = new_id

    async def rating_changed(self, transaction: AsyncConnection, revision: RatingRevision, at: datetime) -> None:
        payload = RatingChanged(
            product_id=revision.product_id,
            stars=revision.rating.sum,
            count=revision.rating.count,
            revision=revision.revision,
        )
        await self._outbox.record(transaction, self._new_id(), str(revision.product_id), payload, at)
