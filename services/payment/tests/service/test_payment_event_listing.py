"""A webhook never comes: what it would have reported is found in the provider's list of events."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from chassis_testing.waiting import eventually
from payment_harness import REQUIRES_ACTION, Payments, run_payments
from payment_service.service.event_listing import FOUND
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded
from stripe_double import StripeDouble, run_stripe_double, sign


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[StripeDouble]:
    """A double of its own: events of other tests' payments are not of this shop, and would be listed."""
    async with run_stripe_double() as double:
        yield double


@pytest.fixture(scope="module")
async def listing_shop(provider: StripeDouble) -> AsyncIterator[Payments]:
    async with run_payments(provider, provider_events_seconds=0.1) as payments:
        yield payments


@pytest.fixture
async def shop(listing_shop: Payments, provider: StripeDouble) -> AsyncIterator[Payments]:
    yield listing_shop
    provider.reset()
    assert await listing_shop.find_violations() == {}


async def position(shop: Payments) -> dict[str, Any]:
    async with shop.sql() as sql:
        return dict(await sql.fetchrow("SELECT * FROM event_listing"))


async def wait_for_a_whole_listing(shop: Payments) -> None:
    """Waits until a listing is finished that began after now."""
    now = datetime.now(UTC)

    async def is_listed() -> bool:
        return bool((await position(shop))["listed_until"] > now)

    await eventually(is_listed, 60)


async def test_a_refund_made_at_the_provider_is_found_without_a_webhook(shop: Payments, provider: StripeDouble) -> None:
    payment, before = await shop.complete_payment(401, 1000), FOUND._value.get()

    refund = provider.refund_in_dashboard(payment["id"], 400)
    await shop.wait_for_status(payment["id"], "partially_refunded")
    body = provider.webhook_of(refund)  # it comes after all
    late = await shop.http.post("/api/v1/webhooks/stripe", content=body, headers=sign(body))
    await wait_for_a_whole_listing(shop)

    assert late.status_code == 200
    assert FOUND._value.get() > before
    assert [each["amount"]["amount"] for each in await shop.list_refunds(payment["id"])] == [400]
    await shop.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded)


async def test_a_payment_made_in_the_browser_is_found_without_a_webhook(shop: Payments, provider: StripeDouble) -> None:
    order_id = shop.orders.place(402)
    shop.orders.orders[order_id].expires_at.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    payment = (await shop.post_payment(402, order_id, payment_method=REQUIRES_ACTION, confirm=True)).json()["data"]

    async def waits_for_the_expiry() -> bool:
        async with shop.sql() as sql:
            soon = await sql.fetchval(
                "SELECT next_check_at < now() + interval '1 minute' FROM payments WHERE id = $1", payment["id"]
            )
            return not soon

    await eventually(waits_for_the_expiry, 60)
    provider.authenticate(payment["id"])

    await shop.wait_for_status(payment["id"], "completed")


async def test_more_events_than_a_page_are_all_followed(shop: Payments, provider: StripeDouble) -> None:
    payments = [await shop.complete_payment(403, 1000) for _ in range(3)]
    provider.events_per_page = 2

    for payment in payments:
        provider.refund_in_dashboard(payment["id"], 1000)

    for payment in payments:
        await shop.wait_for_status(payment["id"], "refunded")


async def test_a_listing_that_the_provider_does_not_answer_is_continued(shop: Payments, provider: StripeDouble) -> None:
    payment = await shop.complete_payment(404, 1000)
    provider.is_unavailable = True
    provider.refund_in_dashboard(payment["id"], 300)
    asked = len(provider.requests)

    async def is_asked() -> bool:
        return ("list_events", "") in provider.requests[asked:]

    await eventually(is_asked, 60)
    before = (await position(shop))["listed_until"]
    provider.is_unavailable = False

    await shop.wait_for_status(payment["id"], "partially_refunded")
    await wait_for_a_whole_listing(shop)
    assert (await position(shop))["listed_until"] > before


async def test_a_listing_whose_position_the_provider_has_forgotten_begins_again(
    shop: Payments, provider: StripeDouble
) -> None:
    payment = await shop.complete_payment(405, 1000)
    async with shop.sql() as sql:
        await sql.execute(
            "UPDATE event_listing SET listed_until = now() - interval '31 days', after = 'evt_forgotten',"
            " began_at = now() - interval '31 days', next_at = now() + interval '1 hour'"
        )
        provider.refund_in_dashboard(payment["id"], 300)
        await sql.execute("UPDATE event_listing SET next_at = now()")

    await shop.wait_for_status(payment["id"], "partially_refunded")
    await wait_for_a_whole_listing(shop)


async def test_events_of_another_shop_on_the_account_are_ignored(shop: Payments, provider: StripeDouble) -> None:
    provider.intents["pi_other"] = {
        "id": "pi_other", "object": "payment_intent", "amount": 500, "currency": "usd", "metadata": {"order": "7"},
    }  # fmt: skip
    await wait_for_a_whole_listing(shop)
    before = FOUND._value.get()

    provider._charge(provider.intents["pi_other"])
    await wait_for_a_whole_listing(shop)

    assert FOUND._value.get() == before
