"""Tries that ended for a reason which says nothing about their message, and so do not count.

Only adds, without rewriting a row: what the release before this one writes counts, as it did.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("excused", sa.Boolean, nullable=False, server_default=sa.false()))
