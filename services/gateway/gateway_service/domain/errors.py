"""Why a request got no answer from a service."""


class GatewayError(Exception):
    """The root of this service's errors."""


class NoSuchRoute(GatewayError):  # noqa: N818 - named for what happened
    """No service serves this path."""

    def __init__(self) -> None:
        super().__init__("nothing is served at this path: see /swagger/ for what is")


class UpstreamUnavailable(GatewayError):  # noqa: N818 - named for what happened
    """A service did not take the request, or ended the connection before it answered."""

    def __init__(self, upstream: str) -> None:
        super().__init__(f"the {upstream} service is not answering: try again in a moment")


class UpstreamTimeout(GatewayError):  # noqa: N818 - named for what happened
    """A service took the request and did not answer in time; what was asked for may yet happen."""

    def __init__(self, upstream: str, seconds: float) -> None:
        super().__init__(
            f"the {upstream} service did not answer within {seconds:g} s: what was asked for may yet happen, "
            "so look before you repeat it"
        )


class CallerGone(GatewayError):  # noqa: N818 - named for what happened
    """The caller hung up before the end of the request; nobody reads an answer."""

    def __init__(self) -> None:
        super().__init__("the caller ended the connection before the end of the body")
