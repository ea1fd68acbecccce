"""Statements on the position in the provider's list of events, which is one row."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.domain.event_listing import EventListing
from payment_service.repository.tables import event_listing


class EventListingRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def claim(self, now: datetime, next_at: datetime) -> bool:
        """Claims the listing if it is due, and makes it due again at `next_at`; returns whether it was due."""
        claimed = update(event_listing).where(event_listing.c.next_at <= now).values(next_at=next_at)
        return (await self._transaction.execute(claimed)).rowcount == 1

    async def find(self) -> EventListing:
        row = (await self._transaction.execute(select(event_listing))).one()
        return EventListing(row.listed_until, row.began_at, row.after)

    async def store(self, listing: EventListing) -> None:
        """Stores the position. Of two concurrent listings the last one counts, since reading twice changes nothing."""
        await self._transaction.execute(
            update(event_listing).values(
                listed_until=listing.listed_until, began_at=listing.began_at, after=listing.after
            )
        )
