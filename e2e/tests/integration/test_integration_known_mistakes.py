"""Known mistakes of real shops, each with the test that prevents it here."""

import asyncio
import re
import uuid
from collections import Counter

import asyncpg
import pytest
from chassis_testing.waiting import eventually
from devtools.shop_client import Json, Person, Shop, stock_of
from devtools.stack import Stack
from ecommerce_client import ProblemError
from ecommerce_client.models import Money
from ecommerce_client.models.payment import RefundRequest
from ecommerce_client.models.review import ReviewRequest
from ecommerce_client.models.user import ForgotPasswordRequest, RegisterRequest, ResetPasswordRequest
from shop_e2e.api.mailbox import Mailbox, text_of


async def refused(person: Person, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Returns status and code of an answer that must be a problem."""
    with pytest.raises(ProblemError) as refusal:
        await person.call(method, path, body)
    return refusal.value.status, refusal.value.code


async def test_a_placed_order_reserves_its_stock_by_an_event_that_arrives(
    stack: Stack, shop: Shop, admin: Person
) -> None:
    _seller, product = await shop.stocked_product(admin, 2)
    order = await (await shop.register()).order((product, 1))
    inventory = await asyncpg.connect(stack.database_of("inventory"))

    async def is_held_as_long_as_the_order_lives() -> bool:
        until = await inventory.fetchval("SELECT held_until FROM reservations WHERE order_id = $1", order.id)
        return bool(until == order.expires_at)

    await eventually(is_held_as_long_as_the_order_lives)
    await inventory.close()


async def test_only_the_buyer_and_admins_can_read_an_order(shop: Shop, admin: Person) -> None:
    seller, product = await shop.stocked_product(admin, 2)
    buyer, other = await shop.register(), await shop.register()
    order = await buyer.order((product, 1))
    path = f"/orders/{order.id}"

    for reader in (buyer, admin):
        assert (await reader.api.order.get_order(order.id)).id == order.id
    for another in (other, seller):
        assert await refused(another, "GET", path) == (404, "unknown_order")
        assert await refused(another, "DELETE", path) == (404, "unknown_order")
    assert (await shop.http.get(path)).status_code == 401


async def test_prices_and_amounts_come_from_the_shop_and_never_from_the_caller(shop: Shop, admin: Person) -> None:
    _seller, product = await shop.stocked_product(admin, 5)
    buyer = await shop.register()
    line = {"product_id": product, "quantity": 2}

    cheap = {"items": [line | {"unit_price": {"amount": 1, "currency": "USD"}}]}
    assert (await refused(buyer, "POST", "/orders", cheap))[0] == 422
    order = await buyer.order((product, 2))
    underpaid = {"order_id": str(order.id), "payment_method": "pm_card_visa", "amount": 1, "confirm": True}
    assert (await refused(buyer, "POST", "/payments", underpaid))[0] == 422

    assert (await buyer.pay(order.id)).amount == order.total == Money(amount=2580, currency="USD")


async def test_refunds_never_exceed_what_was_captured_and_do_not_repeat(shop: Shop, admin: Person) -> None:
    _seller, product = await shop.stocked_product(admin, 5)
    buyer = await shop.register()
    order = await buyer.order((product, 1))
    payment = await buyer.pay(order.id)
    refund = f"/payments/{payment.id}/refund"

    assert await refused(buyer, "POST", refund, {"amount": 1}) == (403, "forbidden")
    assert await refused(admin, "POST", refund, {"amount": 1291}) == (409, "refund_exceeds_captured")
    refunding, most = admin.api.payment, RefundRequest(amount=900)
    twice = [await refunding.refund_payment(payment.id, most, idempotency_key=f"r-{order.id}") for _ in range(2)]
    assert twice[0].id == twice[1].id
    assert await refused(admin, "POST", refund, {"amount": 391}) == (409, "refund_exceeds_captured")
    await refunding.refund_payment(payment.id, RefundRequest(amount=390))
    assert await refused(admin, "POST", refund, {"amount": 1}) == (409, "refund_exceeds_captured")

    assert (await buyer.api.payment.get_payment(payment.id)).refunded == order.total


async def test_a_payment_is_its_buyers_own(shop: Shop, admin: Person) -> None:
    _seller, product = await shop.stocked_product(admin, 5)
    buyer, other = await shop.register(), await shop.register()
    order = await buyer.order((product, 1))

    paying = {"order_id": str(order.id), "payment_method": "pm_card_visa", "confirm": True}
    assert await refused(other, "POST", "/payments", paying) == (404, "unknown_order")
    payment = await buyer.pay(order.id)
    for method, path, body in (
        ("GET", f"/payments/{payment.id}", None),
        ("GET", f"/payments/order/{order.id}", None),
        ("POST", f"/payments/{payment.id}/confirm", {"payment_method": "pm_card_visa"}),
    ):
        assert await refused(other, method, path, body) == (404, "unknown_payment"), path


async def test_a_reset_token_is_bound_to_its_user_and_works_once(shop: Shop, mails: Mailbox) -> None:
    ada, eve = await shop.register(), await shop.register()
    for person in (ada, eve):
        await shop.api.user.forgot_password(ForgotPasswordRequest(email=person.email))
    token = token_in(text_of(await mails.wait_for(eve.email, "reset")))

    new = ResetPasswordRequest(token=token, new_password="a new password of eve's")
    await shop.api.user.reset_password(new)

    assert (await shop.log_in(ada.email, ada.password)).id == ada.id
    assert (await shop.log_in(eve.email, "a new password of eve's")).id == eve.id
    for spent in (new, ResetPasswordRequest(token=token, new_password="another password still")):
        with pytest.raises(ProblemError) as refusal:
            await shop.api.user.reset_password(spent)
        assert (refusal.value.status, refusal.value.code) == (401, "invalid_mail_token")
    assert (await shop.log_in(eve.email, "a new password of eve's")).id == eve.id


def token_in(text: str) -> str:
    """Returns the one-time token of a mail's link."""
    found = re.search(r"token=([A-Za-z0-9_.~-]+)", text)
    assert found, text
    return found.group(1)


async def test_products_stock_and_users_are_written_only_with_permission(shop: Shop, admin: Person) -> None:
    seller, product = await shop.stocked_product(admin, 5)
    other_seller, customer = await shop.register("seller"), await shop.register()
    category = (await shop.api.product.get_details(product)).product.category_id
    changed_product = {
        "name": "Mine now",
        "description": "",
        "price": {"amount": 1, "currency": "USD"},
        "category_id": category,
    }

    for other, refusal in ((customer, (403, "forbidden")), (other_seller, (403, "not_the_seller"))):
        for method, path, body, expected in (
            ("PUT", f"/products/{product}", changed_product, refusal),
            ("DELETE", f"/products/{product}", None, refusal),
            ("PUT", f"/inventory/{product}", {"quantity": 0}, refusal),
            ("PUT", f"/users/{seller.id}", {"display_name": "Another name"}, (404, "unknown_user")),
            ("DELETE", f"/users/{seller.id}", None, (404, "unknown_user")),
            ("PUT", f"/users/{other.id}", {"role": "admin"}, (403, "forbidden")),
            ("POST", "/categories", {"name": "Mine"}, (403, "forbidden")),
        ):
            assert await refused(other, method, path, body) == expected, f"{method} {path}"
    assert await refused(customer, "POST", "/products", changed_product) == (403, "forbidden")
    assert (await shop.stock(product)).on_hand == 5


async def test_public_responses_have_no_personal_data(shop: Shop, admin: Person) -> None:
    seller, product = await shop.stocked_product(admin, 5)
    buyer = await shop.register()
    await buyer.buy((product, 1))
    await buyer.api.review.add_review(product, ReviewRequest(rating=5, text="Good"))

    for path in (f"/products/{product}", "/products?limit=100", "/categories", f"/products/{product}/reviews"):
        text = (await shop.http.get(path)).text
        assert "@example.com" not in text, path
        assert seller.email not in text
        assert not re.search(r'"(email|phone|password\w*|address)"', text), path


async def test_concurrent_posts_with_one_key_create_one_object(shop: Shop, admin: Person) -> None:
    person = {"email": f"twin-{uuid.uuid4().hex[:8]}@example.com", "password": "long enough to be one"}
    registered = await asyncio.gather(*(shop.http.post("/auth/register", json=person) for _ in range(10)))
    assert Counter(answer.status_code for answer in registered) == {201: 1, 409: 9}

    _seller, product = await shop.stocked_product(admin, 5)
    buyer = await shop.register()
    await buyer.buy((product, 1))
    reviewing = [
        shop.http.post(f"/products/{product}/reviews", json={"rating": 5}, headers=buyer.headers) for _ in range(10)
    ]
    assert Counter(answer.status_code for answer in await asyncio.gather(*reviewing)) == {201: 1, 409: 9}


async def test_wrong_credentials_a_taken_address_and_an_empty_cart_have_their_own_codes(shop: Shop) -> None:
    person = await shop.register()
    with pytest.raises(ProblemError) as wrong:
        await shop.log_in(person.email, "not the password")
    with pytest.raises(ProblemError) as taken:
        await shop.api.user.register(RegisterRequest(email=person.email, password="long enough to be one"))

    assert (wrong.value.status, taken.value.status) == (401, 409)
    assert await refused(person, "POST", "/orders", {}) == (422, "cart_empty")


async def test_zero_values_are_not_left_out(shop: Shop, admin: Person) -> None:
    _seller, product = await shop.stocked_product(admin, 0)

    assert await shop.stock(product) == stock_of(product, on_hand=0)
    details = await shop.api.product.get_details(product)
    assert details.stock
    assert details.rating
    assert (details.stock.available, details.rating.average, details.rating.count) == (0, 0, 0)


async def test_money_is_an_integer_everywhere(shop: Shop, admin: Person) -> None:
    _seller, product = await shop.stocked_product(admin, 5)
    buyer = await shop.register()
    order = await buyer.buy((product, 3))
    placed = await buyer.call("GET", f"/orders/{order.id}")
    payment = await buyer.call("GET", f"/payments/order/{order.id}")

    amounts = [*money_in(placed), *money_in(payment), *money_in(await shop.call("GET", f"/products/{product}"))]
    assert len(amounts) >= 4
    assert all(type(amount) is int for amount in amounts), amounts


def money_in(document: Json | list[Json] | object) -> list[object]:
    """Yields the amount of every money object in a document."""
    if isinstance(document, dict):
        own = [document["amount"]] if set(document) == {"amount", "currency"} else []
        return own + [amount for part in document.values() for amount in money_in(part)]
    return [amount for part in document for amount in money_in(part)] if isinstance(document, list) else []


async def test_a_charge_ends_in_a_confirmed_order_or_in_a_refund(shop: Shop, admin: Person) -> None:
    _seller, product = await shop.stocked_product(admin, 5)
    buyer = await shop.register()
    kept, given_up = await buyer.buy((product, 1)), await buyer.buy((product, 1))
    await buyer.cancel(given_up.id)

    async def is_given_back() -> bool:
        payment = await buyer.api.payment.get_payment_of_order(given_up.id)
        return payment.status == "refunded" and payment.refunded == payment.amount

    await eventually(is_given_back, 20)
    assert (await buyer.api.payment.get_payment_of_order(kept.id)).status == "completed"

    async def stock_is_back() -> bool:
        return await shop.stock(product) == stock_of(product, on_hand=5, committed=1)

    await eventually(stock_is_back)
