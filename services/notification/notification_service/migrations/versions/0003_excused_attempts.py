"""Adds `attempts.excused`: attempts that failed for a reason unrelated to their message do not count.

It only adds a column, without rewriting a row. Attempts that the previous release writes count, as before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
oldest_code = "0002"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("excused", sa.Boolean, nullable=False, server_default=sa.false()))
