"""The HTTP protocol of every server: uvicorn's, with bounds on what a client may send, and how long it may take.

uvicorn with httptools has no limit on the size of a head, no deadline for a request and no limit on connections
except one that also refuses probes. Its h11 protocol limits heads alone, and takes several times the processor time.
"""

import asyncio
import json
from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from chassis.http.connections import ENDED, ConnectionLimits, ConnectionTable
from chassis.types.problem import PROBLEM_MEDIA_TYPE, Problem, problem_document

MALFORMED_REQUEST = Problem(400, "malformed_request")
REQUEST_TIMEOUT = Problem(408, "request_timeout")
HEAD_TOO_LARGE = Problem(431, "head_too_large")
TOO_MANY_CONNECTIONS = Problem(503, "too_many_connections", {"Retry-After": "1"})

_LINGER_SECONDS = 2.0
"""How long a connection that ends still discards what the client sends: otherwise the reset that answers unread octets
could reach the client before the response does (RFC 9112, section 9.6).
"""
_FIRST_REQUEST_SECONDS = 1.0
"""How long a server that stops waits for the first request of a new connection, which may be on its way."""


class _Awaited(Enum):
    """What a connection awaits from its client."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()
    UNREAD_BODY = auto()
    """The rest of a body whose request was answered without it."""


class _HeadTooLarge(Exception):
    """Stops the parser."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection of a server."""

    _limits: ClassVar[ConnectionLimits]
    _table: ClassVar[ConnectionTable]

    @classmethod
    def of(cls, limits: ConnectionLimits, table: ConnectionTable) -> type["BoundedHttpProtocol"]:
        """Returns the protocol of one server, because uvicorn constructs connections with its own arguments alone."""
        return type(cls.__name__, (cls,), {"_limits": limits, "_table": table})

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._is_ending = False
        self._is_body_awaited = False
        self._is_head_awaited = True
        self._message = 0
        """How many requests have begun."""
        self._head_bytes = 0
        """The size of the heads of requests that are not answered yet."""
        self._unreported_bytes = 0
        """What was received since the parser last reported something, which it may still hold."""
        self._deadline: asyncio.TimerHandle | None = None
        self._deadline_for: tuple[_Awaited, int] = (_Awaited.NOTHING, 0)
        self._stall: asyncio.TimerHandle | None = None

    @property
    def peer(self) -> str:
        return self.client[0] if self.client else ""

    def evict(self) -> None:
        self._end()

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        if self._table.add(self):
            self._update_deadline()
        else:
            self._write(TOO_MANY_CONNECTIONS, "too many connections: use fewer, or try again in a moment")
            self._is_ending = True
            self.transport.close()
            self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_ending = True
        self._table.remove(self)
        self._cancel_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        self._unreported_bytes += len(data)
        super().data_received(data)
        if self._unreported_bytes > self._limits.head_bytes:
            self._refuse_head()
        self._update_deadline()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(self._limits.stall_seconds, self._abort, "reader_stalled")

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    # What the parser reports

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._message += 1
        self._is_head_awaited = True
        if not self._is_answering():
            self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + len(": \r\n"))
        if not self._is_body_awaited:  # a trailer is no header (RFC 9110, section 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unreported_bytes = 0
        self._is_head_awaited, self._is_body_awaited = False, True
        self._table.mark_busy(self)
        super().on_headers_complete()
        if self.expect_100_continue:  # a client that is answered without it may send its next request instead of a body
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._unreported_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unreported_bytes = 0
        self._is_body_awaited = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Ends the connection, because the parser has stopped."""
        if self._head_bytes > self._limits.head_bytes:
            self._refuse_head()
        else:
            self._refuse(MALFORMED_REQUEST, "this is not a valid HTTP request", "malformed")

    # The responses

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.loop.call_later(self._limits.stall_seconds, self.transport.abort)
        elif not self._is_answering():
            self._table.mark_idle(self)
            self._update_deadline()

    def timeout_keep_alive_handler(self) -> None:
        self._end()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count_head(self, size: int) -> None:
        self._unreported_bytes = 0
        self._head_bytes += size
        if self._head_bytes > self._limits.head_bytes:
            raise _HeadTooLarge

    def shutdown(self) -> None:
        """Ends the connection because the server stops; one that is new still gets its first response.

        A client connects because it is about to send, and cannot know that the server stops. An idle connection is
        closed at once: HTTP expects clients to send again on another (RFC 9112, section 9.3.1).
        """
        if self._message == 0 and not self._is_ending:
            self.loop.call_later(_FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    # Deadlines

    def _update_deadline(self) -> None:
        """Sets the deadline for what is awaited, once for each part of each request."""
        awaited = self._awaited()
        if (awaited, self._message) == self._deadline_for:
            return
        self._deadline_for = (awaited, self._message)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if awaited is not _Awaited.NOTHING and not self._is_ending:
            seconds, expire = self._expiry(awaited)
            self._deadline = self.loop.call_later(seconds, expire)

    def _awaited(self) -> _Awaited:
        if self._is_body_awaited:
            return _Awaited.BODY if self._is_answering() else _Awaited.UNREAD_BODY
        if self._is_head_awaited:
            return _Awaited.HEAD
        # Octets between requests, such as empty lines, end uvicorn's own timer for idle connections.
        is_idle = not self._is_answering() and self.timeout_keep_alive_task is None
        return _Awaited.HEAD if is_idle else _Awaited.NOTHING

    def _expiry(self, awaited: _Awaited) -> tuple[float, Callable[[], None]]:
        if awaited is _Awaited.HEAD:
            return self._limits.head_seconds, self._expire_head
        if awaited is _Awaited.BODY:
            return self._limits.body_seconds, lambda: self._abort("body_timeout")
        return self._limits.discard_seconds, self._end

    def _expire_head(self) -> None:
        if self._is_answering():
            self.cycle.keep_alive = False  # the connection ends after the response
        elif self._message == 0:
            ENDED.labels("head_timeout").inc()
            self._end()
        else:
            self._refuse(REQUEST_TIMEOUT, "the head of the request was not complete in time", "head_timeout")

    # The end

    def _refuse_head(self) -> None:
        detail = f"the request line and the headers must have at most {self._limits.head_bytes} bytes"
        self._refuse(HEAD_TOO_LARGE, detail, "head_too_large")

    def _refuse(self, problem: Problem, detail: str, reason: str) -> None:
        """Answers with a problem, and ends the connection.

        If a response has started or other requests are queued, the connection ends without an answer.
        """
        if self._is_ending:
            return
        if self._is_answering():
            if self.cycle.response_started or self.pipeline:
                self._abort(reason)
                return
            self.cycle.disconnected = True  # what the application sends from now on is dropped
            self.cycle.message_event.set()
        ENDED.labels(reason).inc()
        self._write(problem, detail)
        self._end()

    def _write(self, problem: Problem, detail: str) -> None:
        body = json.dumps(problem_document(problem, detail)).encode()
        headers = {
            **problem.headers,
            "content-type": PROBLEM_MEDIA_TYPE,
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "connection": "close",
        }
        lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)

    def _end(self) -> None:
        """Sends what is written, and then the end; discards what the client sends until it has closed too."""
        if self._is_ending:
            return
        self._is_ending = True
        self._cancel_timers()
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _abort(self, reason: str) -> None:
        ENDED.labels(reason).inc()
        self._is_ending = True
        self.transport.abort()

    def _cancel_timers(self) -> None:
        for timer in (self._deadline, self._stall):
            if timer is not None:
                timer.cancel()
        self._deadline = self._stall = None
        self._unset_keepalive_if_required()
