"""The errors of this service: why a request got no response from an upstream."""

import math
from collections.abc import Mapping, Sequence


class GatewayError(Exception):
    """The root of this service's errors. `headers` are added to the response."""

    headers: Mapping[str, str] = {}


class NoSuchRoute(GatewayError):
    """No service serves this path."""

    def __init__(self) -> None:
        super().__init__("no service serves this path: see /swagger/ for the paths that exist")


class MethodNotAllowed(GatewayError):
    """The path does not have this method. `allowed` are the methods that it has."""

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        self.headers = {"Allow": ", ".join(allowed)}
        super().__init__(f"{method} is not one of this path's methods: {', '.join(allowed)}")


class RoleNotAllowed(GatewayError):
    """The caller's role never allows this request, whatever object it is about."""

    def __init__(self, role: str, allowed: Sequence[str]) -> None:
        super().__init__(f"this needs the role {' or '.join(allowed)}; yours is {role}")


class SessionEnded(GatewayError):
    """The access token is not expired, but its session has ended: its user logged out, or lost the access."""

    def __init__(self) -> None:
        super().__init__("the session of this access token has ended: log in at POST /auth/login")


class TooManyRequests(GatewayError):
    """The caller has used up the quota of a rate limit policy."""

    def __init__(self, policy: str, seconds: float) -> None:
        wait = max(1, math.ceil(seconds))
        self.headers = {"Retry-After": str(wait)}
        super().__init__(f"the limit for {policy} requests is used up: try again in {wait} s")


class BodyNotAllowed(GatewayError):
    """A GET or HEAD request has a body, which has no meaning there (RFC 9110, section 9.3.1)."""

    def __init__(self, method: str) -> None:
        super().__init__(f"a {method} request has no body: send it without Content-Length and Transfer-Encoding")


class TooManyConcurrentRequests(GatewayError):
    """The unfinished requests of the caller occupy as much of this gateway as one caller may have."""

    def __init__(self) -> None:
        super().__init__("too many of your requests are unfinished: wait for their responses, then try again")


class GatewayBusy(GatewayError):
    """The request bodies of all callers occupy as much memory as they may have."""

    def __init__(self) -> None:
        super().__init__("too many requests with a body are unfinished: try again in a moment")


class UpstreamUnavailable(GatewayError):
    """The upstream did not accept the request, or closed the connection before it responded."""

    def __init__(self, upstream: str) -> None:
        super().__init__(f"the {upstream} service is not answering: try again in a moment")


class CircuitOpen(GatewayError):
    """The upstream has failed too often recently, so the circuit breaker sends it no requests.

    Nothing was sent to it.
    """

    def __init__(self, upstream: str, seconds: float) -> None:
        wait = max(1, math.ceil(seconds))
        self.headers = {"Retry-After": str(wait)}
        super().__init__(f"the {upstream} service has failed too often recently: try again in {wait} s")


class UpstreamBusy(GatewayError):
    """The upstream has as many concurrent requests as it may have. Nothing was sent to it."""

    def __init__(self, upstream: str) -> None:
        super().__init__(f"the {upstream} service has too many concurrent requests: try again in a moment")


class UpstreamTimeout(GatewayError):
    """The upstream accepted the request and did not respond in time. It may still execute the request."""

    def __init__(self, upstream: str, seconds: float) -> None:
        super().__init__(
            f"the {upstream} service did not answer within {seconds:g} s: it may still execute the request, "
            "so check before you repeat it"
        )


class RequestBodyTimeout(GatewayError):
    """The caller did not send the whole request body in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request body was not complete within {seconds:g} s")


class CallerDisconnected(GatewayError):
    """The caller closed the connection before the end of the request, so no one reads the response."""

    def __init__(self) -> None:
        super().__init__("the caller closed the connection before the end of the body")
