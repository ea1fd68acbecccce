"""Decides whether a request may pass: authenticates the caller, applies its rate limit, and checks its role."""

from chassis.errors import NeighbourUnavailable, ProblemError
from chassis.http.authentication import Authenticator, Principal
from chassis.types.addresses import network_key
from starlette.requests import Request
from starlette.types import Scope

from gateway_service.clients.rate_limiter import RateLimiter
from gateway_service.domain.errors import RoleNotAllowed, TooManyRequests
from gateway_service.domain.rate_limits import RateLimitPolicy
from gateway_service.domain.routes import Role, Route

Headers = list[tuple[bytes, bytes]]


class AccessControl:
    """Refuses requests of unauthenticated callers, over the rate limit, or without a role that the route allows."""

    def __init__(self, auth: Authenticator, limiter: RateLimiter) -> None:
        self._auth = auth
        self._limiter = limiter

    async def admit(self, scope: Scope, route: Route, response_headers: Headers) -> str:
        """Returns the key that the caller is counted under. Adds the rate limit headers to `response_headers`.

        Raises ProblemError 401, NeighbourUnavailable, TooManyRequests, RoleNotAllowed.
        """
        try:
            principal = await self._authenticate(scope, route)
        except ProblemError:
            await self._count(scope, route.rate_limit_policy, None, response_headers)
            raise
        await self._count(scope, route.rate_limit_policy, principal, response_headers)
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
