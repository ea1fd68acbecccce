"""Requests passed on to services, answers passed back: as streams, at the level of ASGI."""

import asyncio
import string
from collections.abc import AsyncIterator
from urllib.parse import quote_from_bytes

import aiohttp
from chassis import logs, problems, tracing
from chassis.http import problem_response
from chassis.problems import Problem
from chassis.tokens import Authenticator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from structlog.contextvars import get_contextvars

from gateway_service.clients.upstreams import Outbound, Upstreams
from gateway_service.domain.errors import CallerGone, NoSuchRoute, UpstreamTimeout, UpstreamUnavailable
from gateway_service.domain.forwarding import Caller, has_body, request_headers, response_headers
from gateway_service.domain.routes import Upstream, find, versioned
from gateway_service.handlers.problems import PROBLEMS

log = logs.get(__name__)


class Proxy:
    def __init__(self, upstreams: Upstreams, auth: Authenticator, deadline: float) -> None:
        """`deadline` is how many seconds an answer may take, from the first byte of the request to the last of the answer."""
        self._upstreams = upstreams
        self._auth = auth
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send)
        try:
            await self._pass_on(scope, receive, answer)
        except Exception as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            if not answer.has_begun:
                await refusal(scope, receive, send)
                return
            # Leaving the answer unfinished makes the server end the connection, so that no part is taken for the whole.
            log.warning("an answer broke off", path=scope["path"], reason=str(error))

    async def _pass_on(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        path = versioned(scope["raw_path"].decode("ascii"))
        route = find(path)
        if route is None:
            raise NoSuchRoute
        scope["route"] = route
        if route.needs_token(scope["method"]):
            await self._auth.required(Request(scope))
        try:
            async with asyncio.timeout(self._deadline):
                await self._exchange(scope, path, route.upstream, receive, answer)
        except TimeoutError as error:
            raise UpstreamTimeout(route.upstream, self._deadline) from error

    async def _exchange(self, scope: Scope, path: str, upstream: Upstream, receive: Receive, answer: "_Answer") -> None:
        body = await _open_body(receive) if has_body(scope["headers"]) else None
        headers = request_headers(scope["headers"], _caller(scope), _own_headers())
        outbound = Outbound(upstream, scope["method"], _target(path, scope["query_string"]), headers, body)
        try:
            async with await self._upstreams.send(outbound) as received:
                await answer.relay(received, self._upstreams.base(upstream))
        except (UpstreamUnavailable, aiohttp.ClientError) as error:
            if isinstance(body, _Body) and body.failure is not None:
                raise body.failure from None
            raise UpstreamUnavailable(upstream) from error


class _Answer:
    """What the caller is sent, and whether any of it was."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def relay(self, received: aiohttp.ClientResponse, base: str) -> None:
        """Passes each piece on as it comes. Raises aiohttp.ClientError where the upstream breaks off."""
        headers = response_headers(received.raw_headers, base)
        self.has_begun = True
        await self._send({"type": "http.response.start", "status": received.status, "headers": headers})
        is_over = False
        while not is_over:
            piece = await received.content.readany()
            is_over = received.content.at_eof()
            await self._send({"type": "http.response.body", "body": piece, "more_body": not is_over})


class _Body:
    """A request's body as it comes in. The client library wraps what goes wrong in reading it, so `failure` keeps that."""

    def __init__(self, first: bytes, receive: Receive) -> None:
        self._first = first
        self._receive = receive
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        is_over = False
        while not is_over:
            try:
                message = await _receive(self._receive)
            except (HTTPException, CallerGone) as error:
                self.failure = error
                raise
            is_over = not message.get("more_body", False)
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


def _caller(scope: Scope) -> Caller:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    return Caller(scope["client"][0] if scope["client"] else "unknown", scope["scheme"], host)


def _own_headers() -> dict[str, str]:
    """The trace, and the request's id as the edge gave it."""
    return {**tracing.inject(), "x-request-id": get_contextvars().get("request_id", "")}


def _target(path: str, query: bytes) -> str:
    return f"{path}?{quote_from_bytes(query, safe=string.printable)}" if query else path


def _refusal(error: Exception) -> Response | None:
    if isinstance(error, HTTPException):  # the edge's limit on bodies
        return problem_response(Problem(error.status_code, "body_too_large"), error.detail)
    problem = problems.find(error, PROBLEMS)
    return None if problem is None else problem_response(problem, str(error))
