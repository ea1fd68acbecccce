"""An order is cancelled as unpaid only after the payment service has said that nothing is paid for it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from chassis.grpc.client import call
from chassis.types.ids import uuid7
from chassis_testing.waiting import eventually
from order_harness import OrderApp, payment_of
from order_service.service.expiry import CONFIRMED_LATE, GIVEN_UP, UNANSWERED
from order_service.service.orders import MISPAID
from shopapi.events.v1.events_pb2 import CANCEL_REASON_EXPIRED, OrderCancelled
from shopapi.order.v1.order_pb2 import GetPayableRequest, GetPayableResponse

LONGEST_WAIT_SECONDS = 86_400


async def get(app: OrderApp, placed: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await app.get(placed["id"], placed["buyer_id"])).json()["data"]
    return found


async def wait_for_status(app: OrderApp, placed: dict[str, Any], status: str) -> dict[str, Any]:
    async def has_status() -> bool:
        return bool((await get(app, placed))["status"] == status)

    await eventually(has_status)
    return await get(app, placed)


async def wait_until_asked(app: OrderApp, placed: dict[str, Any], times: int = 1) -> None:
    async def is_asked() -> bool:
        return app.payments.asked.count(placed["id"]) >= times

    await eventually(is_asked)


async def postponed_until(app: OrderApp, placed: dict[str, Any]) -> datetime | None:
    async with app.sql() as sql:
        until: datetime | None = await sql.fetchval(
            "SELECT expiry_check_at FROM orders WHERE id = $1", UUID(placed["id"])
        )
        return until


async def wait_until_postponed(app: OrderApp, placed: dict[str, Any]) -> datetime:
    async def is_postponed() -> bool:
        return await postponed_until(app, placed) is not None

    await eventually(is_postponed)
    until = await postponed_until(app, placed)
    assert until is not None
    return until


async def test_an_order_whose_payment_event_is_late_is_confirmed_instead_of_cancelled(app: OrderApp) -> None:
    placed, payment_id, before = await app.place_order(1601, (1, 2)), str(uuid7()), CONFIRMED_LATE._value.get()
    app.payments.capture(placed, payment_id)

    await app.expire(placed["id"])
    confirmed = await wait_for_status(app, placed, "confirmed")

    assert CONFIRMED_LATE._value.get() == before + 1
    await app.publish(payment_of(placed, payment_id))  # the event arrives after all
    assert await get(app, placed) == confirmed
    assert confirmed["payment"]["paid"] == placed["total"]
    await app.wait_for_events(placed["id"], "order.placed.v1", "order.confirmed.v1")


async def test_an_order_whose_payment_is_in_process_is_kept_and_asked_about_later(app: OrderApp) -> None:
    placed = await app.place_order(1602, (1, 1))
    app.payments.process(placed)

    await app.expire(placed["id"])

    assert await wait_until_postponed(app, placed) > datetime.now(UTC)
    assert (await get(app, placed))["status"] == "pending"
    app.payments.capture(placed, str(uuid7()))
    async with app.sql() as sql:
        await sql.execute("UPDATE orders SET expiry_check_at = now() WHERE id = $1", UUID(placed["id"]))
    await wait_for_status(app, placed, "confirmed")


async def test_an_order_does_not_hold_its_stock_for_ever_for_a_payment_in_process(app: OrderApp) -> None:
    placed, before = await app.place_order(1603, (1, 1)), GIVEN_UP._value.get()
    app.payments.process(placed)

    await app.expire(placed["id"], seconds_ago=LONGEST_WAIT_SECONDS + 60)

    assert (await wait_for_status(app, placed, "cancelled"))["cancel_reason"] == "expired"
    assert GIVEN_UP._value.get() == before + 1


async def test_nothing_is_cancelled_while_payment_does_not_answer(app: OrderApp) -> None:
    placed = await app.place_order(1604, (1, 1))
    app.payments.is_unavailable = True

    await app.expire(placed["id"], seconds_ago=3600)
    await wait_until_asked(app, placed, times=2)

    assert (await get(app, placed))["status"] == "pending"
    assert UNANSWERED._value.get() >= 3600
    app.payments.is_unavailable = False
    await wait_for_status(app, placed, "cancelled")

    async def is_answered() -> bool:
        return bool(UNANSWERED._value.get() == 0)

    await eventually(is_answered)


async def test_an_order_paid_while_payment_is_asked_is_not_cancelled(app: OrderApp) -> None:
    placed = await app.place_order(1605, (1, 1))

    async def receive_the_payment() -> None:
        app.payments.before_answering = None
        await app.pay(placed)

    app.payments.before_answering = receive_the_payment
    await app.expire(placed["id"])
    await wait_for_status(app, placed, "confirmed")

    await app.wait_for_events(placed["id"], "order.placed.v1", "order.confirmed.v1")


async def test_a_captured_payment_of_another_amount_neither_confirms_the_order_nor_is_counted_in_a_loop(
    app: OrderApp,
) -> None:
    placed, before = await app.place_order(1606, (1, 1)), MISPAID._value.get()
    app.payments.capture(placed, str(uuid7()), amount=1)

    await app.expire(placed["id"])
    await wait_until_postponed(app, placed)

    assert (await get(app, placed))["status"] == "pending"
    assert MISPAID._value.get() == before + 1


async def test_an_order_is_neither_payable_nor_cancelled_around_its_expiry(app: OrderApp) -> None:
    before, after, sentinel = [await app.place_order(1607, (1, 1)) for _ in range(3)]

    await app.expire(before["id"], seconds_ago=-25)
    await app.expire(after["id"], seconds_ago=20)
    await app.expire(sentinel["id"])
    await wait_for_status(app, sentinel, "cancelled")

    for placed in (before, after):
        response: GetPayableResponse = await call(app.rpc.GetPayable, GetPayableRequest(order_id=placed["id"]))
        assert (response.is_payable, response.status) == (False, "pending")
        assert placed["id"] not in app.payments.asked


@pytest.mark.parametrize("count", [230])
async def test_more_orders_than_one_batch_are_cancelled_by_one_sweep(app: OrderApp, count: int) -> None:
    placed = [await app.place_order(60_800 + number, (1, 1)) for number in range(count)]
    app.payments.is_unavailable = True  # until all are expired
    await app.expire(*(order["id"] for order in placed))
    app.payments.asked.clear()
    app.payments.is_unavailable = False

    await wait_for_status(app, placed[-1], "cancelled")

    async with app.sql() as sql:
        cancelled = "SELECT count(*) FROM orders WHERE buyer_id BETWEEN 60800 AND 61200 AND cancel_reason = 'expired'"

        async def all_are_cancelled() -> bool:
            return bool(await sql.fetchval(cancelled) == count)

        await eventually(all_are_cancelled)


async def test_the_event_of_an_expired_order_says_why(app: OrderApp) -> None:
    placed = await app.place_order(1609, (1, 1))

    await app.expire(placed["id"])

    await app.wait_for_events(placed["id"], "order.placed.v1", "order.cancelled.v1")
    (event,) = (e.payload for e in app.events_about(placed["id"]) if isinstance(e.payload, OrderCancelled))
    assert event.reason == CANCEL_REASON_EXPIRED
