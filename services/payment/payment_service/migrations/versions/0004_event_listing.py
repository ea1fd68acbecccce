"""Adds the position in the provider's list of events. The code of 0003 does not know it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
oldest_code = "0003"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "event_listing",
        sa.Column("next_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("listed_until", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("began_at", _TIME),
        sa.Column("after", sa.Text),
    )
    op.create_index("there_is_one_event_listing", "event_listing", [sa.text("(true)")], unique=True)
    op.execute("INSERT INTO event_listing DEFAULT VALUES")
