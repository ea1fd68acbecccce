"""Reading figures beside the reconciling: who is asked, what is made of the answers, and when somebody is woken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from platform_operator.api.conditions import Reason
from platform_operator.api.kinds import Key, ObjectId
from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.cache.observed import Address, Cache, Observed, Platform
from platform_operator.errors import UnreadableError
from platform_operator.invariants import scraper as auditing
from platform_operator.invariants.conditions import PATIENCE, rows, sources
from platform_operator.invariants.scraper import AT_ONCE, LARGEST, Auditor, over_http

SHOP = Key("shop", "shop")
GOOD = 'business_invariant_violations{invariant="a"} 0\nbusiness_invariants_checked_timestamp_seconds 1e9\noutbox_lag_seconds 0\n'
BROKEN = GOOD.replace('"a"} 0', '"a"} 7')


class Shops:
    """Platforms in a cache, services that answer, and an auditor that reads them."""

    def __init__(self, *keys: Key) -> None:
        self.cache, self.woken, self.asked, self.now = Cache(), list[Key](), list[str](), 1e9
        self.answers: dict[str, str] = {}
        self.most_at_once = self.at_once = 0
        self.auditor = Auditor(self.cache, self.woken.append, self.fetch, lambda: self.now)
        for number, key in enumerate(keys or (SHOP,)):
            self.add(key, number)

    def add(self, key: Key, number: int = 0, **spec: object) -> None:
        self.cache.keep_platform(Platform(key, "u", 1, 1, False, spec, {}))
        for last, source in enumerate((*WITH_DATABASE, "rabbitmq")):
            address = Address(f"10.0.{number}.{last}", {"http": 1, "metrics": 15692 if source == "rabbitmq" else 9464})
            service = ObjectId("Service", f"{key.name}-{source}")
            self.cache.keep(key, Observed(service, "u", 1, "", "", False, address))

    async def fetch(self, url: str) -> str:
        self.asked.append(url)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        source = (*WITH_DATABASE, "rabbitmq")[int(url.split("/")[2].split(":")[0].rpartition(".")[2])]
        answer = self.answers.get(source, GOOD)
        if not answer:
            raise UnreadableError("down")
        return answer

    def store(self, key: Key = SHOP) -> None:
        """What the reconcile does when it is woken."""
        platform = self.cache.platforms[key]
        found = rows(platform.status.get("invariants", []), self.auditor.heard(key), sources(parse({})), self.now)
        self.cache.keep_platform(Platform(key, "u", platform.version + 1, 1, False, {}, {"invariants": found}))
        self.woken.clear()


async def test_each_service_is_asked_for_its_figures_alone_and_the_broker_for_its_queues() -> None:
    shops = Shops()
    await shops.auditor.look()
    assert len(shops.asked) == len(WITH_DATABASE) + 1
    assert shops.asked[0] == (
        "http://10.0.0.0:9464/metrics?name[]=business_invariant_violations"
        "&name[]=business_invariants_checked_timestamp_seconds&name[]=business_invariants_pause_seconds&name[]=outbox_lag_seconds"
    )
    assert shops.asked[-1] == "http://10.0.0.7:15692/metrics/detailed?family=queue_coarse_metrics"


async def test_a_platform_is_woken_when_its_figures_say_something_new_and_only_then() -> None:
    shops = Shops()
    await shops.auditor.look()
    assert shops.woken == [SHOP]
    shops.store()
    for _ in range(3):
        shops.now += 30
        await shops.auditor.look()
        assert shops.woken == []
    shops.answers["order"] = BROKEN
    await shops.auditor.look()
    assert shops.woken == [SHOP]
    assert (figures := shops.auditor.heard(SHOP)["order"].figures) is not None
    assert figures.violations == {"a": 7}


async def test_a_service_that_is_silent_wakes_nobody_until_patience_ends() -> None:
    shops = Shops()
    await shops.auditor.look()
    shops.store()
    shops.answers["order"] = ""
    await shops.auditor.look()
    assert shops.woken == []
    shops.now += PATIENCE - 1
    await shops.auditor.look()
    assert shops.woken == []
    shops.now += 1
    await shops.auditor.look()
    assert shops.woken == [SHOP]
    assert shops.auditor.heard(SHOP)["order"].silence is Reason.UNREACHABLE


@pytest.mark.parametrize(
    "answer", ["", "outbox_lag_seconds much", "<html>", 'business_invariant_violations{a="1", ="x"} 1']
)
async def test_an_answer_of_no_use_does_not_end_the_round(answer: str) -> None:
    shops = Shops()
    shops.answers["user"] = answer
    await shops.auditor.look()
    heard = shops.auditor.heard(SHOP)
    assert len(heard) == len(WITH_DATABASE) + 1
    assert heard["order"].figures is not None


async def test_a_service_without_an_address_is_not_asked() -> None:
    shops = Shops()
    shops.cache.drop(SHOP, ObjectId("Service", "shop-order"), 5)
    await shops.auditor.look()
    assert len(shops.asked) == len(WITH_DATABASE)
    assert shops.auditor.heard(SHOP)["order"].silence is Reason.UNREACHABLE


async def test_only_so_many_are_asked_at_once_however_many_shops_there_are() -> None:
    shops = Shops(*(Key("n", f"shop-{number}") for number in range(20)))
    await shops.auditor.look()
    assert len(shops.asked) == 20 * (len(WITH_DATABASE) + 1)
    assert shops.most_at_once == AT_ONCE


async def test_a_shop_that_is_gone_or_cannot_be_parsed_is_left_alone() -> None:
    shops, other = Shops(), Key("shop", "wrong")
    shops.add(other, services=3)
    await shops.auditor.look()
    assert not shops.auditor.heard(other)
    shops.cache.drop_platform(SHOP, 9)
    await shops.auditor.look()
    assert not shops.auditor.heard(SHOP)


async def test_a_slow_service_does_not_shift_the_rhythm() -> None:
    shops, pauses = Shops(), list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        raise asyncio.CancelledError

    async def slow(url: str) -> str:
        shops.now += 1.0
        return GOOD

    shops.auditor.fetch, shops.auditor.sleep = slow, sleep
    with pytest.raises(asyncio.CancelledError):
        await shops.auditor.run()
    assert pauses == [auditing.EVERY - 8.0]


# Over HTTP.

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def whole(request: web.Request) -> web.StreamResponse:
        """In pieces, as a long answer comes."""
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in ("outbox_lag_", "seconds ", "1\n"):
            await response.write(piece.encode())
            await asyncio.sleep(0.01)
        return response

    async def endless(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * (LARGEST + 1))

    async def stuck(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/whole")

    app = web.Application()
    app.add_routes([web.get(f"/{answer.__name__}", answer) for answer in (whole, endless, stuck, elsewhere)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_an_answer_is_read_to_its_end(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        assert await over_http(session)(f"{url}/whole") == "outbox_lag_seconds 1\n"


@pytest.mark.parametrize("path", ["endless", "stuck", "elsewhere", "nowhere"])
async def test_whatever_else_a_server_does_is_told_in_time(
    url: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "DEADLINE", 0.3)
    async with aiohttp.ClientSession() as session, asyncio.timeout(2):
        with pytest.raises(UnreadableError):
            await over_http(session)(f"{url}/{path}")


async def test_a_closed_port_is_told() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(UnreadableError):
            await over_http(session)("http://127.0.0.1:1/metrics")
