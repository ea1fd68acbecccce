"""Access control of a gRPC server: it recognizes the calling service by its token, and knows each method's callers.

docs/adr/0027-grpc-callers-show-a-token-per-neighbour.md says why.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import TypeAlias

import grpc
from prometheus_client import Counter

from chassis.observability import logs
from chassis.settings import GrpcAuthentication, GrpcCalleeSettings

AUTHORIZATION_KEY = "authorization"
_SCHEME = "Bearer "
_UNKNOWN = "unknown"
_HEALTH = "grpc.health.v1.Health/"

MethodCallers: TypeAlias = Mapping[str, frozenset[str]]
"""The services that may call a method, by `package.Service/Method`."""

CALLS_REFUSED = Counter(
    "rpc_server_calls_refused_total",
    "Calls refused since the caller is unknown or may not call the method",
    ["rpc_method", "caller"],
)
CALLS_WITHOUT_TOKEN = Counter(
    "rpc_server_calls_without_token_total",
    "Calls answered without a token, as GRPC_AUTHENTICATION=optional allows",
    ["rpc_method"],
)

log = logs.get_logger(__name__)


class CallRefused(Exception):
    """The caller may not call this method. The message names no other caller."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.status = status


def method_callers(service: str, /, **callers: set[str]) -> MethodCallers:
    """Returns the table of a proto service from its full name, and the names of the callers by method."""
    return {f"{service}/{method}": frozenset(names) for method, names in callers.items()}


def bearer(token: str) -> str:
    """Returns the value of `authorization` that shows a token (RFC 6750)."""
    return f"{_SCHEME}{token}"


def token_digest(token: str) -> str:
    """Returns the SHA-256 digest of a token, in hexadecimal: all that the service which is called has of it."""
    return hashlib.sha256(token.encode()).hexdigest()


class CallerTokens:
    """Recognizes callers by the digests of their tokens. A caller may have several: two while a token is replaced."""

    def __init__(self, callers_by_digest: Mapping[str, str]) -> None:
        self._callers_by_digest = dict(callers_by_digest)
        self._callers_by_token: dict[str, str] = {}  # at most one entry for each digest

    def caller_of(self, token: str) -> str | None:
        """Returns the caller that has this token, None if no caller has it."""
        known = self._callers_by_token.get(token)
        if known is None:
            known = self._find(token_digest(token))
            if known is not None:
                self._callers_by_token[token] = known
        return known

    def _find(self, digest: str) -> str | None:
        """Compares with every digest, each in constant time."""
        matches = [caller for known, caller in self._callers_by_digest.items() if hmac.compare_digest(known, digest)]
        return matches[0] if matches else None


class CallerAuthorization:
    """Decides on each call. A method that is not in the table is refused to every caller. Health checks are open."""

    def __init__(
        self,
        methods: MethodCallers,
        tokens: CallerTokens,
        authentication: GrpcAuthentication = GrpcAuthentication.REQUIRED,
    ) -> None:
        self._methods = methods
        self._tokens = tokens
        self._authentication = authentication

    @classmethod
    def of(cls, methods: MethodCallers, settings: GrpcCalleeSettings) -> "CallerAuthorization":
        return cls(methods, CallerTokens(settings.grpc_callers), settings.grpc_authentication)

    def refusal(self, method: str, metadata: Mapping[str, str]) -> CallRefused | None:
        """Returns why a call is refused, None if it is allowed. A refusal is logged and counted."""
        if is_health_check(method):
            return None
        authorization = metadata.get(AUTHORIZATION_KEY)
        if authorization is None:
            return self._refusal_without_token(method)
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
        caller = self._tokens.caller_of(token) if scheme == _SCHEME else None
        if caller is None:
            return _refuse(method, _UNKNOWN, grpc.StatusCode.UNAUTHENTICATED, "the token is none of a known caller")
        if caller not in self._methods.get(method, frozenset()):
            return _refuse(method, caller, grpc.StatusCode.PERMISSION_DENIED, f"{caller} may not call {method}")
        return None

    def _refusal_without_token(self, method: str) -> CallRefused | None:
        if self._authentication == GrpcAuthentication.REQUIRED:
            return _refuse(method, _UNKNOWN, grpc.StatusCode.UNAUTHENTICATED, "the call has no token of its caller")
        if method not in self._methods:
            return _refuse(method, _UNKNOWN, grpc.StatusCode.PERMISSION_DENIED, f"no service may call {method}")
        CALLS_WITHOUT_TOKEN.labels(method).inc()
        return None


CLOSED = CallerAuthorization({}, CallerTokens({}))
"""Refuses every call: for a server without methods of its own."""


def is_health_check(method: str) -> bool:
    return method.startswith(_HEALTH)


def _refuse(method: str, caller: str, status: grpc.StatusCode, message: str) -> CallRefused:
    CALLS_REFUSED.labels(method, caller).inc()
    log.warning("call refused", rpc=method, caller=caller, status=status.name)
    return CallRefused(status, message)
