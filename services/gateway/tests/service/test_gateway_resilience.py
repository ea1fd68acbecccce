"""What keeps one service's trouble from becoming everybody's: circuit breakers, slots, and blame for who deserves it."""

import asyncio
import socket

import httpx
import pytest
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from gateway_harness import Clock, Open, Upstream, hang, metric, problem, url_of, wire
from gateway_service.service import admission
from starlette.types import Receive, Scope, Send

PRODUCTS = "/api/v1/products"
LOGIN = "/api/v1/auth/login"


def refusals(upstream: str, reason: str) -> float:
    return metric("upstream_refused_total", upstream=upstream, reason=reason)


def circuit(upstream: str) -> float:
    return metric("upstream_circuit_state", upstream=upstream)


async def codes(gateway: httpx.AsyncClient, path: str, times: int) -> list[str]:
    return [problem(await gateway.get(path), 503) for _ in range(times)]


@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"], ids=["none", "a head"])
async def test_a_service_that_fails_again_and_again_is_left_alone_and_then_tried_with_one_request(
    gateway_before: Open, upstream: Upstream, upstream_url: str, last_words: bytes
) -> None:
    clock = Clock()
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def think(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await may_answer.wait()
        await upstream.answer(scope, receive, send)

    async with wire(last_words) as line, gateway_before(upstream_url, clock, product_url=line.url) as gateway:
        assert await codes(gateway, PRODUCTS, 5) == ["upstream_unavailable"] * 5
        assert circuit("product") == 2
        before, requests = refusals("product", "resting"), len(line.requests)
        answer = await gateway.get(PRODUCTS)
        assert problem(answer, 503) == "upstream_resting"
        assert answer.headers["retry-after"] == "1"
        assert refusals("product", "resting") == before + 1
        assert len(line.requests) == requests

        clock.now += 1.0
        assert await codes(gateway, PRODUCTS, 2) == ["upstream_unavailable", "upstream_resting"]

    async with gateway_before(upstream_url, clock, upstream_deadline_seconds=3) as gateway:
        upstream.behaviour = hang
        await asyncio.gather(*(gateway.get(PRODUCTS) for _ in range(5)))
        assert await codes(gateway, PRODUCTS, 1) == ["upstream_resting"]
        clock.now += 1.0
        upstream.behaviour = think
        trial = asyncio.ensure_future(gateway.get(PRODUCTS))
        async with asyncio.timeout(30):
            await asked.wait()
        assert circuit("product") == 1
        assert await codes(gateway, PRODUCTS, 3) == ["upstream_resting"] * 3
        may_answer.set()
        assert (await trial).status_code == 200
        assert circuit("product") == 0
        assert (await gateway.get(PRODUCTS)).status_code == 200


async def test_the_trouble_of_one_service_is_not_that_of_another(
    gateway_before: Open, refused: socket.socket, upstream_url: str
) -> None:
    async with gateway_before(upstream_url, product_url=url_of(refused)) as gateway:
        await codes(gateway, PRODUCTS, 6)
        assert problem(await gateway.get(PRODUCTS), 503) == "upstream_resting"
        assert (await gateway.get("/api/v1/inventory/1")).status_code == 200


async def test_a_service_that_hangs_is_left_alone(gateway_before: Open, upstream: Upstream, upstream_url: str) -> None:
    upstream.behaviour = hang
    async with gateway_before(upstream_url, upstream_deadline_seconds=0.2) as gateway:
        answers = await asyncio.gather(*(gateway.get(PRODUCTS) for _ in range(5)))
        assert {problem(answer, 503) for answer in answers} == {"upstream_timeout"}
        assert problem(await gateway.get(PRODUCTS), 503) == "upstream_resting"


@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_a_service_that_answers_is_not_away_whatever_it_says(
    gateway_before: Open, upstream: Upstream, upstream_url: str, status: int
) -> None:
    upstream.always(status, b"no")
    async with gateway_before(upstream_url) as gateway:
        assert [(await gateway.get(PRODUCTS)).status_code for _ in range(10)] == [status] * 10


async def test_callers_who_dawdle_or_hang_up_are_not_the_services_fault(
    gateway_before: Open, upstream: Upstream, upstream_url: str
) -> None:
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n"
    async with gateway_before(upstream_url, upstream_deadline_seconds=0.2) as gateway:

        async def dawdle(begun: bytes) -> bytes:
            reader, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
            writer.write(head + begun)
            async with asyncio.timeout(30):
                answer = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return answer

        async def hang_up() -> None:
            _, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
            writer.write(head + b"half")
            await writer.drain()
            writer.close()

        for begun in (b"", b"half"):
            answers = await asyncio.gather(*(dawdle(begun) for _ in range(6)))
            assert {answer.split(b" ")[1] for answer in answers} == {b"408"}
        await asyncio.gather(*(hang_up() for _ in range(6)))
        assert (await gateway.post(LOGIN, json={})).status_code == 200


async def test_a_service_has_no_more_requests_than_it_can_take(
    gateway_before: Open, upstream: Upstream, upstream_url: str, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_WAIT_SECONDS", 0.1)
    arrived, may_answer = asyncio.Semaphore(0), asyncio.Event()
    at_once = most = 0

    async def hold(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        arrived.release()
        await may_answer.wait()
        at_once -= 1
        await upstream.answer(scope, receive, send)

    upstream.behaviour = hold
    before = refusals("product", "busy")
    async with gateway_before(upstream_url, upstream_slots=3, upstream_deadline_seconds=10) as gateway:
        held = [asyncio.ensure_future(gateway.get(PRODUCTS)) for _ in range(3)]
        async with asyncio.timeout(30):
            for _ in held:
                await arrived.acquire()
        assert metric("upstream_requests_in_flight", upstream="product") == 3
        answer = await gateway.get(PRODUCTS)
        assert problem(answer, 503) == "upstream_busy"
        assert answer.headers["retry-after"] == "1"
        assert refusals("product", "busy") == before + 1
        other = asyncio.ensure_future(gateway.get("/api/v1/users/me", headers=issuer.bearer(7)))
        async with asyncio.timeout(30):
            await arrived.acquire()
        may_answer.set()
        assert {(await one).status_code for one in (*held, other)} == {200}
        assert (await gateway.get(PRODUCTS)).status_code == 200
        assert metric("upstream_requests_in_flight", upstream="product") == 0
    assert most == 4


async def test_who_finds_no_free_slot_waits_for_one_a_moment(
    gateway_before: Open, upstream: Upstream, upstream_url: str
) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05)
        await upstream.answer(scope, receive, send)

    upstream.behaviour = slow
    async with gateway_before(upstream_url, upstream_slots=2) as gateway:
        answers = await asyncio.gather(*(gateway.get(PRODUCTS) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}


async def test_who_reads_slowly_keeps_no_slot_for_ever(
    gateway_before: Open, upstream: Upstream, upstream_url: str
) -> None:
    async def pour(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(256):
            await send({"type": "http.response.body", "body": b"x" * 262_144, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    upstream.behaviour = pour
    async with gateway_before(upstream_url, upstream_slots=1, upstream_deadline_seconds=0.3) as gateway:
        for _ in range(6):
            _, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
            writer.write(b"GET /api/v1/products HTTP/1.1\r\nHost: shop\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.35)  # reads nothing until the gateway gives up
            writer.close()
        upstream.reset()
        assert (await gateway.get(PRODUCTS)).status_code == 200  # and the service was not blamed


async def test_a_half_open_circuit_survives_a_caller_who_hangs_up(
    gateway_before: Open, upstream: Upstream, upstream_url: str
) -> None:
    clock = Clock()
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\nhalf"
    upstream.behaviour = hang
    async with gateway_before(upstream_url, clock, upstream_deadline_seconds=0.2) as gateway:
        await asyncio.gather(*(gateway.post(LOGIN, json={}) for _ in range(5)))
        assert problem(await gateway.post(LOGIN, json={}), 503) == "upstream_resting"
        clock.now += 1.0
        before = hung_up()
        _, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
        writer.write(head)
        await writer.drain()
        writer.close()

        async def is_noticed() -> bool:
            return hung_up() == before + 1

        await eventually(is_noticed)
        upstream.reset()
        assert (await gateway.post(LOGIN, json={})).status_code == 200


def hung_up() -> float:
    labels = {"http_request_method": "POST", "http_route": LOGIN, "http_response_status_code": "400"}
    return metric("http_server_request_duration_seconds_count", **labels)
