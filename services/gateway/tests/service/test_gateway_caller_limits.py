"""One caller cannot take a service away from the others: bodies hold no slot of a service, and slots are shared out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from chassis_testing.tokens import TokenIssuer
from gateway_harness import FakeUpstream, Holding, OpenGateway, metric, problem
from gateway_service.service import caller_limits, slots

PRODUCTS = "/api/v1/products"
LOGIN = "/api/v1/auth/login"
ADDRESSES = "/api/v1/addresses"
STALLED_GET = b"GET /api/v1/products HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
STALLED_POST = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"


@asynccontextmanager
async def raw_requests(
    gateway: httpx.AsyncClient, request: bytes, times: int
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Sends the same octets on several connections, which stay open."""
    connections = [await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port) for _ in range(times)]
    try:
        for _, writer in connections:
            writer.write(request)
        yield [reader for reader, _ in connections]
    finally:
        for _, writer in connections:
            writer.close()


async def response_head(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(30):
        return await reader.readuntil(b"\r\n\r\n")


def refusals(reason: str) -> float:
    return metric("caller_limits_refused_total", reason=reason)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_with_a_body_is_refused_before_the_body_arrives(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, method: str
) -> None:
    async with raw_requests(gateway, STALLED_GET.replace(b"GET", method.encode()), 1) as (reader,):
        head = await response_head(reader)
        assert head.split(b" ")[1] == b"400"
        if method == "GET":
            async with asyncio.timeout(30):
                assert b'"code":"body_not_allowed"' in await reader.readuntil(b"}")
    assert not upstream.requests


async def test_a_read_may_say_that_its_body_is_empty(gateway: httpx.AsyncClient) -> None:
    assert (await gateway.get(PRODUCTS, headers={"Content-Length": "0"})).status_code == 200


@pytest.mark.parametrize("request_head", [STALLED_GET, STALLED_POST], ids=["GET", "POST"])
async def test_stalled_bodies_hold_no_slot_of_a_service(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, request_head: bytes
) -> None:
    async with (
        open_gateway(upstream_url, upstream_slots=2, caller_slots=300, upstream_deadline_seconds=30) as gateway,
        raw_requests(gateway, request_head, 256),
    ):
        assert (await gateway.get(PRODUCTS)).status_code == 200
        assert (await gateway.post(LOGIN, json={})).status_code == 200


async def test_one_caller_does_not_take_all_slots(
    open_gateway: OpenGateway,
    upstream: FakeUpstream,
    upstream_url: str,
    issuer: TokenIssuer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "_SLOT_TIMEOUT_SECONDS", 0.05)
    upstream.behaviour = holding = Holding(upstream)
    before = refusals("slots")
    async with open_gateway(upstream_url, upstream_slots=4, caller_slots=3, upstream_deadline_seconds=30) as gateway:
        greedy = [asyncio.ensure_future(gateway.get(ADDRESSES, headers=issuer.bearer(7))) for _ in range(3)]
        await holding.until(lambda: holding.requests == 3)
        refused = await gateway.get(ADDRESSES, headers=issuer.bearer(7))
        assert problem(refused, 429) == "too_many_concurrent_requests"
        assert refused.headers["retry-after"] == "1"
        assert refusals("slots") == before + 1
        other = asyncio.ensure_future(gateway.get(ADDRESSES, headers=issuer.bearer(8)))
        await holding.until(lambda: holding.requests == 4)
        holding.release()
        assert {(await request).status_code for request in (*greedy, other)} == {200}
        assert (await gateway.get(ADDRESSES, headers=issuer.bearer(7))).status_code == 200


async def test_the_bodies_of_one_caller_leave_memory_for_others(
    open_gateway: OpenGateway,
    upstream: FakeUpstream,
    upstream_url: str,
    issuer: TokenIssuer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caller_limits, "_BODIES_BYTES", 3000)
    monkeypatch.setattr(caller_limits, "_CALLER_BODIES_BYTES", 2000)
    upstream.behaviour = holding = Holding(upstream)
    before = refusals("caller_bodies"), refusals("bodies")
    async with open_gateway(upstream_url, upstream_deadline_seconds=30) as gateway:

        def post(user: int) -> "asyncio.Task[httpx.Response]":
            return asyncio.ensure_future(gateway.post(ADDRESSES, content=b"x" * 1000, headers=issuer.bearer(user)))

        held = [post(7), post(7)]
        await holding.until(lambda: holding.requests == 2)
        assert problem(await post(7), 429) == "too_many_concurrent_requests"
        held.append(post(8))
        await holding.until(lambda: holding.requests == 3)
        assert problem(await post(9), 503) == "gateway_busy"
        assert (refusals("caller_bodies"), refusals("bodies")) == (before[0] + 1, before[1] + 1)
        holding.release()
        assert {(await request).status_code for request in held} == {200}
        assert {(await post(user)).status_code for user in (7, 8, 9)} == {200}
