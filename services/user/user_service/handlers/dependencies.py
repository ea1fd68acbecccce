"""FastAPI dependencies for the caller, whose account is read on each request.

An access token stays valid after logout, demotion and erasure. This service has the accounts, so it checks the current
state.
"""

from dataclasses import dataclass
from uuid import UUID

import jwt
from chassis.http.authentication import Authenticator
from fastapi import Request

from user_service.domain.accounts import Account
from user_service.domain.errors import NotAllowed
from user_service.service.sessions import SessionService


@dataclass(frozen=True, slots=True)
class Caller:
    account: Account
    session_id: UUID | None
    """None for a token of an older release, which did not name the session."""


class CallerDependencies:
    def __init__(self, authenticator: Authenticator, sessions: SessionService) -> None:
        self._authenticator = authenticator
        self._sessions = sessions

    async def authenticated(self, request: Request) -> Caller:
        """Returns a caller with an active account and session; otherwise the answer is 401."""
        principal = await self._authenticator.required(request)
        session_id = _session_id(request)
        return Caller(await self._sessions.authenticate(principal.user_id, session_id), session_id)

    async def admin(self, request: Request) -> Caller:
        """Returns a caller who is an admin now; otherwise the answer is 401 or 403."""
        caller = await self.authenticated(request)
        if not caller.account.is_active_admin:
            raise NotAllowed
        return caller


def _session_id(request: Request) -> UUID | None:
    """Returns the session id in the access token, which must have been verified before."""
    token = request.headers["authorization"].partition(" ")[2].strip()
    session_id = jwt.decode(token, options={"verify_signature": False}).get("sid")
    return UUID(session_id) if session_id is not None else None
