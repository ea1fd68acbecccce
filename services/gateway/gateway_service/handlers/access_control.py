"""Decides whether a request may pass: authenticates the caller, applies its rate limit, checks its session and role."""

from chassis.errors import NeighbourUnavailable, ProblemError
from chassis.http.authentication import Authenticator, Principal
from chassis.types.addresses import network_key
from starlette.requests import Request
from starlette.types import Scope

from gateway_service.clients.ended_sessions import EndedSessionLookup, SessionCheck
from gateway_service.clients.rate_limiter import RateLimiter
from gateway_service.domain.errors import RoleNotAllowed, SessionEnded, TooManyRequests
from gateway_service.domain.rate_limits import RateLimitPolicy
from gateway_service.domain.routes import Role, Route

Headers = list[tuple[bytes, bytes]]


class AccessControl:
    """Refuses callers who are not authenticated, whose session has ended, over the rate limit, or without the role."""

    def __init__(self, auth: Authenticator, limiter: RateLimiter, ended_sessions: EndedSessionLookup) -> None:
        self._auth = auth
        self._limiter = limiter
        self._ended_sessions = ended_sessions

    async def admit(self, scope: Scope, route: Route, response_headers: Headers) -> str:
        """Returns the key that the caller is counted under. Adds the rate limit headers to `response_headers`.

        Raises ProblemError 401, SessionEnded, NeighbourUnavailable, TooManyRequests, RoleNotAllowed.
        """
        try:
            principal = await self._authenticate(scope, route)
        except ProblemError:
            await self._count(scope, route.rate_limit_policy, None, response_headers)
            raise
        session = self._look(principal)  # in the pipeline of the count, so Redis is called once
        await self._count(scope, route.rate_limit_policy, principal, response_headers)
        if session is not None and await session.has_ended():
            raise SessionEnded
        if principal is not None and Role(principal.role) not in route.roles:
            raise RoleNotAllowed(principal.role, sorted(route.roles))
        return _caller_key(scope, principal)

    async def _authenticate(self, scope: Scope, route: Route) -> Principal | None:
        """Returns the caller; None for an anonymous one. On public routes an invalid token is treated as anonymous.

        The service still receives the token, and refuses it if it needs one.
        """
        request = Request(scope)
        if not route.is_public:
            return await self._auth.required(request)
        # Login attempts from one address share a quota, so the token must not change the key.
        if route.rate_limit_policy is RateLimitPolicy.AUTH:
            return None
        try:
            return await self._auth.optional(request)
        except (ProblemError, NeighbourUnavailable):
            return None

    def _look(self, principal: Principal | None) -> SessionCheck | None:
        """Begins to look the session of a caller up, also on public routes."""
        if principal is None or principal.session_id is None:
            return None
        return self._ended_sessions.look(principal.session_id)

    async def _count(
        self, scope: Scope, policy: RateLimitPolicy, principal: Principal | None, response_headers: Headers
    ) -> None:
        decision = await self._limiter.count(policy, _caller_key(scope, principal))
        if decision is not None:
            response_headers.extend(decision.headers())
            if not decision.is_allowed:
                raise TooManyRequests(policy, decision.retry_after)


def _caller_key(scope: Scope, principal: Principal | None) -> str:
    """Returns what a caller's requests are counted under: the user's id, or without a valid token the address."""
    return f"user:{principal.user_id}" if principal else f"address:{network_key(scope['client_address'].address)}"
