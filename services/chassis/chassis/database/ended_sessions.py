"""The names under which Redis has the sessions that have ended, as the user service writes and the gateway reads them.

A session is there until its last access token has expired (docs/adr/0024).
"""

from uuid import UUID


def ended_session_key(tenant: str, session_id: UUID) -> str:
    """Returns the key of an ended session. `tenant` separates shops that share a Redis."""
    return f"{tenant}:ended-session:{session_id}"
