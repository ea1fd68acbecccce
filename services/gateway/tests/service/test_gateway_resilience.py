"""Circuit breakers and concurrency limits, which isolate the failures of one service from the others."""

import asyncio
import socket

import httpx
import pytest
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from gateway_harness import Clock, FakeUpstream, Holding, OpenGateway, hang, metric, problem, raw_server, url_of
from gateway_service.service import slots
from starlette.types import Receive, Scope, Send

PRODUCTS = "/api/v1/products"
LOGIN = "/api/v1/auth/login"


def refusals(upstream: str, reason: str) -> float:
    return metric("upstream_refused_total", upstream=upstream, reason=reason)


def circuit(upstream: str) -> float:
    return metric("upstream_circuit_state", upstream=upstream)


async def codes(gateway: httpx.AsyncClient, path: str, times: int) -> list[str]:
    return [problem(await gateway.get(path), 503) for _ in range(times)]


@pytest.mark.parametrize(
    "response_head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"], ids=["none", "a head"]
)
async def test_a_failing_service_gets_no_requests_and_then_one_probe(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, response_head: bytes
) -> None:
    clock = Clock()
    async with (
        raw_server(response_head) as server,
        open_gateway(upstream_url, clock, product_url=server.url) as gateway,
    ):
        assert await codes(gateway, PRODUCTS, 5) == ["upstream_unavailable"] * 5
        assert circuit("product") == 2
        before, requests = refusals("product", "circuit_open"), len(server.requests)
        response = await gateway.get(PRODUCTS)
        assert problem(response, 503) == "circuit_open"
        assert response.headers["retry-after"] == "1"
        assert refusals("product", "circuit_open") == before + 1
        assert len(server.requests) == requests

        clock.now += 1.0
        assert await codes(gateway, PRODUCTS, 2) == ["upstream_unavailable", "circuit_open"]

    async with open_gateway(upstream_url, clock, upstream_deadline_seconds=3) as gateway:
        upstream.behaviour = hang
        await asyncio.gather(*(gateway.get(PRODUCTS) for _ in range(5)))
        assert await codes(gateway, PRODUCTS, 1) == ["circuit_open"]
        clock.now += 1.0
        upstream.behaviour = holding = Holding(upstream)
        probe = asyncio.ensure_future(gateway.get(PRODUCTS))
        await holding.until(lambda: holding.requests == 1)
        assert circuit("product") == 1
        assert await codes(gateway, PRODUCTS, 3) == ["circuit_open"] * 3
        holding.release()
        assert (await probe).status_code == 200
        assert circuit("product") == 0
        assert (await gateway.get(PRODUCTS)).status_code == 200


async def test_the_circuit_of_one_service_does_not_affect_another(
    open_gateway: OpenGateway, refusing_socket: socket.socket, upstream_url: str
) -> None:
    async with open_gateway(upstream_url, product_url=url_of(refusing_socket)) as gateway:
        await codes(gateway, PRODUCTS, 6)
        assert problem(await gateway.get(PRODUCTS), 503) == "circuit_open"
        assert (await gateway.get("/api/v1/inventory/1")).status_code == 200


