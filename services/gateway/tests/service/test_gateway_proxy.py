"""What passes through the gateway, in whatever state those on either side are."""

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
from gateway_harness import DEADLINE, Open, Upstream, hang, problem, reply, serve, url_of, wire
from gateway_service.clients import upstreams
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

DEAD = b""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
EMPTY_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
EMPTY_OK_KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Wanted(BaseModel):
    product_id: int


async def exchange_raw(base: httpx.URL, request: bytes) -> bytes:
    """What a server answers to bytes that no client library would send."""
    reader, writer = await asyncio.open_connection(base.host, base.port)
    writer.write(request)
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


# What passes through


async def test_a_request_arrives_as_it_was_sent(
    gateway: httpx.AsyncClient, upstream: Upstream, issuer: TokenIssuer
) -> None:
    headers = issuer.bearer(7) | {"Idempotency-Key": "k-1", "Content-Type": "application/json"}
    target = "/api/v1/payments/a%2Cb%20c/confirm?q=%C3%A9&q=2&empty="
    answer = await gateway.post(target, content=b'{"items": []}', headers=headers)
    assert answer.json() == {"data": "it works"}
    (seen,) = upstream.seen
    assert (seen.method, seen.target, seen.body) == ("POST", target, b'{"items": []}')
    assert seen.header("authorization") == [headers["Authorization"]]
    assert seen.header("idempotency-key") == ["k-1"]
    assert seen.header("content-length") == ["13"]


