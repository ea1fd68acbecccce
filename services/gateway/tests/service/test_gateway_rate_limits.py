"""Rate limits: counted in Redis for all gateways together, and not at all while Redis is unavailable."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from chassis.http.authentication import Role
from chassis_testing.environment import environment_variable
from chassis_testing.fault_proxy import fault_proxy
from chassis_testing.tokens import TokenIssuer
from gateway_harness import Clock, FakeUpstream, OpenGateway, metric, problem
from gateway_service.clients.rate_limiter import RateLimiter
from gateway_service.clients.redis_pipeline import RedisPipeline, connect
from gateway_service.domain.rate_limits import Quota, RateLimitPolicy

UNREACHABLE_REDIS = "redis://127.0.0.1:1/0"
LOGIN = "/api/v1/auth/login"
PRODUCTS = "/api/v1/products"


async def statuses(client: httpx.AsyncClient, path: str, times: int, **headers: str) -> list[int]:
    return [(await client.get(path, headers=headers)).status_code for _ in range(times)]


async def test_a_request_over_the_limit_is_refused_with_the_time_to_retry(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    async with open_gateway(upstream_url, rate_limits="auth=3/600") as gateway:
        responses = [await gateway.post(LOGIN, json={}) for _ in range(4)]
    assert [response.headers["ratelimit-policy"] for response in responses] == ['"auth";q=3;w=600'] * 4
    assert [response.headers["ratelimit"].split(";t=")[0] for response in responses] == [
        '"auth";r=2',
        '"auth";r=1',
        '"auth";r=0',
        '"auth";r=0',
    ]
    assert problem(responses[3], 429) == "too_many_requests"
    assert 190 < int(responses[3].headers["retry-after"]) <= 200
    assert responses[3].headers["ratelimit"].endswith(f";t={responses[3].headers['retry-after']}")
    assert len(upstream.requests) == 3


async def test_a_quota_is_restored_gradually(open_gateway: OpenGateway, upstream_url: str) -> None:
    tenant = uuid4().hex
    async with open_gateway(upstream_url, rate_limits="read=2/600", tenant=tenant) as gateway:
        assert await statuses(gateway, PRODUCTS, 3) == [200, 200, 429]
        await advance(tenant, 299)
        assert await statuses(gateway, PRODUCTS, 1) == [429]
        await advance(tenant, 1)
        assert await statuses(gateway, PRODUCTS, 2) == [200, 429]


async def advance(tenant: str, seconds: int) -> None:
    """Reduces the debt of the only caller of a gateway, as if these seconds had passed."""
    async with connect(environment_variable("TEST_REDIS_URL")) as redis:
        (key,) = await redis.keys(f"{tenant}*")
        await redis.decrby(key, seconds * 1_000_000)


async def test_each_policy_has_its_own_quota(open_gateway: OpenGateway, upstream_url: str) -> None:
    async with open_gateway(upstream_url, rate_limits="auth=1/600,read=2/600,write=1/600,webhook=1/600") as gateway:
        for path in (LOGIN, "/api/v1/cart", "/api/v1/webhooks/stripe"):
            assert [(await gateway.post(path, json={})).status_code for _ in range(2)] == [200, 429]
        assert await statuses(gateway, PRODUCTS, 3) == [200, 200, 429]


@pytest.mark.parametrize(
    ("one", "other"), [("/api/v1/products", "/api/products"), ("/api/products", "/api/v1/products")]
)
async def test_the_unversioned_path_shares_the_quota_of_the_versioned_path(
    open_gateway: OpenGateway, upstream_url: str, one: str, other: str
) -> None:
    async with open_gateway(upstream_url, rate_limits="read=1/600") as gateway:
        assert (await gateway.get(one)).status_code == 200
        assert problem(await gateway.get(other), 429) == "too_many_requests"


async def test_each_user_has_one_quota_for_all_addresses(
    open_gateway: OpenGateway, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with open_gateway(upstream_url, rate_limits="read=2/600", trusted_proxies="127.0.0.1") as gateway:
        for user in (1, 2):
            for address, status in (("203.0.113.1", 200), ("203.0.113.2", 200), ("203.0.113.3", 429)):
                response = await gateway.get(PRODUCTS, headers=issuer.bearer(user) | {"X-Forwarded-For": address})
                assert response.status_code == status
        assert await statuses(gateway, PRODUCTS, 3) == [200, 200, 429]  # an anonymous caller from this address


async def test_all_tokens_of_a_user_share_a_quota(
    open_gateway: OpenGateway, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with open_gateway(upstream_url, rate_limits="read=2/600") as gateway:
        for expires_in, status in ((100, 200), (200, 200), (300, 429)):
            headers = issuer.bearer(7, expires_in=expires_in)
            assert (await gateway.get("/api/v1/users/me", headers=headers)).status_code == status


async def test_login_attempts_are_counted_by_address_whatever_their_token(
    open_gateway: OpenGateway, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with open_gateway(upstream_url, rate_limits="auth=2/600") as gateway:
        responses = [await gateway.post(LOGIN, json={}, headers=issuer.bearer(user)) for user in (1, 2, 3)]
    assert [response.status_code for response in responses] == [200, 200, 429]


async def test_requests_with_invalid_tokens_are_counted_by_address(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with open_gateway(upstream_url, rate_limits="read=2/600") as gateway:
        for status in (401, 401, 429):
            headers = TokenIssuer("test").bearer(7)
            assert (await gateway.get("/api/v1/users/me", headers=headers)).status_code == status
        assert (await gateway.get("/api/v1/users/me", headers=issuer.bearer(7))).status_code == 200
        headers = {"Authorization": "Bearer nonsense"}
        assert (await gateway.get(PRODUCTS, headers=headers)).status_code == 429


async def test_forbidden_requests_are_counted(
    open_gateway: OpenGateway, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with open_gateway(upstream_url, rate_limits="read=2/600") as gateway:
        for status in (403, 403, 429):
            assert (await gateway.get("/api/v1/users", headers=issuer.bearer(7))).status_code == status


async def test_a_forwarded_address_is_ignored_unless_the_proxy_is_trusted(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    before = metric("forwarded_headers_ignored_total")
    async with open_gateway(upstream_url, rate_limits="read=2/600") as gateway:
        for number, status in enumerate((200, 200, 429)):
            headers = {"X-Forwarded-For": f"203.0.113.{number}", "X-Real-IP": "203.0.113.9", "Forwarded": "for=9.9.9.9"}
            assert (await gateway.get(PRODUCTS, headers=headers)).status_code == status
    assert {tuple(seen.header("x-forwarded-for")) for seen in upstream.requests} == {("127.0.0.1",)}
    assert metric("forwarded_headers_ignored_total") == before + 3
    assert {tuple(seen.header("x-real-ip")) for seen in upstream.requests} == {("127.0.0.1",)}
    assert not any(seen.header("forwarded") for seen in upstream.requests)


async def test_behind_a_trusted_proxy_each_address_has_its_own_quota(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    async with open_gateway(upstream_url, rate_limits="read=2/600", trusted_proxies="127.0.0.0/8") as gateway:
        for address in ("203.0.113.1", "203.0.113.2"):
            for stated, status in (("1.1.1.1", 200), ("2.2.2.2", 200), ("3.3.3.3", 429)):
                headers = {"X-Forwarded-For": f"{stated}, {address}"}
                assert (await gateway.get(PRODUCTS, headers=headers)).status_code == status
    assert upstream.requests[0].header("x-forwarded-for") == ["1.1.1.1, 203.0.113.1, 127.0.0.1"]
    assert [seen.header("x-real-ip") for seen in upstream.requests] == [["203.0.113.1"]] * 2 + [["203.0.113.2"]] * 2


async def test_rate_limits_can_be_switched_off(open_gateway: OpenGateway, upstream_url: str) -> None:
    async with open_gateway(upstream_url, rate_limits="off", redis_url=UNREACHABLE_REDIS) as gateway:
        before = metric("rate_limiter_unavailable_total")
        response = await gateway.get(PRODUCTS)
        assert (response.status_code, "ratelimit" in response.headers) == (200, False)
        assert metric("rate_limiter_unavailable_total") == before


async def test_refusals_are_counted_by_policy(open_gateway: OpenGateway, upstream_url: str) -> None:
    before = metric("rate_limited_requests_total", policy="read")
    async with open_gateway(upstream_url, rate_limits="read=1/600") as gateway:
        await statuses(gateway, PRODUCTS, 3)
    assert metric("rate_limited_requests_total", policy="read") == before + 2


# Several gateways, one count


@pytest.mark.parametrize("seed", range(20))
async def test_gateways_share_one_quota(open_gateway: OpenGateway, upstream_url: str, seed: int) -> None:
    rng = random.Random(seed)
    quota, tenant = rng.randint(1, 15), uuid4().hex
    settings = {"tenant": tenant, "rate_limits": f"read={quota}/3600"}
    async with open_gateway(upstream_url, **settings) as one, open_gateway(upstream_url, **settings) as other:
        chosen = [rng.choice((one, other)) for _ in range(quota + rng.randint(1, 15))]
        responses = await asyncio.gather(*(door.get(PRODUCTS) for door in chosen))
    granted = Counter(response.status_code for response in responses)
    assert granted == {200: quota, 429: len(chosen) - quota}, f"seed {seed}"
    left = sorted(response.headers["ratelimit"].split(";")[1] for response in responses if response.status_code == 200)
    assert left == sorted(f"r={n}" for n in range(quota)), f"seed {seed}"


async def test_shops_on_one_redis_have_separate_quotas(open_gateway: OpenGateway, upstream_url: str) -> None:
    settings = {"rate_limits": "read=1/600"}
    async with open_gateway(upstream_url, **settings) as one, open_gateway(upstream_url, **settings) as other:
        assert await statuses(one, PRODUCTS, 2) == [200, 429]
        assert await statuses(other, PRODUCTS, 1) == [200]


async def test_counts_expire_in_redis() -> None:
    redis = connect(environment_variable("TEST_REDIS_URL"))
    prefix = uuid4().hex
    pipeline = RedisPipeline(redis, lambda: 0.0, 5.0)
    limiter = RateLimiter(pipeline, prefix, {RateLimitPolicy.READ: Quota(10, 5)})
    await limiter.count(RateLimitPolicy.READ, "user:1")
    (key,) = await redis.keys(f"{prefix}*")
    assert 0 < await redis.pttl(key) <= 500
    await pipeline.close()


async def test_a_clock_that_is_set_back_does_not_lock_callers_out() -> None:
    redis = connect(environment_variable("TEST_REDIS_URL"))
    prefix = uuid4().hex
    pipeline = RedisPipeline(redis, lambda: 0.0, 5.0)
    limiter = RateLimiter(pipeline, prefix, {RateLimitPolicy.READ: Quota(2, 1)})
    seconds, _ = await redis.time()
    await redis.set(f"{prefix}:limit:read:user:1", (seconds + 1_000_000) * 1_000_000, ex=60)
    decision = await limiter.count(RateLimitPolicy.READ, "user:1")
    assert decision is not None
    assert not decision.is_allowed
    assert decision.retry_after == pytest.approx(0.5)
    await pipeline.close()


# Redis unavailable, unresponsive, and available again


@dataclass(slots=True)
class UnresponsiveRedis:
    """A server that accepts connections and never responds."""

    url: str = ""
    connections: int = 0


@asynccontextmanager
async def unresponsive_redis() -> AsyncIterator[UnresponsiveRedis]:
    redis, closing = UnresponsiveRedis(), asyncio.Event()

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis.connections += 1
        await closing.wait()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        redis.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        yield redis
    finally:
        closing.set()
        server.close()


async def test_requests_pass_uncounted_while_redis_is_unavailable(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str
) -> None:
    server = urlsplit(environment_variable("TEST_REDIS_URL"))
    clock = Clock()
    async with fault_proxy(server.hostname or "", server.port or 0) as proxy:
        settings = {"redis_url": f"redis://127.0.0.1:{proxy.port}{server.path}", "rate_limits": "read=2/3600"}
        async with open_gateway(upstream_url, clock, **settings) as gateway:
            assert await statuses(gateway, PRODUCTS, 3) == [200, 200, 429]
            await proxy.sever()
            before = metric("rate_limiter_unavailable_total")
            assert await statuses(gateway, PRODUCTS, 10) == [200] * 10
            assert metric("rate_limiter_unavailable_total") == before + 10
            await proxy.restore()
            clock.now += 1.0  # the cooldown of the circuit breaker
            assert await statuses(gateway, PRODUCTS, 2) == [429, 429]
            assert metric("rate_limiter_unavailable_total") == before + 10


async def test_an_unresponsive_redis_delays_few_requests(open_gateway: OpenGateway, upstream_url: str) -> None:
    clock, limits = Clock(), {"rate_limits": "", "limits_deadline_seconds": 0.2}
    async with (
        unresponsive_redis() as redis,
        open_gateway(upstream_url, clock, redis_url=redis.url, **limits) as gateway,
    ):
        in_sequence = [await gateway.get(PRODUCTS) for _ in range(30)]
        assert {response.status_code for response in in_sequence} == {200}
        assert redis.connections == 3  # each of them has waited for the deadline
        clock.now += 1.0
        before = metric("rate_limiter_unavailable_total")
        responses = await asyncio.gather(*(gateway.get(PRODUCTS) for _ in range(30)))
        assert {response.status_code for response in responses} == {200}
        assert metric("rate_limiter_unavailable_total") == before + 30


async def test_roles_are_checked_while_redis_is_unavailable(
    open_gateway: OpenGateway, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with open_gateway(upstream_url, redis_url=UNREACHABLE_REDIS, rate_limits="") as gateway:
        assert (await gateway.get("/api/v1/users")).status_code == 401
        assert (await gateway.get("/api/v1/users", headers=issuer.bearer(7))).status_code == 403
        assert (await gateway.get("/api/v1/users", headers=issuer.bearer(7, Role.ADMIN))).status_code == 200
