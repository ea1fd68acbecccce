"""Published and consumed events, on a real RabbitMQ."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from chassis.types.ids import uuid7
from order_harness import SELLER, OrderApp, rejection_of
from shopapi.events.v1.events_pb2 import (
    CANCEL_REASON_BUYER,
    CANCEL_REASON_EXPIRED,
    CANCEL_REASON_OUT_OF_STOCK,
    OrderCancelled,
    OrderPlaced,
)


async def test_the_placed_event_describes_the_whole_order(app: OrderApp) -> None:
    placed = await app.place_order(51, (2, 3), (1, 1))

    await app.wait_for_events(placed["id"], "order.placed.v1")
    (event,) = app.events_about(placed["id"])
    payload = event.payload
    assert isinstance(payload, OrderPlaced)
    assert (payload.order_id, payload.buyer_id) == (placed["id"], 51)
    assert [(x.product_id, x.name, x.quantity, x.unit_price.amount, x.seller_id) for x in payload.lines] == [
        (1, "Product 1", 1, 100, SELLER),
        (2, "Product 2", 3, 200, SELLER),
    ]
    assert (payload.total.amount, payload.total.currency) == (700, "USD")
    assert payload.placed_at.ToDatetime(UTC) == datetime.fromisoformat(placed["created_at"])
    assert payload.expires_at.ToDatetime(UTC) == datetime.fromisoformat(placed["expires_at"])


async def test_a_cancellation_is_published_once_with_its_reason(app: OrderApp) -> None:
    placed = await app.place_order(52, (1, 1))
    await app.cancel(placed["id"], 52)
    await app.cancel(placed["id"], 52)

    assert await reason_of(app, placed["id"]) == CANCEL_REASON_BUYER


async def reason_of(app: OrderApp, order_id: str) -> int:
    """Returns the reason of an order's one cancellation event."""
    await app.wait_for_events(order_id, "order.placed.v1", "order.cancelled.v1")
    (payload,) = (e.payload for e in app.events_about(order_id) if isinstance(e.payload, OrderCancelled))
    assert payload.order_id == order_id
    assert abs(payload.cancelled_at.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    return payload.reason


async def test_an_order_that_is_not_paid_in_time_is_cancelled(app: OrderApp) -> None:
    expired, open_ = await app.place_order(53, (1, 1)), await app.place_order(53, (1, 1))
    paid = await app.place_order(53, (1, 1))
    await app.pay(paid)
    await app.expire(expired["id"], paid["id"])

    assert await reason_of(app, expired["id"]) == CANCEL_REASON_EXPIRED
    statuses = {found["id"]: found["status"] for found in await app.orders_of(53)}
    assert statuses == {expired["id"]: "cancelled", open_["id"]: "pending", paid["id"]: "confirmed"}


async def test_an_order_without_stock_is_cancelled(app: OrderApp) -> None:
    placed = await app.place_order(54, (1, 1))

    await app.publish(rejection_of(placed["id"]))

    assert (await app.get(placed["id"], 54)).json()["data"]["status"] == "cancelled"
    assert await reason_of(app, placed["id"]) == CANCEL_REASON_OUT_OF_STOCK


@pytest.mark.parametrize("seed", range(5))
async def test_replayed_and_shuffled_rejections_cancel_each_order_once(app: OrderApp, seed: int) -> None:
    rng = random.Random(seed)
    rejected, cancelled, untouched = [await app.place_order(55, (1, 1)) for _ in range(3)]
    await app.cancel(cancelled["id"], 55)
    events = [
        rejection_of(rejected["id"]),
        rejection_of(rejected["id"]),
        rejection_of(cancelled["id"]),
        rejection_of(str(uuid7())),
    ]
    deliveries = events * 3
    rng.shuffle(deliveries)

    await app.publish(*deliveries)

    statuses = {found["id"]: found["status"] for found in await app.orders_of(55)}
    assert (statuses[rejected["id"]], statuses[untouched["id"]]) == ("cancelled", "pending")
    assert await reason_of(app, rejected["id"]) == CANCEL_REASON_OUT_OF_STOCK
    assert await reason_of(app, cancelled["id"]) == CANCEL_REASON_BUYER
    await app.wait_for_events(untouched["id"], "order.placed.v1")
