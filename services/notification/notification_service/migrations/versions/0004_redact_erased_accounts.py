"""Clears the provider's ids of the messages to erased accounts: such an id leads to the number and the text of an SMS.

It only changes rows: the previous release works on this schema.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
oldest_code = "0003"


def upgrade() -> None:
    op.execute(
        "UPDATE notifications SET provider_id = NULL FROM erased_accounts"
        " WHERE erased_accounts.user_id = notifications.user_id AND provider_id IS NOT NULL"
    )
