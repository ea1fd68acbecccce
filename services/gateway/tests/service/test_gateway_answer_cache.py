"""Public reads answered from the memory of the gateway (docs/adr/0033)."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from chassis.database.confirmations import Confirmation, confirmation_key, demand_key
from chassis.http import authentication
from chassis_testing.environment import environment_variable
from chassis_testing.fault_proxy import fault_proxy
from chassis_testing.tokens import TokenIssuer
from gateway_harness import JSON, FakeUpstream, OpenGateway, metric, problem, reply
from gateway_service.clients.redis_pipeline import connect
from gateway_service.domain.answers import MAX_BODY_BYTES
from gateway_service.domain.routes import ROUTES, Role, Route
from starlette.types import Receive, Scope, Send

ON = {"answer_cache_bytes": 1024**2, "answer_cache_seconds": 10}
LONG = json.dumps({"data": ["an espresso cup of porcelain"] * 100}).encode()
PRODUCTS = "/api/v1/products"
HIT = "gateway; hit"
STORED = "gateway; fwd=miss; stored"
PASSED = "gateway; fwd=miss"
BYPASSED = "gateway; fwd=bypass"


def status_of(response: httpx.Response) -> str:
    return str(response.headers.get("cache-status"))


def bearer(issuer: TokenIssuer, role: Role) -> dict[str, str]:
    return {} if role is Role.ANONYMOUS else issuer.bearer(7, authentication.Role(role))


@pytest.fixture
async def cached(open_gateway: OpenGateway, upstream_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with open_gateway(upstream_url, **ON) as gateway:
        yield gateway


@asynccontextmanager
async def replicas(
    open_gateway: OpenGateway, url: str, **settings: object
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Two replicas of one shop's gateway."""
    shared: dict[str, object] = {**ON, "tenant": uuid4().hex, **settings}
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(open_gateway(url, **shared)),
            await stack.enter_async_context(open_gateway(url, **shared)),
        )


class Gated:
    """Answers of an upstream that wait until the test opens the gate. `waiting` is set when one waits."""

    def __init__(self, upstream: FakeUpstream, *bodies: bytes) -> None:
        self._upstream = upstream
        self._bodies = list(bodies)
        self.waiting = asyncio.Event()
        self.gate = asyncio.Event()
        upstream.behaviour = self.respond

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._upstream.read(scope, receive)
        body = self._bodies.pop(0) if len(self._bodies) > 1 else self._bodies[0]
        self.waiting.set()
        await self.gate.wait()
        await reply(send, 200, body, JSON)


# Hits


