"""Creates the tables of notifications, attempts, preferences, erased accounts and the inbox."""

import sqlalchemy as sa
from alembic import op
from chassis.database import tables
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
oldest_code = "0001"


def upgrade() -> None:
    _notifications()
    op.create_table(
        "attempts",
        sa.Column("notification_id", sa.Uuid, sa.ForeignKey("notifications.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, sa.CheckConstraint("number > 0"), primary_key=True),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("error", sa.Text),
        sa.CheckConstraint("outcome IN ('accepted', 'transient', 'permanent', 'unknown')", name="attempt_outcome"),
    )
    op.create_table(
        "preferences",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("is_on", sa.Boolean, nullable=False),
        sa.CheckConstraint("kind IN ('order_updates', 'stock_alerts')", name="security_cannot_be_switched_off"),
    )
    op.create_table(
        "erased_accounts",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
    )
    metadata = sa.MetaData()
    tables.inbox(metadata)
    metadata.create_all(op.get_bind(), checkfirst=False)


def _notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("template", sa.Text, nullable=False),
        sa.Column("template_version", sa.Integer, nullable=False),
        sa.Column("facts", JSONB, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("round", sa.Integer, nullable=False, server_default="1"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("waiting_since", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease", sa.Uuid),
        sa.Column("sent_at", sa.DateTime(timezone=True)),
        sa.Column("provider_id", sa.Text),
        sa.UniqueConstraint("cause", "channel", "user_id", name="one_notification_per_cause"),
        sa.CheckConstraint("channel IN ('email', 'sms')", name="notification_channel"),
        sa.CheckConstraint(
            "status IN ('pending', 'sent', 'delivered', 'failed', 'cancelled')", name="notification_status"
        ),
        sa.CheckConstraint("lease IS NULL OR status = 'pending'", name="only_what_is_pending_is_leased"),
        sa.CheckConstraint(
            "(status IN ('failed', 'cancelled')) = (reason IS NOT NULL)", name="what_is_not_sent_says_why"
        ),
    )
    op.create_index("notifications_of_a_user", "notifications", ["user_id", "id"])
    op.create_index("notifications_due", "notifications", ["due_at"], postgresql_where=sa.text("status = 'pending'"))
    op.create_index("notifications_dead", "notifications", ["id"], postgresql_where=sa.text("status = 'failed'"))
    op.create_index(
        "notifications_by_age", "notifications", ["created_at"], postgresql_where=sa.text("status <> 'pending'")
    )
