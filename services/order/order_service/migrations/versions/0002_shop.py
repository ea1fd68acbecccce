"""Renames the columns of idempotency keys to those that every service has."""

from alembic import op

revision = "0002"
down_revision = "0001"
oldest_code = "0002"


def upgrade() -> None:
    op.alter_column("idempotency_keys", "buyer_id", new_column_name="owner_id")
    op.alter_column("idempotency_keys", "order_id", new_column_name="resource_id")
