"""Product details call three services in parallel, and are available without any of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from chassis_testing.fault_proxy import FaultProxy
from grpc import aio
from product_harness import (
    PARTS,
    SELLER,
    SLOW_SECONDS,
    Catalogue,
    another_process,
    internal_error,
    not_found,
    slow,
    unavailable,
)

UNREACHABLE = "127.0.0.1:1"


async def test_details_tell_no_exact_stock_above_the_limit_of_inventory(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()
    catalogue.neighbours.exact_stock_up_to = product["id"] - 1
    above = await catalogue.get_details(product["id"])
    catalogue.neighbours.exact_stock_up_to = product["id"]
    at_limit = await catalogue.get_details(product["id"])

    assert above["stock"] == {"available": product["id"] - 1, "is_exact": False}
    assert at_limit["stock"] == {"available": product["id"], "is_exact": True}


async def test_details_have_product_seller_stock_and_rating(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()

    assert await catalogue.get_details(product["id"]) == {
        "product": product,
        "seller": {"id": SELLER, "name": f"User {SELLER}"},
        "stock": {"available": product["id"], "is_exact": True},
        "rating": {"average": 4.5, "count": 2},
        "variants": [],
        "degraded": [],
    }


async def test_other_services_are_called_in_parallel(catalogue: Catalogue) -> None:
    product, barrier = await catalogue.add_product(), asyncio.Barrier(len(PARTS))

    async def wait_for_all_calls(_context: aio.ServicerContext[Any, Any]) -> None:
        await barrier.wait()

    catalogue.neighbours.faults.update(dict.fromkeys(PARTS, wait_for_all_calls))

    assert (await catalogue.get_details(product["id"]))["degraded"] == []


async def test_details_that_are_read_at_the_same_time_share_their_calls(catalogue: Catalogue) -> None:
    products = [await catalogue.add_product() for _ in range(8)]
    whole = [await catalogue.get_details(product["id"]) for product in products]
    catalogue.neighbours.calls.clear()

    together = await asyncio.gather(*(catalogue.get_details(product["id"]) for product in products))

    assert together == whole
    assert set(catalogue.neighbours.calls) == set(PARTS)
    assert len(catalogue.neighbours.calls) < len(products) * len(PARTS)


@pytest.mark.parametrize("status", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED])
async def test_details_are_whole_beside_services_of_the_release_before(
    catalogue: Catalogue, status: grpc.StatusCode
) -> None:
    products = [await catalogue.add_product() for _ in range(3)]
    whole = [await catalogue.get_details(product["id"]) for product in products]
    catalogue.neighbours.refusal = status

    before = await asyncio.gather(*(catalogue.get_details(product["id"]) for product in products))

    assert before == whole
    assert [page["degraded"] for page in before] == [[]] * 3


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fault", [unavailable, internal_error, not_found, slow], ids=lambda fault: fault.__name__)
async def test_details_omit_the_part_of_a_failing_service(
    catalogue: Catalogue, part: str, fault: Callable[[aio.ServicerContext[Any, Any]], Awaitable[None]]
) -> None:
    product = await catalogue.add_product()
    whole = await catalogue.get_details(product["id"])
    catalogue.neighbours.faults[part] = fault

    async with asyncio.timeout(SLOW_SECONDS):  # shorter than the slow service takes
        page = await catalogue.get_details(product["id"])

    assert page == {**whole, part: None, "degraded": [part]}


async def test_only_an_incomplete_page_says_that_it_may_change_soon(catalogue: Catalogue) -> None:
    """The gateway uses a complete one for as long as its data does not change."""
    path = f"/api/v1/products/{(await catalogue.add_product())['id']}"
    assert "cache-control" not in (await catalogue.http.get(path)).headers
    catalogue.neighbours.faults["stock"] = unavailable
    assert (await catalogue.http.get(path)).headers["cache-control"] == "max-age=0"


async def test_details_survive_the_failure_of_all_other_services(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()
    expected = {**dict.fromkeys(PARTS), "product": product, "variants": [], "degraded": list(PARTS)}

    catalogue.neighbours.faults.update(dict.fromkeys(PARTS, slow))
    assert await catalogue.get_details(product["id"]) == expected

    unreachable = {"user_grpc": UNREACHABLE, "inventory_grpc": UNREACHABLE, "review_grpc": UNREACHABLE}
    async with another_process(catalogue, **unreachable) as isolated:
        assert await isolated.get_details(product["id"]) == expected
        assert (await isolated.http.get("/ready")).status_code == 200


async def test_a_part_returns_when_its_service_recovers(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()
    catalogue.neighbours.faults["stock"] = unavailable
    assert (await catalogue.get_details(product["id"]))["degraded"] == ["stock"]

    catalogue.neighbours.faults.clear()

    assert (await catalogue.get_details(product["id"]))["degraded"] == []


async def test_details_omit_variants_while_the_database_is_unavailable(catalogue: Catalogue) -> None:
    first = await catalogue.add_product()
    body = await catalogue.product_body(group_id=first["id"], options={"size": "M"})
    await catalogue.http.post("/api/v1/products", json=body, headers=catalogue.seller)
    await catalogue.wait_until_consumed()

    proxy = FaultProxy(catalogue.settings.db_host, catalogue.settings.db_port)
    await proxy.restore()
    async with another_process(catalogue, db_host="127.0.0.1", db_port=proxy.port) as process:
        whole = await process.get_details(first["id"])
        assert len(whole["variants"]) == 1
        await proxy.sever()

        assert await process.get_details(first["id"]) == {**whole, "variants": None, "degraded": ["variants"]}
