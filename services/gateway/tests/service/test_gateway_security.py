"""Who may call what, what is told to browsers, and what is never compressed, stored or believed."""

import gzip
import json
import re
import zlib

import httpx
import pytest
from chassis.http import authentication
from chassis_testing.tokens import TokenIssuer
from gateway_harness import JSON, Open, Upstream, problem
from gateway_service.domain.routes import ROUTES, Role, Route

LONG = json.dumps({"data": ["an espresso cup of porcelain"] * 100}).encode()


def paths(route: Route) -> list[str]:
    """A path of a row, and its other name."""
    path = re.sub(r"\{\w+\}", "1", route.path)
    return [path, path.replace("/api/v1/", "/api/")] if path.startswith("/api/") else [path]


def bearer(issuer: TokenIssuer, role: Role) -> dict[str, str]:
    return {} if role is Role.ANONYMOUS else issuer.bearer(7, authentication.Role(role))


# Roles and methods


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_each_row_of_the_table_lets_its_roles_through_and_nobody_else(
    gateway: httpx.AsyncClient, upstream: Upstream, issuer: TokenIssuer, route: Route
) -> None:
    for path in paths(route):
        for role in Role:
            upstream.seen.clear()
            answer = await gateway.request(route.method, path, headers=bearer(issuer, role))
            if role in route.roles:
                assert answer.status_code == 200, (path, role)
                assert upstream.seen[0].target == paths(route)[0]
            else:
                expected = (401, "unauthenticated") if role is Role.ANONYMOUS else (403, "forbidden")
                assert problem(answer, expected[0]) == expected[1], (path, role)
                assert not upstream.seen


async def test_a_role_is_taken_from_the_token_alone(
    gateway: httpx.AsyncClient, upstream: Upstream, issuer: TokenIssuer
) -> None:
    claims = {"X-User-Id": "1", "X-User-Role": "admin", "X-Role": "admin", "X-Forwarded-User": "admin"}
    assert problem(await gateway.get("/api/v1/users", headers=claims), 401) == "unauthenticated"
    assert problem(await gateway.get("/api/v1/users", headers=issuer.bearer(7) | claims), 403) == "forbidden"
    assert not upstream.seen


