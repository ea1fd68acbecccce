"""Lists of payments for admins, wrongly captured payments, the shop's id, and when a payment's order expires.

Everything is an extension: the code of 0001 runs on it. The two indexes block writes of payments while they are built.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
oldest_code = "0001"

_CAPTURED = "a_completed_payment_has_captured_its_amount"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("payments", sa.Column("pay_until", sa.DateTime(timezone=True)))
    op.drop_constraint(_CAPTURED, "payments")
    op.create_check_constraint(
        _CAPTURED,
        "payments",
        "CASE WHEN status IN ('completed', 'partially_refunded', 'refunded') THEN captured = amount"
        " WHEN status = 'failed' THEN captured >= 0 ELSE captured = 0 END",
    )
    op.create_index("payments_by_time", "payments", ["created_at", "id"])
    op.create_index("payments_by_status", "payments", ["status", "created_at", "id"])
    op.create_table("shop", sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("gen_random_uuid()")))
    op.create_index("there_is_one_shop", "shop", [sa.text("(true)")], unique=True)
    op.execute("INSERT INTO shop DEFAULT VALUES")
