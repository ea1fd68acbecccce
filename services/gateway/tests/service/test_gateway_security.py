"""Access control, security headers, caching and compression of the gateway."""

import gzip
import json
import re
import zlib

import httpx
import pytest
from chassis.http import authentication
from chassis_testing.tokens import TokenIssuer
from gateway_harness import JSON, FakeUpstream, OpenGateway, problem
from gateway_service.domain.routes import ROUTES, Role, Route

LONG = json.dumps({"data": ["an espresso cup of porcelain"] * 100}).encode()


def paths(route: Route) -> list[str]:
    """Returns a path of a route, and its unversioned alias."""
    path = re.sub(r"\{\w+\}", "1", route.path)
    return [path, path.replace("/api/v1/", "/api/")] if path.startswith("/api/") else [path]


def bearer(issuer: TokenIssuer, role: Role) -> dict[str, str]:
    return {} if role is Role.ANONYMOUS else issuer.bearer(7, authentication.Role(role))


# Roles and methods


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_each_route_admits_its_roles_and_no_other(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer, route: Route
) -> None:
    for path in paths(route):
        for role in Role:
            upstream.requests.clear()
            response = await gateway.request(route.method, path, headers=bearer(issuer, role))
            if role in route.roles:
                assert response.status_code == 200, (path, role)
                assert upstream.requests[0].target == paths(route)[0]
            else:
                expected = (401, "unauthenticated") if role is Role.ANONYMOUS else (403, "forbidden")
                assert problem(response, expected[0]) == expected[1], (path, role)
                assert not upstream.requests


