"""An event is lost for good: comparing orders with payments finds what it would have reported."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from chassis.types.ids import uuid7
from chassis_testing.waiting import eventually
from order_harness import OrderApp, find_violations, running_app
from order_service.domain.comparison import RECHECK_DELAY, Difference
from order_service.service.comparison import REPAIRED
from order_service.service.orders import MISPAID


@pytest.fixture(scope="module")
async def comparing() -> AsyncIterator[OrderApp]:
    async with running_app(payment_comparison_seconds=0.1) as app:
        yield app


@pytest.fixture
async def app(comparing: OrderApp) -> AsyncIterator[OrderApp]:
    """The order service, which compares its orders ten times a second, but not those of the tests before."""
    yield comparing
    comparing.payments.is_unavailable = False
    async with comparing.sql() as sql:
        await sql.execute("UPDATE orders SET created_at = created_at - interval '91 days'")
        await sql.execute("DELETE FROM payment_differences")
    comparing.payments.states.clear()


async def differences_of(app: OrderApp, order: dict[str, Any]) -> list[str]:
    async with app.sql() as sql:
        found = "SELECT differences FROM payment_differences WHERE order_id = $1"
        return await sql.fetchval(found, UUID(order["id"])) or []


async def wait_for_differences(app: OrderApp, order: dict[str, Any], *expected: Difference) -> None:
    async def are_stored() -> bool:
        return await differences_of(app, order) == list(expected)

    await eventually(are_stored, 60)


async def let_the_delay_pass(app: OrderApp, order: dict[str, Any]) -> None:
    async with app.sql() as sql:
        await sql.execute(
            "UPDATE payment_differences SET next_check_at = next_check_at - $2::interval,"
            " found_at = found_at - $2::interval WHERE order_id = $1",
            UUID(order["id"]),
            RECHECK_DELAY,
        )


async def get(app: OrderApp, order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await app.get(order["id"], order["buyer_id"])).json()["data"]
    return found


def repaired(difference: Difference) -> float:
    return float(REPAIRED.labels(difference)._value.get())


async def place_paid_order(app: OrderApp, buyer: int) -> dict[str, Any]:
    """Places an order whose payment is known on both sides."""
    placed, payment_id = await app.place_order(buyer, (1, 2)), str(uuid7())
    app.payments.capture(placed, payment_id)
    app.payments.close(placed, is_closed=False)
    await app.pay(placed, payment_id)
    return await get(app, placed)


async def test_a_refund_whose_event_is_lost_is_recorded(app: OrderApp) -> None:
    order, before = await place_paid_order(app, 1701), repaired(Difference.UNKNOWN_REFUND)
    app.payments.refund(order, str(uuid7()), 50)

    await wait_for_differences(app, order, Difference.UNKNOWN_REFUND)
    assert (await get(app, order))["payment"]["refunded"]["amount"] == 0  # the event may be on its way
    await let_the_delay_pass(app, order)
    await wait_for_differences(app, order)

    assert (await get(app, order))["payment"]["refunded"]["amount"] == 50
    assert repaired(Difference.UNKNOWN_REFUND) == before + 1


async def test_a_payment_of_a_cancelled_order_whose_event_is_lost_is_recorded(app: OrderApp) -> None:
    placed = await app.place_order(1702, (1, 1))
    await app.cancel(placed["id"], 1702)
    app.payments.capture(placed, str(uuid7()))
    app.payments.close(placed, is_closed=True)

    await wait_for_differences(app, placed, Difference.UNKNOWN_PAYMENT)
    await let_the_delay_pass(app, placed)
    await wait_for_differences(app, placed)

    order = await get(app, placed)
    assert (order["status"], order["payment"]["paid"]) == ("cancelled", placed["total"])


async def test_the_event_of_a_cancelled_order_is_published_again_for_a_payment_service_without_it(
    app: OrderApp,
) -> None:
    order = await place_paid_order(app, 1703)
    await app.cancel(order["id"], 1703)
    await app.wait_for_events(order["id"], "order.placed.v1", "order.confirmed.v1", "order.cancelled.v1")

    await wait_for_differences(app, order, Difference.UNKNOWN_CLOSURE)
    await let_the_delay_pass(app, order)

    cancelled = ["order.cancelled.v1", "order.cancelled.v1"]
    await app.wait_for_events(order["id"], "order.placed.v1", "order.confirmed.v1", *cancelled)
    first, again = (e.payload for e in app.events_about(order["id"]) if e.type.name == "order.cancelled.v1")
    assert first == again
    app.payments.close(order, is_closed=True)
    await let_the_delay_pass(app, order)
    await wait_for_differences(app, order)


async def test_the_event_of_a_manual_payment_is_published_again_for_a_payment_service_without_it(
    app: OrderApp,
) -> None:
    placed = await app.place_order(1704, (1, 1))
    app.payments.close(placed, is_closed=False)
    paid = await app.put(placed["id"], "manual-payment", reason="bank transfer")
    assert paid.status_code == 200, paid.text

    await wait_for_differences(app, placed, Difference.UNKNOWN_CLOSURE)
    await let_the_delay_pass(app, placed)

    once = ("order.placed.v1", "order.confirmed.v1")
    await app.wait_for_events(placed["id"], *once, "order.paid_manually.v1", "order.paid_manually.v1")


async def test_a_paid_order_without_a_payment_violates_an_invariant(app: OrderApp) -> None:
    order = await place_paid_order(app, 1705)
    del app.payments.states[order["id"]]

    await wait_for_differences(app, order, Difference.NOT_CAPTURED)
    for _ in range(5):
        await let_the_delay_pass(app, order)

    assert [str(row["order_id"]) for row in (await find_violations(app.database))["orders_agree_with_payments"]] == [
        order["id"]
    ]


async def test_an_event_that_arrives_in_time_needs_no_repair(app: OrderApp) -> None:
    order, before = await place_paid_order(app, 1706), repaired(Difference.UNKNOWN_CLOSURE)
    await app.cancel(order["id"], 1706)

    await wait_for_differences(app, order, Difference.UNKNOWN_CLOSURE)
    app.payments.close(order, is_closed=True)
    await wait_for_differences(app, order)

    assert repaired(Difference.UNKNOWN_CLOSURE) == before
    await app.wait_for_events(order["id"], "order.placed.v1", "order.confirmed.v1", "order.cancelled.v1")


async def test_a_payment_service_that_does_not_say_whether_an_order_is_closed_is_not_told(app: OrderApp) -> None:
    """During a rollout an older release answers without the field."""
    placed, sentinel = await app.place_order(1707, (1, 1)), await app.place_order(1707, (1, 1))
    app.payments.close(sentinel, is_closed=False)
    for order in (placed, sentinel):
        await app.cancel(order["id"], 1707)

    await wait_for_differences(app, sentinel, Difference.UNKNOWN_CLOSURE)

    assert await differences_of(app, placed) == []


async def test_nothing_is_compared_while_payment_does_not_answer_and_all_is_afterwards(app: OrderApp) -> None:
    app.payments.is_unavailable = True
    order = await place_paid_order(app, 1708)
    app.payments.refund(order, str(uuid7()), 50)

    async def is_asked_twice() -> bool:
        return app.payments.asked.count(order["id"]) >= 2

    await eventually(is_asked_twice, 60)
    assert await differences_of(app, order) == []
    app.payments.is_unavailable = False
    await wait_for_differences(app, order, Difference.UNKNOWN_REFUND)


async def test_more_orders_than_one_round_compares_are_all_compared(app: OrderApp) -> None:
    insert = (
        "INSERT INTO orders (id, buyer_id, status, cancel_reason, total_amount, shipping_amount, tax_amount, currency,"
        " created_at, expires_at) SELECT gen_random_uuid(), 1709, 'cancelled', 'buyer', 0, 0, 0, 'USD', $1, $1"
        " FROM generate_series(1, 1150) RETURNING id"
    )
    async with app.sql() as sql:
        ids = {str(row["id"]) for row in await sql.fetch(insert, datetime.now(UTC))}  # all at one time: ids decide

    async def all_are_asked_about() -> bool:
        return ids <= set(app.payments.asked)

    await eventually(all_are_asked_about, 60)


async def test_a_refund_in_another_currency_is_counted_and_stays_a_difference(app: OrderApp) -> None:
    order, before = await place_paid_order(app, 710), MISPAID._value.get()
    app.payments.refund(order | {"total": {"amount": 1, "currency": "EUR"}}, str(uuid7()), 50)

    await wait_for_differences(app, order, Difference.UNKNOWN_REFUND)
    await let_the_delay_pass(app, order)

    async def is_counted() -> bool:
        return bool(MISPAID._value.get() == before + 1)

    await eventually(is_counted, 60)
    assert await differences_of(app, order) == [Difference.UNKNOWN_REFUND]
