"""The position in the provider's list of events, which is read from the newest event back to the last one known. Pure.

Events that happen while the list is read are before its first page: the next listing reads them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

_OVERLAP = timedelta(minutes=5)
"""How far listings overlap: the provider's clock differs from ours, and it may list an event late."""
_LONGEST_LISTING = timedelta(days=1)
"""The time after which an unfinished listing begins again: the provider forgets the event at its position."""


@dataclass(frozen=True, slots=True)
class EventListing:
    """All events before `listed_until` are known. `began_at` is when the current listing began, None between two.

    `after` is the provider's id of the last event that the current listing has read.
    """

    listed_until: datetime
    began_at: datetime | None = None
    after: str | None = None

    @property
    def since(self) -> datetime:
        """Returns the time of the oldest event to list."""
        return self.listed_until - _OVERLAP

    def resume(self, at: datetime) -> "EventListing":
        """Returns the listing that continues this one; a new one if there is none to continue."""
        if self.began_at is None or at - self.began_at > _LONGEST_LISTING:
            return EventListing(self.listed_until, at)
        return self

    def after_page(self, last: str) -> "EventListing":
        """Returns the listing after a page, whose last event is `last`."""
        return EventListing(self.listed_until, self.began_at, last)

    def finished(self) -> "EventListing":
        """Returns the position after the last page."""
        return EventListing(self.began_at or self.listed_until)
