"""Access tokens: every service verifies them itself, with the public keys that the user service publishes.

No other header proves who the caller is.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import jwt
from fastapi import Request, Response
from grpc import aio
from shopapi.user.v1 import user_pb2, user_pb2_grpc

from chassis.errors import NeighbourRefused, NeighbourUnavailable, ProblemError
from chassis.grpc.client import call
from chassis.observability import logs
from chassis.types.bounded_cache import BoundedCache
from chassis.types.ids import UserId
from chassis.types.problem import Problem

ALGORITHM = "EdDSA"
ISSUER = "ecommerce"
_KEYS_REFRESH_AGE_SECONDS = 150.0
"""The age of the keys at which the next caller starts a fetch, and does not wait for it."""
_KEYS_MAX_AGE_SECONDS = 300.0
"""The age of the keys from which on callers wait for a fetch."""
_REFRESH_INTERVAL_SECONDS = 5.0
"""The shortest time between two fetches of the keys, however many tokens with unknown keys arrive."""
_RETRY_INTERVAL_SECONDS = 1.0
"""The shortest time between two fetches after one that failed."""

_VERIFIED_TOKENS = 10_000
"""How many verified tokens are remembered, by a digest that does not reveal them: about 0.5 KiB each."""

UNAUTHENTICATED = Problem(401, "unauthenticated", {"WWW-Authenticate": "Bearer"})
TOKEN_EXPIRED = Problem(401, "token_expired", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
FORBIDDEN = Problem(403, "forbidden")

log = logs.get_logger(__name__)


class Role(StrEnum):
    CUSTOMER = "customer"
    SELLER = "seller"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller, as the access token proves."""

    user_id: UserId
    role: Role
    session_id: UUID | None = None
    """None for a token of an older release, which did not name its session."""

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN


FetchKeys = Callable[[], Awaitable[str]]


def fetch_keys_from(channel: aio.Channel) -> FetchKeys:
    """Returns a function that fetches the JSON Web Key Set (RFC 7517) from the user service."""
    stub = user_pb2_grpc.UserServiceStub(channel)

    async def fetch() -> str:
        return (await call(stub.GetSigningKeys, user_pb2.GetSigningKeysRequest())).jwks

    return fetch


@dataclass(frozen=True, slots=True)
class _VerifiedToken:
    """The caller of a token whose signature was verified with a key. Both hold until the token expires."""

    principal: Principal
    kid: str
    key: jwt.PyJWK
    expires_at: int
    """Unix time, in seconds."""


