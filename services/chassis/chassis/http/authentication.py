"""Access tokens: every service verifies them by itself, with the public keys that the user service publishes. No header is trusted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import jwt
from fastapi import Request
from grpc import aio
from shopapi.user.v1 import user_pb2, user_pb2_grpc

from chassis.errors import NeighbourRefused, NeighbourUnavailable, ProblemError
from chassis.grpc.client import call
from chassis.types.ids import UserId
from chassis.types.problem import Problem

ALGORITHM = "EdDSA"
ISSUER = "ecommerce"
_KEYS_AGE_SECONDS = 300.0
_REFRESH_SECONDS = 5.0
"""Tokens with unknown keys cannot make us ask more often than this."""

UNAUTHENTICATED = Problem(401, "unauthenticated", {"WWW-Authenticate": "Bearer"})
TOKEN_EXPIRED = Problem(401, "token_expired", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
FORBIDDEN = Problem(403, "forbidden")


class Role(StrEnum):
    CUSTOMER = "customer"
    SELLER = "seller"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, as their token proves."""

    user_id: UserId
    role: Role

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN


FetchKeys = Callable[[], Awaitable[str]]


def fetch_keys_from(channel: aio.Channel) -> FetchKeys:
    """Fetches the JSON Web Key Set from the user service."""
    stub = user_pb2_grpc.UserServiceStub(channel)

    async def fetch() -> str:
        return (await call(stub.GetSigningKeys, user_pb2.GetSigningKeysRequest())).jwks

    return fetch


class TokenVerifier:
    """Verifies signature, issuer and expiry (RFC 7519). Keys are kept, so tokens are verified while user is away."""

    def __init__(self, fetch: FetchKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> Principal:
        """Raises ProblemError 401, or NeighbourUnavailable where no key was ever fetched."""
        try:
            key = await self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            claims = jwt.decode(
                token, key, algorithms=[ALGORITHM], issuer=ISSUER, options={"require": ["exp", "sub", "role"]}
            )
            return Principal(UserId(int(claims["sub"])), Role(claims["role"]))
        except jwt.ExpiredSignatureError:
            raise ProblemError(
                TOKEN_EXPIRED, "the access token has expired: refresh it at POST /auth/refresh"
            ) from None
        except (jwt.InvalidTokenError, KeyError, ValueError):
            raise ProblemError(
                UNAUTHENTICATED, "the access token is not one of ours: log in at POST /auth/login"
            ) from None

    async def _key(self, kid: str) -> jwt.PyJWK:
        """Raises KeyError for a key that user does not publish."""
        age = self._clock() - self._fetched_at
        if age > _KEYS_AGE_SECONDS or (kid not in self._keys and age > _REFRESH_SECONDS):
            await self._refresh()
        return self._keys[kid]

    async def _refresh(self) -> None:
        asked_at = self._clock()
        async with self._fetching:
            if self._fetched_at >= asked_at:
                return
            try:
                published = jwt.PyJWKSet.from_json(await self._fetch())
            except (NeighbourUnavailable, NeighbourRefused):
                if not self._keys:
                    raise NeighbourUnavailable("tokens cannot be verified yet; try again in a moment") from None
            else:
                self._keys = {key.key_id: key for key in published.keys if key.key_id}
            self._fetched_at = self._clock()


class Authenticator:
    """FastAPI dependencies over a verifier."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def required(self, request: Request) -> Principal:
        """The caller; 401 without a valid token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ProblemError(UNAUTHENTICATED, "send an access token: Authorization: Bearer <token>")
        return await self._verifier.verify(token.strip())

    async def optional(self, request: Request) -> Principal | None:
        """The caller, or None where no token was sent; 401 for a bad one."""
        return await self.required(request) if "authorization" in request.headers else None

    def role(self, *allowed: Role) -> Callable[[Request], Awaitable[Principal]]:
        """The caller, whose role must be one of `allowed`; else 403."""

        async def check(request: Request) -> Principal:
            principal = await self.required(request)
            if principal.role not in allowed:
                raise ProblemError(FORBIDDEN, f"this needs the role {' or '.join(allowed)}; yours is {principal.role}")
            return principal

        return check
