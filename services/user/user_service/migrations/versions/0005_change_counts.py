"""Counts the changes of the names of users, so that the gateway knows when its public answers are still current.

The release before this one keeps working on this schema; what it changes is counted too.
"""

from chassis.database.migrations import count_changes

revision = "0005"
down_revision = "0004"
oldest_code = "0004"


def upgrade() -> None:
    count_changes(users="display_name, erased_at")
