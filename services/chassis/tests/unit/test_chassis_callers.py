"""A gRPC server answers only callers that show their token, and each only on the methods that list it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from chassis.errors import MethodNotServed
from chassis.grpc.access import (
    CLOSED,
    CallerAuthorization,
    CallerTokens,
    bearer,
    method_callers,
    token_digest,
)
from chassis.grpc.client import call, open_channel
from chassis.grpc.server import GrpcServer
from chassis.settings import GrpcAuthentication
from chassis_testing.callers import KNOWN_CALLERS, token_of
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY
from shopapi.review.v1 import review_pb2, review_pb2_grpc

SERVICE = "shopapi.review.v1.ReviewService"
METHOD = f"{SERVICE}/GetAvgRating"
OPEN_TO_PRODUCT = method_callers(SERVICE, GetAvgRating={"product"})
REQUEST = review_pb2.GetAvgRatingRequest(product_id=1)


class Ratings(review_pb2_grpc.ReviewServiceServicer):
    def __init__(self) -> None:
        self.calls = 0

    async def GetAvgRating(  # noqa: N802
        self, request: review_pb2.GetAvgRatingRequest, context: object
    ) -> review_pb2.GetAvgRatingResponse:
        self.calls += 1
        return review_pb2.GetAvgRatingResponse(product_id=request.product_id, average=4.5, count=2)

    async def GetChangeCount(self, request: object, context: object) -> review_pb2.GetChangeCountResponse:  # noqa: N802
        raise NotImplementedError

    async def GetAvgRatings(self, request: object, context: object) -> review_pb2.GetAvgRatingsResponse:  # noqa: N802
        raise NotImplementedError


def required(tokens: Mapping[str, str] = KNOWN_CALLERS) -> CallerAuthorization:
    return CallerAuthorization(OPEN_TO_PRODUCT, CallerTokens(tokens))


def optional() -> CallerAuthorization:
    return CallerAuthorization(OPEN_TO_PRODUCT, CallerTokens(KNOWN_CALLERS), GrpcAuthentication.OPTIONAL)


@asynccontextmanager
async def served(authorization: CallerAuthorization) -> AsyncIterator[tuple[str, Ratings]]:
    """Runs a server of ratings on a free port."""
    ratings = Ratings()

    def register(server: aio.Server) -> None:
        review_pb2_grpc.add_ReviewServiceServicer_to_server(ratings, server)

    server = GrpcServer(0, {}, [register], authorization)
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}", ratings
    finally:
        await server.stop(0)


async def status_of(address: str, *metadata: tuple[str, str], method: str = METHOD) -> grpc.StatusCode:
    """Returns the status of a call with exactly this metadata."""
    async with aio.insecure_channel(address) as channel:
        unary = channel.unary_unary(
            f"/{method}", review_pb2.GetAvgRatingRequest.SerializeToString, review_pb2.GetAvgRatingResponse.FromString
        )
        try:
            await unary(REQUEST, metadata=metadata, wait_for_ready=True, timeout=10)
        except aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def refused(caller: str) -> float:
    labels = {"rpc_method": METHOD, "caller": caller}
    return REGISTRY.get_sample_value("rpc_server_calls_refused_total", labels) or 0.0


def answered_without_token() -> float:
    return REGISTRY.get_sample_value("rpc_server_calls_without_token_total", {"rpc_method": METHOD}) or 0.0


async def test_a_listed_caller_is_answered_and_shows_its_token_by_the_client() -> None:
    async with served(required()) as (address, _), open_channel(address, token_of("product")) as channel:
        response = await call(review_pb2_grpc.ReviewServiceStub(channel).GetAvgRating, REQUEST, 10)

    assert (response.average, response.count) == (4.5, 2)


async def test_the_client_tells_a_method_that_is_not_served_from_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no warning: background loops call such a method several times a second during an upgrade."""
    async with served(required()) as (address, _):
        for caller, method in (("order", "GetAvgRating"), ("product", "GetNothing")):
            async with open_channel(address, token_of(caller)) as channel:
                unknown: Any = channel.unary_unary(f"/{SERVICE}/{method}", type(REQUEST).SerializeToString)
                with pytest.raises(MethodNotServed):
                    await call(unknown, REQUEST, 10)
    assert "a neighbour did not answer" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, grpc.StatusCode.UNAUTHENTICATED),
        ("", grpc.StatusCode.UNAUTHENTICATED),
        ("Bearer ", grpc.StatusCode.UNAUTHENTICATED),
        (bearer("x" * 40), grpc.StatusCode.UNAUTHENTICATED),
        (bearer(token_digest(token_of("product"))), grpc.StatusCode.UNAUTHENTICATED),
        (token_of("product"), grpc.StatusCode.UNAUTHENTICATED),
        (bearer(token_of("product")) + " ", grpc.StatusCode.UNAUTHENTICATED),
        (bearer(token_of("order")), grpc.StatusCode.PERMISSION_DENIED),
        (bearer(token_of("product")), grpc.StatusCode.OK),
    ],
)
async def test_only_a_token_of_a_listed_caller_reaches_the_method(
    authorization: str | None, status: grpc.StatusCode
) -> None:
    metadata = [] if authorization is None else [("authorization", authorization)]
    async with served(required()) as (address, ratings):
        assert await status_of(address, *metadata) == status

    assert ratings.calls == (1 if status == grpc.StatusCode.OK else 0)


