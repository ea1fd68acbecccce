"""Adds the index of the mails that protect an account, which are sent before all others.

It only adds: the previous release works on this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
oldest_code = "0001"


def upgrade() -> None:
    urgent = sa.text("status = 'pending' AND template IN ('welcome', 'email_verification', 'password_reset')")
    op.create_index("notifications_urgent", "notifications", ["due_at"], postgresql_where=urgent)