async def test_a_second_read_is_answered_from_memory(cached: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    upstream.respond_with(200, LONG, JSON)
    before = metric("answer_cache_requests_total", result="hit")
    first, second = await cached.get(PRODUCTS), await cached.get(PRODUCTS)
    assert (status_of(first), status_of(second)) == (STORED, HIT)
    assert first.content == second.content == LONG
    assert len(upstream.requests) == 1
    assert 0 <= int(second.headers["age"]) < 10
    assert first.headers["etag"] == second.headers["etag"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert metric("answer_cache_requests_total", result="hit") == before + 1
    assert metric("answer_cache_bytes") > len(LONG)


async def test_one_answer_serves_every_spelling_of_a_read(cached: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    await cached.get("/api/v1/products?limit=2&category=1")
    for same in ("/api/v1/products?category=1&limit=2", "/api/products?limit=2&category=1"):
        assert status_of(await cached.get(same)) == HIT
    assert status_of(await cached.get("/api/v1/products?limit=3&category=1")) == STORED
    assert [request.target for request in upstream.requests] == [
        "/api/v1/products?category=1&limit=2",
        "/api/v1/products?category=1&limit=3",
    ]


@pytest.mark.parametrize("is_hit", [False, True])
async def test_encodings_conditions_and_heads_are_answered_from_one_answer(
    cached: httpx.AsyncClient, upstream: FakeUpstream, is_hit: bool
) -> None:
    upstream.respond_with(200, LONG, JSON)
    if is_hit:
        await cached.get(PRODUCTS)
    plain = await cached.get(PRODUCTS, headers={"Accept-Encoding": "identity"})
    zipped = await cached.get(PRODUCTS, headers={"Accept-Encoding": "gzip"})
    assert (plain.headers.get("content-encoding"), zipped.headers["content-encoding"]) == (None, "gzip")
    assert plain.content == zipped.content == LONG
    assert int(zipped.headers["content-length"]) == zipped.num_bytes_downloaded < len(LONG)
    assert len(gzip.compress(LONG)) < len(LONG)
    assert plain.headers["vary"] == zipped.headers["vary"] == "Accept-Encoding"
    assert zipped.headers["etag"] == f"W/{plain.headers['etag']}"

    head = await cached.head(PRODUCTS, headers={"Accept-Encoding": "identity"})
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(LONG)))
    for etag in (plain.headers["etag"], zipped.headers["etag"], f'"other", {plain.headers["etag"]}', "*"):
        unchanged = await cached.get(PRODUCTS, headers={"If-None-Match": etag})
        assert (unchanged.status_code, unchanged.content, status_of(unchanged)) == (304, b"", HIT)
        assert unchanged.headers["etag"] in (plain.headers["etag"], zipped.headers["etag"])
        assert "content-type" not in unchanged.headers
    assert (await cached.get(PRODUCTS, headers={"If-None-Match": '"other"'})).status_code == 200
    ranged = await cached.get(PRODUCTS, headers={"Range": "bytes=0-1"})
    assert (ranged.status_code, ranged.content) == (200, LONG)
    assert len(upstream.requests) == 1


async def test_a_caller_that_accepts_no_json_asks_the_service(
    cached: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    await cached.get(PRODUCTS)
    response = await cached.get(PRODUCTS, headers={"Accept": "text/csv"})
    assert "cache-status" not in response.headers
    assert upstream.requests[1].header("accept") == ["text/csv"]


async def test_hits_are_counted_and_limited(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    async with open_gateway(upstream_url, rate_limits="read=2/60", **ON) as gateway:
        assert "r=1" in (await gateway.get(PRODUCTS)).headers["ratelimit"]
        hit = await gateway.get(PRODUCTS)
        assert (status_of(hit), "r=0" in hit.headers["ratelimit"]) == (HIT, True)
        assert problem(await gateway.get(PRODUCTS), 429) == "too_many_requests"
    assert len(upstream.requests) == 1


async def test_a_token_of_an_ended_session_gets_no_hit(
    open_gateway: OpenGateway, upstream_url: str, issuer: TokenIssuer
) -> None:
    tenant, session = uuid4().hex, uuid4()
    async with open_gateway(upstream_url, tenant=tenant, **ON) as gateway:
        headers = issuer.bearer(7, session_id=session)
        assert status_of(await gateway.get(PRODUCTS, headers=headers)) == STORED
        async with connect(environment_variable("TEST_REDIS_URL")) as redis:
            await redis.set(f"{tenant}:ended-session:{session}", 1, ex=60)
        assert problem(await gateway.get(PRODUCTS, headers=headers), 401) == "session_ended"


# What is not kept


async def test_nothing_of_a_caller_reaches_the_service(
    cached: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> None:
    personal = {"Cookie": "a=1", "Cart-Token": "t", "Accept-Language": "de", "User-Agent": "mine", "X-Own": "1"}
    response = await cached.get(PRODUCTS, headers=issuer.bearer(7, authentication.Role.ADMIN) | personal)
    assert status_of(response) == STORED
    (request,) = upstream.requests
    names = {name for name, _ in request.headers}
    assert names <= {"host", "accept", "traceparent", "tracestate", "x-request-id", "baggage"}


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=lambda route: route.path)
async def test_an_answer_is_shared_between_roles_only_if_no_role_matters(
    cached: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer, route: Route
) -> None:
    """The authorization matrix, with the cache on: each role reads, and the admin first."""

    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        await upstream.read(scope, receive)
        await reply(send, 200, dict(scope["headers"]).get(b"authorization", b"anonymous"), JSON)

    upstream.behaviour = tell
    path = re.sub(r"\{\w+\}", "1", route.path)
    for role in [Role.ADMIN, *Role, *Role]:
        headers = bearer(issuer, role)
        response = await cached.get(path, headers=headers)
        if role not in route.roles:
            assert response.status_code == (401 if role is Role.ANONYMOUS else 403)
            continue
        own = headers.get("Authorization", "anonymous")
        assert response.text == ("anonymous" if route.shows else own)
        assert ("cache-status" in response.headers) == bool(route.shows)


@pytest.mark.parametrize(
    "header",
    [(b"cache-control", b"private"), (b"vary", b"Accept-Language"), (b"set-cookie", b"a=1")],
    ids=["private", "vary", "cookie"],
)
async def test_an_answer_that_is_not_for_everyone_is_asked_for_in_the_name_of_each_caller(
    cached: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer, header: tuple[bytes, bytes]
) -> None:
    upstream.respond_with(200, b"{}", JSON, header)
    headers = issuer.bearer(7)
    for _ in range(2):
        assert status_of(await cached.get(PRODUCTS, headers=headers)) == BYPASSED
        assert upstream.requests[-1].header("authorization") == [headers["Authorization"]]
    assert len(upstream.requests) == 4


@pytest.mark.parametrize("status", [404, 422, 500, 503])
async def test_an_error_is_not_kept(cached: httpx.AsyncClient, upstream: FakeUpstream, status: int) -> None:
    upstream.respond_with(status, b"{}", JSON)
    for _ in range(2):
        response = await cached.get(PRODUCTS)
        assert (response.status_code, status_of(response)) == (status, PASSED)
    assert len(upstream.requests) == 2
    upstream.respond_with(200, b"{}", JSON)
    assert (await cached.get(PRODUCTS)).status_code == 200


async def test_a_large_body_is_not_kept(cached: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    body = b"x" * (MAX_BODY_BYTES + 1)
    upstream.respond_with(200, body, JSON)
    for _ in range(2):
        response = await cached.get(PRODUCTS)
        assert (response.content == body, status_of(response)) == (True, BYPASSED)


async def test_the_memory_is_bounded_and_the_least_recently_read_answer_leaves(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    upstream.respond_with(200, LONG, JSON)
    size = 2 * len(LONG) + 2048 + 100
    before = metric("answer_cache_evictions_total")
    async with open_gateway(upstream_url, answer_cache_bytes=2 * size, answer_cache_seconds=10) as gateway:
        for page in (1, 2, 1, 3):
            await gateway.get(f"{PRODUCTS}?page={page}")
        assert metric("answer_cache_evictions_total") == before + 1
        assert metric("answer_cache_bytes") <= 2 * size
        await gateway.get(f"{PRODUCTS}?page=2")
    targets = [request.target[-1] for request in upstream.requests]
    assert targets == ["1", "2", "3", "2"]


async def test_an_answer_that_is_larger_than_the_memory_is_not_kept(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    async with open_gateway(upstream_url, answer_cache_bytes=1) as gateway:
        for _ in range(2):
            assert status_of(await gateway.get(PRODUCTS)) == PASSED


# One fetch at a time


async def test_concurrent_reads_share_one_fetch(cached: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    gated = Gated(upstream, b"{}")
    reads = [asyncio.ensure_future(cached.get(PRODUCTS)) for _ in range(5)]
    await gated.waiting.wait()
    gated.gate.set()
    responses = await asyncio.gather(*reads)
    statuses = sorted(map(status_of, responses))
    assert len(upstream.requests) == statuses.count(STORED) == 1
    assert set(statuses) <= {STORED, HIT, "gateway; fwd=miss; collapsed"}


async def test_a_caller_that_leaves_does_not_end_the_fetch_of_the_others(
    cached: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    gated = Gated(upstream, b"{}")
    leader = asyncio.ensure_future(cached.get(PRODUCTS))
    await gated.waiting.wait()
    follower = asyncio.ensure_future(cached.get(PRODUCTS))
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    gated.gate.set()
    assert (await follower).json() == {}
    assert len(upstream.requests) == 1


async def test_a_failed_fetch_fails_for_its_callers_alone(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    gated = Gated(upstream, b"{}")
    async with open_gateway(upstream_url, upstream_deadline_seconds=0.3, **ON) as gateway:
        late = await asyncio.gather(*(gateway.get(PRODUCTS) for _ in range(3)))
        assert [problem(response, 503) for response in late] == ["upstream_timeout"] * 3
        gated.gate.set()
        assert (await gateway.get(PRODUCTS)).status_code == 200


# Changes


@pytest.mark.parametrize("writer", [0, 1])
@pytest.mark.parametrize("status", [200, 201, 204, 500])
async def test_a_change_is_seen_through_every_replica_once_it_is_answered(
    open_gateway: OpenGateway,
    upstream: FakeUpstream,
    upstream_url: str,
    issuer: TokenIssuer,
    writer: int,
    status: int,
) -> None:
    async with replicas(open_gateway, upstream_url) as gateways:
        upstream.respond_with(200, b'{"v":1}', JSON)
        for gateway in gateways:
            await gateway.get(PRODUCTS)
            assert status_of(await gateway.get(PRODUCTS)) == HIT
        upstream.respond_with(status, b"" if status == 204 else b"{}", JSON)
        changed = await gateways[writer].put(
            f"{PRODUCTS}/1", json={}, headers=issuer.bearer(7, authentication.Role.SELLER)
        )
        assert changed.status_code == status
        upstream.respond_with(200, b'{"v":2}', JSON)
        for gateway in gateways:
            assert (await gateway.get(PRODUCTS)).json() == {"v": 2}
            assert (await gateway.get(PRODUCTS)).json() == {"v": 2}


async def test_an_order_ends_the_details_that_show_stock_and_no_list(
    cached: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> None:
    for path in (PRODUCTS, f"{PRODUCTS}/1"):
        await cached.get(path)
    await cached.post("/api/v1/orders", json={}, headers=issuer.bearer(7))
    assert status_of(await cached.get(f"{PRODUCTS}/1")) == STORED
    assert status_of(await cached.get(PRODUCTS)) == HIT


async def test_a_refused_change_and_a_change_of_other_data_end_no_answer(
    cached: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> None:
    await cached.get(PRODUCTS)
    upstream.respond_with(409, b"{}", JSON)
    await cached.put(f"{PRODUCTS}/1", json={}, headers=issuer.bearer(7, authentication.Role.SELLER))
    upstream.respond_with(200, b"{}", JSON)
    await cached.post("/api/v1/cart", json={}, headers=issuer.bearer(7))
    assert status_of(await cached.get(PRODUCTS)) == HIT


async def test_a_read_after_a_change_does_not_join_a_fetch_that_began_before_it(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with replicas(open_gateway, upstream_url, upstream_deadline_seconds=10) as (one, other):
        gated = Gated(upstream, b'{"v":1}')
        early = asyncio.ensure_future(one.get(PRODUCTS))
        await gated.waiting.wait()
        upstream.respond_with(200, b'{"v":2}', JSON)
        await other.put(f"{PRODUCTS}/1", json={}, headers=issuer.bearer(7, authentication.Role.SELLER))
        assert (await one.get(PRODUCTS)).json() == {"v": 2}
        gated.gate.set()
        assert (await early).json() == {"v": 2}  # what it fetched was superseded, so it has looked again
        assert (await one.get(PRODUCTS)).json() == (await other.get(PRODUCTS)).json() == {"v": 2}


async def test_replicas_agree_on_an_answer_whose_data_changed_without_a_request(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    """One replica fetches before the other one publishes what it has fetched in that time."""
    async with replicas(open_gateway, upstream_url) as (one, other):
        gated = Gated(upstream, b'{"v":2}')
        late = asyncio.ensure_future(one.get(PRODUCTS))
        await gated.waiting.wait()
        upstream.respond_with(200, b'{"v":1}', JSON)
        assert [(await other.get(PRODUCTS)).json() for _ in range(2)] == [{"v": 1}] * 2
        upstream.respond_with(200, b'{"v":2}', JSON)
        gated.gate.set()
        assert (await late).json() == (await other.get(PRODUCTS)).json()


async def test_replicas_share_the_age_of_equal_answers(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    async with replicas(open_gateway, upstream_url) as (one, other):
        assert [status_of(await gateway.get(PRODUCTS)) for gateway in (one, other, one, other)] == [
            STORED,
            STORED,
            HIT,
            HIT,
        ]


# Confirmations by change counts

CATEGORIES = "/api/v1/categories"
DETAILS = f"{PRODUCTS}/1"


async def confirm(tenant: str, count: int, *services: str) -> None:
    """Writes change counts as the product service does, read now."""
    async with connect(environment_variable("TEST_REDIS_URL")) as redis:
        seconds, microseconds = await redis.time()
        confirmation = Confirmation(count, seconds * 1_000_000 + microseconds).encode()
        await redis.mset({confirmation_key(tenant, service): confirmation for service in services})


async def grow_old(tenant: str, seconds: int) -> None:
    """Makes the fetches of all answers lie further in the past."""
    async with connect(environment_variable("TEST_REDIS_URL")) as redis:
        async for key in redis.scan_iter(f"{tenant}:answer:*"):
            record = await redis.get(key)
            assert isinstance(record, bytes)
            version, started, *rest = record.split(b" ")
            await redis.set(key, b" ".join([version, b"%d" % (int(started) - seconds * 1_000_000), *rest]))


@pytest.mark.parametrize("path", [PRODUCTS, DETAILS])
async def test_an_answer_is_used_beyond_its_lifetime_while_its_data_has_not_changed(
    open_gateway: OpenGateway, upstream_url: str, path: str
) -> None:
    tenant, services = uuid4().hex, ("product", "inventory", "review", "user")
    async with open_gateway(upstream_url, tenant=tenant, **ON) as gateway:
        await confirm(tenant, 5, *services)
        assert status_of(await gateway.get(path)) == STORED
        await grow_old(tenant, 30)
        await confirm(tenant, 5, *services)
        hit = await gateway.get(path)
        assert (status_of(hit), int(hit.headers["age"]) < 10) == (HIT, True)
        await confirm(tenant, 6, services[0])
        assert status_of(await gateway.get(path)) == STORED


@pytest.mark.parametrize(
    ("confirmed", "after"), [((), ("product",)), (("product",), ("product",))], ids=["unknown before", "others unknown"]
)
async def test_an_answer_some_of_whose_counts_are_not_known_has_its_lifetime(
    open_gateway: OpenGateway, upstream_url: str, confirmed: tuple[str, ...], after: tuple[str, ...]
) -> None:
    tenant, path = uuid4().hex, DETAILS if confirmed else CATEGORIES
    async with open_gateway(upstream_url, tenant=tenant, **ON) as gateway:
        await confirm(tenant, 5, *(confirmed or ("review",)))
        await gateway.get(path)
        await grow_old(tenant, 30)
        await confirm(tenant, 5, *after)
        assert status_of(await gateway.get(path)) == STORED


async def test_a_confirmed_answer_ends_with_a_change_that_passes_a_gateway(
    open_gateway: OpenGateway, upstream_url: str, issuer: TokenIssuer
) -> None:
    tenant = uuid4().hex
    async with open_gateway(upstream_url, tenant=tenant, **ON) as gateway:
        await confirm(tenant, 5, "product")
        await gateway.get(PRODUCTS)
        await gateway.put(DETAILS, json={}, headers=issuer.bearer(7, authentication.Role.SELLER))
        await confirm(tenant, 5, "product")  # read before the change was committed
        assert status_of(await gateway.get(PRODUCTS)) == STORED


async def test_an_answer_that_lacks_a_part_has_its_lifetime(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    upstream.respond_with(200, b"{}", JSON, (b"cache-control", b"max-age=0"))
    tenant = uuid4().hex
    async with open_gateway(upstream_url, tenant=tenant, **ON) as gateway:
        await confirm(tenant, 5, "product")
        await gateway.get(PRODUCTS)
        await grow_old(tenant, 30)
        assert status_of(await gateway.get(PRODUCTS)) == STORED


async def test_confirmations_are_asked_for_when_an_answer_is_kept(open_gateway: OpenGateway, upstream_url: str) -> None:
    tenant = uuid4().hex
    async with (
        open_gateway(upstream_url, tenant=tenant, **ON) as gateway,
        connect(environment_variable("TEST_REDIS_URL")) as redis,
    ):
        assert not await redis.exists(demand_key(tenant))
        await gateway.get(PRODUCTS)
        assert await redis.ttl(demand_key(tenant)) > 60


# Redis


async def test_without_redis_every_read_reaches_the_service_and_a_change_waits_for_the_lifetime(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, issuer: TokenIssuer
) -> None:
    """The writer's replica cannot reach Redis, and the other one can."""
    server = urlsplit(environment_variable("TEST_REDIS_URL"))
    tenant, seller = uuid4().hex, issuer.bearer(7, authentication.Role.SELLER)
    short = ON | {"answer_cache_seconds": 1}
    async with fault_proxy(server.hostname or "", server.port or 0) as proxy:
        severed_url = f"redis://127.0.0.1:{proxy.port}{server.path}"
        async with (
            open_gateway(upstream_url, tenant=tenant, redis_url=severed_url, **short) as one,
            open_gateway(upstream_url, tenant=tenant, **short) as other,
        ):
            upstream.respond_with(200, b'{"v":1}', JSON)
            assert status_of(await one.get(PRODUCTS)) == STORED
            await proxy.sever()
            for _ in range(2):
                assert status_of(await one.get(PRODUCTS)) == BYPASSED
            assert status_of(await other.get(PRODUCTS)) == STORED
            before = metric("answer_cache_drops_total", result="unconfirmed")
            upstream.respond_with(200, b'{"v":2}', JSON)
            assert (await one.put(f"{PRODUCTS}/1", json={}, headers=seller)).status_code == 200
            assert metric("answer_cache_drops_total", result="unconfirmed") == before + 1
            assert (await other.get(PRODUCTS)).json() == {"v": 2}
            await proxy.restore()


async def test_a_redis_that_lost_its_data_makes_no_old_answer_current(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    tenant = uuid4().hex
    async with open_gateway(upstream_url, tenant=tenant, **ON) as gateway:
        await gateway.get(PRODUCTS)
        assert status_of(await gateway.get(PRODUCTS)) == HIT
        async with connect(environment_variable("TEST_REDIS_URL")) as redis:
            await redis.delete(*[key async for key in redis.scan_iter(f"{tenant}:*")])
        assert status_of(await gateway.get(PRODUCTS)) == STORED


async def test_a_cache_that_is_off_adds_nothing(
    gateway: httpx.AsyncClient, upstream: FakeUpstream, issuer: TokenIssuer
) -> None:
    response = await gateway.get(PRODUCTS)
    assert not {"cache-status", "age", "etag"} & set(response.headers)
    before = metric("answer_cache_drops_total", result="confirmed")
    await gateway.put(f"{PRODUCTS}/1", json={}, headers=issuer.bearer(7, authentication.Role.SELLER))
    assert metric("answer_cache_drops_total", result="confirmed") == before