@pytest.mark.parametrize("authorization", [CLOSED, CallerAuthorization({}, CallerTokens(KNOWN_CALLERS))])
async def test_a_method_outside_the_table_is_refused_to_every_caller(authorization: CallerAuthorization) -> None:
    async with served(authorization) as (address, ratings):
        for caller in KNOWN_CALLERS.values():
            assert await status_of(address, ("authorization", bearer(token_of(caller)))) != grpc.StatusCode.OK

    assert ratings.calls == 0


async def test_a_streaming_method_outside_the_table_is_refused() -> None:
    async def stream(request: object, context: object) -> AsyncIterator[bytes]:
        yield b"secret"

    methods: dict[str, Any] = {"Read": grpc.unary_stream_rpc_method_handler(stream)}
    handler = grpc.method_handlers_generic_handler("demo.Streams", methods)
    server = GrpcServer(0, {}, [lambda server: server.add_generic_rpc_handlers((handler,))], required())
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        read: Any = channel.unary_stream("/demo.Streams/Read")
        reading = read(b"", metadata=(("authorization", bearer(token_of("product"))),), wait_for_ready=True, timeout=10)
        with pytest.raises(aio.AioRpcError) as denied:
            [part async for part in reading]
    await server.stop(0)

    assert denied.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_health_checks_need_no_token() -> None:
    async with served(CLOSED) as (address, _), aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=10
        )

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_both_tokens_of_a_caller_are_valid_while_one_replaces_the_other() -> None:
    tokens = {token_digest("old" * 12): "product", token_digest("new" * 12): "product"}
    async with served(required(tokens)) as (address, _):
        for token in ("old" * 12, "new" * 12):
            assert await status_of(address, ("authorization", bearer(token))) == grpc.StatusCode.OK


async def test_optional_answers_calls_without_a_token_and_counts_them_but_refuses_wrong_ones() -> None:
    before = answered_without_token()
    async with served(optional()) as (address, ratings):
        assert await status_of(address) == grpc.StatusCode.OK
        assert await status_of(address, ("authorization", bearer("x" * 40))) == grpc.StatusCode.UNAUTHENTICATED
        denied = await status_of(address, ("authorization", bearer(token_of("order"))))

    assert denied == grpc.StatusCode.PERMISSION_DENIED
    assert ratings.calls == 1
    assert answered_without_token() == before + 1


def test_optional_does_not_open_a_method_outside_the_table() -> None:
    closed = CallerAuthorization({}, CallerTokens({}), GrpcAuthentication.OPTIONAL)

    refusal = closed.refusal(METHOD, {})

    assert refusal is not None
    assert refusal.status == grpc.StatusCode.PERMISSION_DENIED


def test_a_refusal_is_counted_by_caller_and_logged_without_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    before = refused("order"), refused("unknown")
    authorization = required()

    authorization.refusal(METHOD, {"authorization": bearer(token_of("order"))})
    authorization.refusal(METHOD, {"authorization": bearer("a-token-that-was-made-up")})

    assert (refused("order"), refused("unknown")) == (before[0] + 1, before[1] + 1)
    written = "".join(capsys.readouterr())
    assert written.count("call refused") == 2
    assert token_of("order") not in written
    assert "made-up" not in written
