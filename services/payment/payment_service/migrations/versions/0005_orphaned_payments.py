"""Adds the position of the comparison with orders, and the payments whose order the order service does not know.

The code of 0004 does not know them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
oldest_code = "0004"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")  # a foreign key locks its table: fail and retry rather than stop it
    op.create_table(
        "order_comparison",
        sa.Column("next_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("created_at", _TIME),
        sa.Column("payment_id", sa.Uuid),
    )
    op.create_index("there_is_one_order_comparison", "order_comparison", [sa.text("(true)")], unique=True)
    op.execute("INSERT INTO order_comparison DEFAULT VALUES")
    op.create_table(
        "orphaned_payments",
        sa.Column("payment_id", sa.Uuid, sa.ForeignKey("payments.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("found_at", _TIME, nullable=False),
        sa.Column("next_check_at", _TIME, nullable=False),
    )
    op.create_index("orphaned_payments_due", "orphaned_payments", ["next_check_at"])
