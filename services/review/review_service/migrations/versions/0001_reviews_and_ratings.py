"""Creates the tables of reviews and of the ratings that they add up to."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
oldest_code = "0001"


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("product_id", sa.BigInteger, nullable=False),
        sa.Column("author_id", sa.BigInteger, nullable=False),
        sa.Column("rating", sa.SmallInteger, nullable=False),
        sa.Column("title", sa.Text, nullable=True),
        sa.Column("text", sa.Text, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("product_id", "author_id", name="one_review_of_a_product_each"),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name="one_to_five_stars"),
    )
    op.create_index("reviews_by_age", "reviews", ["product_id", "created_at", "id"])
    op.create_table(
        "ratings",
        sa.Column("product_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("sum", sa.BigInteger, nullable=False),
        sa.CheckConstraint("sum BETWEEN count AND 5 * count", name="one_to_five_stars_each"),
    )
