"""Adds the sessions that have ended, the devices of a user, and the address that a mail request has replaced.

The migration only adds: the code of the release before it keeps working.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
oldest_code = "0003"


def upgrade() -> None:
    _create_ended_sessions()
    _create_devices()
    _count_failures_by_network()
    op.add_column("mail_requests", sa.Column("replaced_email", sa.Text))


def _create_ended_sessions() -> None:
    op.create_table(
        "ended_sessions",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ended_sessions_by_time", "ended_sessions", ["ended_at"])


def _create_devices() -> None:
    op.create_table(
        "devices",
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("network_digest", sa.LargeBinary, primary_key=True),
        sa.Column("program_digest", sa.LargeBinary, primary_key=True),
        sa.Column("first_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("devices_by_use", "devices", ["last_used_at"])


def _count_failures_by_network() -> None:
    """Lets a row count the failures of an address from one network.

    The table is small: rows are deleted an hour after the last failure.
    """
    op.add_column("login_failures", sa.Column("account_digest", sa.LargeBinary))
    op.create_index(
        "login_failures_of_an_account",
        "login_failures",
        ["account_digest"],
        postgresql_where=sa.text("account_digest IS NOT NULL"),
    )
