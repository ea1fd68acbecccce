"""Adds profiles, activity, erasure, mail requests, login failures and the outbox.

The migration only adds: the code of the release before it keeps working.
"""

import sqlalchemy as sa
from alembic import op
from chassis.database.migrations import create_event_tables

revision = "0002"
down_revision = "0001"
oldest_code = "0001"


def upgrade() -> None:
    _grow_users()
    _grow_sessions()
    _create_mail_requests()
    _create_login_failures()
    create_event_tables()


def _grow_users() -> None:
    op.add_column("users", sa.Column("locale", sa.Text, nullable=False, server_default="en"))
    op.add_column("users", sa.Column("phone", sa.Text))
    op.add_column("users", sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("users", sa.Column("was_admin", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("users", sa.Column("email_verified_at", sa.DateTime(timezone=True)))
    op.add_column("users", sa.Column("erased_at", sa.DateTime(timezone=True)))
    op.create_check_constraint(
        "user_locale", "users", "locale ~ '^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$'"
    )
    op.create_check_constraint("user_phone", "users", r"phone ~ '^\+[1-9][0-9]{6,14}$'")
    op.create_check_constraint(
        "nothing_is_left_of_an_erased_user",
        "users",
        "erased_at IS NULL OR (NOT is_active AND role <> 'admin' AND email = 'erased:' || id"
        " AND display_name IS NULL AND phone IS NULL AND email_verified_at IS NULL)",
    )
    op.create_index("users_admins", "users", ["id"], postgresql_where=sa.text("role = 'admin' OR was_admin"))
    op.create_index("users_inactive", "users", ["id"], postgresql_where=sa.text("NOT is_active"))


def _grow_sessions() -> None:
    for moment in ("created_at", "last_used_at"):
        op.add_column(
            "sessions", sa.Column(moment, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
        )
    op.add_column("sessions", sa.Column("user_agent", sa.Text))


def _create_mail_requests() -> None:
    op.create_table(
        "mail_requests",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        sa.Column("replaced_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("purpose IN ('verify_email', 'reset_password')", name="mail_request_purpose"),
        sa.CheckConstraint("used_at IS NULL OR replaced_at IS NULL", name="a_used_mail_request_is_not_replaced"),
    )
    op.create_index("mail_requests_of_a_user", "mail_requests", ["user_id", "purpose", "created_at"])
    op.create_index("mail_requests_by_expiry", "mail_requests", ["expires_at"])
    op.create_index(
        "one_open_mail_request",
        "mail_requests",
        ["user_id", "purpose"],
        unique=True,
        postgresql_where=sa.text("used_at IS NULL AND replaced_at IS NULL"),
    )


def _create_login_failures() -> None:
    op.create_table(
        "login_failures",
        sa.Column("address_digest", sa.LargeBinary, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("locked_until", sa.DateTime(timezone=True)),
    )
