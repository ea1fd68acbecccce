"""Tokens of gRPC callers for tests: every service has one for every other, and a test may call in the name of each."""

from collections.abc import Mapping
from typing import Any

from chassis.grpc.access import AUTHORIZATION_KEY, MethodCallers, bearer, token_digest
from chassis.grpc.wire import method_name
from grpc import aio

_SERVICES = ("gateway", "inventory", "notification", "order", "payment", "product", "review", "user")


def token_of(caller: str) -> str:
    """Returns the token that the service under test knows of a caller."""
    return f"token-of-{caller}".ljust(40, "-")


OWN_TOKENS: Mapping[str, str] = {neighbour: f"own-token-for-{neighbour}".ljust(40, "-") for neighbour in _SERVICES}
"""GRPC_TOKENS of a service under test. Fakes of its neighbours do not look at them."""

KNOWN_CALLERS: Mapping[str, str] = {token_digest(token_of(caller)): caller for caller in _SERVICES}
"""GRPC_CALLERS of a service under test, as the setting has it: callers by digest."""


def pairs(values: Mapping[str, str]) -> str:
    """Returns GRPC_TOKENS or GRPC_CALLERS as a process reads it from its environment: name=value,name=value."""
    return ",".join(f"{name}={value}" for name, value in values.items())


def open_caller_channel(address: str, allowed_callers: MethodCallers) -> aio.Channel:
    """Returns a channel that calls each method in the name of a service that may call it."""
    return aio.insecure_channel(address, interceptors=[_CallerInterceptor(allowed_callers)])


class _CallerInterceptor(aio.UnaryUnaryClientInterceptor):
    def __init__(self, allowed_callers: MethodCallers) -> None:
        self._allowed_callers = allowed_callers

    async def intercept_unary_unary(self, continuation: Any, details: aio.ClientCallDetails, request: Any) -> Any:
        caller = min(self._allowed_callers[method_name(details.method)])
        metadata = aio.Metadata(*(details.metadata or ()), (AUTHORIZATION_KEY, bearer(token_of(caller))))
        return await continuation(
            aio.ClientCallDetails(
                details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
            ),
            request,
        )
