"""The client of gRPC calls between services. Each call has a deadline and a trace, and fails as a typed error.

A neighbour that repeatedly does not answer gets no calls for a while (see Circuit).
"""

import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import grpc
from grpc import aio
from prometheus_client import Counter, Gauge

from chassis.errors import MethodNotServed, NeighbourRefused, NeighbourUnavailable
from chassis.grpc.access import AUTHORIZATION_KEY, bearer
from chassis.grpc.wire import CODE_KEY, MEMBERS_KEY, method_name, neighbour_name
from chassis.observability import logs, tracing
from chassis.types.circuit_breaker import BreakerPolicy, CircuitBreaker, CircuitState

DEADLINE_SECONDS = 4.0
"""The default deadline of a call: two calls in sequence end before the gateway's own deadline for a request."""

# While a neighbour's pods are replaced, none of the addresses that a client knows may be valid until it resolves the
# name again: a call waits for that, within its deadline. A call that fails as UNAVAILABLE is retried, on another pod if
# there is one: each method of shopapi is safe to retry. gRPC itself throttles the retries to a server that fails most
# of its calls.
# https://github.com/grpc/grpc/blob/master/doc/wait-for-ready.md
# https://github.com/grpc/proposal/blob/master/A6-client-retries.md
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{}],
            "waitForReady": True,
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.5},
}
# Clients resolve the headless Service and balance calls over its pods. Servers close each connection after a minute, so
# that clients resolve the name again and find new pods.
_CHANNEL_OPTIONS = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
_UNAVAILABLE_STATUSES = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
_NOT_SERVED_STATUSES = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED)
_NO_ANSWER_STATUSES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""What gRPC reports if a neighbour did not answer. RESOURCE_EXHAUSTED is an answer: the neighbour is busy, not down."""

# Five calls one after another that each wait for the default deadline fail within the window: the circuit opens for a
# shop with few visitors too. At most one default deadline passes between the neighbour's return and the next probe.
_BREAKER_POLICY = BreakerPolicy(
    min_failures=5, window_seconds=30.0, cooldown_seconds=0.5, max_cooldown_seconds=DEADLINE_SECONDS
)

CIRCUIT = Gauge("neighbour_circuit_state", "0 closed, 1 half-open (one call is the probe), 2 open", ["neighbour"])
REFUSED = Counter("neighbour_calls_refused_total", "Calls not sent, because the circuit was open", ["neighbour"])

_Reply = TypeVar("_Reply")

log = logs.get_logger(__name__)


def open_channel(address: str, token: str) -> "NeighbourChannel":
    """Returns a channel to `host:port` that connects on first use and balances over all pods behind the name.

    `token` is this service's token for the neighbour, which each call shows.
    """
    circuit = Circuit(CircuitBreaker(_BREAKER_POLICY, time.monotonic, _jitter))
    return NeighbourChannel(aio.insecure_channel(f"dns:///{address}", options=_CHANNEL_OPTIONS), circuit, token)


def _jitter() -> float:
    return random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret


async def call(method: Callable[..., Awaitable[_Reply]], request: object, deadline: float = DEADLINE_SECONDS) -> _Reply:
    """Calls a method and returns its reply.

    Raises NeighbourUnavailable if the neighbour does not answer within `deadline` seconds, or at once while its circuit
    is open; MethodNotServed if its release does not serve the method; NeighbourRefused if it answers with a problem.
    """
    try:
        return await method(request, timeout=deadline)
    except aio.AioRpcError as error:
        failure = _typed_error(error)
        # During an upgrade that is expected; the neighbour itself logs which callers it refuses.
        if isinstance(failure, NeighbourUnavailable) and not isinstance(failure, MethodNotServed):
            log.warning(
                "a neighbour did not answer",
                rpc=type(request).__name__,
                status=error.code().name,
                reason=error.details(),
            )
        raise failure from error


def _typed_error(error: aio.AioRpcError) -> NeighbourUnavailable | NeighbourRefused:
    trailer = dict(error.trailing_metadata() or ())
    if error.code() in _UNAVAILABLE_STATUSES:
        return NeighbourUnavailable("a part of the shop did not answer in time; try again in a moment")
    if CODE_KEY not in trailer:
        missing = error.code() in _NOT_SERVED_STATUSES
        failure = MethodNotServed if missing else NeighbourUnavailable
        return failure("a part of the shop failed; try again in a moment")
    members = json.loads(trailer.get(MEMBERS_KEY, b"{}"))
    return NeighbourRefused(str(trailer[CODE_KEY]), error.details() or "", members)


class NeighbourChannel(aio.Channel):
    """A channel whose methods break the circuit to the neighbour and send the caller's token and trace.

    Interceptors would do that too, but take another task and 0.15 ms of processor time for each call. The APIs of the
    shop have no streams.
    """

    def __init__(self, channel: aio.Channel, circuit: "Circuit", token: str) -> None:
        self._channel = channel
        self._circuit = circuit
        self._authorization = (AUTHORIZATION_KEY, bearer(token))

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        send = self._channel.unary_unary(method, *serializers, **options)
        return NeighbourMethod(method, send, self._circuit, self._authorization)

    def unary_stream(self, *_: object, **__: object) -> Any:
        raise NotImplementedError

    stream_unary = stream_stream = unary_stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()


class NeighbourMethod:
    """A method of a neighbour."""

    def __init__(self, path: str, send: Callable[..., Any], circuit: "Circuit", authorization: tuple[str, str]) -> None:
        """`send` calls the method at this path, with nothing added."""
        self._send = send
        self._circuit = circuit
        self._authorization = authorization
        self._name = method_name(path)
        self._neighbour = neighbour_name(path)

    async def __call__(self, request: Any, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - gRPC's name
        """Returns the reply. Raises AioRpcError, and NeighbourUnavailable while the circuit is open."""
        with self._circuit.attempt(self._neighbour), tracing.client_span(self._name):
            metadata = (self._authorization, *tracing.inject().items())
            return await self._send(request, timeout=timeout, metadata=metadata)


class Circuit:
    """Breaks the circuit to the neighbour of one channel, so that callers do not each wait for their deadline.

    Only calls without an answer are failures. A problem is an answer, also if its status is UNAVAILABLE because the
    neighbour's own database or neighbour is down: other methods may work, and the caller did not wait.
    """

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._is_open = False

    @contextmanager
    def attempt(self, neighbour: str) -> Iterator[None]:
        """Surrounds one call. Raises NeighbourUnavailable while the circuit is open."""
        attempt = self._breaker.admit()
        if attempt is None:
            REFUSED.labels(neighbour).inc()
            raise NeighbourUnavailable("a part of the shop does not answer; try again in a moment")
        self._report(neighbour)
        try:
            yield
        except aio.AioRpcError as error:
            if _is_answer(error):
                attempt.succeeded()
            else:
                attempt.failed()
            raise
        else:
            attempt.succeeded()
        finally:
            attempt.abandoned()  # without effect unless the call was cancelled
            self._report(neighbour)

    def _report(self, neighbour: str) -> None:
        state = self._breaker.state
        CIRCUIT.labels(neighbour).set(state)
        is_open = state is not CircuitState.CLOSED
        if is_open is not self._is_open:
            self._is_open = is_open
            log.warning("the circuit opened" if is_open else "the circuit closed", neighbour=neighbour)


def _is_answer(error: aio.AioRpcError) -> bool:
    return error.code() not in _NO_ANSWER_STATUSES or CODE_KEY in dict(error.trailing_metadata() or ())
