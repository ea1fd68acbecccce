"""Payments, refunds, orders, saved methods, webhooks, the simulated provider's records, keys, outbox, inbox."""

import sqlalchemy as sa
from alembic import op
from chassis.database.migrations import create_event_tables, create_idempotency_keys

revision = "0001"
down_revision = None
oldest_code = "0001"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _orders()
    _payments()
    _refunds()
    _payment_methods()
    _simulated()
    op.create_table(
        "webhooks",
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
    )
    op.create_index("webhooks_by_age", "webhooks", ["received_at"])
    create_idempotency_keys()
    create_event_tables()


def _orders() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("cancelled_at", _TIME),
    )


def _payments() -> None:
    op.create_table(
        "payments",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("order_id", sa.Uuid, sa.ForeignKey("orders.id"), nullable=False),
        sa.Column("buyer_id", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, sa.CheckConstraint("amount > 0", name="payment_amount"), nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("intent_id", sa.Text, unique=True),
        sa.Column("method_ref", sa.Text),
        sa.Column("customer_ref", sa.Text),
        sa.Column("failure_code", sa.Text),
        sa.Column("failure_reason", sa.Text),
        sa.Column("captured", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("refunded", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("refunding", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("next_check_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name="payment_currency"),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'completed', 'failed', 'partially_refunded', 'refunded')",
            name="payment_status",
        ),
        sa.CheckConstraint(
            "captured = CASE WHEN status IN ('completed', 'partially_refunded', 'refunded') THEN amount ELSE 0 END",
            name="a_completed_payment_has_captured_its_amount",
        ),
        sa.CheckConstraint(
            "refunded >= 0 AND refunding >= 0 AND refunded + refunding <= captured",
            name="refunds_never_exceed_what_was_captured",
        ),
        sa.CheckConstraint("status <> 'failed' OR failure_code IS NOT NULL", name="a_failed_payment_says_why"),
    )
    op.create_index(
        "one_live_payment_per_order",
        "payments",
        ["order_id"],
        unique=True,
        postgresql_where=sa.text("status <> 'failed'"),
    )
    op.create_index("payments_of_an_order", "payments", ["order_id", "created_at"])
    op.create_index("payments_of_a_buyer", "payments", ["buyer_id", "created_at", "id"])
    op.create_index(
        "payments_due", "payments", ["next_check_at"], postgresql_where=sa.text("next_check_at IS NOT NULL")
    )


def _refunds() -> None:
    op.create_table(
        "refunds",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("payment_id", sa.Uuid, sa.ForeignKey("payments.id"), nullable=False),
        sa.Column("amount", sa.BigInteger, sa.CheckConstraint("amount > 0", name="refund_amount"), nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("requested_by", sa.BigInteger),
        sa.Column("provider_ref", sa.Text, unique=True),
        sa.Column("failure_reason", sa.Text),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("settled_at", _TIME),
        sa.Column("next_check_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name="refund_status"),
        sa.CheckConstraint("(status = 'pending') = (settled_at IS NULL)", name="a_settled_refund_says_when"),
    )
    op.create_index("refunds_of_a_payment", "refunds", ["payment_id", "created_at"])
    op.create_index("refunds_due", "refunds", ["next_check_at"], postgresql_where=sa.text("next_check_at IS NOT NULL"))


def _payment_methods() -> None:
    op.create_table(
        "customers",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("provider_ref", sa.Text),
        sa.Column("erased_at", _TIME),
        sa.Column("next_check_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_index(
        "customers_due", "customers", ["next_check_at"], postgresql_where=sa.text("next_check_at IS NOT NULL")
    )
    op.create_table(
        "payment_methods",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("customers.user_id"), nullable=False),
        sa.Column("provider_ref", sa.Text, nullable=False, unique=True),
        sa.Column("brand", sa.Text, nullable=False),
        sa.Column("last4", sa.Text, nullable=False),
        sa.Column("exp_month", sa.Integer, nullable=False),
        sa.Column("exp_year", sa.Integer, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("removed_at", _TIME),
        sa.Column("next_check_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_index("payment_methods_of_a_user", "payment_methods", ["user_id", "created_at"])
    op.create_index(
        "payment_methods_due",
        "payment_methods",
        ["next_check_at"],
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )


def _simulated() -> None:
    op.create_table(
        "simulated_intents",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("payment_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("method", sa.Text),
        sa.Column("failure_code", sa.Text),
        sa.Column("failure_reason", sa.Text),
        sa.Column("client_secret", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "simulated_refunds",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("refund_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("intent_id", sa.Text, sa.ForeignKey("simulated_intents.id"), nullable=False, index=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
