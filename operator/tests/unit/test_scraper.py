"""Scraping invariants: which URLs are read, what is made of the responses, and when a platform is enqueued."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from platform_operator.api.conditions import ConditionReason
from platform_operator.api.kinds import ObjectId, PlatformKey
from platform_operator.api.spec import WITH_DATABASE, Spec, parse
from platform_operator.cache.observed import ObservedObject, Platform, ServiceAddress
from platform_operator.cache.store import Cache
from platform_operator.errors import ScrapeError
from platform_operator.invariants import scraper
from platform_operator.invariants.rows import invariant_rows
from platform_operator.invariants.scrape_results import INTERVAL, UNKNOWN_AFTER, sources
from platform_operator.invariants.scraper import MAX_BYTES, MAX_CONCURRENT, InvariantScraper, http_fetch

SHOP = PlatformKey("shop", "shop")
SOURCES = (*WITH_DATABASE, "gateway", "rabbitmq")
GOOD = """\
business_invariant_violations{invariant="a"} 0
business_invariants_checked_timestamp_seconds 1e9
outbox_lag_seconds 0
"""
BROKEN = GOOD.replace('"a"} 0', '"a"} 7')


class Shops:
    """Platforms in a cache, services that answer, and a scraper that reads them."""

    def __init__(self, *keys: PlatformKey) -> None:
        self.cache, self.enqueued, self.urls, self.now = Cache(), list[PlatformKey](), list[str](), 1e9
        self.answers: dict[str, str] = {}
        self.max_concurrent = self.concurrent = 0
        self.scraper = InvariantScraper(self.cache, self.enqueued.append, self.fetch, lambda: self.now)
        for number, key in enumerate(keys or (SHOP,)):
            self.add(key, number)

    def add(self, key: PlatformKey, number: int = 0, **spec: object) -> None:
        self.cache.store_platform(Platform(key, "u", 1, 1, False, spec, {}))
        for last, source in enumerate(SOURCES):
            address = ServiceAddress(
                f"10.0.{number}.{last}", {"http": 1, "metrics": 15692 if source == "rabbitmq" else 9464}
            )
            service = ObjectId("Service", f"{key.name}-{source}")
            self.cache.store(key, ObservedObject(service, "u", 1, "", "", False, address))

    async def fetch(self, url: str) -> str:
        self.urls.append(url)
        await asyncio.sleep(0)
        source = SOURCES[int(url.split("/")[2].split(":")[0].rpartition(".")[2])]
        answer = self.answers.get(source, GOOD)
        if not answer:
            raise ScrapeError("down")
        return answer

    def store(self, key: PlatformKey = SHOP) -> None:
        """Stores the rows, as the reconcile does."""
        platform = self.cache.platforms[key]
        rows = invariant_rows(
            platform.status.get("invariants", []), self.scraper.results(key), sources(parse({})), self.now
        )
        self.cache.store_platform(Platform(key, "u", platform.version + 1, 1, False, {}, {"invariants": rows}))
        self.enqueued.clear()


async def test_services_are_scraped_for_their_invariants_alone_and_the_broker_for_its_queues() -> None:
    shops = Shops()
    await shops.scraper.scrape_all()
    assert len(shops.urls) == len(SOURCES)
    assert shops.urls[0] == (
        "http://10.0.0.0:9464/metrics?name[]=business_invariant_violations"
        "&name[]=business_invariants_checked_timestamp_seconds"
        "&name[]=business_invariants_pause_seconds&name[]=outbox_lag_seconds"
    )
    assert shops.urls[-2].endswith(
        ":9464/metrics?name[]=forwarded_headers_ignored_total&name[]=http_server_request_duration_seconds_count"
    )
    assert shops.urls[-1] == "http://10.0.0.8:15692/metrics/detailed?family=queue_coarse_metrics"


async def test_a_platform_is_enqueued_only_when_its_invariants_change() -> None:
    shops = Shops()
    await shops.scraper.scrape_all()
    assert shops.enqueued == [SHOP]
    shops.store()
    for _ in range(3):
        shops.now += 30
        await shops.scraper.scrape_all()
        assert shops.enqueued == []
    shops.answers["order"] = BROKEN
    await shops.scraper.scrape_all()
    assert shops.enqueued == [SHOP]
    assert (metrics := shops.scraper.results(SHOP)["order"].metrics) is not None
    assert metrics.violations == {"a": 7}


async def test_an_unreachable_service_enqueues_its_platform_only_when_its_metrics_are_stale() -> None:
    shops = Shops()
    await shops.scraper.scrape_all()
    shops.store()
    shops.answers["order"] = ""
    await shops.scraper.scrape_all()
    assert shops.enqueued == []
    shops.now += UNKNOWN_AFTER - 1
    await shops.scraper.scrape_all()
    assert shops.enqueued == []
    shops.now += 1
    await shops.scraper.scrape_all()
    assert shops.enqueued == [SHOP]
    assert shops.scraper.results(SHOP)["order"].failure is ConditionReason.UNREACHABLE


@pytest.mark.parametrize(
    "answer", ["", "outbox_lag_seconds much", "<html>", 'business_invariant_violations{a="1", ="x"} 1']
)
async def test_a_malformed_response_does_not_stop_the_scrape_of_the_others(answer: str) -> None:
    shops = Shops()
    shops.answers["user"] = answer
    await shops.scraper.scrape_all()
    results = shops.scraper.results(SHOP)
    assert len(results) == len(SOURCES)
    assert results["order"].metrics is not None


async def test_a_service_without_an_address_is_not_scraped() -> None:
    shops = Shops()
    shops.cache.remove(SHOP, ObjectId("Service", "shop-order"), 5)
    await shops.scraper.scrape_all()
    assert len(shops.urls) == len(SOURCES) - 1
    assert shops.scraper.results(SHOP)["order"].failure is ConditionReason.UNREACHABLE


async def test_the_event_loop_gets_a_turn_between_any_two_shops(monkeypatch: pytest.MonkeyPatch) -> None:
    shops, turns, begun = Shops(*(PlatformKey("n", f"shop-{number}") for number in range(20))), 0, list[int]()

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def parsed(spec: Mapping[str, object]) -> Spec:
        begun.append(turns)
        return parse(spec)

    monkeypatch.setattr(scraper, "parse", parsed)
    counting = asyncio.create_task(count())
    await shops.scraper.scrape_all()
    counting.cancel()
    assert len(set(begun)) == len(begun) == 20


async def test_concurrent_scrapes_are_bounded_over_all_shops() -> None:
    shops, full = Shops(*(PlatformKey("n", f"shop-{number}") for number in range(20))), asyncio.Event()
    answer = shops.scraper.fetch

    async def slow(url: str) -> str:
        shops.concurrent += 1
        shops.max_concurrent = max(shops.max_concurrent, shops.concurrent)
        if shops.concurrent == MAX_CONCURRENT:
            full.set()
        await full.wait()
        shops.concurrent -= 1
        return await answer(url)

    shops.scraper.fetch = slow
    await shops.scraper.scrape_all()
    assert len(shops.urls) == 20 * (len(SOURCES))
    assert shops.max_concurrent == MAX_CONCURRENT


async def test_a_shop_that_is_gone_or_invalid_is_not_scraped() -> None:
    shops, other = Shops(), PlatformKey("shop", "wrong")
    shops.add(other, services=3)
    await shops.scraper.scrape_all()
    assert not shops.scraper.results(other)
    shops.cache.remove_platform(SHOP, 9)
    await shops.scraper.scrape_all()
    assert not shops.scraper.results(SHOP)


async def test_a_shop_whose_spec_becomes_invalid_is_scraped_as_before() -> None:
    shops = Shops()
    await shops.scraper.scrape_all()
    shops.store()
    stored = shops.cache.platforms[SHOP]
    shops.cache.store_platform(replace(stored, version=9, spec={"services": 3}))
    shops.now += 30
    await shops.scraper.scrape_all()
    assert {result.since for result in shops.scraper.results(SHOP).values()} == {shops.now}
    assert len(shops.urls) == 2 * len(SOURCES)


async def test_a_slow_service_does_not_shift_the_interval() -> None:
    shops, pauses = Shops(), list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        raise asyncio.CancelledError

    async def slow(url: str) -> str:
        shops.now += 1.0
        return GOOD

    shops.scraper.fetch, shops.scraper.sleep = slow, sleep
    with pytest.raises(asyncio.CancelledError):
        await shops.scraper.run()
    assert pauses == [INTERVAL - len(SOURCES)]


# Over HTTP.

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def whole(request: web.Request) -> web.StreamResponse:
        """Answers in chunks."""
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in ("outbox_lag_", "seconds ", "1\n"):
            await response.write(chunk.encode())
            await asyncio.sleep(0.01)
        return response

    async def endless(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * (MAX_BYTES + 1))

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


async def test_a_response_in_chunks_is_read_whole(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        assert await http_fetch(session)(f"{url}/whole") == "outbox_lag_seconds 1\n"


@pytest.mark.parametrize("path", ["endless", "stuck", "elsewhere", "nowhere"])
async def test_a_large_slow_redirected_or_failed_response_is_an_error(
    url: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraper, "TIMEOUT", 0.3)
    async with aiohttp.ClientSession() as session, asyncio.timeout(2):
        with pytest.raises(ScrapeError):
            await http_fetch(session)(f"{url}/{path}")


async def test_a_closed_port_is_an_error() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ScrapeError):
            await http_fetch(session)("http://127.0.0.1:1/metrics")
