"""The ratings of products, which their shown reviews keep up to date."""

from collections.abc import Callable
from datetime import datetime

from chassis.database.engine import Database
from chassis.observability import logs
from chassis.types.ids import ProductId
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.repository.ratings import RatingRepository
from review_service.service.published_events import PublishedEvents

_BATCH = 100

log = logs.get_logger(__name__)


class RatingService:
    def __init__(self, database: Database, events: PublishedEvents, now: Callable[[], datetime]) -> None:
        self._database = database
        self._events = events
        self._now = now

    async def apply_change(
        self, transaction: AsyncConnection, product_id: ProductId, before: int | None, after: int | None
    ) -> None:
        """Updates a product's rating after one review changed from `before` to `after` shown stars.

        Records the event. The review's row must be locked.
        """
        if before != after:
            revision = await RatingRepository(transaction).apply_change(product_id, before, after)
            await self._events.rating_changed(transaction, revision, self._now())

    async def repair_ratings(self) -> None:
        """Recalculates the ratings that the previous release left incomplete, and publishes them."""
        async with self._database.begin() as transaction:
            repaired = await RatingRepository(transaction).repair(_BATCH)
            for revision in repaired:
                await self._events.rating_changed(transaction, revision, self._now())
        if repaired:
            log.info("ratings were recalculated", products=len(repaired))
