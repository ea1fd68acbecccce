"""Adds moderation, helpful votes, the distributions of ratings, erased accounts, outbox and inbox.

The release before this one keeps working on this schema. It does not write distributions:
`RatingService.repair_ratings` adds what its writes leave out, and publishes the ratings that are older than their
events.
"""

import sqlalchemy as sa
from alembic import op
from chassis.database.migrations import create_event_tables

revision = "0002"
down_revision = "0001"
oldest_code = "0001"

DISTRIBUTIONS = """
UPDATE ratings SET stars_1 = found.s1, stars_2 = found.s2, stars_3 = found.s3, stars_4 = found.s4, stars_5 = found.s5
FROM (
    SELECT
        product_id,
        count(*) FILTER (WHERE rating = 1) AS s1,
        count(*) FILTER (WHERE rating = 2) AS s2,
        count(*) FILTER (WHERE rating = 3) AS s3,
        count(*) FILTER (WHERE rating = 4) AS s4,
        count(*) FILTER (WHERE rating = 5) AS s5
    FROM reviews GROUP BY product_id
) AS found
WHERE ratings.product_id = found.product_id
"""
SHOWN = sa.text("status = 'approved'")


def upgrade() -> None:
    op.add_column("reviews", sa.Column("status", sa.Text, nullable=False, server_default="approved"))
    op.create_check_constraint("review_status", "reviews", "status IN ('pending', 'approved', 'rejected')")
    op.add_column("reviews", sa.Column("moderation_reason", sa.Text, nullable=True))
    op.add_column("reviews", sa.Column("helpful_count", sa.BigInteger, nullable=False, server_default="0"))
    op.create_check_constraint("helpful_count_is_a_count", "reviews", "helpful_count >= 0")
    for name, column in (("helpful", "helpful_count"), ("rating", "rating")):
        op.create_index(
            f"reviews_shown_by_{name}", "reviews", ["product_id", column, "created_at", "id"], postgresql_where=SHOWN
        )
    op.create_index(
        "reviews_hidden", "reviews", ["status", "created_at", "id"], postgresql_where=sa.text("status <> 'approved'")
    )
    op.create_index("reviews_by_author", "reviews", ["author_id"])

    op.create_table(
        "helpful_votes",
        sa.Column("review_id", sa.BigInteger, sa.ForeignKey("reviews.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("user_id", sa.BigInteger, primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("helpful_votes_by_user", "helpful_votes", ["user_id"])
    op.create_table(
        "erased_users",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
    )

    op.add_column("ratings", sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"))
    for stars in range(1, 6):
        op.add_column("ratings", sa.Column(f"stars_{stars}", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(DISTRIBUTIONS)
    create_event_tables()
