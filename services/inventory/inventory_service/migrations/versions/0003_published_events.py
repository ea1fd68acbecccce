"""Keeps published events for a time, so that they can be resent, and indexes the inbox by age.

The release before this one keeps working on this schema.
"""

from chassis.database.migrations import index_inbox_by_age, keep_published_events

revision = "0003"
down_revision = "0002"
oldest_code = "0002"


def upgrade() -> None:
    keep_published_events()
    index_inbox_by_age()
