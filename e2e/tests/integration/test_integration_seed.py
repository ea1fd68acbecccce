"""A seeded shop has data in every list, search and report, and the data is consistent."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from devtools import consistency
from devtools.catalogue import seed_data
from devtools.shop_client import Person, Shop
from devtools.stack import Stack
from ecommerce_client.models.product import ListedProductResponse
from shop_e2e.api.mailbox import Mailbox
from shop_e2e.isolated.stacks import admin_of, isolated_stack

_PRODUCTS, _CUSTOMERS, _ORDERS = 12, 5, 40


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory, mails: Mailbox) -> AsyncIterator[Stack]:
    """An isolated stack: seeding checks all data for consistency, whatever other tests leave behind."""
    async with isolated_stack("seed", tmp_path_factory.mktemp("seed-logs"), mails) as started:
        yield started


@pytest.fixture(scope="module")
async def shop(stack: Stack) -> AsyncIterator[Shop]:
    async with Shop(stack.url) as opened:
        yield opened


@pytest.fixture(scope="module")
async def admin(stack: Stack, shop: Shop) -> Person:
    return await admin_of(stack, shop)


@pytest.fixture(scope="module")
async def first_run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The output of the first seeding, and the folder of its images."""
    pictures = tmp_path_factory.mktemp("pictures")
    return await _seed(stack, pictures), pictures


async def test_seeded_products_are_found_by_list_search_and_category(
    shop: Shop, admin: Person, first_run: tuple[str, Path]
) -> None:
    products = await _seeded_products(shop, admin)
    product = products[0]
    word = product.name.split()[-1]
    roots = {root.name: root.id async for root in shop.api.product.list_categories()}

    assert len(products) == _PRODUCTS
    catalogue = shop.api.product
    assert product.id in [found.id async for found in catalogue.list_products(q=product.name)]
    assert any(word in suggestion.text for suggestion in await catalogue.suggest(q=word))
    in_the_kitchen = catalogue.list_products(category=roots["Kitchen"], in_stock=True)
    assert product.id in [found.id async for found in in_the_kitchen]
    assert {Path(image).name for product in products for image in product.images} == {
        drawn.name for drawn in first_run[1].glob("*.svg")
    }


@pytest.mark.usefixtures("first_run")
async def test_a_seeded_shop_has_recommendations_and_reviews(shop: Shop, admin: Person) -> None:
    products = await _seeded_products(shop, admin)

    reasons = {
        recommended.reason for product in products for recommended in await shop.api.product.recommend(product.id)
    }
    ratings = [(await shop.api.product.get_details(product.id)).rating for product in products]

    assert "bought_together" in reasons
    assert sum(rating.count for rating in ratings if rating) > 0


@pytest.mark.usefixtures("first_run")
async def test_a_seeded_shop_has_a_year_of_sales_and_consistent_data(stack: Stack, admin: Person) -> None:
    now = datetime.now(UTC)
    since, until = now - timedelta(days=366), now - timedelta(days=30)

    months = await admin.api.order.get_sales(from_=since, to=until, interval="month")
    conversion = await admin.api.order.get_conversion(from_=since, to=until)

    assert len({month.start for month in months}) >= 8
    assert conversion.placed >= conversion.paid > _ORDERS / 2
    async with consistency.open_checker(stack) as kept:
        assert await kept.inconsistencies() == []


async def test_seeding_again_adds_nothing(stack: Stack, admin: Person, first_run: tuple[str, Path]) -> None:
    before = [order async for order in admin.api.order.list_orders(all_=True)]

    again = await _seed(stack, first_run[1])

    assert _new(again) == {"accounts": 0, "products": 0, "orders": 0, "deliveries": 0, "reviews": 0}
    assert (_new(first_run[0])["products"], _new(first_run[0])["orders"]) == (_PRODUCTS, _ORDERS)
    after = [order async for order in admin.api.order.list_orders(all_=True)]
    assert [(order.id, order.status) for order in after] == [(order.id, order.status) for order in before]


def test_the_same_seed_and_numbers_give_the_same_shop() -> None:
    until = datetime(2026, 6, 1, tzinfo=UTC)

    assert seed_data(7, 60, 10, 300, until) == seed_data(7, 60, 10, 300, until) != seed_data(8, 60, 10, 300, until)


def test_a_seeded_year_has_a_weekly_rhythm() -> None:
    until = datetime(2026, 6, 1, tzinfo=UTC)

    shop = seed_data(7, 200, 40, 1000, until)

    on = Counter(purchase.at.weekday() for purchase in shop.purchases)
    assert min(on[day] for day in (4, 5, 6)) > max(on[day] for day in (0, 1, 2))
    assert all(until - timedelta(days=366) < purchase.at < until for purchase in shop.purchases)


def test_product_names_of_the_largest_seed_are_unique() -> None:
    products = seed_data(7, 500, 1, 1, datetime(2026, 6, 1, tzinfo=UTC)).products

    assert len({product.name for product in products}) == 500


async def test_an_unreachable_shop_is_reported_in_one_line() -> None:
    process = await _run("--url", "http://127.0.0.1:9", password="any")  # the port of RFC 863, on which nothing listens
    _output, complaint = await process.communicate()

    assert process.returncode == 1
    assert complaint.decode().count("\n") == 1
    assert "make run-all" in complaint.decode()


def _new(printed: str) -> dict[str, int]:
    return {line.split()[0]: int(line.split()[1]) for line in printed.splitlines() if " new " in line}


async def _seed(stack: Stack, pictures: Path) -> str:
    numbers = ("--products", str(_PRODUCTS), "--customers", str(_CUSTOMERS), "--orders", str(_ORDERS))
    process = await _run(
        *("--url", stack.url, "--history", stack.plan.name, "--pictures", str(pictures), *numbers),
        password=stack.plan.admin_password,
    )
    output, complaint = await process.communicate()
    assert (process.returncode, complaint.decode()) == (0, ""), output.decode()
    return output.decode()


async def _run(*arguments: str, password: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "devtools.seed", *arguments)
    return await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=pipe, env={**os.environ, "ADMIN_PASSWORD": password}
    )


async def _seeded_products(shop: Shop, admin: Person) -> list[ListedProductResponse]:
    sellers = {user.email: user.id async for user in admin.api.user.list_users()}
    departments = ("kitchen", "living", "office", "outdoors", "play")
    return [
        product
        for department in departments
        async for product in shop.api.product.list_products(seller_id=sellers[f"{department}@example.com"])
    ]
