"""Adds the position of the comparison with payments, and the differences that it found.

The code of 0006 does not know them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
oldest_code = "0006"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")  # a foreign key locks its table: fail and retry rather than stop it
    op.create_table(
        "payment_comparison",
        sa.Column("next_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("placed_at", _TIME),
        sa.Column("order_id", sa.Uuid),
    )
    op.create_index("there_is_one_payment_comparison", "payment_comparison", [sa.text("(true)")], unique=True)
    op.execute("INSERT INTO payment_comparison DEFAULT VALUES")
    op.create_table(
        "payment_differences",
        sa.Column("order_id", sa.Uuid, sa.ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("differences", sa.dialects.postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("found_at", _TIME, nullable=False),
        sa.Column("next_check_at", _TIME, nullable=False),
    )
    op.create_index("payment_differences_due", "payment_differences", ["next_check_at"])