async def test_the_role_comes_only_from_the_token(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> None:
    identity_headers = {"X-User-Id": "1", "X-User-Role": "admin", "X-Role": "admin", "X-Forwarded-User": "admin"}
    assert problem(await gateway.get("/api/v1/users", headers=identity_headers), 401) == "unauthenticated"
    assert problem(await gateway.get("/api/v1/users", headers=issuer.bearer(7) | identity_headers), 403) == "forbidden"
    assert not upstream.requests


async def test_headers_that_state_an_identity_reach_no_service(
    gateway: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    identity_headers = {
        "X-User-Id": "1",
        "X-User-Role": "admin",
        "X-Authenticated-Userid": "1",
        "X-Forwarded-User": "admin",
        "X-Original-URL": "/api/v1/users",
        "X-HTTP-Method-Override": "DELETE",
        "Proxy-Authorization": "Basic YTpi",
        "Connection": "keep-alive, X-Private",
        "X-Private": "1",
        "TE": "trailers",
    }
    forwarded = {"Idempotency-Key": "k-1", "Cart-Token": "t-1", "Stripe-Signature": "t=1,v1=2"}
    await gateway.post("/api/v1/webhooks/stripe", content=b"{}", headers=identity_headers | forwarded)
    names = {name for name, _ in upstream.requests[0].headers}
    assert not names & {name.lower() for name in identity_headers} - {"connection"}
    assert {name.lower() for name in forwarded} <= names


async def test_the_body_of_a_webhook_is_forwarded_unchanged(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    body = b'{ "id" : "evt_1",\r\n\t"caf\xc3\xa9":"\\u00e9" }\n'
    await gateway.post("/api/v1/webhooks/stripe", content=body, headers={"Content-Type": "application/json"})
    assert upstream.requests[0].body == body


async def test_an_invalid_token_on_a_public_route_is_forwarded_to_the_service(
    gateway: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    headers = {"Cart-Token": "t-1", "Authorization": "Bearer nonsense"}
    assert (await gateway.get("/api/v1/cart", headers=headers)).status_code == 200
    assert upstream.requests[0].header("authorization") == ["Bearer nonsense"]
    assert upstream.requests[0].header("cart-token") == ["t-1"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/api/v1/orders", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/api/orders", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/api/v1/auth/login", "OPTIONS, POST"),
        ("HEAD", "/api/v1/auth/login", "OPTIONS, POST"),
        ("TRACE", "/api/v1/products", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/api/v1/payments/1", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_refused_with_the_allowed_methods(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, method: str, path: str, allowed: str
) -> None:
    response = await gateway.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert problem(response, 405) == "method_not_allowed"
    assert not upstream.requests


async def test_options_returns_the_allowed_methods(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    response = await gateway.options("/api/v1/cart")
    assert (response.status_code, response.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, POST")
    assert not upstream.requests


async def test_an_escaped_slash_does_not_bypass_access_control(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> None:
    """Services decode it to a slash, and so does the route table."""
    response = await gateway.put("/api/v1/reviews/1%2Fmoderation", headers=issuer.bearer(7), json={})
    assert problem(response, 403) == "forbidden"
    response = await gateway.get("/api/v1/notifications%2Fdead", headers=issuer.bearer(7))
    assert problem(response, 403) == "forbidden"
    assert not upstream.requests


# Security and cache headers


@pytest.mark.parametrize("path", ["/", "/api/v1/products", "/api/v1/users/me", "/nothing", "/openapi.json", "/health"])
async def test_every_response_has_the_security_headers(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, path: str
) -> None:
    headers = (await gateway.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "strict-transport-security" not in headers


async def test_hsts_is_sent_only_over_https(
    gateway: httpx.AsyncClient, open_gateway: OpenGateway, upstream_url: str
) -> None:
    over_https = {"X-Forwarded-Proto": "https"}
    assert (
        "strict-transport-security" not in (await gateway.get("/", headers=over_https)).headers
    )  # the peer is not trusted
    async with open_gateway(upstream_url, trusted_proxies="127.0.0.1") as behind_a_proxy:
        for path in ("/", "/api/v1/products", "/nothing"):
            response = await behind_a_proxy.get(path, headers=over_https)
            assert response.headers["strict-transport-security"] == "max-age=31536000"
        assert "strict-transport-security" not in (await behind_a_proxy.get("/")).headers


async def test_responses_about_the_caller_are_not_stored(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> None:
    for method, path in (("GET", "/api/v1/users/me"), ("POST", "/api/v1/auth/login"), ("GET", "/api/v1/orders")):
        response = await gateway.request(method, path, headers=issuer.bearer(7))
        assert response.headers["cache-control"] == "no-store"
    for path in ("/api/v1/orders", "/api/v1/cart"):
        assert (await gateway.get(path)).headers["cache-control"] == "no-store"
    assert "cache-control" not in (await gateway.get("/api/v1/products")).headers
    upstream.respond_with(200, b"{}", JSON, (b"cache-control", b"private, max-age=5"))
    response = await gateway.get("/api/v1/users/me", headers=issuer.bearer(7))
    assert response.headers.get_list("cache-control") == ["private, max-age=5"]


# HEAD


@pytest.mark.parametrize("path", ["/health", "/ready", "/", "/openapi.json", "/swagger/", "/api/v1/products"])
async def test_head_returns_the_headers_of_get(gateway: httpx.AsyncClient, upstream: FakeUpstream, path: str) -> None:
    got, head = await gateway.get(path), await gateway.head(path)
    assert (head.status_code, head.content) == (200, b"")
    varying = {"date", "x-request-id", "transfer-encoding"}
    assert {n: v for n, v in head.headers.items() if n not in varying} == {
        n: v for n, v in got.headers.items() if n not in varying
    }


async def test_the_openapi_document_is_read_only(gateway: httpx.AsyncClient) -> None:
    response = await gateway.post("/openapi.json")
    assert problem(response, 405) == "method_not_allowed"
    assert response.headers["allow"] == "GET, HEAD"


# Compression


async def test_long_json_is_compressed_if_the_caller_accepts_it(
    gateway: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    upstream.respond_with(200, LONG, JSON, (b"etag", b'"v1"'))
    async with gateway.stream("GET", "/api/v1/products", headers={"Accept-Encoding": "br, gzip"}) as response:
        raw = b"".join([piece async for piece in response.aiter_raw()])
    assert gzip.decompress(raw) == LONG
    assert len(raw) < len(LONG) / 5
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["vary"] == "Accept-Encoding"
    assert response.headers["etag"] == 'W/"v1"'
    assert "content-length" not in response.headers


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br"])
async def test_json_is_not_compressed_if_the_caller_does_not_accept_it(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, accepted: str
) -> None:
    upstream.respond_with(200, LONG, JSON)
    response = await gateway.get("/api/v1/products", headers={"Accept-Encoding": accepted})
    assert response.content == LONG
    assert "content-encoding" not in response.headers
    assert response.headers["content-length"] == str(len(LONG))
    assert response.headers["vary"] == "Accept-Encoding"


async def test_a_streamed_response_is_compressed_as_one(gateway: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    body = json.dumps({"data": list(range(200_000))}).encode()
    upstream.respond_with(200, body, JSON)
    for _ in range(2):
        response = await gateway.get("/api/v1/products", headers={"Accept-Encoding": "gzip"})
        assert response.content == body


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{}", (JSON,)),
        (LONG, ((b"content-type", b"image/png"),)),
        (LONG, (JSON, (b"cache-control", b"no-transform"))),
        (zlib.compress(LONG * 20, wbits=31), (JSON, (b"content-encoding", b"gzip"))),
    ],
)
async def test_small_other_and_compressed_responses_are_not_compressed(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, body: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    upstream.respond_with(200, body, *headers)
    async with gateway.stream("GET", "/api/v1/products", headers={"Accept-Encoding": "gzip"}) as response:
        assert b"".join([piece async for piece in response.aiter_raw()]) == body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/auth/login"),
        ("POST", "/api/v1/auth/refresh"),
        ("POST", "/api/v1/cart"),
        ("GET", "/api/v1/payments/1"),
        ("POST", "/api/v1/orders"),
    ],
)
async def test_responses_that_may_contain_secrets_are_never_compressed(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer, method: str, path: str
) -> None:
    upstream.respond_with(200, LONG, JSON)
    headers = issuer.bearer(7) | {"Accept-Encoding": "gzip"}
    response = await gateway.request(method, path, headers=headers)
    assert "content-encoding" not in response.headers
    assert response.content == LONG


async def test_head_has_the_headers_of_a_compressed_response(
    gateway: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    upstream.respond_with(200, LONG, JSON)
    response = await gateway.head("/api/v1/products", headers={"Accept-Encoding": "gzip"})
    assert (response.headers["content-encoding"], response.content) == ("gzip", b"")
