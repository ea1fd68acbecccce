"""Forwards requests to the upstreams, and streams their responses to the callers, at the level of ASGI."""

import asyncio
import string
import zlib
from functools import lru_cache
from urllib.parse import quote_from_bytes

import aiohttp
from chassis.errors import find_problem
from chassis.http.negotiation import choose_media_type
from chassis.http.problems import BODY_TOO_LARGE, problem_response
from chassis.observability import logs, tracing
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway_service.clients.upstream_client import UpstreamRequest
from gateway_service.domain import compression
from gateway_service.domain.answers import CACHE_STATUSES, PublicRead, has_etag, target_of
from gateway_service.domain.errors import (
    BodyNotAllowed,
    CallerDisconnected,
    GatewayError,
    MethodNotAllowed,
    RequestBodyTimeout,
    UpstreamBusy,
)
from gateway_service.domain.headers import has_body, header, request_headers
from gateway_service.domain.routes import Route, RouteTable, Upstream, decode_path, with_version
from gateway_service.handlers.access_control import AccessControl
from gateway_service.handlers.problems import PROBLEMS
from gateway_service.service.answer_cache import AnswerCache, Found
from gateway_service.service.caller_limits import CallerLimits, CallerSlot
from gateway_service.service.exchanges import Exchanges, ReceivedResponse

_NO_STORE = (b"cache-control", b"no-store")
_COMPRESSION_LEVEL = 5
_GZIP_WBITS = 16 + zlib.MAX_WBITS

log = logs.get_logger(__name__)


class Proxy:
    """Forwards the requests that are in the route table."""

    def __init__(
        self,
        exchanges: Exchanges,
        answers: AnswerCache,
        access: AccessControl,
        limits: CallerLimits,
        deadline: float,
    ) -> None:
        """`deadline` is how many seconds a request body may take."""
        self._exchanges = exchanges
        self._answers = answers
        self._access = access
        self._limits = limits
        self._deadline = deadline
        self._table = RouteTable()
        self._busy = {upstream: _busy_response(upstream) for upstream in Upstream}

    def refuse(self, scope: Scope) -> Response | None:
        """Returns the response to a request that an overload refuses, before anything is done for it; else None."""
        if not self._exchanges.is_overloaded:
            return None
        try:
            route = self._table.find(scope["method"], decode_path(with_version(scope["raw_path"].decode("ascii"))))
        except GatewayError:
            return None
        if route.shows and self._answers.is_on:  # it may be answered from memory
            return None
        upstream = self._exchanges.refusing_upstream(route)
        if upstream is None:
            return None
        scope["route"] = route
        return self._busy[upstream]

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
        sends_body = has_body(scope["headers"])
        read = self._public_read(scope, path, route) if not sends_body else None
        if read is not None:
            await self._answer(scope, read, writer)
            return
        key = await self._access.admit(scope, route, writer.added_headers)
        if sends_body and route.method == "GET":
            raise BodyNotAllowed(scope["method"])
        async with self._limits.slot(key, route.priority) as slot:
            body = await _read_body(receive, slot, self._deadline) if sends_body else None
            await self._exchange(_upstream_request(scope, path, route, body), route, writer)

    def _public_read(self, scope: Scope, path: str, route: Route) -> PublicRead | None:
        """Returns what a request reads if callers may share its answer, else None."""
        if not (route.shows and self._answers.is_on and _accepts_json(header(scope["headers"], b"accept"))):
            return None
        return PublicRead(route, target_of(path, _quoted(scope["query_string"])))

    async def _answer(self, scope: Scope, read: PublicRead, writer: "_ResponseWriter") -> None:
        """Answers a public read from memory, or else with what the service answers to all who ask at this time."""
        lookup = self._answers.look(read)  # before the other commands to Redis, whose pipeline it shares
        key = await self._access.admit(scope, read.route, writer.added_headers)
        snapshot = await lookup.snapshot()
        found = self._answers.find(read, snapshot)
        if found is None:
            async with self._limits.slot(key, read.route.priority):
                found = await self._answers.fetch(read, snapshot)
                if found is None:
                    writer.added_headers.append((b"cache-status", CACHE_STATUSES["bypassed"]))
                    request = _upstream_request(scope, read.target, read.route, None)
                    await self._exchange(request, read.route, writer)
                    return
        await writer.send_found(found)

    async def _exchange(self, request: UpstreamRequest, route: Route, writer: "_ResponseWriter") -> None:
        """Sends the request and relays the response. The caller learns of a change when no older answer is in use."""
        async with self._exchanges.open(request, route) as received:
            is_refused = 400 <= received.response.status < 500
            if route.changes and not is_refused:
                with received.deadline_suspended():
                    await self._answers.drop(route.changes)
            await writer.relay(received)


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

    async def send_found(self, found: Found) -> None:
        """Sends a shared answer: 304 to a caller that has it (RFC 9110, section 13.2.2), to HEAD without its body."""
        headers = self._scope["headers"]
        accepts_gzip = compression.accepts_gzip(header(headers, b"accept-encoding"))
        shared = found.answer.representation(accepts_gzip=accepts_gzip)
        about = [(b"age", b"%d" % found.age), (b"cache-status", CACHE_STATUSES[found.result])]
        status, body = found.answer.status, shared.body if self._scope["method"] != "HEAD" else b""
        condition = header(headers, b"if-none-match")
        if condition and status == 200 and has_etag(condition, shared.etag):
            status, body = 304, b""
        kept = shared.not_modified_headers() if status == 304 else shared.headers
        await self.send({"type": "http.response.start", "status": status, "headers": [*kept, *about]})
        await self.send({"type": "http.response.body", "body": body})

    async def relay(self, received: ReceivedResponse) -> None:
        """Relays the head with the first piece of the body, and then each piece as it arrives.

        Raises aiohttp.ClientError if the upstream breaks the connection.
        """
        response, headers = received.response, received.headers
        compressor = None
        if self._may_be_compressed() and compression.is_compressible(response.status, headers):
            headers = compression.with_vary(headers)
            if compression.accepts_gzip(header(self._scope["headers"], b"accept-encoding")):
                headers = compression.gzip_headers(headers)
                compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
        await self.send({"type": "http.response.start", "status": response.status, "headers": headers})
        await self._relay_body(received.first, response.content, compressor)

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
    return f"{path}?{_quoted(query)}" if query else path


def _quoted(query: bytes) -> str:
    return quote_from_bytes(query, safe=string.printable) if query else ""


@lru_cache(256)
def _accepts_json(accept: bytes) -> bool:
    return choose_media_type([accept.decode("latin-1")], ["application/json"]) is not None


def _busy_response(upstream: Upstream) -> Response:
    response = problem_response(PROBLEMS[UpstreamBusy], str(UpstreamBusy(upstream)))
    response.raw_headers.append(_NO_STORE)
    return response


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
