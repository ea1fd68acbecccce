"""Adds when an expired order whose payment is in process is asked about again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
oldest_code = "0003"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("orders", sa.Column("expiry_check_at", sa.DateTime(timezone=True)))