class TokenVerifier:
    """Verifies the signature, issuer and expiry of access tokens (RFC 7519).

    A token that was verified is not verified again until it expires, or the keys are fetched again: a key that the user
    service withdraws is of no more use to tokens that were verified with it. Whether a session has ended is another
    question, which is asked for each request (docs/adr/0024).
    """

    def __init__(
        self,
        fetch: FetchKeys,
        clock: Callable[[], float] = time.monotonic,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._keys = KeySet(fetch, clock)
        self._unix_time = unix_time
        self._verified = BoundedCache[bytes, _VerifiedToken](_VERIFIED_TOKENS)

    async def verify(self, token: str) -> Principal:
        """Returns the caller of a token.

        Raises ProblemError 401, or NeighbourUnavailable if the key of the token is unknown and cannot be fetched.
        """
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        try:
            kid = str(jwt.get_unverified_header(token).get("kid", "")) if known is None else known.kid
            key = await self._keys.key(kid)
            if known is None or known.key is not key or known.expires_at <= self._unix_time():
                known = _verify(token, kid, key)
                self._verified.put(digest, known)
        except jwt.ExpiredSignatureError:
            self._verified.remove(digest)
            raise ProblemError(
                TOKEN_EXPIRED, "the access token has expired: refresh it at POST /auth/refresh"
            ) from None
        except (jwt.InvalidTokenError, AttributeError, KeyError, ValueError):
            self._verified.remove(digest)
            raise ProblemError(UNAUTHENTICATED, "the access token is invalid: log in at POST /auth/login") from None
        else:
            return known.principal


def _verify(token: str, kid: str, key: jwt.PyJWK) -> _VerifiedToken:
    """Raises jwt.InvalidTokenError, KeyError, ValueError."""
    claims = jwt.decode(token, key, algorithms=[ALGORITHM], issuer=ISSUER, options={"require": ["exp", "sub", "role"]})
    session_id = UUID(claims["sid"]) if "sid" in claims else None
    principal = Principal(UserId(int(claims["sub"])), Role(claims["role"]), session_id)
    return _VerifiedToken(principal, kid, key, int(claims["exp"]))


class KeySet:
    """The public keys of the user service, cached, so that tokens are verified while it is unavailable.

    All callers share one fetch. They wait for it only if the keys in the cache are too old or do not include theirs,
    and never after a fetch that has failed: then it is repeated in the background. So a caller waits for at most one
    fetch, however long the user service is unavailable.
    """

    def __init__(self, fetch: FetchKeys, clock: Callable[[], float]) -> None:
        """`clock` returns seconds, and never goes back."""
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._attempted_at = float("-inf")
        self._has_failed = False
        """True if the last fetch failed."""
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> jwt.PyJWK:
        """Raises KeyError for a key that the user service does not publish, NeighbourUnavailable if that is unknown."""
        fetching = self._fetching or self._start_fetch(kid)
        if fetching is not None and not self._has_failed and self._must_wait(kid):
            await asyncio.shield(fetching)  # the others still wait for it when one caller is gone
        if kid not in self._keys and self._has_failed:
            raise NeighbourUnavailable("tokens cannot be verified yet; try again in a moment")
        return self._keys[kid]

    def _start_fetch(self, kid: str) -> "asyncio.Task[None] | None":
        """Starts a fetch in the background if one is due."""
        now = self._clock()
        interval = _RETRY_INTERVAL_SECONDS if self._has_failed else _REFRESH_INTERVAL_SECONDS
        is_stale = now - self._fetched_at > _KEYS_REFRESH_AGE_SECONDS or kid not in self._keys
        if is_stale and now - self._attempted_at > interval:
            self._fetching = asyncio.create_task(self._refresh())
        return self._fetching

    def _must_wait(self, kid: str) -> bool:
        return kid not in self._keys or self._clock() - self._fetched_at > _KEYS_MAX_AGE_SECONDS

    async def _refresh(self) -> None:
        try:
            published = jwt.PyJWKSet.from_json(await self._fetch())
        except (NeighbourUnavailable, NeighbourRefused, jwt.PyJWTError, ValueError) as error:
            log.warning("the signing keys could not be fetched", reason=str(error))
            self._has_failed = True
        else:
            self._keys = {key.key_id: key for key in published.keys if key.key_id}
            self._fetched_at = self._clock()
            self._has_failed = False
        finally:
            self._attempted_at = self._clock()
            self._fetching = None


class Authenticator:
    """FastAPI dependencies that authenticate the caller of a request."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def required(self, request: Request) -> Principal:
        """Returns the caller. Raises ProblemError 401 without a valid token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ProblemError(UNAUTHENTICATED, "send an access token: Authorization: Bearer <token>")
        return await self._verifier.verify(token.strip())

    async def optional(self, request: Request) -> Principal | None:
        """Returns the caller, or None if no token was sent. Raises ProblemError 401 for an invalid token."""
        return await self.required(request) if "authorization" in request.headers else None

    async def shown_to(self, request: Request, response: Response) -> Principal | None:
        """Returns what `optional` does, for a response that is another one for a caller with a token.

        No cache stores what such a caller gets, or uses for it what another caller got (RFC 9111, sections 4.1, 5.2.2).
        """
        response.headers.append("Vary", "Authorization")
        caller = await self.optional(request)
        if caller is not None:
            response.headers["Cache-Control"] = "private, no-store"
        return caller

    def role(self, *allowed: Role) -> Callable[[Request], Awaitable[Principal]]:
        """Returns a dependency for the caller, which raises ProblemError 403 unless the caller has an allowed role."""

        async def check(request: Request) -> Principal:
            principal = await self.required(request)
            if principal.role not in allowed:
                raise ProblemError(
                    FORBIDDEN, f"this requires the role {' or '.join(allowed)}; yours is {principal.role}"
                )
            return principal

        return check


def owner_to_list(caller: Principal, user_id: int | None, *, is_all: bool, objects: str) -> UserId | None:
    """Returns the user whose objects a request lists, or None for those of all users.

    They are the caller's own, unless the request names another user or, with `is_all`, no user. Raises ProblemError 403
    unless the caller is an admin then; `objects` names them in its text, such as "other buyers' orders".
    """
    is_own = not is_all and user_id in (None, caller.user_id)
    if not is_own and not caller.is_admin:
        raise ProblemError(FORBIDDEN, f"only admins list {objects}: leave out all and buyer_id")
    if user_id is not None:
        return UserId(user_id)
    return None if is_all else caller.user_id
