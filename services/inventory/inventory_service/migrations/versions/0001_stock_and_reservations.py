"""Creates the tables of stock, reservations, outbox and inbox."""

import sqlalchemy as sa
from alembic import op
from chassis.database.migrations import create_event_tables

revision = "0001"
down_revision = None
oldest_code = "0001"


def upgrade() -> None:
    op.create_table(
        "stock",
        sa.Column("product_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False, server_default="0"),
        sa.CheckConstraint("reserved >= 0 AND reserved <= on_hand", name="stock_is_never_oversold"),
    )
    op.create_table(
        "reservations",
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('pending', 'committed', 'released', 'expired')", name="reservation_status"),
    )
    op.create_index(
        "reservations_by_expiry", "reservations", ["held_until"], postgresql_where=sa.text("status = 'pending'")
    )
    op.create_table(
        "reservation_lines",
        sa.Column("order_id", sa.Uuid, sa.ForeignKey("reservations.order_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("product_id", sa.BigInteger, sa.ForeignKey("stock.product_id"), primary_key=True),
        sa.Column("quantity", sa.BigInteger, sa.CheckConstraint("quantity > 0"), nullable=False),
    )
    create_event_tables()
