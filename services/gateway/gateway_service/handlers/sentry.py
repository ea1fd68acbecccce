"""Who may pass: known by a token or not, within their limits, with a role that can."""

from chassis.errors import NeighbourUnavailable, ProblemError
from chassis.http.authentication import Authenticator, Principal
from starlette.requests import Request
from starlette.types import Scope

from gateway_service.clients.limiter import RateLimiter
from gateway_service.domain.callers import household
from gateway_service.domain.errors import RoleNotAllowed, TooManyRequests
from gateway_service.domain.limits import Policy
from gateway_service.domain.routes import Role, Route

Headers = list[tuple[bytes, bytes]]


class Sentry:
    def __init__(self, auth: Authenticator, limiter: RateLimiter) -> None:
        self._auth = auth
        self._limiter = limiter

    async def admit(self, scope: Scope, route: Route, told: Headers) -> None:
        """Adds to `told` what the caller has left. Raises ProblemError 401, NeighbourUnavailable, TooManyRequests, RoleNotAllowed."""
        try:
            principal = await self._principal(scope, route)
        except ProblemError:
            await self._count(scope, route.limit, None, told)
            raise
        await self._count(scope, route.limit, principal, told)
        if principal is not None and Role(principal.role) not in route.roles:
            raise RoleNotAllowed(principal.role, sorted(route.roles))

    async def _principal(self, scope: Scope, route: Route) -> Principal | None:
        """Where anybody may ask, a bad token makes nobody of its bearer; the service says so if it matters there."""
        request = Request(scope)
        if not route.is_public:
            return await self._auth.required(request)
        if route.limit is Policy.AUTH:  # tries from one address count together, whatever tokens come with them
            return None
        try:
            return await self._auth.optional(request)
        except (ProblemError, NeighbourUnavailable):
            return None

    async def _count(self, scope: Scope, policy: Policy, principal: Principal | None, told: Headers) -> None:
        """A user's requests count as theirs from wherever they come, the rest as their address's."""
        caller = f"user:{principal.user_id}" if principal else f"address:{household(scope['caller'].address)}"
        verdict = await self._limiter.take(policy, caller)
        if verdict is not None:
            told.extend(verdict.headers())
            if not verdict.passes:
                raise TooManyRequests(policy, verdict.wait)
