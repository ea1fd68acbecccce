"""How often callers may ask: counted in Redis, over all gateways together, and not at all while Redis is away."""

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
from gateway_harness import Clock, Open, Upstream, metric, problem
from gateway_service.clients.limiter import RateLimiter, connect
from gateway_service.domain.limits import Policy, Quota

NOBODY = "redis://127.0.0.1:1/0"
LOGIN = "/api/v1/auth/login"
PRODUCTS = "/api/v1/products"


async def statuses(client: httpx.AsyncClient, path: str, times: int, **headers: str) -> list[int]:
    return [(await client.get(path, headers=headers)).status_code for _ in range(times)]


async def test_who_asks_too_often_is_told_when_to_come_again(
    gateway_before: Open, upstream: Upstream, upstream_url: str
) -> None:
    async with gateway_before(upstream_url, rate_limits="auth=3/600") as gateway:
        answers = [await gateway.post(LOGIN, json={}) for _ in range(4)]
    assert [answer.headers["ratelimit-policy"] for answer in answers] == ['"auth";q=3;w=600'] * 4
    assert [answer.headers["ratelimit"].split(";t=")[0] for answer in answers] == [
        '"auth";r=2',
        '"auth";r=1',
        '"auth";r=0',
        '"auth";r=0',
    ]
    assert problem(answers[3], 429) == "too_many_requests"
    assert 190 < int(answers[3].headers["retry-after"]) <= 200
    assert answers[3].headers["ratelimit"].endswith(f";t={answers[3].headers['retry-after']}")
    assert len(upstream.seen) == 3


async def test_a_quota_comes_back_piece_by_piece(gateway_before: Open, upstream_url: str) -> None:
    tenant = uuid4().hex
    async with gateway_before(upstream_url, rate_limits="read=2/600", tenant=tenant) as gateway:
        assert await statuses(gateway, PRODUCTS, 3) == [200, 200, 429]
        await pass_seconds(tenant, 299)
        assert await statuses(gateway, PRODUCTS, 1) == [429]
        await pass_seconds(tenant, 1)
        assert await statuses(gateway, PRODUCTS, 2) == [200, 429]


async def pass_seconds(tenant: str, seconds: int) -> None:
    """For the one caller that a gateway has counted: what they owe falls due so much earlier."""
    async with connect(environment_variable("TEST_REDIS_URL")) as redis:
        (key,) = await redis.keys(f"{tenant}*")
        await redis.decrby(key, seconds * 1_000_000)


async def test_kinds_of_requests_are_counted_apart(gateway_before: Open, upstream_url: str) -> None:
    async with gateway_before(upstream_url, rate_limits="auth=1/600,read=2/600,write=1/600,webhook=1/600") as gateway:
        for path in (LOGIN, "/api/v1/cart", "/api/v1/webhooks/stripe"):
            assert [(await gateway.post(path, json={})).status_code for _ in range(2)] == [200, 429]
        assert await statuses(gateway, PRODUCTS, 3) == [200, 200, 429]


@pytest.mark.parametrize(
    ("one", "other"), [("/api/v1/products", "/api/products"), ("/api/products", "/api/v1/products")]
)
async def test_the_unversioned_path_counts_as_the_versioned_one(
    gateway_before: Open, upstream_url: str, one: str, other: str
) -> None:
    async with gateway_before(upstream_url, rate_limits="read=1/600") as gateway:
        assert (await gateway.get(one)).status_code == 200
        assert problem(await gateway.get(other), 429) == "too_many_requests"