async def test_an_answer_comes_back_as_it_was_given(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    async def teapot(scope: Scope, receive: Receive, send: Send) -> None:
        cookies = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await reply(send, 418, b"short and stout", (b"content-type", b"text/plain"), (b"x-own", b"1"), *cookies)

    upstream.behaviour = teapot
    answer = await gateway.get("/api/v1/products")
    assert (answer.status_code, answer.text, answer.headers["x-own"]) == (418, "short and stout", "1")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert len(answer.headers.get_list("date")) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_an_error_of_a_service_is_passed_on(gateway: httpx.AsyncClient, upstream: Upstream, status: int) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await upstream.read(scope, receive)
        await reply(send, status, b"broken", (b"retry-after", b"7"))

    upstream.behaviour = broken
    answer = await gateway.get("/api/v1/products")
    assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (status, "broken", "7")
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_end_at_once(gateway: httpx.AsyncClient, upstream: Upstream, status: int) -> None:
    async def empty(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, status, b"")

    upstream.behaviour = empty
    for _ in range(2):  # the second finds its connection in good order
        assert (await gateway.get("/api/v1/products")).status_code == status
    assert (await gateway.head("/api/v1/products")).status_code == status


async def test_head_is_answered_without_a_body_and_with_its_length(
    gateway: httpx.AsyncClient, upstream: Upstream
) -> None:
    for _ in range(2):
        answer = await gateway.head("/api/v1/products")
        assert (answer.status_code, answer.content) == (200, b"")
    assert {seen.method for seen in upstream.seen} == {"GET"}


async def test_compressed_answers_are_left_compressed(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    squeezed = gzip.compress(b"hello")

    async def compressed(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, 200, squeezed, (b"content-encoding", b"gzip"))

    upstream.behaviour = compressed
    async with gateway.stream("GET", "/api/v1/products") as answer:
        assert b"".join([piece async for piece in answer.aiter_raw()]) == squeezed


async def test_the_unversioned_path_is_another_name(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    await gateway.get("/api/products/1?page=2")
    assert upstream.seen[0].target == "/api/v1/products/1?page=2"


async def test_a_service_learns_who_calls_and_within_which_trace(
    gateway: httpx.AsyncClient, upstream: Upstream
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await gateway.get("/api/v1/products", headers={"traceparent": trace, "X-Request-Id": "r-1"})
    (seen,) = upstream.seen
    assert seen.header("x-forwarded-for") == ["127.0.0.1"]
    assert seen.header("x-forwarded-proto") == ["http"]
    assert seen.header("x-forwarded-host") == [f"{gateway.base_url.host}:{gateway.base_url.port}"]
    assert seen.header("x-request-id") == ["r-1"]
    assert answer.headers.get_list("x-request-id") == ["r-1"]
    (traceparent,) = seen.header("traceparent")
    assert traceparent.split("-")[1] == trace.split("-")[1]


async def test_a_request_without_an_id_is_given_one(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await gateway.get("/api/v1/products")
    assert upstream.seen[0].header("x-request-id") == [answer.headers["x-request-id"]]


# Streams


async def test_an_answer_is_passed_on_while_it_is_being_made(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    first_was_seen = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await first_was_seen.wait()
        await send({"type": "http.response.body", "body": b"second"})

    upstream.behaviour = slow
    async with gateway.stream("GET", "/api/v1/products") as answer:
        pieces = answer.aiter_bytes()
        assert await anext(pieces) == b"first"
        first_was_seen.set()
        assert await anext(pieces) == b"second"


async def test_a_body_is_passed_on_while_it_is_being_sent(
    gateway: httpx.AsyncClient, upstream: Upstream, issuer: TokenIssuer
) -> None:
    first_arrived = asyncio.Event()

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        received = b""
        while b"second" not in received:
            received += (await receive())["body"]
            first_arrived.set()
        await reply(send, 200, received)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await first_arrived.wait()
        yield b"second"

    upstream.behaviour = reading
    answer = await gateway.post("/api/v1/orders", content=pieces(), headers=issuer.bearer(7))
    assert answer.text == "firstsecond"


async def test_a_large_body_and_a_large_answer_pass_whole(
    gateway: httpx.AsyncClient, upstream: Upstream, issuer: TokenIssuer
) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await upstream.read(scope, receive)
        await reply(send, 200, upstream.seen[-1].body * 4)

    upstream.behaviour = echo
    body = random.Random(1).randbytes(1024 * 1024)
    answer = await gateway.post("/api/v1/orders", content=body, headers=issuer.bearer(7))
    assert upstream.seen[0].body == body
    assert answer.content == body * 4


# Who may pass


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/users/me"), ("POST", "/api/v1/orders"), ("DELETE", "/api/products/1")]
)
async def test_who_has_no_valid_token_does_not_trouble_a_service(
    gateway: httpx.AsyncClient, upstream: Upstream, issuer: TokenIssuer, method: str, path: str
) -> None:
    for headers, code in (
        ({}, "unauthenticated"),
        ({"Authorization": "Bearer nonsense"}, "unauthenticated"),
        ({"Authorization": "Basic YTpi"}, "unauthenticated"),
        (TokenIssuer("test").bearer(7), "unauthenticated"),
        (TokenIssuer("other").bearer(7), "unauthenticated"),
        (issuer.bearer(7, expires_in=-1), "token_expired"),
    ):
        answer = await gateway.request(method, path, headers=headers)
        assert problem(answer, 401) == code
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert not upstream.seen


async def test_the_public_part_needs_no_token(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    assert (await gateway.get("/api/v1/products")).status_code == 200
    assert (await gateway.post("/api/v1/auth/login", json={})).status_code == 200
    assert len(upstream.seen) == 2


async def test_a_body_above_the_limit_is_refused_before_a_service_is_troubled(
    gateway: httpx.AsyncClient, upstream: Upstream
) -> None:
    answer = await gateway.post("/api/v1/auth/login", content=b"x" * (1024 * 1024 + 1))
    assert problem(answer, 413) == "body_too_large"
    assert not upstream.seen


async def test_a_body_that_grows_above_the_limit_is_refused(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 65536
            await asyncio.sleep(0)

    answer = await gateway.post("/api/v1/auth/login", content=endless())
    assert problem(answer, 413) == "body_too_large"
    assert (await gateway.get("/api/v1/products")).status_code == 200


async def test_unknown_paths_are_refused(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    for path in ("/api/v1/nothing", "/api/v2/products", "/nothing", "/metrics", "/api/v1/../metrics", "/healthy"):
        assert problem(await gateway.get(path), 404) == "no_such_route"
    assert not upstream.seen


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/v1/products/%00 HTTP/1.1",
        b"GET /api/v1/products/%zz HTTP/1.1",
        b"GET /api/v1/products/../users HTTP/1.1",
        b"GET //api/v1/products HTTP/1.1",
        "GET /api/v1/products/é HTTP/1.1".encode(),
        b"GET /api/v1/products/\xff HTTP/1.1",
        "GET /api/v1/products?q=é HTTP/1.1".encode(),
        b"GET /api/v1/products?q=%00%ff&&=&; HTTP/1.1",
        b"GET /api/v1/products HTTP/1.1\r\nX-Name: Zo\xeb",
        b"GET /api/v1/products HTTP/1.1\r\nContent-Length: -1",
        b"GET /api/v1/products HTTP/1.1\r\nContent-Length: 99999999999999999999",
        b"GET /api/v1/products HTTP/1.1\r\nTransfer-Encoding: nonsense",
        b"GET /api/v1/users/me HTTP/1.1\r\nAuthorization: Bearer " + b"W1tb" * 9000 + b".e30.x",
        b"GET /api/v1/users/me HTTP/1.1\r\nAuthorization: Bearer " + base64.b64encode(b"[" * 30_000) + b".e30.x",
        b"GET /api/v1/users/me HTTP/1.1\r\nAuthorization: Bearer \xff\xfe",
        b"OPTIONS * HTTP/1.1",
        b"BREW /api/v1/products HTTP/1.1",
        b"GET /api/v1/products HTTP/9.9",
        b"GET http://elsewhere.example.com/api/v1/products HTTP/1.1",
    ],
)
async def test_bad_input_is_never_an_internal_error(
    gateway: httpx.AsyncClient, upstream: Upstream, head: bytes
) -> None:
    answer = await exchange_raw(gateway.base_url, head + b"\r\nHost: shop\r\nConnection: close\r\n\r\n")
    status = int(answer.split(b" ")[1])
    assert status < 500, answer
    assert all(seen.target.startswith("/api/v1/products") for seen in upstream.seen)


async def test_a_caller_who_hangs_up_harms_nobody(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nhalf"
    _, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
    writer.write(head)
    await writer.drain()
    writer.close()
    assert (await gateway.get("/api/v1/products")).status_code == 200


# Services that hang, die, or are away


async def test_a_service_that_hangs_is_given_up_in_time(
    gateway: httpx.AsyncClient, upstream: Upstream, issuer: TokenIssuer
) -> None:
    asked = 0

    async def count_and_hang(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal asked
        asked += 1
        await hang(scope, receive, send)

    upstream.behaviour = count_and_hang
    for method in ("GET", "POST"):
        asked, started = 0, asyncio.get_running_loop().time()
        answer = await gateway.request(method, "/api/v1/orders", headers=issuer.bearer(7))
        assert problem(answer, 503) == "upstream_timeout"
        assert answer.headers["retry-after"] == "1"
        assert asked == 1
        assert asyncio.get_running_loop().time() - started < 3 * DEADLINE


async def test_a_service_that_is_away_is_said_to_be(gateway_before: Open, refused: socket.socket) -> None:
    async with gateway_before(url_of(refused), upstream_deadline_seconds=10) as gateway:
        answer = await gateway.post("/api/v1/auth/login", json={})
        assert problem(answer, 503) == "upstream_unavailable"
        assert answer.headers["retry-after"] == "1"
        assert "user" in answer.json()["detail"]
        assert (await gateway.get("/ready")).status_code == 200


@pytest.mark.parametrize("tries", [1, 5])
async def test_what_was_never_sent_is_sent_again_and_again(
    gateway_before: Open, refused: socket.socket, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    came_back, failed = asyncio.Event(), 0

    def come_back(_low: float, _high: float) -> float:
        nonlocal failed
        failed += 1
        if failed == tries:
            refused.listen()
            came_back.set()
        return 0.0

    monkeypatch.setattr(random, "uniform", come_back)
    async with gateway_before(url_of(refused)) as gateway:
        posting = asyncio.ensure_future(gateway.post("/api/v1/auth/login", json={}))
        async with asyncio.timeout(30):
            await came_back.wait()
        server = await asyncio.start_server(_says_ok, sock=refused)
        assert (await posting).status_code == 200
        server.close()


async def _says_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK)
    writer.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_reading_is_repeated_once_when_a_service_dies_under_it(gateway_before: Open, method: str) -> None:
    async with wire(DEAD, EMPTY_OK) as line, gateway_before(line.url) as gateway:
        answer = await gateway.request(method, "/api/v1/products")
        assert (answer.status_code, len(line.requests)) == (200, 2)


async def test_a_service_that_dies_twice_is_unavailable(gateway_before: Open) -> None:
    async with wire(DEAD) as line, gateway_before(line.url) as gateway:
        assert problem(await gateway.get("/api/v1/products"), 503) == "upstream_unavailable"
        assert len(line.requests) == 2


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/v1/orders"), ("PUT", "/api/v1/users/me"), ("DELETE", "/api/v1/orders/1")]
)
async def test_what_changes_things_is_never_sent_twice(
    gateway_before: Open, issuer: TokenIssuer, method: str, path: str
) -> None:
    async with wire(DEAD) as line, gateway_before(line.url) as gateway:
        for body in (b"", b"{}"):
            line.requests.clear()
            answer = await gateway.request(method, path, content=body, headers=issuer.bearer(7))
            assert problem(answer, 503) == "upstream_unavailable"
            assert len(line.requests) == 1


async def test_what_changes_things_is_not_repeated_on_a_connection_that_was_used_before(
    gateway_before: Open, issuer: TokenIssuer
) -> None:
    requests: list[bytes] = []

    async def die_at_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(EMPTY_OK_KEPT)
            requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(die_at_the_second, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with gateway_before(url) as gateway:
        assert (await gateway.get("/api/v1/products")).status_code == 200
        answer = await gateway.delete("/api/v1/orders/1", headers=issuer.bearer(7))
        assert problem(answer, 503) == "upstream_unavailable"
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
async def test_part_of_an_answer_is_never_taken_for_the_whole(gateway_before: Open, part: bytes) -> None:
    death = asyncio.Event()
    async with (
        wire(part, until=death) as line,
        gateway_before(line.url) as gateway,
        gateway.stream("GET", "/api/v1/products") as answer,
    ):
        death.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()


async def test_a_service_that_dies_between_head_and_body_has_not_answered(gateway_before: Open) -> None:
    async with (
        wire(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n") as line,
        gateway_before(line.url) as gateway,
    ):
        assert problem(await gateway.get("/api/v1/products"), 503) == "upstream_unavailable"


async def test_what_is_no_answer_is_unavailable(gateway_before: Open) -> None:
    async with wire(b"220 smtp.example.com ESMTP\r\n\r\n") as line, gateway_before(line.url) as gateway:
        assert problem(await gateway.get("/api/v1/products"), 503) == "upstream_unavailable"


# Connections


async def test_connections_are_used_again(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    for _ in range(3):
        await gateway.get("/api/v1/products")
    assert len({seen.connection for seen in upstream.seen}) == 1


async def test_idle_connections_are_let_go(
    gateway_before: Open, served: tuple[Upstream, str], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "_IDLE_SECONDS", 0.01)
    async with gateway_before(served[1]) as gateway:
        for _ in range(2):
            await gateway.get("/api/v1/products")
            await asyncio.sleep(0.05)  # the time that passes is what is tested
    assert len({seen.connection for seen in upstream.seen}) == 2


async def test_a_service_that_says_goodbye_is_not_asked_on_that_connection_again(
    gateway: httpx.AsyncClient, upstream: Upstream
) -> None:
    async def draining(scope: Scope, receive: Receive, send: Send) -> None:
        await upstream.read(scope, receive)
        await reply(send, 200, b"", (b"connection", b"close"))

    upstream.behaviour = draining
    for _ in range(3):
        answer = await gateway.get("/api/v1/products")
        assert "close" not in answer.headers.get("connection", "")
    assert len({seen.connection for seen in upstream.seen}) == 3


# The gateway's own pages


async def test_the_documentation_shows_what_is_served(gateway_before: Open, upstream: Upstream) -> None:
    api = FastAPI()

    @api.get("/api/v1/products/{product_id}")
    async def get_product(product_id: int) -> dict[str, int]:
        return {"id": product_id}

    @api.post("/api/v1/orders")
    async def place_order(order: Wanted) -> Wanted:
        return order

    async with serve(api) as url, gateway_before(url) as gateway:
        answer = await gateway.get("/openapi.json")
    document = answer.json()
    assert set(document["paths"]) == {"/api/v1/products/{product_id}", "/api/v1/orders"}
    assert document["paths"]["/api/v1/orders"]["post"]["security"] == [{"bearer": []}]
    assert "order.Wanted" in document["components"]["schemas"]


async def test_the_documentation_is_there_when_every_service_is_away(
    gateway_before: Open, refused: socket.socket
) -> None:
    async with gateway_before(url_of(refused)) as gateway:
        answer = await gateway.get("/openapi.json")
        assert answer.status_code == 200
        assert (
            "not answering: user, product, order, inventory, review, payment, notification."
            in answer.json()["info"]["description"]
        )
        page = await gateway.get("/swagger/")
        assert "../openapi.json" in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]


async def test_the_root_says_where_to_go(gateway: httpx.AsyncClient) -> None:
    assert (await gateway.get("/")).json()["data"]["documentation"] == "/swagger/"
    assert (await gateway.get("/health")).json() == {"status": "ok"}


async def test_other_web_pages_may_call_only_where_the_settings_say_so(
    gateway: httpx.AsyncClient, gateway_before: Open, served: tuple[Upstream, str], upstream: Upstream
) -> None:
    origin = {"Origin": "https://shop.example.com"}
    assert "access-control-allow-origin" not in (await gateway.get("/api/v1/products", headers=origin)).headers
    asking = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with gateway_before(served[1], cors_origins="https://shop.example.com") as opened:
        allowed = await opened.options("/api/v1/orders", headers=asking)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, origin["Origin"])
        refused = await opened.options("/api/v1/orders", headers=asking | {"Origin": "https://evil.example.com"})
        assert "access-control-allow-origin" not in refused.headers
