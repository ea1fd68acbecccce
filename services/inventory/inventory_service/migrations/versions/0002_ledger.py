"""Adds the ledger, low-stock thresholds and sellers, the published availability, cancelled orders and idempotency keys.

The release before this one keeps working on this schema: a trigger writes the stock that it sets into the ledger.
"""

import sqlalchemy as sa
from alembic import op
from chassis.database.migrations import create_idempotency_keys

revision = "0002"
down_revision = "0001"
oldest_code = "0001"

BACKFILL = """
INSERT INTO movements (product_id, kind, delta, on_hand, reason, at)
SELECT product_id, 'set', on_hand, on_hand, 'on hand when the ledger began', now() FROM stock WHERE on_hand > 0
"""

# Deferred: it sees the state at the end of the transaction, no matter whether stock or movement was written first.
BALANCE = """
CREATE FUNCTION balance_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO movements (product_id, kind, delta, on_hand, reason, at)
    SELECT product_id, 'set', on_hand - booked, on_hand, 'counted by the release before the ledger', now()
    FROM (
        SELECT product_id, on_hand, coalesce(
            (SELECT on_hand FROM movements WHERE product_id = NEW.product_id ORDER BY id DESC LIMIT 1), 0
        ) AS booked
        FROM stock WHERE product_id = NEW.product_id
    ) AS unbalanced
    WHERE on_hand <> booked;
    RETURN NULL;
END
$$
"""
BALANCE_AFTER_INSERT = """
CREATE CONSTRAINT TRIGGER balance_ledger_after_insert AFTER INSERT ON stock
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.on_hand <> 0) EXECUTE FUNCTION balance_ledger()
"""
BALANCE_AFTER_UPDATE = """
CREATE CONSTRAINT TRIGGER balance_ledger_after_update AFTER UPDATE ON stock
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.on_hand <> OLD.on_hand) EXECUTE FUNCTION balance_ledger()
"""

KEEP = """
CREATE FUNCTION refuse_to_rewrite_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'movements are never changed: write one that corrects the other';
END
$$
"""
KEEP_ROWS = """
CREATE TRIGGER movements_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON movements
FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite_ledger()
"""


def upgrade() -> None:
    op.add_column(
        "stock",
        sa.Column("low_stock_threshold", sa.BigInteger, sa.CheckConstraint("low_stock_threshold >= 0"), nullable=True),
    )
    op.add_column("stock", sa.Column("seller_id", sa.BigInteger, nullable=True))
    op.add_column("stock", sa.Column("announced", sa.Boolean, nullable=False, server_default="false"))
    op.add_column("stock", sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"))

    op.add_column("reservations", sa.Column("is_cancelled", sa.Boolean, nullable=False, server_default="false"))
    op.execute("UPDATE reservations SET is_cancelled = true WHERE status = 'released'")

    op.create_table(
        "movements",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("product_id", sa.BigInteger, sa.ForeignKey("stock.product_id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("delta", sa.BigInteger, nullable=False),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
        sa.Column("actor_id", sa.BigInteger, nullable=True),
        sa.Column("order_id", sa.Uuid, nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("adjustment_id", sa.Uuid, nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('set', 'adjust', 'sale', 'return')", name="movement_kind"),
        sa.CheckConstraint("delta <> 0 AND on_hand >= 0", name="movement_moves"),
        sa.CheckConstraint("(order_id IS NOT NULL) = (kind IN ('sale', 'return'))", name="orders_sell_and_return"),
    )
    op.create_index("movements_by_product", "movements", ["product_id", "id"])
    op.create_index(
        "one_movement_of_an_order",
        "movements",
        ["order_id", "product_id", "kind"],
        unique=True,
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )
    op.create_index(
        "one_movement_of_an_adjustment",
        "movements",
        ["adjustment_id"],
        unique=True,
        postgresql_where=sa.text("adjustment_id IS NOT NULL"),
    )
    for statement in (BACKFILL, BALANCE, BALANCE_AFTER_INSERT, BALANCE_AFTER_UPDATE, KEEP, KEEP_ROWS):
        op.execute(statement)
    create_idempotency_keys()