async def test_the_circuit_opens_after_timeouts(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    upstream.behaviour = hang
    async with open_gateway(upstream_url, upstream_deadline_seconds=0.2) as gateway:
        responses = await asyncio.gather(*(gateway.get(PRODUCTS) for _ in range(5)))
        assert {problem(response, 503) for response in responses} == {"upstream_timeout"}
        assert problem(await gateway.get(PRODUCTS), 503) == "circuit_open"


@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_error_responses_do_not_open_the_circuit(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, status: int
) -> None:
    upstream.respond_with(status, b"no")
    async with open_gateway(upstream_url) as gateway:
        assert [(await gateway.get(PRODUCTS)).status_code for _ in range(10)] == [status] * 10


async def test_slow_and_disconnected_callers_do_not_open_the_circuit(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n"
    async with open_gateway(upstream_url, upstream_deadline_seconds=0.2) as gateway:

        async def send_slowly(start: bytes) -> bytes:
            reader, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
            writer.write(head + start)
            async with asyncio.timeout(30):
                response = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return response

        async def disconnect() -> None:
            _, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
            writer.write(head + b"half")
            await writer.drain()
            writer.close()

        for start in (b"", b"half"):
            responses = await asyncio.gather(*(send_slowly(start) for _ in range(6)))
            assert {response.split(b" ")[1] for response in responses} == {b"408"}
        await asyncio.gather(*(disconnect() for _ in range(6)))
        assert (await gateway.post(LOGIN, json={})).status_code == 200


async def test_a_service_gets_no_more_than_its_limit_of_concurrent_requests(
    open_gateway: OpenGateway,
    upstream: FakeUpstream,
    upstream_url: str,
    issuer: TokenIssuer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "_SLOT_TIMEOUT_SECONDS", 0.1)
    arrived, may_respond = asyncio.Semaphore(0), asyncio.Event()
    at_once = most = 0

    async def hold(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        arrived.release()
        await may_respond.wait()
        at_once -= 1
        await upstream.respond(scope, receive, send)

    upstream.behaviour = hold
    before = refusals("product", "busy")
    async with open_gateway(upstream_url, upstream_slots=3, upstream_deadline_seconds=10) as gateway:
        held = [asyncio.ensure_future(gateway.get(PRODUCTS)) for _ in range(3)]
        async with asyncio.timeout(30):
            for _ in held:
                await arrived.acquire()
        assert metric("upstream_requests_in_flight", upstream="product") == 3
        response = await gateway.get(PRODUCTS)
        assert problem(response, 503) == "upstream_busy"
        assert response.headers["retry-after"] == "1"
        assert refusals("product", "busy") == before + 1
        other = asyncio.ensure_future(gateway.get("/api/v1/users/me", headers=issuer.bearer(7)))
        async with asyncio.timeout(30):
            await arrived.acquire()
        may_respond.set()
        assert {(await one).status_code for one in (*held, other)} == {200}
        assert (await gateway.get(PRODUCTS)).status_code == 200
        assert metric("upstream_requests_in_flight", upstream="product") == 0
    assert most == 4


async def test_a_request_waits_for_a_free_slot(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05)
        await upstream.respond(scope, receive, send)

    upstream.behaviour = slow
    async with open_gateway(upstream_url, upstream_slots=2) as gateway:
        responses = await asyncio.gather(*(gateway.get(PRODUCTS) for _ in range(6)))
    assert {response.status_code for response in responses} == {200}


async def test_a_slow_reader_does_not_hold_its_slot_forever(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    async def send_large_body(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(256):
            await send({"type": "http.response.body", "body": b"x" * 262_144, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    upstream.behaviour = send_large_body
    async with open_gateway(upstream_url, upstream_slots=1, upstream_deadline_seconds=0.3) as gateway:
        for _ in range(6):
            _, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
            writer.write(b"GET /api/v1/products HTTP/1.1\r\nHost: shop\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.35)  # reads nothing until the deadline of the gateway
            writer.close()
        upstream.reset()
        assert (await gateway.get(PRODUCTS)).status_code == 200  # the circuit did not open


async def test_a_caller_that_disconnects_before_its_body_is_complete_is_not_the_probe(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    clock = Clock()
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\nhalf"
    upstream.behaviour = hang
    async with open_gateway(upstream_url, clock, upstream_deadline_seconds=0.2) as gateway:
        await asyncio.gather(*(gateway.post(LOGIN, json={}) for _ in range(5)))
        assert problem(await gateway.post(LOGIN, json={}), 503) == "circuit_open"
        clock.now += 1.0
        before = disconnected_requests()
        _, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
        writer.write(head)
        await writer.drain()
        writer.close()

        async def is_counted() -> bool:
            return disconnected_requests() == before + 1

        await eventually(is_counted)
        upstream.reset()
        assert (await gateway.post(LOGIN, json={})).status_code == 200


def disconnected_requests() -> float:
    labels = {"http_request_method": "POST", "http_route": LOGIN, "http_response_status_code": "400"}
    return metric("http_server_request_duration_seconds_count", **labels)
