"""Why a request got no answer from a service."""

import math
from collections.abc import Mapping, Sequence


class GatewayError(Exception):
    """The root of this service's errors. `headers` belong to the answer that tells of it."""

    headers: Mapping[str, str] = {}


class NoSuchRoute(GatewayError):
    """No service serves this path."""

    def __init__(self) -> None:
        super().__init__("nothing is served at this path: see /swagger/ for what is")


class MethodNotAllowed(GatewayError):
    """The path is served, and not with this method. `allowed` are those it has."""

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        self.headers = {"Allow": ", ".join(allowed)}
        super().__init__(f"{method} is not one of this path's methods: {', '.join(allowed)}")


class RoleNotAllowed(GatewayError):
    """Who calls has a role that can never do this, whatever it is about."""

    def __init__(self, role: str, allowed: Sequence[str]) -> None:
        super().__init__(f"this needs the role {' or '.join(allowed)}; yours is {role}")


class TooManyRequests(GatewayError):
    """The caller has used up what a policy grants."""

    def __init__(self, policy: str, seconds: float) -> None:
        wait = max(1, math.ceil(seconds))
        self.headers = {"Retry-After": str(wait)}
        super().__init__(f"the limit for {policy} requests is used up: come again in {wait} s")


class UpstreamUnavailable(GatewayError):
    """A service did not take the request, or ended the connection before it answered."""

    def __init__(self, upstream: str) -> None:
        super().__init__(f"the {upstream} service is not answering: try again in a moment")


class UpstreamResting(GatewayError):
    """A service has failed too often just now, and is not asked for a moment. Nothing was sent to it."""

    def __init__(self, upstream: str, seconds: float) -> None:
        wait = max(1, math.ceil(seconds))
        self.headers = {"Retry-After": str(wait)}
        super().__init__(f"the {upstream} service has failed too often just now: try again in {wait} s")


class UpstreamBusy(GatewayError):
    """As many requests as a service may have at once are under way. Nothing was sent to it."""

    def __init__(self, upstream: str) -> None:
        super().__init__(f"the {upstream} service has as many requests as it can take: try again in a moment")


class UpstreamTimeout(GatewayError):
    """A service took the request and did not answer in time; what was asked for may yet happen."""

    def __init__(self, upstream: str, seconds: float) -> None:
        super().__init__(
            f"the {upstream} service did not answer within {seconds:g} s: what was asked for may yet happen, "
            "so look before you repeat it"
        )


class CallerTooSlow(GatewayError):
    """The request's body did not come to its end in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body was not all sent within {seconds:g} s")


class CallerGone(GatewayError):
    """The caller hung up before the end of the request; nobody reads an answer."""

    def __init__(self) -> None:
        super().__init__("the caller ended the connection before the end of the body")
