"""When an author removed a review that was hidden.

Only adds: the release before this one goes on working on it. What that revises is not removed any more, since a revision has a time of
its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("reviews", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
