"""Creates categories and products."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
oldest_code = "0001"


def upgrade() -> None:
    op.create_table(
        "categories",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
    )
    op.create_index("category_names_are_unique", "categories", [sa.text("lower(name)")], unique=True)
    op.create_table(
        "products",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("seller_id", sa.BigInteger, nullable=False),
        sa.Column("category_id", sa.BigInteger, sa.ForeignKey("categories.id"), nullable=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("price_amount", sa.BigInteger, nullable=False),
        sa.Column("price_currency", sa.Text, nullable=False),
        sa.Column("images", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("price_amount > 0", name="a_price_is_positive"),
        sa.CheckConstraint("price_currency ~ '^[A-Z]{3}$'", name="a_price_has_a_currency"),
        sa.CheckConstraint("category_id IS NOT NULL OR deleted_at IS NOT NULL", name="what_is_sold_has_a_category"),
    )
    live = sa.text("deleted_at IS NULL")
    op.create_index("products_by_category", "products", ["category_id"])
    op.create_index("products_by_age", "products", ["created_at", "id"], postgresql_where=live)
    op.create_index("products_by_price", "products", ["price_amount", "id"], postgresql_where=live)
    op.create_index("products_by_name", "products", [sa.text("lower(name)"), "id"], postgresql_where=live)
