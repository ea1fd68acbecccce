"""Lists the provider's events periodically, so that what a lost webhook would have reported is found.

A listed event is a hint like a webhook, with the same id, and goes through the same use case.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from chassis.database.engine import Database
from chassis.observability import logs
from prometheus_client import Counter, Gauge

from payment_service.clients.provider import EventPage, Provider
from payment_service.domain.errors import ProviderError
from payment_service.domain.event_listing import EventListing
from payment_service.repository.event_listing import EventListingRepository
from payment_service.service.webhooks import WebhookService

FOUND = Counter(
    "payment_events_without_webhook_total", "Events of the provider that were listed before a webhook reported them"
)
UNLISTED = Gauge(
    "payment_provider_unlisted_seconds", "How long ago the provider's events were listed completely for the last time"
)

_PAGES = 50
"""How many pages of 100 events one round lists at most; the next round continues."""

log = logs.get_logger(__name__)


class EventLister:
    def __init__(
        self,
        database: Database,
        provider: Provider,
        webhooks: WebhookService,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
        interval: timedelta,
    ) -> None:
        """`interval` is the longest time between two rounds. `jitter` returns a random number between 0 and 1."""
        self._database = database
        self._provider = provider
        self._webhooks = webhooks
        self._now = now
        self._jitter = jitter
        self._interval = interval

    async def list_events(self) -> None:
        """Lists the events since the last listing, unless another process does.

        If the provider does not answer, the next round continues.
        """
        if not await self._claim():
            return
        listing = await self._find()
        for _ in range(_PAGES):
            listing = listing.resume(self._now())
            try:
                page = await self._provider.list_events(listing.since, listing.after)
            except ProviderError as error:
                log.warning("the provider's events are listed later", reason=str(error))
                break
            listing = await self._follow(listing, page)
            if listing.began_at is None:
                break
        UNLISTED.set((self._now() - listing.listed_until).total_seconds())

    async def _claim(self) -> bool:
        now = self._now()
        next_at = now + self._interval * (0.5 + self._jitter() / 2)
        async with self._database.begin() as transaction:
            return await EventListingRepository(transaction).claim(now, next_at)

    async def _find(self) -> EventListing:
        async with self._database.begin() as transaction:
            return await EventListingRepository(transaction).find()

    async def _follow(self, listing: EventListing, page: EventPage) -> EventListing:
        """Follows the events of a page, each in a transaction of its own, and then stores the position after them."""
        for event in page.events:
            if await self._webhooks.follow_listed(event):
                FOUND.inc()
        listing = listing.finished() if page.next_after is None else listing.after_page(page.next_after)
        async with self._database.begin() as transaction:
            await EventListingRepository(transaction).store(listing)
        return listing
