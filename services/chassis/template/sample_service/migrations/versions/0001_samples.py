"""Create the table of samples."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
oldest_code = "0001"


def upgrade() -> None:
    op.create_table(
        "samples",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("samples_by_owner", "samples", ["owner_id", "created_at", "id"])
