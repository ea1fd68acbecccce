"""Adds the time when an author removed a review that was hidden.

The release before this one keeps working on this schema. A review that it revises no longer counts as removed, since a
revision changes `updated_at`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
oldest_code = "0002"


def upgrade() -> None:
    op.add_column("reviews", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
