"""Adds carts, addresses, an order's history, its payments, charges and shipment, and recorded sales.

Everything is added beside the existing columns, so that the code of 0002 keeps working: columns that
it does not write have a default, and when it changes a status, the database writes the history.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
oldest_code = "0002"

_AMOUNT = sa.BigInteger
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _extend_orders()
    _create_history()
    _create_payments()
    _create_buyers_and_addresses()
    _create_carts()
    _create_sales()


def _extend_orders() -> None:
    for name in ("shipping_amount", "tax_amount"):
        op.add_column("orders", sa.Column(name, _AMOUNT, nullable=False, server_default="0"))
    op.add_column("orders", sa.Column("shipping_address", sa.dialects.postgresql.JSONB(none_as_null=True)))
    op.add_column("orders", sa.Column("carrier", sa.Text))
    op.add_column("orders", sa.Column("tracking_number", sa.Text))
    op.create_check_constraint("order_charges", "orders", "shipping_amount >= 0 AND tax_amount >= 0")
    op.create_index("orders_by_time", "orders", ["created_at", "id"])
    op.create_index("orders_by_status", "orders", ["status", "created_at", "id"])
    # 0: an item that was stored before sellers were recorded
    op.add_column("order_items", sa.Column("seller_id", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("order_items_of_a_seller", "order_items", ["seller_id", "order_id"])


def _create_history() -> None:
    op.create_table(
        "order_history",
        sa.Column("order_id", sa.Uuid, sa.ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("by", sa.Text, sa.CheckConstraint("by IN ('buyer', 'admin', 'system')"), nullable=False),
        sa.UniqueConstraint("order_id", "status", name="an_order_is_in_each_status_once"),
    )
    op.execute(
        "INSERT INTO order_history (order_id, position, status, at, by)"
        " SELECT id, 0, 'pending', created_at, 'buyer' FROM orders"
        " UNION ALL"
        " SELECT id, 1, status, greatest(created_at, least(expires_at, now())),"
        "        CASE WHEN cancel_reason IN ('buyer', 'admin') THEN cancel_reason ELSE 'system' END"
        " FROM orders WHERE status <> 'pending'"
    )
    op.execute(
        """
        CREATE FUNCTION write_missing_history() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO order_history (order_id, position, status, at, by)
            SELECT NEW.id, count(*), NEW.status, now(),
                   CASE WHEN NEW.status = 'pending' THEN 'buyer'
                        WHEN NEW.cancel_reason IN ('buyer', 'admin') THEN NEW.cancel_reason
                        ELSE 'system' END
            FROM order_history WHERE order_id = NEW.id
            ON CONFLICT (order_id, status) DO NOTHING;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER no_status_without_history AFTER INSERT OR UPDATE OF status ON orders"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION write_missing_history()"
    )


def _create_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("order_id", sa.Uuid, sa.ForeignKey("orders.id", ondelete="CASCADE"), nullable=False),
        sa.Column("amount", _AMOUNT, sa.CheckConstraint("amount >= 0"), nullable=False),
        sa.Column("completed_at", _TIME, nullable=False),
    )
    op.create_index("payments_of_an_order", "payments", ["order_id"])
    op.create_table(
        "refunds",
        sa.Column("id", sa.Text, primary_key=True),
        # no foreign key: a refund may be received before its payment
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("order_id", sa.Uuid, sa.ForeignKey("orders.id", ondelete="CASCADE"), nullable=False),
        sa.Column("amount", _AMOUNT, sa.CheckConstraint("amount >= 0"), nullable=False),
        sa.Column("refunded_at", _TIME, nullable=False),
    )
    op.create_index("refunds_of_an_order", "refunds", ["order_id"])
    op.create_index("refunds_by_time", "refunds", ["refunded_at"])


def _create_buyers_and_addresses() -> None:
    op.create_table(
        "buyers",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("erased_at", _TIME),
    )
    op.create_table(
        "addresses",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("buyer_id", sa.BigInteger, sa.ForeignKey("buyers.id"), nullable=False),
        sa.Column("address", sa.dialects.postgresql.JSONB, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_index("addresses_of_a_buyer", "addresses", ["buyer_id", "created_at", "id"])


def _create_carts() -> None:
    op.create_table(
        "carts",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner_id", sa.BigInteger, sa.ForeignKey("buyers.id"), unique=True),
        sa.Column("token_hash", sa.LargeBinary, unique=True),
        sa.Column("touched_at", _TIME, nullable=False),
        sa.CheckConstraint("(owner_id IS NULL) <> (token_hash IS NULL)", name="a_cart_is_a_buyers_or_a_guests"),
    )
    op.create_index("guest_carts_by_age", "carts", ["touched_at"], postgresql_where=sa.text("token_hash IS NOT NULL"))
    op.create_table(
        "cart_lines",
        sa.Column("cart_id", sa.Uuid, sa.ForeignKey("carts.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("product_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column(
            "quantity",
            sa.BigInteger,
            sa.CheckConstraint("quantity BETWEEN 1 AND 1000000", name="cart_line_quantity"),
            nullable=False,
        ),
    )
    op.create_table(
        "cart_drafts",
        sa.Column(
            "order_id",
            sa.Uuid,
            sa.ForeignKey("idempotency_keys.resource_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("lines", sa.dialects.postgresql.JSONB, nullable=False),
    )


def _create_sales() -> None:
    op.create_table(
        "sales",
        sa.Column("order_id", sa.Uuid, primary_key=True),
        # 0 stands for shipping and tax
        sa.Column("product_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seller_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("amount", _AMOUNT, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("sold_at", _TIME, nullable=False),
    )
    op.create_index("sales_by_time", "sales", ["sold_at"])
    op.create_index("sales_of_a_seller", "sales", ["seller_id", "sold_at"])
