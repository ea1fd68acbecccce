"""FastAPI dependencies for the caller, whose account is read on each request.

The signature of an access token stays valid after logout, demotion and erasure. The gateway refuses such a token unless
its Redis is unavailable; this service has the accounts and the sessions, so it checks their current state.
"""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from chassis.http.authentication import Authenticator
from fastapi import Depends, Request

from user_service.domain.accounts import Account
from user_service.domain.devices import Client, network_of
from user_service.domain.errors import NotAllowed
from user_service.domain.sessions import printable_user_agent
from user_service.handlers.schemas import UserAgentHeader
from user_service.service.sessions import SessionService


async def client_of(request: Request, user_agent: UserAgentHeader = None) -> Client:
    """Returns where a request comes from.

    The gateway sets X-Real-IP and removes that of its callers. Without it the network is unknown.
    """
    return Client(network_of(request.headers.get("x-real-ip")), printable_user_agent(user_agent))


RequestClient = Annotated[Client, Depends(client_of)]


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
        account = await self._sessions.authenticate(principal.user_id, principal.session_id)
        return Caller(account, principal.session_id)

    async def admin(self, request: Request) -> Caller:
        """Returns a caller who is an admin now; otherwise the answer is 401 or 403."""
        caller = await self.authenticated(request)
        if not caller.account.is_active_admin:
            raise NotAllowed
        return caller
