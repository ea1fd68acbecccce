"""The order service's database was restored to an earlier state: payments of the orders that it lost are found."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from chassis_testing.waiting import eventually
from payment_harness import Payments, run_payments
from payment_service.domain.orphans import OrphanStep
from payment_service.service.orphans import ORPHANS
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded
from shopapi.order.v1 import order_pb2

WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
async def comparing() -> AsyncIterator[Payments]:
    async with run_payments(order_comparison_seconds=0.1) as payments:
        yield payments


@pytest.fixture
async def shop(comparing: Payments) -> AsyncIterator[Payments]:
    """The service, which compares its payments with orders ten times a second."""
    yield comparing
    comparing.orders.is_unavailable = False
    comparing.orders.states.clear()
    async with comparing.sql() as sql:
        await sql.execute("DELETE FROM orphaned_payments")
        await sql.execute("UPDATE payments SET created_at = created_at - interval '91 days'")
    assert await comparing.find_violations() == {}


def lose(shop: Payments, payment: dict[str, Any]) -> None:
    """Restores the order service to a state before the payment's order was placed."""
    shop.orders.states[payment["order_id"]] = order_pb2.ORDER_STATE_UNKNOWN


async def found_at(shop: Payments, payment: dict[str, Any]) -> datetime | None:
    async with shop.sql() as sql:
        at: datetime | None = await sql.fetchval(
            "SELECT found_at FROM orphaned_payments WHERE payment_id = $1", payment["id"]
        )
        return at


async def wait_until_held(shop: Payments, payment: dict[str, Any], *, is_held: bool = True) -> None:
    async def is_as_expected() -> bool:
        return (await found_at(shop, payment) is not None) is is_held

    await eventually(is_as_expected)


async def let_pass(shop: Payments, payment: dict[str, Any], time: timedelta) -> None:
    """Moves the finding of an orphaned payment, and its next check, into the past."""
    async with shop.sql() as sql:
        await sql.execute(
            "UPDATE orphaned_payments SET found_at = found_at - $2::interval,"
            " next_check_at = next_check_at - $2::interval WHERE payment_id = $1",
            payment["id"],
            time,
        )


async def wait_for_a_later_check(shop: Payments, payment: dict[str, Any]) -> None:
    """Waits until the order service was asked again about a payment that is held."""

    async def is_checked() -> bool:
        async with shop.sql() as sql:
            return bool(
                await sql.fetchval(
                    "SELECT next_check_at > now() FROM orphaned_payments WHERE payment_id = $1", payment["id"]
                )
            )

    await eventually(is_checked)


def count(step: OrphanStep) -> float:
    return float(ORPHANS.labels(step)._value.get())


async def test_a_payment_whose_order_is_lost_is_held_and_violates_an_invariant(shop: Payments) -> None:
    payment, before = await shop.complete_payment(501), count(OrphanStep.FOUND)

    lose(shop, payment)
    await wait_until_held(shop, payment)
    await let_pass(shop, payment, WEEK - timedelta(minutes=1))
    await wait_for_a_later_check(shop, payment)

    assert count(OrphanStep.FOUND) == before + 1
    assert (await shop.get_payment(payment["id"]))["status"] == "completed"
    assert await shop.list_refunds(payment["id"]) == []
    (violation,) = (await shop.find_violations())["payments_have_their_order"]
    assert str(violation["order_id"]) == payment["order_id"]


async def test_a_payment_whose_order_stays_unknown_is_refunded_once(shop: Payments) -> None:
    payment, before = await shop.complete_payment(502), count(OrphanStep.REFUNDED)

    lose(shop, payment)
    await wait_until_held(shop, payment)
    await let_pass(shop, payment, WEEK)
    await shop.wait_for_status(payment["id"], "refunded")

    await shop.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded)
    assert [refund["status"] for refund in await shop.list_refunds(payment["id"])] == ["succeeded"]
    assert (await found_at(shop, payment), count(OrphanStep.REFUNDED)) == (None, before + 1)
    again = await shop.post_payment(502, payment["order_id"])  # the order is closed for payments
    assert again.status_code == 409


async def test_a_payment_whose_order_is_restored_is_kept(shop: Payments) -> None:
    payment, before = await shop.complete_payment(503), count(OrphanStep.RECOVERED)
    lose(shop, payment)
    await wait_until_held(shop, payment)

    shop.orders.states.clear()
    await let_pass(shop, payment, WEEK)
    await wait_until_held(shop, payment, is_held=False)

    assert count(OrphanStep.RECOVERED) == before + 1
    assert (await shop.get_payment(payment["id"]))["status"] == "completed"
    assert await shop.list_refunds(payment["id"]) == []


@pytest.mark.parametrize("state", [None, order_pb2.ORDER_STATE_UNSPECIFIED])
async def test_nothing_is_refunded_without_an_explicit_answer(
    shop: Payments, state: "order_pb2.OrderState.ValueType | None"
) -> None:
    """The order service is away, or of a release whose answer is not understood, for longer than the limit."""
    payment, other = await shop.complete_payment(504), await shop.complete_payment(504)
    lose(shop, payment)
    await wait_until_held(shop, payment)
    await wait_for_a_later_check(shop, payment)

    if state is None:
        shop.orders.is_unavailable = True
    else:
        shop.orders.states = {payment["order_id"]: state, other["order_id"]: state}
    await let_pass(shop, payment, WEEK * 2)
    await wait_for_two_rounds(shop)

    assert await found_at(shop, payment) is not None
    assert await found_at(shop, other) is None
    assert await shop.list_refunds(payment["id"]) == await shop.list_refunds(other["id"]) == []


async def wait_for_two_rounds(shop: Payments) -> None:
    for _ in range(2):
        async with shop.sql() as sql:
            before = await sql.fetchval("SELECT next_at FROM order_comparison")

        async def is_claimed(before: datetime = before) -> bool:
            async with shop.sql() as sql:
                return bool(await sql.fetchval("SELECT next_at FROM order_comparison") > before)

        await eventually(is_claimed)


async def test_a_payment_that_a_person_has_refunded_is_not_held_any_more(shop: Payments) -> None:
    payment = await shop.complete_payment(505)
    lose(shop, payment)
    await wait_until_held(shop, payment)

    assert (await shop.refund(payment["id"])).status_code == 201
    await let_pass(shop, payment, timedelta(minutes=15))
    await wait_until_held(shop, payment, is_held=False)

    assert [refund["amount"]["amount"] for refund in await shop.list_refunds(payment["id"])] == [10_000]
