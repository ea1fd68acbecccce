"""Who is calling, as their account is now: tokens outlive logouts, demotions and erasures, and here we can know."""

from dataclasses import dataclass
from uuid import UUID

import jwt
from chassis.http.authentication import Authenticator
from fastapi import Request

from user_service.domain.accounts import Account
from user_service.domain.errors import NotAllowed
from user_service.service.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Caller:
    account: Account
    session_id: UUID | None
    """None for a token of a release that did not name the session."""


class Callers:
    """FastAPI dependencies."""

    def __init__(self, auth: Authenticator, sessions: Sessions) -> None:
        self._auth = auth
        self._sessions = sessions

    async def anybody(self, request: Request) -> Caller:
        """Who has an account and a session; else 401."""
        principal = await self._auth.required(request)
        session_id = _session_id(request)
        return Caller(await self._sessions.caller(principal.user_id, session_id), session_id)

    async def admin(self, request: Request) -> Caller:
        """Who is an admin now; else 403."""
        caller = await self.anybody(request)
        if not caller.account.is_active_admin:
            raise NotAllowed
        return caller


def _session_id(request: Request) -> UUID | None:
    """Of a token that was just verified."""
    token = request.headers["authorization"].partition(" ")[2].strip()
    named = jwt.decode(token, options={"verify_signature": False}).get("sid")
    return UUID(named) if named is not None else None
