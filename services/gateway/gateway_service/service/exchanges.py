"""Exchanges with the upstreams: one request and its response, within a deadline and under admission control."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp
from chassis.observability import tracing

from gateway_service.clients.upstream_client import UpstreamClient, UpstreamRequest
from gateway_service.domain.answers import MAX_BODY_BYTES, Answer, PublicRead, make_answer
from gateway_service.domain.errors import UpstreamTimeout, UpstreamUnavailable
from gateway_service.domain.headers import response_headers
from gateway_service.domain.routes import Route, Upstream
from gateway_service.service.admission import AdmissionControl


@dataclass(frozen=True, slots=True)
class ReceivedResponse:
    """A response with the `first` piece of its body; the rest is in `response.content`."""

    response: aiohttp.ClientResponse
    first: bytes
    headers: list[tuple[bytes, bytes]]
    """The headers for the caller."""
    _limit: asyncio.Timeout

    @contextmanager
    def deadline_suspended(self) -> Iterator[None]:
        """Keeps the deadline from passing. What remained of it is there again after that."""
        now = asyncio.get_running_loop().time
        suspended_at, ends_at = now(), self._limit.when()
        self._limit.reschedule(None)
        yield
        self._limit.reschedule(None if ends_at is None else ends_at + now() - suspended_at)


class Exchanges:
    """Sends requests to all upstreams."""

    def __init__(
        self, client: UpstreamClient, admissions: Mapping[Upstream, AdmissionControl], deadline: float
    ) -> None:
        """`deadline` is in seconds, retries included."""
        self._client = client
        self._admissions = admissions
        self._deadline = deadline

    @property
    def is_overloaded(self) -> bool:
        """Returns whether more requests arrive for an upstream than it serves."""
        return any(admission.is_overloaded for admission in self._admissions.values())

    def refusing_upstream(self, route: Route) -> Upstream | None:
        """Returns the upstream for which a request would be refused without a wait, if there is one, and counts it."""
        needed = (route.upstream,) if route.leads_to is None else (route.leads_to, route.upstream)
        return next((upstream for upstream in needed if self._admissions[upstream].refuses(route.priority)), None)

    @asynccontextmanager
    async def open(self, request: UpstreamRequest, route: Route) -> AsyncIterator[ReceivedResponse]:
        """Sends the request, and holds the response. A slow caller is no failure of the upstream.

        A response head alone does not count as a success: an upstream that dies before the first piece of its body has
        failed. Raises CircuitOpen, UpstreamBusy, UpstreamUnavailable, UpstreamTimeout.
        """
        upstream = request.upstream
        if route.leads_to is not None:
            await self._admissions[route.leads_to].wait_for_room(route.priority)
        async with self._admissions[upstream].slot(route.priority) as attempt:
            try:
                async with asyncio.timeout(self._deadline) as limit, await self._client.send(request) as response:
                    first = await response.content.readany()
                    attempt.succeeded()
                    headers = response_headers(response.raw_headers, self._client.base_url(upstream))
                    yield ReceivedResponse(response, first, headers, limit)
            except (UpstreamUnavailable, aiohttp.ClientError) as error:
                attempt.failed()
                raise UpstreamUnavailable(upstream) from error
            except TimeoutError as error:
                attempt.failed()
                raise UpstreamTimeout(upstream, self._deadline) from error

    async def fetch(self, read: PublicRead) -> Answer | None:
        """Returns the answer to a public read, asked in the name of no caller; None if it may not be shared.

        Raises as `open` does.
        """
        headers = [("accept", "application/json"), *tracing.inject().items()]
        request = UpstreamRequest(read.route.upstream, "GET", read.target, headers, None)
        async with self.open(request, read.route) as received:
            body = bytearray(received.first)
            while len(body) <= MAX_BODY_BYTES and not received.response.content.at_eof():
                body += await received.response.content.readany()
        if len(body) > MAX_BODY_BYTES:
            return None
        return make_answer(received.response.status, received.headers, bytes(body))
