"""What a service that is taken over can do at the others: call the methods that list it, with its own tokens, alone."""

import importlib
import itertools
from collections.abc import Iterator

import grpc
import pytest
from chassis.grpc.access import AUTHORIZATION_KEY, bearer
from devtools.services import SERVICES
from devtools.stack import Stack
from google.protobuf.message import Message
from grpc import aio

CALLED = tuple(
    name for name in SERVICES if any(name in definition.neighbours for definition in SERVICES.values())
)  # the services with methods
REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def methods_of(service: str) -> Iterator[tuple[str, type[Message]]]:
    """Yields the full name of each gRPC method of a service, and the class of its request."""
    contract = importlib.import_module(f"shopapi.{service}.v1.{service}_pb2")
    for described in contract.DESCRIPTOR.services_by_name.values():
        for method in described.methods:
            yield f"{described.full_name}/{method.name}", getattr(contract, method.input_type.name)


def tokens_of(stack: Stack, service: str) -> dict[str, str]:
    """Returns the tokens in the environment of a service's process, by the service that they are for."""
    pairs = stack.environment_of(service).get("GRPC_TOKENS", "").split(",")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def allowed_callers(method: str, service: str) -> frozenset[str]:
    table: dict[str, frozenset[str]] = importlib.import_module(f"{service}_service.handlers.grpc").ALLOWED_CALLERS
    return table[method]


async def status_of(stack: Stack, service: str, method: str, request: Message, token: str | None) -> grpc.StatusCode:
    """Returns the status of a call with an empty request. A method that is reached answers OK or a problem."""
    metadata = () if token is None else ((AUTHORIZATION_KEY, bearer(token)),)
    async with aio.insecure_channel(stack.grpc_of(service)) as channel:
        unary: aio.UnaryUnaryMultiCallable[Message, bytes] = channel.unary_unary(
            f"/{method}", request_serializer=type(request).SerializeToString
        )
        try:
            await unary(request, metadata=metadata, timeout=30, wait_for_ready=True)
        except aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("caller", SERVICES)
@pytest.mark.parametrize("service", CALLED)
async def test_a_service_can_call_the_methods_that_list_it_and_no_others(
    stack: Stack, caller: str, service: str
) -> None:
    token = tokens_of(stack, caller).get(service)

    for method, request in methods_of(service):
        status = await status_of(stack, service, method, request(), token)
        if token is None:
            assert status == grpc.StatusCode.UNAUTHENTICATED, method
        elif caller in allowed_callers(method, service):
            assert status not in REFUSED, method
        else:
            assert status == grpc.StatusCode.PERMISSION_DENIED, method


@pytest.mark.parametrize("caller", SERVICES)
@pytest.mark.parametrize("service", CALLED)
async def test_a_token_for_one_service_opens_no_other(stack: Stack, caller: str, service: str) -> None:
    tokens = [token for callee, token in tokens_of(stack, caller).items() if callee != service]

    for (method, request), token in itertools.product(methods_of(service), tokens):
        assert await status_of(stack, service, method, request(), token) == grpc.StatusCode.UNAUTHENTICATED, method


@pytest.mark.parametrize("service", CALLED)
async def test_what_a_service_knows_of_its_callers_does_not_open_another(stack: Stack, service: str) -> None:
    digests = [pair.split("=", 1)[1] for pair in stack.environment_of(service)["GRPC_CALLERS"].split(",")]

    for other in CALLED:
        method, request = next(methods_of(other))
        for digest in digests:
            assert await status_of(stack, other, method, request(), digest) == grpc.StatusCode.UNAUTHENTICATED
