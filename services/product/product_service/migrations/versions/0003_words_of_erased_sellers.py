"""Deleted products of erased sellers lose their words; an index finds those that still have some.

The release before this one goes on working on it: it never writes a product without a name, and shows no deleted one. What it withdraws
meanwhile is silenced by this one.
"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        "UPDATE products SET name = '', description = '', images = '{}', options = '{}'"
        " FROM erased_sellers WHERE products.seller_id = erased_sellers.user_id AND deleted_at IS NOT NULL"
    )
    op.execute(
        "ALTER TABLE products ADD CONSTRAINT what_has_no_name_says_nothing"
        " CHECK (name <> '' OR description = '' AND images = '{}' AND options = '{}')"
    )
    op.execute(
        "CREATE INDEX deleted_products_with_words ON products (seller_id, id) WHERE deleted_at IS NOT NULL AND name <> ''"
    )
