"""Forwards requests to the upstreams, and streams their responses to the callers, at the level of ASGI."""

import asyncio
import string
import zlib
from collections.abc import Mapping
from urllib.parse import quote_from_bytes

import aiohttp
from chassis.errors import find_problem
from chassis.http.problems import BODY_TOO_LARGE, problem_response
from chassis.observability import logs, tracing
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway_service.clients.upstream_client import UpstreamClient, UpstreamRequest
from gateway_service.domain import compression
from gateway_service.domain.errors import (
    BodyNotAllowed,
    CallerDisconnected,
    GatewayError,
    MethodNotAllowed,
    RequestBodyTimeout,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway_service.domain.headers import has_body, header, request_headers, response_headers
from gateway_service.domain.routes import Route, RouteTable, Upstream, decode_path, with_version
from gateway_service.handlers.access_control import AccessControl
from gateway_service.handlers.problems import PROBLEMS
from gateway_service.service.admission import AdmissionControl
from gateway_service.service.caller_limits import CallerLimits, CallerSlot

_NO_STORE = (b"cache-control", b"no-store")
_COMPRESSION_LEVEL = 5
_GZIP_WBITS = 16 + zlib.MAX_WBITS

log = logs.get_logger(__name__)


class Proxy:
    """Forwards the requests that are in the route table."""

    def __init__(
        self,
        client: UpstreamClient,
        admissions: Mapping[Upstream, AdmissionControl],
        access: AccessControl,
        limits: CallerLimits,
        deadline: float,
    ) -> None:
        """`deadline` is in seconds: first for the request body, then for the exchange with the upstream."""
        self._client = client
        self._admissions = admissions
        self._access = access
        self._limits = limits
        self._deadline = deadline
        self._table = RouteTable()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = _ResponseWriter(scope, send)
        try:
            await self._forward(scope, receive, writer)
        except Exception as error:
            refusal = _refusal(error, scope["method"])
            if refusal is None:
                raise
            if not writer.has_started:
                await refusal(scope, receive, writer.send)
                return
            # An incomplete response makes the server close the connection, so the caller does not take it for complete.
            log.warning("a response was not completed", path=scope["path"], reason=str(error))

    async def _forward(self, scope: Scope, receive: Receive, writer: "_ResponseWriter") -> None:
        path = with_version(scope["raw_path"].decode("ascii"))
        route = self._table.find(scope["method"], decode_path(path))
        scope["route"] = writer.route = route
        key = await self._access.admit(scope, route, writer.added_headers)
        sends_body = has_body(scope["headers"])
        if sends_body and route.method == "GET":
            raise BodyNotAllowed(scope["method"])
        async with self._limits.slot(key) as slot:
            body = await _read_body(receive, slot, self._deadline) if sends_body else None
            await self._exchange(_upstream_request(scope, path, route, body), writer)

    async def _exchange(self, request: UpstreamRequest, writer: "_ResponseWriter") -> None:
        """Sends the request and relays the response. A slow caller is no failure of the upstream.

        A response head alone does not count as a success: an upstream that dies before the first piece of its body has
        failed.
        """
        upstream = request.upstream
        async with self._admissions[upstream].slot() as attempt:
            try:
                async with asyncio.timeout(self._deadline), await self._client.send(request) as received:
                    first = await received.content.readany()
                    attempt.succeeded()
                    await writer.relay(received, first, self._client.base_url(upstream))
            except (UpstreamUnavailable, aiohttp.ClientError) as error:
                attempt.failed()
                raise UpstreamUnavailable(upstream) from error
            except TimeoutError as error:
                attempt.failed()
                raise UpstreamTimeout(upstream, self._deadline) from error


class _ResponseWriter:
    """Writes the response to the caller, and knows whether it has started."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.route: Route | None = None
        self.added_headers: list[tuple[bytes, bytes]] = []
        """Headers that the gateway adds to every response, its own or an upstream's."""
        self.has_started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            message = {**message, "headers": self._complete_headers(message["headers"])}
        await self._send(message)

    async def relay(self, received: aiohttp.ClientResponse, first: bytes, base_url: str) -> None:
        """Relays the head with the `first` piece of the body, and then each piece as it arrives.

        Raises aiohttp.ClientError if the upstream breaks the connection.
        """
        headers = response_headers(received.raw_headers, base_url)
        compressor = None
        if self._may_be_compressed() and compression.is_compressible(received.status, headers):
            headers = compression.with_vary(headers)
            if compression.accepts_gzip(header(self._scope["headers"], b"accept-encoding")):
                headers = compression.gzip_headers(headers)
                compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
        await self.send({"type": "http.response.start", "status": received.status, "headers": headers})
        await self._relay_body(first, received.content, compressor)

    async def _relay_body(
        self, piece: bytes, content: aiohttp.StreamReader, compressor: "zlib._Compress | None"
    ) -> None:
        """Relays `piece` and the rest of the body. The response to HEAD has no body."""
        sends_body = self._scope["method"] != "HEAD"
        while True:
            is_complete = content.at_eof()
            if compressor is not None and sends_body:
                piece = compressor.compress(piece) + (compressor.flush() if is_complete else b"")
            if is_complete or (piece and sends_body):
                await self.send(
                    {"type": "http.response.body", "body": piece if sends_body else b"", "more_body": not is_complete}
                )
            if is_complete:
                return
            piece = await content.readany()

    def _may_be_compressed(self) -> bool:
        return self.route is not None and self.route.method == "GET" and not self.route.contains_secrets

    def _complete_headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        may_be_stored = self.route is not None and self.route.may_be_stored
        has_cache_control = any(name == b"cache-control" for name, _ in headers)
        return [*headers, *self.added_headers, *([] if may_be_stored or has_cache_control else [_NO_STORE])]


async def _read_body(receive: Receive, slot: CallerSlot, deadline: float) -> bytes:
    """Reads the whole body before anything is sent, so that a caller that sends slowly holds no slot of an upstream.

    Raises HTTPException 413, CallerDisconnected, RequestBodyTimeout, TooManyConcurrentRequests, GatewayBusy.
    """
    pieces: list[bytes] = []
    is_complete = False
    try:
        async with asyncio.timeout(deadline):
            while not is_complete:
                message = await _receive(receive)
                piece = message.get("body", b"")
                slot.reserve(len(piece))
                pieces.append(piece)
                is_complete = not message.get("more_body", False)
    except TimeoutError as error:
        raise RequestBodyTimeout(deadline) from error
    return b"".join(pieces)


async def _receive(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise CallerDisconnected
    return message


def _upstream_request(scope: Scope, path: str, route: Route, body: bytes | None) -> UpstreamRequest:
    headers = request_headers(scope["headers"], scope["client_address"], tracing.inject())
    return UpstreamRequest(route.upstream, route.method, _target(path, scope["query_string"]), headers, body)


def _target(path: str, query: bytes) -> str:
    return f"{path}?{quote_from_bytes(query, safe=string.printable)}" if query else path


def _refusal(error: Exception, method: str) -> Response | None:
    """Returns the response for an error; None if it is unexpected."""
    if isinstance(error, MethodNotAllowed) and method == "OPTIONS":
        return Response(status_code=204, headers=dict(error.headers))
    if isinstance(error, HTTPException):  # the middleware's limit on the size of bodies
        return problem_response(BODY_TOO_LARGE, error.detail)
    problem = find_problem(error, PROBLEMS)
    if problem is None:
        return None
    response = problem_response(problem, str(error))
    response.headers.update(error.headers if isinstance(error, GatewayError) else {})
    return response
