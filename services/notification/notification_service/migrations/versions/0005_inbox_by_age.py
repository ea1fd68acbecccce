"""Indexes the inbox by age. The release before this one keeps working on this schema."""

from chassis.database.migrations import index_inbox_by_age

revision = "0005"
down_revision = "0004"
oldest_code = "0004"


def upgrade() -> None:
    index_inbox_by_age()
