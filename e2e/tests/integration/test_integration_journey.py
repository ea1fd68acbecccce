"""Typical journeys of customers and sellers through the gateway, with every service as a process."""

import uuid

import httpx
import pytest
from chassis_testing.waiting import eventually
from devtools.services import SERVICES
from devtools.shop_client import Person, Shop, stock_of
from devtools.stack import Stack
from ecommerce_client import ProblemError
from ecommerce_client.models import Money, product
from ecommerce_client.models.inventory import SetStockRequest
from ecommerce_client.models.product import CategoryRequest
from ecommerce_client.models.review import ReviewRequest
from ecommerce_client.models.user import LoginRequest, RefreshRequest, RegisterRequest
from shop_e2e.api.mailbox import Mailbox


async def test_from_registration_to_a_refund(shop: Shop, admin: Person, mails: Mailbox) -> None:
    email, password = f"ada-{uuid.uuid4().hex[:8]}@example.com", "correct horse battery staple"
    await shop.api.user.register(RegisterRequest(email=email, password=password))
    ada = await shop.log_in(email, password)

    category = await admin.api.product.add_category(CategoryRequest(name=f"Coffee {uuid.uuid4().hex[:8]}"))
    seller = await shop.register("seller")
    cup = await seller.create_product(category.id, amount=1290)
    stocked = await seller.api.inventory.set_stock(cup, SetStockRequest(quantity=25))
    assert (stocked.on_hand, stocked.reserved, stocked.available) == (25, 0, 25)

    page = await shop.api.product.list_products(category=category.id, page=1, limit=10)
    assert ([found.id for found in page.data], page.total) == ([cup], 1)
    details = await shop.api.product.get_details(cup)
    assert details.product.price == Money(amount=1290, currency="USD")
    assert details.seller
    assert details.seller.id == seller.id
    assert details.stock == product.StockResponse(available=25, is_exact=True)
    assert details.rating == product.RatingResponse(average=0, count=0)
    assert details.degraded == []

    with pytest.raises(ProblemError) as too_early:
        await ada.api.review.add_review(cup, ReviewRequest(rating=5))
    assert (too_early.value.status, too_early.value.code) == (403, "not_a_buyer")
    order = await ada.order((cup, 2))
    assert order.status == "pending"
    assert order.total == Money(amount=2580, currency="USD")
    assert await ada.orders() == [order]
    assert await ada.api.order.get_order(order.id) == order
    assert await shop.stock(cup) == stock_of(cup, on_hand=25, reserved=2)

    paid = await ada.pay(order.id)
    assert (paid.status, paid.amount) == ("completed", order.total)
    await ada.order_becomes(order.id, "confirmed")
    await stock_is(shop, cup, on_hand=25, committed=2)

    await ada.api.review.add_review(cup, ReviewRequest(rating=4, text="Keeps its warmth"))
    (review,) = [found async for found in shop.api.review.list_reviews(cup)]
    assert (review.author_id, review.rating) == (ada.id, 4)
    assert (await shop.api.product.get_details(cup)).rating == product.RatingResponse(average=4, count=1)

    await ada.cancel(order.id)
    await ada.order_becomes(order.id, "cancelled")
    await stock_is(shop, cup, on_hand=25)

    async def is_refunded() -> bool:
        payment = await ada.api.payment.get_payment(paid.id)
        return payment.status == "refunded" and payment.refunded == order.total

    await eventually(is_refunded)
    for subject in ("Welcome", "refund"):
        await mails.wait_for(ada.email, subject)


async def test_a_count_of_the_warehouse_leaves_paid_units_committed(shop: Shop, admin: Person) -> None:
    seller, cup = await shop.stocked_product(admin, 10)
    order = await (await shop.register()).buy((cup, 3))
    await stock_is(shop, cup, on_hand=10, committed=3)

    counted = await seller.api.inventory.set_stock(cup, SetStockRequest(quantity=10))
    assert (counted.available, counted.committed, counted.on_hand) == (7, 3, 10)

    for status in ("processing", "shipped"):
        await admin.call("PUT", f"/orders/{order.id}/status", {"status": status})
    await stock_is(shop, cup, on_hand=7)


