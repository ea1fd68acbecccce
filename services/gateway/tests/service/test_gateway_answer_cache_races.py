"""Random interleavings of reads and changes through two replicas of the gateway (docs/adr/0033)."""

import asyncio
import random
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import pytest
from chassis.database.confirmations import Confirmation, confirmation_key
from chassis.http.authentication import Role
from chassis_testing.environment import environment_variable
from chassis_testing.tokens import TokenIssuer
from gateway_harness import JSON, FakeUpstream, OpenGateway, reply
from gateway_service.clients.redis_pipeline import connect
from gateway_service.domain.routes import Upstream
from redis.asyncio import Redis
from starlette.types import Receive, Scope, Send

LIFETIME = 0.05
"""Short, so that answers expire within an interleaving."""
CLOCK_TOLERANCE = 0.005
"""The lifetime is measured by the clock of Redis, which may be adjusted."""
CLIENTS, STEPS = 3, 5


@dataclass(slots=True)
class Shop:
    """An upstream whose products have a version each. A change may be slow before and after it takes effect."""

    upstream: FakeUpstream
    random: random.Random
    versions: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0]))
    """The times of the versions of each product."""
    changes: int = 0

    def change(self, path: str) -> int:
        self.changes += 1
        self.versions[path].append(asyncio.get_running_loop().time())
        return self.version(path)

    def version(self, path: str) -> int:
        return len(self.versions[path]) - 1

    def version_at(self, path: str, time: float) -> int:
        return bisect_right(self.versions[path], time) - 1

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.upstream.read(scope, receive)
        path = scope["path"]
        await self.pause()
        version = self.change(path) if scope["method"] == "PUT" else self.version(path)
        await self.pause()
        await reply(send, 200, str(version).encode(), JSON)

    async def pause(self) -> None:
        for _ in range(self.random.choice((0, 0, 0, 1, 3, 10))):
            await asyncio.sleep(self.random.choice((0, 0.001)))


@dataclass(slots=True)
class Interleaving:
    """One random interleaving: clients that read and change two products through either replica."""

    shop: Shop
    gateways: list[httpx.AsyncClient]
    seller: dict[str, str]
    random: random.Random
    paths: list[str]
    is_quiet: bool
    """True for clients that only read, and pause in between, so that answers get old."""
    acknowledged: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """The latest version of each product whose change was answered, to any client."""

    async def run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)), self._change_elsewhere())

    async def _client(self) -> None:
        seen: dict[str, int] = defaultdict(int)
        for _ in range(STEPS):
            gateway, path = self.random.choice(self.gateways), self.random.choice(self.paths)
            if self.is_quiet:
                await asyncio.sleep(self.random.random() * LIFETIME)
            if not self.is_quiet and self.random.random() < 0.25:
                response = await gateway.put(path, json={}, headers=self.seller)
                seen[path] = max(seen[path], int(response.text))
                self.acknowledged[path] = max(self.acknowledged[path], int(response.text))
            else:
                await self._read(gateway, path, seen)

    async def _read(self, gateway: httpx.AsyncClient, path: str, seen: dict[str, int]) -> None:
        began = asyncio.get_running_loop().time()
        acknowledged = self.acknowledged[path]
        version = int((await gateway.get(path)).text)
        assert version >= acknowledged, "a change that was answered is not seen"
        assert version >= seen[path], "an answer went back in time for a client"
        bound = self.shop.version_at(path, began - LIFETIME - CLOCK_TOLERANCE)
        assert version >= bound, "an answer is older than its lifetime"
        seen[path] = version

    async def _change_elsewhere(self) -> None:
        """Changes a product as an event does: no replica learns of it."""
        for _ in range(1 if self.is_quiet else 2):
            await asyncio.sleep(self.random.random() * (2 * LIFETIME if self.is_quiet else 0.02))
            self.shop.change(self.random.choice(self.paths))


async def confirm(shop: Shop, tenant: str, redis: Redis) -> None:
    """Confirms the change count again and again, as a product service does that is slow at times."""
    while True:
        seconds, microseconds = await redis.time()
        await shop.pause()
        confirmation = Confirmation(shop.changes, seconds * 1_000_000 + microseconds).encode()
        await shop.pause()
        await redis.mset({confirmation_key(tenant, upstream): confirmation for upstream in Upstream})


@pytest.mark.parametrize("interleavings", [200, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_no_interleaving_shows_an_old_answer_or_goes_back_in_time(
    open_gateway: OpenGateway, upstream: FakeUpstream, upstream_url: str, issuer: TokenIssuer, interleavings: int
) -> None:
    seed = random.randrange(2**32)
    chosen = random.Random(seed)
    shop = Shop(upstream, chosen)
    upstream.behaviour = shop.respond
    tenant = uuid4().hex
    settings: dict[str, object] = {
        "tenant": tenant,
        "answer_cache_bytes": 1024**2,
        "answer_cache_seconds": LIFETIME,
        "upstream_deadline_seconds": 30,
        "caller_slots": 1000,
    }
    seller = issuer.bearer(7, Role.SELLER)
    async with (
        open_gateway(upstream_url, **settings) as one,
        open_gateway(upstream_url, **settings) as other,
        connect(environment_variable("TEST_REDIS_URL")) as redis,
    ):
        confirming = asyncio.create_task(confirm(shop, tenant, redis))
        for number in range(interleavings):
            paths = [f"/api/v1/products/{2 * number + product}" for product in (1, 2)]
            await Interleaving(shop, [one, other], seller, chosen, paths, number % 2 == 1).run()
            upstream.requests.clear()
        confirming.cancel()
