"""Accounts that were erased while the provider's ids of their messages were kept: an id leads back to number and text.

Changes rows alone: the release before this one goes on working on it.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        "UPDATE notifications SET provider_id = NULL FROM erased_accounts"
        " WHERE erased_accounts.user_id = notifications.user_id AND provider_id IS NOT NULL"
    )