async def test_each_user_has_their_own_quota_wherever_they_are(
    gateway_before: Open, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with gateway_before(upstream_url, rate_limits="read=2/600", trusted_proxies="127.0.0.1") as gateway:
        for user in (1, 2):
            for address, status in (("203.0.113.1", 200), ("203.0.113.2", 200), ("203.0.113.3", 429)):
                answer = await gateway.get(PRODUCTS, headers=issuer.bearer(user) | {"X-Forwarded-For": address})
                assert answer.status_code == status
        assert await statuses(gateway, PRODUCTS, 3) == [200, 200, 429]  # nobody in particular, from this address


async def test_another_token_of_a_user_brings_no_new_quota(
    gateway_before: Open, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with gateway_before(upstream_url, rate_limits="read=2/600") as gateway:
        for expires_in, status in ((100, 200), (200, 200), (300, 429)):
            headers = issuer.bearer(7, expires_in=expires_in)
            assert (await gateway.get("/api/v1/users/me", headers=headers)).status_code == status


async def test_tries_to_log_in_count_by_address_whatever_token_comes_with_them(
    gateway_before: Open, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with gateway_before(upstream_url, rate_limits="auth=2/600") as gateway:
        answers = [await gateway.post(LOGIN, json={}, headers=issuer.bearer(user)) for user in (1, 2, 3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_bad_tokens_count_against_the_address_they_come_from(
    gateway_before: Open, upstream: Upstream, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with gateway_before(upstream_url, rate_limits="read=2/600") as gateway:
        for status in (401, 401, 429):
            headers = TokenIssuer("test").bearer(7)
            assert (await gateway.get("/api/v1/users/me", headers=headers)).status_code == status
        assert (await gateway.get("/api/v1/users/me", headers=issuer.bearer(7))).status_code == 200
        headers = {"Authorization": "Bearer nonsense"}
        assert (await gateway.get(PRODUCTS, headers=headers)).status_code == 429


async def test_who_is_not_permitted_is_counted_too(
    gateway_before: Open, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with gateway_before(upstream_url, rate_limits="read=2/600") as gateway:
        for status in (403, 403, 429):
            assert (await gateway.get("/api/v1/users", headers=issuer.bearer(7))).status_code == status


async def test_a_forwarded_address_is_believed_of_nobody_unless_the_settings_say_so(
    gateway_before: Open, upstream: Upstream, upstream_url: str
) -> None:
    async with gateway_before(upstream_url, rate_limits="read=2/600") as gateway:
        for number, status in enumerate((200, 200, 429)):
            headers = {"X-Forwarded-For": f"203.0.113.{number}", "X-Real-IP": "203.0.113.9", "Forwarded": "for=9.9.9.9"}
            assert (await gateway.get(PRODUCTS, headers=headers)).status_code == status
    assert {tuple(seen.header("x-forwarded-for")) for seen in upstream.seen} == {("127.0.0.1",)}
    assert not any(seen.header("x-real-ip") or seen.header("forwarded") for seen in upstream.seen)


async def test_behind_a_trusted_proxy_each_address_has_its_own_quota(
    gateway_before: Open, upstream: Upstream, upstream_url: str
) -> None:
    async with gateway_before(upstream_url, rate_limits="read=2/600", trusted_proxies="127.0.0.0/8") as gateway:
        for address in ("203.0.113.1", "203.0.113.2"):
            for made_up, status in (("1.1.1.1", 200), ("2.2.2.2", 200), ("3.3.3.3", 429)):
                headers = {"X-Forwarded-For": f"{made_up}, {address}"}
                assert (await gateway.get(PRODUCTS, headers=headers)).status_code == status
    assert upstream.seen[0].header("x-forwarded-for") == ["1.1.1.1, 203.0.113.1, 127.0.0.1"]


async def test_nothing_is_limited_where_the_settings_say_so(gateway_before: Open, upstream_url: str) -> None:
    async with gateway_before(upstream_url, rate_limits="off", redis_url=NOBODY) as gateway:
        before = metric("rate_limiter_unavailable_total")
        answer = await gateway.get(PRODUCTS)
        assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)
        assert metric("rate_limiter_unavailable_total") == before


async def test_refusals_are_counted_by_policy(gateway_before: Open, upstream_url: str) -> None:
    before = metric("rate_limited_requests_total", policy="read")
    async with gateway_before(upstream_url, rate_limits="read=1/600") as gateway:
        await statuses(gateway, PRODUCTS, 3)
    assert metric("rate_limited_requests_total", policy="read") == before + 2


# Several gateways, one count


@pytest.mark.parametrize("seed", range(20))
async def test_gateways_grant_a_quota_together_and_not_each(gateway_before: Open, upstream_url: str, seed: int) -> None:
    rng = random.Random(seed)
    quota, tenant = rng.randint(1, 15), uuid4().hex
    settings = {"tenant": tenant, "rate_limits": f"read={quota}/3600"}
    async with gateway_before(upstream_url, **settings) as one, gateway_before(upstream_url, **settings) as other:
        doors = [rng.choice((one, other)) for _ in range(quota + rng.randint(1, 15))]
        answers = await asyncio.gather(*(door.get(PRODUCTS) for door in doors))
    granted = Counter(answer.status_code for answer in answers)
    assert granted == {200: quota, 429: len(doors) - quota}, f"seed {seed}"
    left = sorted(answer.headers["ratelimit"].split(";")[1] for answer in answers if answer.status_code == 200)
    assert left == sorted(f"r={n}" for n in range(quota)), f"seed {seed}"


async def test_shops_on_one_redis_do_not_share_quotas(gateway_before: Open, upstream_url: str) -> None:
    settings = {"rate_limits": "read=1/600"}
    async with gateway_before(upstream_url, **settings) as one, gateway_before(upstream_url, **settings) as other:
        assert await statuses(one, PRODUCTS, 2) == [200, 429]
        assert await statuses(other, PRODUCTS, 1) == [200]


async def test_counts_leave_redis_by_themselves() -> None:
    redis = connect(environment_variable("TEST_REDIS_URL"))
    prefix = uuid4().hex
    counting = RateLimiter(redis, prefix, {Policy.READ: Quota(10, 5)}, lambda: 0.0, 5.0)
    await counting.take(Policy.READ, "user:1")
    (key,) = await redis.keys(f"{prefix}*")
    assert 0 < await redis.pttl(key) <= 500
    await counting.close()


async def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    redis = connect(environment_variable("TEST_REDIS_URL"))
    prefix = uuid4().hex
    counting = RateLimiter(redis, prefix, {Policy.READ: Quota(2, 1)}, lambda: 0.0, 5.0)
    seconds, _ = await redis.time()
    await redis.set(f"{prefix}:limit:read:user:1", (seconds + 1_000_000) * 1_000_000, ex=60)
    verdict = await counting.take(Policy.READ, "user:1")
    assert verdict is not None
    assert not verdict.passes
    assert verdict.wait == pytest.approx(0.5)
    await counting.close()


# Redis away, hanging, and back


@dataclass(slots=True)
class Hanging:
    """A Redis that takes connections and never says a word."""

    url: str = ""
    connections: int = 0


@asynccontextmanager
async def hanging() -> AsyncIterator[Hanging]:
    redis, quiet = Hanging(), asyncio.Event()

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis.connections += 1
        await quiet.wait()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        redis.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        yield redis
    finally:
        quiet.set()
        server.close()


async def test_requests_pass_while_redis_is_away_and_the_metric_says_so(
    gateway_before: Open, upstream: Upstream, upstream_url: str
) -> None:
    server = urlsplit(environment_variable("TEST_REDIS_URL"))
    clock = Clock()
    async with fault_proxy(server.hostname or "", server.port or 0) as line:
        settings = {"redis_url": f"redis://127.0.0.1:{line.port}{server.path}", "rate_limits": "read=2/3600"}
        async with gateway_before(upstream_url, clock, **settings) as gateway:
            assert await statuses(gateway, PRODUCTS, 3) == [200, 200, 429]
            await line.sever()
            before = metric("rate_limiter_unavailable_total")
            assert await statuses(gateway, PRODUCTS, 10) == [200] * 10
            assert metric("rate_limiter_unavailable_total") == before + 10
            await line.restore()
            clock.now += 1.0  # Redis is asked again
            assert await statuses(gateway, PRODUCTS, 2) == [429, 429]
            assert metric("rate_limiter_unavailable_total") == before + 10


async def test_a_redis_that_hangs_holds_up_few_requests_and_briefly(gateway_before: Open, upstream_url: str) -> None:
    clock, counting = Clock(), {"rate_limits": "", "limits_deadline_seconds": 0.2}
    async with hanging() as redis, gateway_before(upstream_url, clock, redis_url=redis.url, **counting) as gateway:
        in_turn = [await gateway.get(PRODUCTS) for _ in range(30)]
        assert {answer.status_code for answer in in_turn} == {200}
        assert redis.connections == 3  # who asks it waits for its deadline
        clock.now += 1.0
        before = metric("rate_limiter_unavailable_total")
        answers = await asyncio.gather(*(gateway.get(PRODUCTS) for _ in range(30)))
        assert {answer.status_code for answer in answers} == {200}
        assert metric("rate_limiter_unavailable_total") == before + 30


async def test_the_role_is_looked_at_while_redis_is_away(
    gateway_before: Open, upstream_url: str, issuer: TokenIssuer
) -> None:
    async with gateway_before(upstream_url, redis_url=NOBODY, rate_limits="") as gateway:
        assert (await gateway.get("/api/v1/users")).status_code == 401
        assert (await gateway.get("/api/v1/users", headers=issuer.bearer(7))).status_code == 403
        assert (await gateway.get("/api/v1/users", headers=issuer.bearer(7, Role.ADMIN))).status_code == 200
