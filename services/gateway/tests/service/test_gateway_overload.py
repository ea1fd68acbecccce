"""The gateway refuses what begins in an overload, at little cost, and completes what is under way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from gateway_harness import FakeUpstream, Holding, OpenGateway, metric, problem
from gateway_service.service import slots
from starlette.types import Receive, Scope, Send

ORDERS, PAYMENTS, PRODUCTS = "/api/v1/orders", "/api/v1/payments", "/api/v1/products"


@pytest.fixture(autouse=True)
def _overload_begins_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a queue an overload from its first request on. What may wait for a slot gets it in the end."""
    monkeypatch.setattr(slots, "_OVERLOAD_AFTER_SECONDS", -1.0)
    monkeypatch.setattr(slots, "_SLOT_TIMEOUT_SECONDS", 30.0)


@asynccontextmanager
async def waiting_payments(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> AsyncIterator[None]:
    """Makes a payment wait for the only slot, which another one holds. Both are served at the end of the block."""
    upstream.behaviour = holding = Holding(upstream, PAYMENTS)
    first = asyncio.ensure_future(gateway.post(PAYMENTS, json={}, headers=issuer.bearer(1)))
    await holding.until(lambda: holding.requests == 1)
    waiting = asyncio.ensure_future(gateway.post(PAYMENTS, json={}, headers=issuer.bearer(2)))

    async def reads_are_refused() -> bool:
        try:
            return (await gateway.get(PAYMENTS, headers=issuer.bearer(3), timeout=0.5)).status_code == 503
        except httpx.ReadTimeout:  # it waits itself, since it came before the payment
            return False

    await eventually(reads_are_refused)
    try:
        yield
    finally:
        holding.release()
        assert {(await request).status_code for request in (first, waiting)} == {200}


async def test_in_an_overload_no_payment_of_an_order_that_was_placed_is_refused(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, issuer: TokenIssuer
) -> None:
    refused = {ORDERS: 0, PAYMENTS: 0}
    paid = 0

    async def respond_slowly(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == PAYMENTS:
            await asyncio.sleep(0.02)
        await upstream.respond(scope, receive, send)

    async def buy(gateway: httpx.AsyncClient, buyer: int) -> None:
        nonlocal paid
        for _ in range(4):
            for path in (ORDERS, PAYMENTS):
                response = await gateway.post(path, json={}, headers=issuer.bearer(buyer))
                if response.status_code == 503:
                    assert response.headers["retry-after"] == "1"
                    refused[path] += 1
                    break
            else:
                paid += 1

    upstream.behaviour = respond_slowly
    async with open_gateway(upstream_url, upstream_slots=2) as gateway:
        await asyncio.gather(*(buy(gateway, buyer) for buyer in range(1, 25)))

    assert refused[PAYMENTS] == 0
    assert refused[ORDERS] > 0
    assert refused[ORDERS] + paid == 24 * 4


async def test_no_order_is_placed_while_payments_wait(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with open_gateway(upstream_url, upstream_slots=1) as gateway:
        async with waiting_payments(gateway, upstream, issuer):
            response = await gateway.post(ORDERS, json={}, headers=issuer.bearer(4))
            assert problem(response, 503) == "upstream_busy"
            assert "payment" in response.json()["detail"]
            assert (await gateway.get(ORDERS, headers=issuer.bearer(4))).status_code == 200
            assert [request.target for request in upstream.requests] == [ORDERS]
        assert (await gateway.post(ORDERS, json={}, headers=issuer.bearer(4))).status_code == 200


def counted_refusals() -> tuple[float, float]:
    """Returns how many orders were refused for the payment service, and how many were answered with 503."""
    answered = {"http_request_method": "POST", "http_route": ORDERS, "http_response_status_code": "503"}
    return (
        metric("upstream_refused_total", upstream="payment", reason="busy"),
        metric("http_server_request_duration_seconds_count", **answered),
    )


async def test_a_refusal_in_an_overload_reads_neither_the_token_nor_the_body(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, issuer: TokenIssuer
) -> None:
    head = f"POST {ORDERS} HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer none\r\nContent-Length: 9\r\n\r\n".encode()
    async with (
        open_gateway(upstream_url, upstream_slots=1, rate_limits="") as gateway,
        waiting_payments(gateway, upstream, issuer),
    ):
        reader, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
        upstreams, responses = counted_refusals()
        writer.write(head)
        async with asyncio.timeout(30):
            response = (await reader.readuntil(b"\r\n\r\n")).lower()
        writer.close()
        assert counted_refusals() == (upstreams + 1, responses + 1)
    assert response.split(b" ")[1] == b"503"
    for header in (
        b"retry-after: 1",
        b"cache-control: no-store",
        b"x-request-id: ",
        b"x-content-type-options: nosniff",
    ):
        assert header in response
    assert b"ratelimit" not in response, "the request was counted"


async def test_in_an_overload_answers_from_memory_are_not_refused(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    upstream.behaviour = holding = Holding(upstream, f"{PRODUCTS}/7")
    async with open_gateway(
        upstream_url, upstream_slots=1, answer_cache_bytes=1_000_000, answer_cache_seconds=10
    ) as gateway:
        assert (await gateway.get(PRODUCTS)).status_code == 200
        held = asyncio.ensure_future(gateway.get(f"{PRODUCTS}/7"))
        await holding.until(lambda: holding.requests == 1)
        others = [asyncio.ensure_future(gateway.get(f"{PRODUCTS}/{number}")) for number in (8, 9)]
        (refused,), (waiting,) = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        assert problem(refused.result(), 503) == "upstream_busy"
        assert (await gateway.get(PRODUCTS)).status_code == 200
        holding.release()
        assert {(await request).status_code for request in (held, waiting)} == {200}
