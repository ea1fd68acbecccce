"""Redacts the deleted products of erased sellers, and adds an index of those that still have texts.

The previous release keeps working on this schema: it never writes a product without a name, and shows no deleted one.
Products that it deletes during the upgrade are redacted by this release.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
oldest_code = "0002"


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
        "CREATE INDEX deleted_products_with_words ON products (seller_id, id)"
        " WHERE deleted_at IS NOT NULL AND name <> ''"
    )
