"""Access tokens of sessions that have ended are refused, in the call to Redis that counts the request."""

from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from chassis.database.ended_sessions import ended_session_key
from chassis.http.authentication import Role
from chassis_testing.environment import environment_variable
from chassis_testing.fault_proxy import fault_proxy
from chassis_testing.tokens import TokenIssuer
from gateway_harness import FakeUpstream, OpenGateway, metric, problem
from gateway_service.clients.redis_pipeline import RedisPipeline, connect


async def end_session(tenant: str, session_id: UUID) -> None:
    """Stores an ended session, as the user service does."""
    async with connect(environment_variable("TEST_REDIS_URL")) as redis:
        await redis.set(ended_session_key(tenant, session_id), 1, ex=60)


@pytest.mark.parametrize("rate_limits", ["", "off"])
@pytest.mark.parametrize(
    "path", ["/api/v1/orders", "/api/v1/cart", "/api/v1/payments", "/api/v1/notifications", "/api/v1/products"]
)
async def test_a_token_of_an_ended_session_is_refused_on_every_route(
    open_gateway: OpenGateway,
    upstream: FakeUpstream,
    upstream_url: str,
    issuer: TokenIssuer,
    path: str,
    rate_limits: str,
) -> None:
    tenant, ended, active = uuid4().hex, uuid4(), uuid4()
    async with open_gateway(upstream_url, rate_limits=rate_limits, tenant=tenant) as gateway:
        await end_session(tenant, ended)
        before = metric("ended_session_requests_total")
        refused = await gateway.get(path, headers=issuer.bearer(7, session_id=ended))
        assert problem(refused, 401) == "session_ended"
        assert "invalid_token" in refused.headers["www-authenticate"]
        assert metric("ended_session_requests_total") == before + 1
        assert upstream.requests == []
        for accepted in (issuer.bearer(7, session_id=active), issuer.bearer(7)):
            assert (await gateway.get(path, headers=accepted)).status_code == 200


async def test_an_admin_token_of_an_ended_session_reaches_no_service(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, issuer: TokenIssuer
) -> None:
    tenant, ended = uuid4().hex, uuid4()
    async with open_gateway(upstream_url, tenant=tenant) as gateway:
        await end_session(tenant, ended)
        headers = issuer.bearer(1, Role.ADMIN, session_id=ended)
        for method, path in (("GET", "/api/v1/notifications/dead"), ("POST", "/api/v1/categories")):
            assert problem(await gateway.request(method, path, headers=headers), 401) == "session_ended"
    assert upstream.requests == []


async def test_sessions_of_another_shop_on_the_same_redis_do_not_count(
    open_gateway: OpenGateway, upstream_url: str, issuer: TokenIssuer
) -> None:
    session = uuid4()
    async with open_gateway(upstream_url) as gateway:
        await end_session(uuid4().hex, session)
        assert (await gateway.get("/api/v1/orders", headers=issuer.bearer(7, session_id=session))).status_code == 200


async def test_one_request_calls_redis_once(
    open_gateway: OpenGateway, upstream_url: str, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    execute = RedisPipeline._execute

    async def record(self: RedisPipeline, batch: list[object], attempt: object) -> object:
        sizes.append(len(batch))
        return await execute(self, batch, attempt)  # type: ignore[arg-type]  # it only passes them on

    monkeypatch.setattr(RedisPipeline, "_execute", record)
    async with open_gateway(upstream_url, rate_limits="") as gateway:
        await gateway.get("/api/v1/orders", headers=issuer.bearer(7, session_id=uuid4()))
    assert sizes == [2]  # the count and the session


async def test_sessions_count_as_active_while_redis_is_unavailable(
    open_gateway: OpenGateway, upstream_url: str, issuer: TokenIssuer
) -> None:
    server = urlsplit(environment_variable("TEST_REDIS_URL"))
    tenant, ended = uuid4().hex, uuid4()
    await end_session(tenant, ended)
    headers = issuer.bearer(7, session_id=ended)
    async with fault_proxy(server.hostname or "", server.port or 0) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}{server.path}"
        async with open_gateway(upstream_url, tenant=tenant, redis_url=url) as gateway:
            assert (await gateway.get("/api/v1/orders", headers=headers)).status_code == 401
            await proxy.sever()
            before = metric("session_checks_unavailable_total")
            assert (await gateway.get("/api/v1/orders", headers=headers)).status_code == 200
            assert metric("session_checks_unavailable_total") == before + 1
            await proxy.restore()
            assert (await gateway.get("/api/v1/orders", headers=headers)).status_code == 401