async def stock_is(shop: Shop, product_id: int, on_hand: int, reserved: int = 0, committed: int = 0) -> None:
    """Waits until the stock has this value: payments, shipping and cancellations arrive as events."""
    expected = stock_of(product_id, on_hand, reserved, committed)

    async def it_is() -> bool:
        return await shop.stock(product_id) == expected

    await eventually(it_is)


async def test_a_refreshed_session_continues_and_its_old_token_is_refused(shop: Shop) -> None:
    person = await shop.register()
    tokens = await shop.api.user.login(LoginRequest(email=person.email, password=person.password))
    refreshing = RefreshRequest(refresh_token=tokens.refresh_token)

    fresh = await shop.api.user.refresh(refreshing)
    me = await shop.api.with_token(fresh.access_token).user.get_me()
    with pytest.raises(ProblemError) as reused:
        await shop.api.user.refresh(refreshing)

    assert me.email == person.email
    assert (reused.value.status, reused.value.code) == (401, "refresh_token_reused")


async def test_the_version_may_be_left_out_of_the_path(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as client:
        assert (await client.get("/api/products")).json() == (await client.get("/api/v1/products")).json()


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_answers_its_probes(stack: Stack, service: str) -> None:
    async with httpx.AsyncClient(base_url=stack.url_of(service)) as client:
        for path in ("/health", "/ready", "/swagger/", "/openapi.json"):
            assert (await client.get(path)).status_code == 200, path
        metrics = await client.get(f"http://127.0.0.1:{stack.plan.ports[service].metrics}/metrics")
    assert "http_server_request_duration_seconds_bucket" in metrics.text


async def test_the_gateway_serves_the_openapi_document_of_the_whole_shop(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]

    assert {"/api/v1/auth/register", "/api/v1/products/{product_id}", "/api/v1/orders"} <= set(paths)
    assert {"/api/v1/inventory/{product_id}", "/api/v1/products/{product_id}/reviews"} <= set(paths)


async def test_a_product_page_is_degraded_but_served_while_reviews_are_down(
    stack: Stack, shop: Shop, admin: Person
) -> None:
    _seller, cup = await shop.stocked_product(admin, 3)
    await stack.stop("review")
    try:
        without = await shop.api.product.get_details(cup)
        with pytest.raises(ProblemError) as refused:
            await shop.api.review.list_reviews(cup)
    finally:
        await stack.start("review")

    assert (without.rating, without.degraded) == (None, ["rating"])
    assert without.stock == product.StockResponse(available=3, is_exact=True)
    assert refused.value.status == 503
    assert refused.value.code in ("upstream_unavailable", "circuit_open")

    async def is_whole_again() -> bool:
        return (await shop.api.product.get_details(cup)).degraded == []

    await eventually(is_whole_again)


async def test_orders_are_refused_while_inventory_is_down_and_accepted_afterwards(
    stack: Stack, shop: Shop, admin: Person
) -> None:
    _seller, cup = await shop.stocked_product(admin, 3)
    buyer = await shop.register()
    await stack.stop("inventory")
    try:
        with pytest.raises(ProblemError) as refused:
            await buyer.order((cup, 1), key="once")
    finally:
        await stack.start("inventory")

    assert (refused.value.status, refused.value.code) == (503, "neighbour_unavailable")

    async def is_accepted() -> bool:
        try:
            await buyer.order((cup, 1), key="once")
        except ProblemError as error:
            if error.status != 503:
                raise
            return False
        return True

    await eventually(is_accepted)
    assert len(await buyer.orders()) == 1
    await stock_is(shop, cup, on_hand=3, reserved=1)
