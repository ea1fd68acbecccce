"""Keeps published events for a time, so that they can be resent, and indexes the inbox by age.

The release before this one keeps working on this schema.
"""

from chassis.database.migrations import index_inbox_by_age, keep_published_events

revision = "0004"
down_revision = "0003"
oldest_code = "0003"


def upgrade() -> None:
    keep_published_events()
    index_inbox_by_age()