async def test_headers_that_claim_an_identity_reach_no_service(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    claims = {
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
    kept = {"Idempotency-Key": "k-1", "Cart-Token": "t-1", "Stripe-Signature": "t=1,v1=2"}
    await gateway.post("/api/v1/webhooks/stripe", content=b"{}", headers=claims | kept)
    names = {name for name, _ in upstream.seen[0].headers}
    assert not names & {name.lower() for name in claims} - {"connection"}
    assert {name.lower() for name in kept} <= names


async def test_a_webhooks_body_arrives_byte_by_byte(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    body = b'{ "id" : "evt_1",\r\n\t"caf\xc3\xa9":"\\u00e9" }\n'
    await gateway.post("/api/v1/webhooks/stripe", content=body, headers={"Content-Type": "application/json"})
    assert upstream.seen[0].body == body


async def test_a_guest_has_a_cart_and_a_bad_token_there_is_for_the_service_to_judge(
    gateway: httpx.AsyncClient, upstream: Upstream
) -> None:
    headers = {"Cart-Token": "t-1", "Authorization": "Bearer nonsense"}
    assert (await gateway.get("/api/v1/cart", headers=headers)).status_code == 200
    assert upstream.seen[0].header("authorization") == ["Bearer nonsense"]
    assert upstream.seen[0].header("cart-token") == ["t-1"]


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
async def test_a_wrong_method_is_told_the_right_ones(
    gateway: httpx.AsyncClient, upstream: Upstream, method: str, path: str, allowed: str
) -> None:
    answer = await gateway.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert problem(answer, 405) == "method_not_allowed"
    assert not upstream.seen


async def test_options_tell_the_methods(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await gateway.options("/api/v1/cart")
    assert (answer.status_code, answer.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, POST")
    assert not upstream.seen


async def test_an_escaped_slash_leads_past_no_check(
    gateway: httpx.AsyncClient, upstream: Upstream, issuer: TokenIssuer
) -> None:
    """Services read it as a slash: so does the table."""
    answer = await gateway.put("/api/v1/reviews/1%2Fmoderation", headers=issuer.bearer(7), json={})
    assert problem(answer, 403) == "forbidden"
    answer = await gateway.get("/api/v1/notifications%2Fdead", headers=issuer.bearer(7))
    assert problem(answer, 403) == "forbidden"
    assert not upstream.seen


# What browsers and caches are told


@pytest.mark.parametrize("path", ["/", "/api/v1/products", "/api/v1/users/me", "/nothing", "/openapi.json", "/health"])
async def test_browsers_are_told_to_be_careful(gateway: httpx.AsyncClient, upstream: Upstream, path: str) -> None:
    headers = (await gateway.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "strict-transport-security" not in headers


async def test_who_came_by_https_is_told_to_stay(
    gateway: httpx.AsyncClient, gateway_before: Open, upstream_url: str
) -> None:
    over_https = {"X-Forwarded-Proto": "https"}
    assert "strict-transport-security" not in (await gateway.get("/", headers=over_https)).headers  # nobody we know
    async with gateway_before(upstream_url, trusted_proxies="127.0.0.1") as behind_a_proxy:
        for path in ("/", "/api/v1/products", "/nothing"):
            answer = await behind_a_proxy.get(path, headers=over_https)
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert "strict-transport-security" not in (await behind_a_proxy.get("/")).headers


async def test_what_is_somebodys_own_is_not_stored_on_the_way(
    gateway: httpx.AsyncClient, upstream: Upstream, issuer: TokenIssuer
) -> None:
    for method, path in (("GET", "/api/v1/users/me"), ("POST", "/api/v1/auth/login"), ("GET", "/api/v1/orders")):
        answer = await gateway.request(method, path, headers=issuer.bearer(7))
        assert answer.headers["cache-control"] == "no-store"
    assert (await gateway.get("/api/v1/orders")).headers["cache-control"] == "no-store"
    assert "cache-control" not in (await gateway.get("/api/v1/products")).headers
    upstream.always(200, b"{}", JSON, (b"cache-control", b"private, max-age=5"))
    answer = await gateway.get("/api/v1/users/me", headers=issuer.bearer(7))
    assert answer.headers.get_list("cache-control") == ["private, max-age=5"]


# HEAD


@pytest.mark.parametrize("path", ["/health", "/ready", "/", "/openapi.json", "/swagger/", "/api/v1/products"])
async def test_head_says_what_get_would(gateway: httpx.AsyncClient, upstream: Upstream, path: str) -> None:
    got, head = await gateway.get(path), await gateway.head(path)
    assert (head.status_code, head.content) == (200, b"")
    changing = {"date", "x-request-id", "transfer-encoding"}
    assert {n: v for n, v in head.headers.items() if n not in changing} == {
        n: v for n, v in got.headers.items() if n not in changing
    }


async def test_the_document_can_only_be_read(gateway: httpx.AsyncClient) -> None:
    answer = await gateway.post("/openapi.json")
    assert problem(answer, 405) == "method_not_allowed"
    assert answer.headers["allow"] == "GET, HEAD"


# Compression


async def test_long_json_is_compressed_for_who_accepts_it(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.always(200, LONG, JSON, (b"etag", b'"v1"'))
    async with gateway.stream("GET", "/api/v1/products", headers={"Accept-Encoding": "br, gzip"}) as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert gzip.decompress(raw) == LONG
    assert len(raw) < len(LONG) / 5
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["etag"] == 'W/"v1"'
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br"])
async def test_who_does_not_accept_it_gets_json_as_it_is(
    gateway: httpx.AsyncClient, upstream: Upstream, accepted: str
) -> None:
    upstream.always(200, LONG, JSON)
    answer = await gateway.get("/api/v1/products", headers={"Accept-Encoding": accepted})
    assert answer.content == LONG
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-length"] == str(len(LONG))
    assert answer.headers["vary"] == "Accept-Encoding"


async def test_a_long_answer_in_many_pieces_is_one_compressed_answer(
    gateway: httpx.AsyncClient, upstream: Upstream
) -> None:
    body = json.dumps({"data": list(range(200_000))}).encode()
    upstream.always(200, body, JSON)
    for _ in range(2):
        answer = await gateway.get("/api/v1/products", headers={"Accept-Encoding": "gzip"})
        assert answer.content == body


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{}", (JSON,)),
        (LONG, ((b"content-type", b"image/png"),)),
        (LONG, (JSON, (b"cache-control", b"no-transform"))),
        (zlib.compress(LONG * 20, wbits=31), (JSON, (b"content-encoding", b"gzip"))),
    ],
)
async def test_what_is_small_foreign_or_compressed_already_is_left_alone(
    gateway: httpx.AsyncClient, upstream: Upstream, body: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    upstream.always(200, body, *headers)
    async with gateway.stream("GET", "/api/v1/products", headers={"Accept-Encoding": "gzip"}) as answer:
        assert b"".join([piece async for piece in answer.aiter_raw()]) == body


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
async def test_answers_that_may_hold_secrets_are_never_compressed(
    gateway: httpx.AsyncClient, upstream: Upstream, issuer: TokenIssuer, method: str, path: str
) -> None:
    upstream.always(200, LONG, JSON)
    headers = issuer.bearer(7) | {"Accept-Encoding": "gzip"}
    answer = await gateway.request(method, path, headers=headers)
    assert "content-encoding" not in answer.headers
    assert answer.content == LONG


async def test_head_says_that_get_would_be_compressed(gateway: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.always(200, LONG, JSON)
    answer = await gateway.head("/api/v1/products", headers={"Accept-Encoding": "gzip"})
    assert (answer.headers["content-encoding"], answer.content) == ("gzip", b"")
