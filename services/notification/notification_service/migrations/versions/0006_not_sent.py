"""Allows the status `not_sent`: the shop has no provider for the channel of a notification.

The new constraints allow more than those that they replace. So the release before this one keeps writing, and no stored
row breaks them; they are validated without blocking writes.
"""

from alembic import op
from chassis.database.migrations import outside_transaction

revision = "0006"
down_revision = "0005"
oldest_code = "0005"

_CONSTRAINTS = {
    "notification_status": "status IN ('pending', 'sent', 'delivered', 'failed', 'cancelled', 'not_sent')",
    "what_is_not_sent_says_why": "(status IN ('failed', 'cancelled', 'not_sent')) = (reason IS NOT NULL)",
}


def upgrade() -> None:
    for name, condition in _CONSTRAINTS.items():
        op.execute(f"ALTER TABLE notifications DROP CONSTRAINT {name}")
        op.execute(f"ALTER TABLE notifications ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
    with outside_transaction():
        for name in _CONSTRAINTS:
            op.execute(f"ALTER TABLE notifications VALIDATE CONSTRAINT {name}")
