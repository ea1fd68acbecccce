"""Indexes the lists of reviews that no index is in the order of: lowest rating first, and all shown ones by time.

An ascending rating before a descending time is no order of an index of columns; a negated rating is. The release before
this one keeps working on this schema.
"""

from chassis.database.migrations import create_index_concurrently

revision = "0005"
down_revision = "0004"
oldest_code = "0004"

_SHOWN = "status = 'approved'"


def upgrade() -> None:
    create_index_concurrently(
        "reviews_shown_by_low_rating", "reviews", "product_id, (- rating), created_at, id", where=_SHOWN
    )
    create_index_concurrently("reviews_shown_by_time", "reviews", "created_at, id", where=_SHOWN)
