"""Forwarding of requests and responses, whatever the caller and the service do."""

import asyncio
import base64
import contextlib
import gzip
import random
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from chassis_testing.tokens import TokenIssuer
from fastapi import FastAPI
from gateway_harness import FakeUpstream, OpenGateway, hang, problem, raw_server, reply, serve, url_of
from gateway_service.clients import upstream_client
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

CLOSED = b""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
EMPTY_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
EMPTY_OK_KEEP_ALIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class OrderBody(BaseModel):
    product_id: int


async def exchange_raw(base: httpx.URL, request: bytes) -> bytes:
    """Sends bytes that no client library would send, and returns the response."""
    reader, writer = await asyncio.open_connection(base.host, base.port)
    writer.write(request)
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


# Forwarding


async def test_a_request_is_forwarded_unchanged(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> None:
    headers = issuer.bearer(7) | {"Idempotency-Key": "k-1", "Content-Type": "application/json"}
    target = "/api/v1/payments/a%2Cb%20c/confirm?q=%C3%A9&q=2&empty="
    response = await gateway.post(target, content=b'{"items": []}', headers=headers)
    assert response.json() == {"data": "it works"}
    (seen,) = upstream.requests
    assert (seen.method, seen.target, seen.body) == ("POST", target, b'{"items": []}')
    assert seen.header("authorization") == [headers["Authorization"]]
    assert seen.header("idempotency-key") == ["k-1"]
    assert seen.header("content-length") == ["13"]


async def test_a_response_is_returned_unchanged(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    async def teapot(scope: Scope, receive: Receive, send: Send) -> None:
        cookies = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await reply(send, 418, b"short and stout", (b"content-type", b"text/plain"), (b"x-own", b"1"), *cookies)

    upstream.behaviour = teapot
    response = await gateway.get("/api/v1/products")
    assert (response.status_code, response.text, response.headers["x-own"]) == (418, "short and stout", "1")
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert len(response.headers.get_list("date")) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_an_error_response_is_returned_unchanged(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, status: int
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await upstream.read(scope, receive)
        await reply(send, status, b"broken", (b"retry-after", b"7"))

    upstream.behaviour = broken
    response = await gateway.get("/api/v1/products")
    assert (response.status_code, response.text, response.headers["retry-after"]) == (status, "broken", "7")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_responses_without_a_body_end_at_once(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, status: int
) -> None:
    async def empty(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, status, b"")

    upstream.behaviour = empty
    for _ in range(2):  # the second one uses the same connection
        assert (await gateway.get("/api/v1/products")).status_code == status
    assert (await gateway.head("/api/v1/products")).status_code == status


async def test_head_is_forwarded_as_get_and_returned_without_a_body(
    gateway: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    for _ in range(2):
        response = await gateway.head("/api/v1/products")
        assert (response.status_code, response.content) == (200, b"")
    assert {seen.method for seen in upstream.requests} == {"GET"}


async def test_compressed_responses_are_returned_unchanged(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    body = gzip.compress(b"hello")

    async def compressed(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, 200, body, (b"content-encoding", b"gzip"))

    upstream.behaviour = compressed
    async with gateway.stream("GET", "/api/v1/products") as response:
        assert b"".join([piece async for piece in response.aiter_raw()]) == body


async def test_the_unversioned_path_is_an_alias(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    await gateway.get("/api/products/1?page=2")
    assert upstream.requests[0].target == "/api/v1/products/1?page=2"


async def test_a_service_receives_the_callers_address_and_not_its_trace(
    gateway: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response = await gateway.get(
        "/api/v1/products", headers={"traceparent": trace, "baggage": "a=1", "X-Request-Id": "r-1"}
    )
    (seen,) = upstream.requests
    assert seen.header("x-forwarded-for") == ["127.0.0.1"]
    assert seen.header("x-forwarded-proto") == ["http"]
    assert seen.header("x-forwarded-host") == [f"{gateway.base_url.host}:{gateway.base_url.port}"]
    assert seen.header("x-request-id") == ["r-1"]
    assert response.headers.get_list("x-request-id") == ["r-1"]
    assert trace not in seen.header("traceparent")
    assert seen.header("baggage") == []


async def test_a_request_without_an_id_gets_one(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    response = await gateway.get("/api/v1/products")
    assert upstream.requests[0].header("x-request-id") == [response.headers["x-request-id"]]


# Streaming


async def test_a_response_is_streamed(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    first_was_received = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await first_was_received.wait()
        await send({"type": "http.response.body", "body": b"second"})

    upstream.behaviour = slow
    async with gateway.stream("GET", "/api/v1/products") as response:
        pieces = response.aiter_bytes()
        assert await anext(pieces) == b"first"
        first_was_received.set()
        assert await anext(pieces) == b"second"


async def test_a_body_that_arrives_in_pieces_is_forwarded_once_it_is_complete(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"first", b"second"):
            yield piece

    await gateway.post("/api/v1/orders", content=pieces(), headers=issuer.bearer(7))

    (received,) = upstream.requests
    assert received.body == b"firstsecond"
    assert received.header("content-length") == ["11"]


async def test_large_bodies_are_forwarded_completely(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await upstream.read(scope, receive)
        await reply(send, 200, upstream.requests[-1].body * 4)

    upstream.behaviour = echo
    body = random.Random(1).randbytes(1024 * 1024)
    response = await gateway.post("/api/v1/orders", content=body, headers=issuer.bearer(7))
    assert upstream.requests[0].body == body
    assert response.content == body * 4


# Refused requests


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/users/me"), ("POST", "/api/v1/orders"), ("DELETE", "/api/products/1")]
)
async def test_a_request_without_a_valid_token_reaches_no_service(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer, method: str, path: str
) -> None:
    for headers, code in (
        ({}, "unauthenticated"),
        ({"Authorization": "Bearer nonsense"}, "unauthenticated"),
        ({"Authorization": "Basic YTpi"}, "unauthenticated"),
        (TokenIssuer("test").bearer(7), "unauthenticated"),
        (TokenIssuer("other").bearer(7), "unauthenticated"),
        (issuer.bearer(7, expires_in=-1), "token_expired"),
    ):
        response = await gateway.request(method, path, headers=headers)
        assert problem(response, 401) == code
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert not upstream.requests


async def test_public_routes_need_no_token(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    assert (await gateway.get("/api/v1/products")).status_code == 200
    assert (await gateway.post("/api/v1/auth/login", json={})).status_code == 200
    assert len(upstream.requests) == 2


async def test_a_body_above_the_limit_reaches_no_service(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    response = await gateway.post("/api/v1/auth/login", content=b"x" * (1024 * 1024 + 1))
    assert problem(response, 413) == "body_too_large"
    assert not upstream.requests


async def test_a_streamed_body_above_the_limit_is_refused(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 65536
            await asyncio.sleep(0)

    response = await gateway.post("/api/v1/auth/login", content=endless())
    assert problem(response, 413) == "body_too_large"
    assert (await gateway.get("/api/v1/products")).status_code == 200


async def test_unknown_paths_are_refused(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    for path in ("/api/v1/nothing", "/api/v2/products", "/nothing", "/metrics", "/api/v1/../metrics", "/healthy"):
        assert problem(await gateway.get(path), 404) == "no_such_route"
    assert not upstream.requests


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /api/v1/products/%00 HTTP/1.1", 200),
        (b"GET /api/v1/products/%zz HTTP/1.1", 200),
        (b"GET /api/v1/products/../users HTTP/1.1", 404),
        (b"GET //api/v1/products HTTP/1.1", 404),
        ("GET /api/v1/products/é HTTP/1.1".encode(), 400),
        (b"GET /api/v1/products/\xff HTTP/1.1", 400),
        ("GET /api/v1/products?q=é HTTP/1.1".encode(), 400),
        (b"GET /api/v1/products?q=%00%ff&&=&; HTTP/1.1", 200),
        (b"GET /api/v1/products HTTP/1.1\r\nX-Name: Zo\xeb", 200),
        (b"GET /api/v1/products HTTP/1.1\r\nContent-Length: -1", 400),
        (b"GET /api/v1/products HTTP/1.1\r\nContent-Length: 99999999999999999999", 400),
        (b"GET /api/v1/products HTTP/1.1\r\nTransfer-Encoding: nonsense", 400),
        (b"GET /api/v1/users/me HTTP/1.1\r\nAuthorization: Bearer " + b"W1tb" * 7000 + b".e30.x", 401),
        (b"GET /api/v1/users/me HTTP/1.1\r\nAuthorization: Bearer " + base64.b64encode(b"[" * 20_000) + b".e30.x", 401),
        (b"GET /api/v1/users/me HTTP/1.1\r\nAuthorization: Bearer \xff\xfe", 401),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"BREW /api/v1/products HTTP/1.1", 400),
        (b"GET /api/v1/products HTTP/9.9", 400),
        (b"GET http://elsewhere.example.com/api/v1/products HTTP/1.1", 200),
    ],
)
async def test_malformed_requests_have_a_defined_status(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, head: bytes, status: int
) -> None:
    response = await exchange_raw(gateway.base_url, head + b"\r\nHost: shop\r\nConnection: close\r\n\r\n")
    assert int(response.split(b" ")[1]) == status, response
    assert all(received.target.startswith("/api/v1/products") for received in upstream.requests)


async def test_a_caller_that_disconnects_does_not_affect_others(
    gateway: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nhalf"
    _, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
    writer.write(head)
    await writer.drain()
    writer.close()
    assert (await gateway.get("/api/v1/products")).status_code == 200


# Services that do not respond


async def test_a_request_to_a_service_that_hangs_ends_at_the_deadline(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, issuer: TokenIssuer
) -> None:
    received = 0

    async def count_and_hang(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal received
        received += 1
        await hang(scope, receive, send)

    upstream.behaviour = count_and_hang
    deadline = 1.0
    async with open_gateway(upstream_url, upstream_deadline_seconds=deadline) as gateway:
        for method in ("GET", "POST"):
            received, started = 0, asyncio.get_running_loop().time()
            response = await gateway.request(method, "/api/v1/orders", headers=issuer.bearer(7))
            assert problem(response, 503) == "upstream_timeout"
            assert response.headers["retry-after"] == "1"
            assert received == 1
            assert asyncio.get_running_loop().time() - started < 3 * deadline


async def test_an_unavailable_service_is_named(open_gateway: OpenGateway, refusing_socket: socket.socket) -> None:
    async with open_gateway(url_of(refusing_socket), upstream_deadline_seconds=10) as gateway:
        response = await gateway.post("/api/v1/auth/login", json={})
        assert problem(response, 503) == "upstream_unavailable"
        assert response.headers["retry-after"] == "1"
        assert "user" in response.json()["detail"]
        assert (await gateway.get("/ready")).status_code == 200


@pytest.mark.parametrize("attempts", [1, 5])
async def test_a_request_that_was_not_sent_is_retried(
    open_gateway: OpenGateway, refusing_socket: socket.socket, monkeypatch: pytest.MonkeyPatch, attempts: int
) -> None:
    is_listening, failed = asyncio.Event(), 0

    def listen(_low: float, _high: float) -> float:
        nonlocal failed
        failed += 1
        if failed == attempts:
            refusing_socket.listen()
            is_listening.set()
        return 0.0

    monkeypatch.setattr(random, "uniform", listen)
    async with open_gateway(url_of(refusing_socket)) as gateway:
        posting = asyncio.ensure_future(gateway.post("/api/v1/auth/login", json={}))
        async with asyncio.timeout(30):
            await is_listening.wait()
        server = await asyncio.start_server(_respond_ok, sock=refusing_socket)
        assert (await posting).status_code == 200
        server.close()


async def _respond_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK)
    writer.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_is_repeated_once_if_the_connection_breaks(open_gateway: OpenGateway, method: str) -> None:
    async with raw_server(CLOSED, EMPTY_OK) as server, open_gateway(server.url) as gateway:
        response = await gateway.request(method, "/api/v1/products")
        assert (response.status_code, len(server.requests)) == (200, 2)


async def test_a_service_that_breaks_two_connections_is_unavailable(open_gateway: OpenGateway) -> None:
    async with raw_server(CLOSED) as server, open_gateway(server.url) as gateway:
        assert problem(await gateway.get("/api/v1/products"), 503) == "upstream_unavailable"
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/v1/orders"), ("PUT", "/api/v1/users/me"), ("DELETE", "/api/v1/orders/1")]
)
async def test_a_write_is_never_sent_twice(
    open_gateway: OpenGateway, issuer: TokenIssuer, method: str, path: str
) -> None:
    async with raw_server(CLOSED) as server, open_gateway(server.url) as gateway:
        for body in (b"", b"{}"):
            server.requests.clear()
            response = await gateway.request(method, path, content=body, headers=issuer.bearer(7))
            assert problem(response, 503) == "upstream_unavailable"
            assert len(server.requests) == 1


async def test_a_write_is_not_repeated_after_a_reused_connection_breaks(
    open_gateway: OpenGateway, issuer: TokenIssuer
) -> None:
    requests: list[bytes] = []

    async def close_at_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(EMPTY_OK_KEEP_ALIVE)
            requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(close_at_the_second, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with open_gateway(url) as gateway:
        assert (await gateway.get("/api/v1/products")).status_code == 200
        response = await gateway.delete("/api/v1/orders/1", headers=issuer.bearer(7))
        assert problem(response, 503) == "upstream_unavailable"
        assert len(requests) == 2
    server.close()


@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\nhalf",
    ],
)
async def test_an_incomplete_response_is_never_returned_as_complete(open_gateway: OpenGateway, part: bytes) -> None:
    closing = asyncio.Event()
    async with (
        raw_server(part, until=closing) as server,
        open_gateway(server.url) as gateway,
        gateway.stream("GET", "/api/v1/products") as response,
    ):
        closing.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await response.aread()


async def test_a_response_head_without_a_body_is_unavailable(open_gateway: OpenGateway) -> None:
    async with (
        raw_server(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n") as server,
        open_gateway(server.url) as gateway,
    ):
        assert problem(await gateway.get("/api/v1/products"), 503) == "upstream_unavailable"


async def test_a_malformed_response_is_unavailable(open_gateway: OpenGateway) -> None:
    async with raw_server(b"220 smtp.example.com ESMTP\r\n\r\n") as server, open_gateway(server.url) as gateway:
        assert problem(await gateway.get("/api/v1/products"), 503) == "upstream_unavailable"


# Connections


async def test_connections_are_reused(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    for _ in range(3):
        await gateway.get("/api/v1/products")
    assert len({seen.connection for seen in upstream.requests}) == 1


async def test_idle_connections_are_closed(
    open_gateway: OpenGateway,
    upstream_server: tuple[FakeUpstream, str],
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstream_client, "_IDLE_SECONDS", 0.01)
    async with open_gateway(upstream_server[1]) as gateway:
        for _ in range(2):
            await gateway.get("/api/v1/products")
            await asyncio.sleep(0.05)  # the idle time is what is tested
    assert len({seen.connection for seen in upstream.requests}) == 2


async def test_a_connection_that_the_service_closes_is_not_reused(
    gateway: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    async def draining(scope: Scope, receive: Receive, send: Send) -> None:
        await upstream.read(scope, receive)
        await reply(send, 200, b"", (b"connection", b"close"))

    upstream.behaviour = draining
    for _ in range(3):
        response = await gateway.get("/api/v1/products")
        assert "close" not in response.headers.get("connection", "")
    assert len({seen.connection for seen in upstream.requests}) == 3


# The gateway's own pages


async def test_the_openapi_document_has_the_operations_of_the_services(
    open_gateway: OpenGateway, upstream: FakeUpstream
) -> None:
    api = FastAPI()

    @api.get("/api/v1/products/{product_id}")
    async def get_product(product_id: int) -> dict[str, int]:
        return {"id": product_id}

    @api.post("/api/v1/orders")
    async def place_order(order: OrderBody) -> OrderBody:
        return order

    async with serve(api) as url, open_gateway(url) as gateway:
        response = await gateway.get("/openapi.json")
    document = response.json()
    assert set(document["paths"]) == {"/api/v1/products/{product_id}", "/api/v1/orders"}
    assert document["paths"]["/api/v1/orders"]["post"]["security"] == [{"bearer": []}]
    assert "order.OrderBody" in document["components"]["schemas"]


async def test_the_openapi_document_is_served_while_every_service_is_unavailable(
    open_gateway: OpenGateway, refusing_socket: socket.socket
) -> None:
    async with open_gateway(url_of(refusing_socket)) as gateway:
        response = await gateway.get("/openapi.json")
        assert response.status_code == 200
        assert (
            "does not respond: user, product, order, inventory, review, payment, notification."
            in response.json()["info"]["description"]
        )
        page = await gateway.get("/swagger/")
        assert "../openapi.json" in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]


async def test_the_root_names_the_documentation(gateway: httpx.AsyncClient) -> None:
    assert (await gateway.get("/")).json()["data"]["documentation"] == "/swagger/"
    assert (await gateway.get("/health")).json() == {"status": "ok"}


async def test_cross_origin_requests_are_allowed_only_from_origins_in_the_settings(
    gateway: httpx.AsyncClient,
    open_gateway: OpenGateway,
    upstream_server: tuple[FakeUpstream, str],
    upstream: FakeUpstream,
) -> None:
    origin = {"Origin": "https://shop.example.com"}
    assert "access-control-allow-origin" not in (await gateway.get("/api/v1/products", headers=origin)).headers
    preflight = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with open_gateway(upstream_server[1], cors_origins="https://shop.example.com") as opened:
        allowed = await opened.options("/api/v1/orders", headers=preflight)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, origin["Origin"])
        refusing_socket = await opened.options(
            "/api/v1/orders", headers=preflight | {"Origin": "https://evil.example.com"}
        )
        assert "access-control-allow-origin" not in refusing_socket.headers


async def test_pages_of_other_origins_can_read_every_header(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    origin = {"Origin": "https://shop.example.com"}
    sent = {"Location": "/api/v1/orders/1", "ETag": '"1"', "Cart-Token": "c", "Retry-After": "1", "X-New": "1"}
    upstream.respond_with(201, b"{}", *((name.encode(), value.encode()) for name, value in sent.items()))
    async with open_gateway(upstream_url, cors_origins=origin["Origin"], rate_limits="") as opened:
        response = await opened.post("/api/v1/cart", json={}, headers=origin)
        refused = await opened.get("/api/v1/orders", headers=origin)
    exposed = set(response.headers["access-control-expose-headers"].split(", "))
    assert {name.lower() for name in sent} | {"ratelimit", "ratelimit-policy", "x-request-id"} <= exposed
    assert "www-authenticate" in refused.headers["access-control-expose-headers"].split(", ")
