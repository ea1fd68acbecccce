"""Adds the idempotency keys of carts, manual payments, and the former shipments of an order.

Everything is added beside the existing columns, so that the code of 0003 keeps working.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
oldest_code = "0003"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")  # a foreign key locks its table: fail and retry rather than stop it
    op.create_table(
        "cart_keys",
        sa.Column("cart_id", sa.Uuid, sa.ForeignKey("carts.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("cart_keys_by_age", "cart_keys", ["created_at"])
    op.create_table(
        "manual_payments",
        sa.Column("order_id", sa.Uuid, sa.ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("amount", sa.BigInteger, sa.CheckConstraint("amount > 0"), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recorded_by", sa.BigInteger, nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=False),
    )
    former_shipments = sa.Column("former_shipments", sa.dialects.postgresql.JSONB, nullable=False, server_default="[]")
    op.add_column("orders", former_shipments)
