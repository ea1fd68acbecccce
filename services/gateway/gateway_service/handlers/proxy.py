"""Requests passed on to services, answers passed back: as streams, at the level of ASGI."""

import asyncio
import string
import zlib
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote_from_bytes

import aiohttp
from chassis.errors import find_problem
from chassis.http.problems import BODY_TOO_LARGE, problem_response
from chassis.observability import logs, tracing
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway_service.clients.upstreams import Outbound, Upstreams
from gateway_service.domain import compressing
from gateway_service.domain.errors import (
    CallerGone,
    CallerTooSlow,
    GatewayError,
    MethodNotAllowed,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway_service.domain.forwarding import has_body, header, request_headers, response_headers
from gateway_service.domain.routes import Route, Table, Upstream, as_served, versioned
from gateway_service.handlers.problems import PROBLEMS
from gateway_service.handlers.sentry import Sentry
from gateway_service.service.admission import Admission

_NOT_STORED = (b"cache-control", b"no-store")
_COMPRESSION_LEVEL = 5
_GZIP = 16 + zlib.MAX_WBITS

log = logs.get_logger(__name__)


class Proxy:
    def __init__(
        self, upstreams: Upstreams, admissions: Mapping[Upstream, Admission], sentry: Sentry, deadline: float
    ) -> None:
        """`deadline` is how many seconds an answer may take, from the first byte of the request to the last of the answer."""
        self._upstreams = upstreams
        self._admissions = admissions
        self._sentry = sentry
        self._deadline = deadline
        self._table = Table()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(scope, send)
        try:
            await self._pass_on(scope, receive, answer)
        except Exception as error:
            refusal = _refusal(error, scope["method"])
            if refusal is None:
                raise
            if not answer.has_begun:
                await refusal(scope, receive, answer.send)
                return
            # Leaving the answer unfinished makes the server end the connection, so that no part is taken for the whole.
            log.warning("an answer broke off", path=scope["path"], reason=str(error))

    async def _pass_on(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        path = versioned(scope["raw_path"].decode("ascii"))
        route = self._table.find(scope["method"], as_served(path))
        scope["route"] = answer.route = route
        await self._sentry.admit(scope, route, answer.added)
        try:
            async with asyncio.timeout(self._deadline):
                body = await _open_body(receive) if has_body(scope["headers"]) else None
        except TimeoutError as error:
            raise CallerTooSlow(self._deadline) from error
        await self._exchange(_outbound(scope, path, route, body), answer)

    async def _exchange(self, outbound: Outbound, answer: "_Answer") -> None:
        """The upstream has failed where it owes an answer; not where the caller dawdles, or hangs up.

        A head alone is no answer: an upstream that dies before the first piece of its body has failed.
        """
        upstream, body = outbound.upstream, outbound.body
        async with self._admissions[upstream].slot() as attempt:
            try:
                async with asyncio.timeout(self._deadline), await self._upstreams.send(outbound) as received:
                    first = await received.content.readany()
                    attempt.succeeded()
                    await answer.relay(received, first, self._upstreams.base(upstream))
            except (UpstreamUnavailable, aiohttp.ClientError) as error:
                if isinstance(body, _Body) and body.failure is not None:
                    raise body.failure from None
                attempt.failed()
                raise UpstreamUnavailable(upstream) from error
            except TimeoutError as error:
                if isinstance(body, _Body) and not body.is_over:
                    raise CallerTooSlow(self._deadline) from error
                attempt.failed()
                raise UpstreamTimeout(upstream, self._deadline) from error


class _Answer:
    """What the caller is sent, and whether any of it was."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.route: Route | None = None
        self.added: list[tuple[bytes, bytes]] = []
        """Headers that the gateway has to tell, whoever answers."""
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            message = {**message, "headers": self._completed(message["headers"])}
        await self._send(message)

    async def relay(self, received: aiohttp.ClientResponse, first: bytes, base: str) -> None:
        """Passes each piece on as it comes, the head with the `first`. Raises aiohttp.ClientError where the upstream breaks off."""
        headers = response_headers(received.raw_headers, base)
        squeeze = None
        if self._may_be_compressed() and compressing.is_compressible(received.status, headers):
            headers = compressing.varying(headers)
            if compressing.accepts_gzip(header(self._scope["headers"], b"accept-encoding")):
                headers = compressing.compressed(headers)
                squeeze = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP)
        await self.send({"type": "http.response.start", "status": received.status, "headers": headers})
        await self._relay_body(first, received.content, squeeze)

    async def _relay_body(self, piece: bytes, content: aiohttp.StreamReader, squeeze: "zlib._Compress | None") -> None:
        """`piece` and what follows it. To HEAD, the same answer without its body."""
        is_wanted = self._scope["method"] != "HEAD"
        while True:
            is_over = content.at_eof()
            if squeeze is not None and is_wanted:
                piece = squeeze.compress(piece) + (squeeze.flush() if is_over else b"")
            if is_over or (piece and is_wanted):
                await self.send(
                    {"type": "http.response.body", "body": piece if is_wanted else b"", "more_body": not is_over}
                )
            if is_over:
                return
            piece = await content.readany()

    def _may_be_compressed(self) -> bool:
        return self.route is not None and self.route.method == "GET" and not self.route.bears_secrets

    def _completed(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        is_for_all = self.route is not None and self.route.is_public and self._may_be_compressed()
        is_said = is_for_all or any(name == b"cache-control" for name, _ in headers)
        return [*headers, *self.added, *([] if is_said else [_NOT_STORED])]


class _Body:
    """A request's body as it comes in. The client library wraps what goes wrong in reading it, so `failure` keeps that."""

    def __init__(self, first: bytes, receive: Receive) -> None:
        self._first = first
        self._receive = receive
        self.failure: Exception | None = None
        self.is_over = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        while not self.is_over:
            try:
                message = await _receive(self._receive)
            except (HTTPException, CallerGone) as error:
                self.failure = error
                raise
            self.is_over = not message.get("more_body", False)
            yield message.get("body", b"")


async def _open_body(receive: Receive) -> bytes | _Body:
    """The whole body where it came in one piece, as it mostly does. Raises HTTPException 413, CallerGone."""
    message = await _receive(receive)
    first: bytes = message.get("body", b"")
    return _Body(first, receive) if message.get("more_body", False) else first


async def _receive(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise CallerGone
    return message


def _outbound(scope: Scope, path: str, route: Route, body: bytes | _Body | None) -> Outbound:
    headers = request_headers(scope["headers"], scope["caller"], tracing.inject())
    return Outbound(route.upstream, route.method, _target(path, scope["query_string"]), headers, body)


def _target(path: str, query: bytes) -> str:
    return f"{path}?{quote_from_bytes(query, safe=string.printable)}" if query else path


def _refusal(error: Exception, method: str) -> Response | None:
    if isinstance(error, MethodNotAllowed) and method == "OPTIONS":
        return Response(status_code=204, headers=dict(error.headers))
    if isinstance(error, HTTPException):  # the edge's limit on bodies
        return problem_response(BODY_TOO_LARGE, error.detail)
    problem = find_problem(error, PROBLEMS)
    if problem is None:
        return None
    response = problem_response(problem, str(error))
    response.headers.update(error.headers if isinstance(error, GatewayError) else {})
    return response
