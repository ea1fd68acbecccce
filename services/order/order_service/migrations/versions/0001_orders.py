"""Creates orders, their items, idempotency keys, outbox and inbox."""

import sqlalchemy as sa
from alembic import op
from chassis.database.migrations import create_event_tables

revision = "0001"
down_revision = None
oldest_code = "0001"


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("buyer_id", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("cancel_reason", sa.Text),
        sa.Column("total_amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'confirmed', 'processing', 'shipped', 'delivered', 'cancelled')", name="order_status"
        ),
        sa.CheckConstraint(
            "cancel_reason IN ('buyer', 'expired', 'admin', 'out_of_stock')", name="order_cancel_reason"
        ),
        sa.CheckConstraint(
            "(status = 'cancelled') = (cancel_reason IS NOT NULL)", name="only_a_cancelled_order_has_a_reason"
        ),
        sa.CheckConstraint("total_amount >= 0", name="order_total"),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name="order_currency"),
    )
    op.create_index("orders_of_a_buyer", "orders", ["buyer_id", "created_at", "id"])
    op.create_index("orders_by_expiry", "orders", ["expires_at"], postgresql_where=sa.text("status = 'pending'"))
    op.create_table(
        "order_items",
        sa.Column("order_id", sa.Uuid, sa.ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("product_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("quantity", sa.BigInteger, sa.CheckConstraint("quantity > 0"), nullable=False),
        sa.Column("unit_amount", sa.BigInteger, sa.CheckConstraint("unit_amount >= 0"), nullable=False),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("buyer_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("order_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["created_at"])
    create_event_tables()
