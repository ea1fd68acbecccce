"""What orders tell, and what they are told: on a real RabbitMQ."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.types.ids import uuid7
from order_harness import SELLER, Order, rejection_of
from shopapi.events.v1.events_pb2 import (
    CANCEL_REASON_BUYER,
    CANCEL_REASON_EXPIRED,
    CANCEL_REASON_OUT_OF_STOCK,
    OrderCancelled,
    OrderPlaced,
)


async def test_a_placed_order_is_announced_whole(order: Order) -> None:
    placed = await order.placed(51, (2, 3), (1, 1))

    await order.heard(placed["id"], "order.placed.v1")
    (event,) = order.about(placed["id"])
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


async def test_a_cancelled_order_is_announced_once_with_its_reason(order: Order) -> None:
    placed = await order.placed(52, (1, 1))
    await order.cancel(placed["id"], 52)
    await order.cancel(placed["id"], 52)

    assert await reason_of(order, placed["id"]) == CANCEL_REASON_BUYER


async def reason_of(order: Order, order_id: str) -> int:
    """Why an order was cancelled, as its one event tells."""
    await order.heard(order_id, "order.placed.v1", "order.cancelled.v1")
    (payload,) = (e.payload for e in order.about(order_id) if isinstance(e.payload, OrderCancelled))
    assert payload.order_id == order_id
    assert abs(payload.cancelled_at.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    return payload.reason


async def test_an_order_that_is_not_paid_in_time_is_cancelled(order: Order) -> None:
    lapsed, open_ = await order.placed(53, (1, 1)), await order.placed(53, (1, 1))
    paid = await order.placed(53, (1, 1))
    await order.pay(paid)
    async with order.sql() as sql:
        await sql.execute(
            "UPDATE orders SET expires_at = $1 WHERE id = ANY($2)",
            datetime.now(UTC) - timedelta(seconds=1),
            [UUID(lapsed["id"]), UUID(paid["id"])],
        )

    assert await reason_of(order, lapsed["id"]) == CANCEL_REASON_EXPIRED
    statuses = {found["id"]: found["status"] for found in await order.orders_of(53)}
    assert statuses == {lapsed["id"]: "cancelled", open_["id"]: "pending", paid["id"]: "confirmed"}


async def test_an_order_whose_stock_is_gone_is_cancelled(order: Order) -> None:
    placed = await order.placed(54, (1, 1))

    await order.tell(rejection_of(placed["id"]))

    assert (await order.get(placed["id"], 54)).json()["data"]["status"] == "cancelled"
    assert await reason_of(order, placed["id"]) == CANCEL_REASON_OUT_OF_STOCK


@pytest.mark.parametrize("seed", range(5))
async def test_replayed_and_shuffled_events_change_nothing(order: Order, seed: int) -> None:
    chance = random.Random(seed)
    hit, cancelled, spared = [await order.placed(55, (1, 1)) for _ in range(3)]
    await order.cancel(cancelled["id"], 55)
    events = [
        rejection_of(hit["id"]),
        rejection_of(hit["id"]),
        rejection_of(cancelled["id"]),
        rejection_of(str(uuid7())),
    ]
    told = events * 3
    chance.shuffle(told)

    await order.tell(*told)

    statuses = {found["id"]: found["status"] for found in await order.orders_of(55)}
    assert (statuses[hit["id"]], statuses[spared["id"]]) == ("cancelled", "pending")
    assert await reason_of(order, hit["id"]) == CANCEL_REASON_OUT_OF_STOCK
    assert await reason_of(order, cancelled["id"]) == CANCEL_REASON_BUYER
    await order.heard(spared["id"], "order.placed.v1")
