"""Stock on a real PostgreSQL and RabbitMQ is never oversold, whether calls are concurrent or repeated."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.messaging.events import Event
from chassis.messaging.topology import load_topology
from chassis.types.ids import uuid7
from chassis_testing.broker import publish_events, publish_raw, recorded_events, take_message
from chassis_testing.databases import connect_to
from chassis_testing.waiting import eventually
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from inventory_harness import Inventory, new_product
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced, OrderShipped
from shopapi.inventory.v1.inventory_pb2 import (
    GetStockRequest,
    GetStocksRequest,
    ReleaseRequest,
    ReserveLine,
    ReserveRequest,
)


def seconds_from_now(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return stamp


def reserve_request(order_id: UUID, *lines: tuple[int, int], seconds: float = 60) -> ReserveRequest:
    requested = [ReserveLine(product_id=product, quantity=quantity) for product, quantity in lines]
    return ReserveRequest(order_id=str(order_id), lines=requested, until=seconds_from_now(seconds))


def order_placed(order_id: UUID, *lines: tuple[int, int], seconds: float = 600) -> OrderPlaced:
    ordered = [OrderLine(product_id=product, quantity=quantity) for product, quantity in lines]
    return OrderPlaced(order_id=str(order_id), lines=ordered, expires_at=seconds_from_now(seconds))


async def send(inventory: Inventory, *payloads: Message) -> list[Event]:
    sent = [Event(uuid7(), payload.order_id, datetime.now(UTC), payload, {}) for payload in payloads]  # type: ignore[attr-defined]
    await publish_events(inventory.broker_url, sent)
    await wait_until_received(inventory, sent)
    return sent


async def wait_until_received(inventory: Inventory, sent: list[Event]) -> None:
    ids = {event.id for event in sent}

    async def all_are_stored() -> bool:
        async with connect_to(inventory.database) as sql:
            return bool(
                await sql.fetchval("SELECT count(*) FROM inbox WHERE event_id = ANY($1)", list(ids)) == len(ids)
            )

    await eventually(all_are_stored)


def units(product: int, **counts: int) -> dict[str, object]:
    return {"product_id": product, **counts, "max_per_order": None, "is_exact": True}


async def test_stock_is_never_oversold(inventory: Inventory) -> None:
    product = new_product()
    await inventory.set_stock(product, 5)

    outcomes = await asyncio.gather(
        *(call(inventory.rpc.Reserve, reserve_request(uuid7(), (product, 1))) for _ in range(20)),
        return_exceptions=True,
    )

    refused = [outcome for outcome in outcomes if isinstance(outcome, NeighbourRefused)]
    assert [problem.code for problem in refused] == ["out_of_stock"] * 15
    assert await inventory.stock(product) == units(product, on_hand=5, reserved=5, committed=0, available=0)


async def test_orders_over_the_same_products_in_any_order_do_not_deadlock(inventory: Inventory) -> None:
    first, second = new_product(), new_product()
    await inventory.set_stock(first, 100)
    await inventory.set_stock(second, 100)

    baskets = [((first, 1), (second, 1)), ((second, 1), (first, 1))] * 15
    await asyncio.gather(
        *(call(inventory.rpc.Reserve, reserve_request(uuid7(), *basket), deadline=10) for basket in baskets)
    )

    assert (await inventory.stock(first))["reserved"] == 30
    assert (await inventory.stock(second))["reserved"] == 30


async def test_a_reservation_is_all_or_nothing_and_names_each_shortage(inventory: Inventory) -> None:
    plenty, scarce = new_product(), new_product()
    await inventory.set_stock(plenty, 10)
    await inventory.set_stock(scarce, 1)

    with pytest.raises(NeighbourRefused) as refusal:
        await call(inventory.rpc.Reserve, reserve_request(uuid7(), (plenty, 2), (scarce, 2)))

    assert refusal.value.members == {
        "products": [{"product_id": scarce, "requested": 2, "available": 1, "is_exact": True}]
    }
    assert (await inventory.stock(plenty))["reserved"] == 0


async def test_an_order_has_at_most_the_maximum_of_its_product(inventory: Inventory) -> None:
    limited, plenty, order = new_product(), new_product(), uuid7()
    await inventory.set_stock(limited, 10, max_per_order=2)
    await inventory.set_stock(plenty, 10)

    with pytest.raises(NeighbourRefused, match=f"at most 2 of product {limited}") as refusal:
        await call(inventory.rpc.Reserve, reserve_request(uuid7(), (plenty, 1), (limited, 2), (limited, 1)))
    await call(inventory.rpc.Reserve, reserve_request(order, (limited, 2)))
    await inventory.set_stock(limited, 10, max_per_order=1)
    await call(inventory.rpc.Reserve, reserve_request(order, (limited, 2)))  # it is reserved already
    await send(inventory, order_placed(order, (limited, 2)))

    assert (refusal.value.code, refusal.value.members) == (
        "quantity_limit",
        {"products": [{"product_id": limited, "requested": 3, "maximum": 2}]},
    )
    assert [(await inventory.stock(product))["reserved"] for product in (limited, plenty)] == [2, 0]


async def test_a_refusal_names_no_exact_count_above_the_limit(inventory: Inventory) -> None:
    product = new_product()
    await inventory.set_stock(product, 987)

    with pytest.raises(NeighbourRefused, match="at least 50 left") as refusal:
        await call(inventory.rpc.Reserve, reserve_request(uuid7(), (product, 988)))

    assert refusal.value.members == {
        "products": [{"product_id": product, "requested": 988, "available": 50, "is_exact": False}]
    }


async def test_the_stock_of_many_products_is_read_in_one_call(inventory: Inventory) -> None:
    some, none, unset = new_product(), new_product(), new_product()
    await inventory.set_stock(some, 10)
    await inventory.set_stock(none, 0)
    await call(inventory.rpc.Reserve, reserve_request(uuid7(), (some, 4)))

    response = await call(inventory.rpc.GetStocks, GetStocksRequest(product_ids=[some, none, unset, some]))

    counts = {s.product_id: (s.on_hand, s.reserved, s.committed, s.available) for s in response.stocks}
    assert counts == {some: (10, 4, 0, 6), none: (0, 0, 0, 0), unset: (0, 0, 0, 0)}
    assert len(response.stocks) == 3


async def test_reserving_an_order_twice_reserves_once(inventory: Inventory) -> None:
    product, order = new_product(), uuid7()
    await inventory.set_stock(product, 10)

    await asyncio.gather(*(call(inventory.rpc.Reserve, reserve_request(order, (product, 3))) for _ in range(10)))

    assert (await inventory.stock(product))["reserved"] == 3


async def test_releasing_an_order_repeatedly_releases_it_once(inventory: Inventory) -> None:
    product, order = new_product(), uuid7()
    await inventory.set_stock(product, 10)
    await call(inventory.rpc.Reserve, reserve_request(order, (product, 3)))

    await asyncio.gather(*(call(inventory.rpc.Release, ReleaseRequest(order_id=str(order))) for _ in range(5)))

    assert (await inventory.stock(product))["reserved"] == 0


async def test_a_reservation_expires_by_itself(inventory: Inventory) -> None:
    product = new_product()
    await inventory.set_stock(product, 1)
    await call(inventory.rpc.Reserve, reserve_request(uuid7(), (product, 1), seconds=0.1))

    async def is_available_again() -> bool:
        return bool((await inventory.stock(product))["reserved"] == 0)

    await eventually(is_available_again)


async def test_order_placed_extends_the_reservation(inventory: Inventory) -> None:
    product, order = new_product(), uuid7()
    other = new_product()
    await inventory.set_stock(product, 1)
    await inventory.set_stock(other, 1)
    await call(inventory.rpc.Reserve, reserve_request(order, (product, 1), seconds=1.0))
    await send(inventory, order_placed(order, (product, 1)))
    await call(inventory.rpc.Reserve, reserve_request(uuid7(), (other, 1), seconds=1.0))

    async def the_later_reservation_has_expired() -> bool:
        return bool((await inventory.stock(other))["reserved"] == 0)

    await eventually(the_later_reservation_has_expired)
    assert (await inventory.stock(product))["reserved"] == 1


async def test_a_placed_order_with_an_expired_reservation_gets_its_stock_again(inventory: Inventory) -> None:
    product, order = new_product(), uuid7()
    await inventory.set_stock(product, 1)
    await call(inventory.rpc.Reserve, reserve_request(order, (product, 1), seconds=0.0))

    async def has_expired() -> bool:
        return bool((await inventory.stock(product))["reserved"] == 0)

    await eventually(has_expired)
    await send(inventory, order_placed(order, (product, 1)))

    assert (await inventory.stock(product))["reserved"] == 1


async def test_an_order_that_loses_its_stock_is_rejected_by_an_event(inventory: Inventory) -> None:
    product, order, faster = new_product(), uuid7(), uuid7()
    await inventory.set_stock(product, 1)
    await call(inventory.rpc.Reserve, reserve_request(order, (product, 1), seconds=0.0))

    async def another_order_has_reserved_it() -> bool:
        try:
            await call(inventory.rpc.Reserve, reserve_request(faster, (product, 1)))
        except NeighbourRefused:
            return False
        return True

    await eventually(another_order_has_reserved_it)
    async with recorded_events(inventory.broker_url, "order") as next_event:
        await send(inventory, order_placed(order, (product, 1)))
        rejected = await next_event()

    assert rejected.type.name == "reservation.rejected.v1"
    assert rejected.subject == str(order)
    assert (await inventory.stock(product))["reserved"] == 1


async def test_events_replayed_and_shuffled_change_nothing(inventory: Inventory) -> None:
    product, order = new_product(), uuid7()
    await inventory.set_stock(product, 5)
    await call(inventory.rpc.Reserve, reserve_request(order, (product, 2)))

    sent = await send(inventory, OrderCancelled(order_id=str(order)), order_placed(order, (product, 2)))
    await publish_events(inventory.broker_url, [*sent, *reversed(sent)])
    await send(inventory, OrderCancelled(order_id=str(uuid7())))

    assert (await inventory.stock(product))["reserved"] == 0


async def test_a_shipped_order_takes_its_units_from_on_hand(inventory: Inventory) -> None:
    product, order = new_product(), uuid7()
    await inventory.set_stock(product, 10)
    await call(inventory.rpc.Reserve, reserve_request(order, (product, 3)))

    await send(inventory, OrderConfirmed(order_id=str(order), lines=[OrderLine(product_id=product, quantity=3)]))
    assert await inventory.stock(product) == units(product, on_hand=10, reserved=0, committed=3, available=7)
    stock = await call(inventory.rpc.GetStock, GetStockRequest(product_id=product))
    assert (stock.on_hand, stock.reserved, stock.committed, stock.available) == (10, 0, 3, 7)
    await send(inventory, OrderShipped(order_id=str(order)))
    assert await inventory.stock(product) == units(product, on_hand=7, reserved=0, committed=0, available=7)


async def test_a_malformed_message_goes_to_the_dead_letter_queue(inventory: Inventory) -> None:
    await publish_raw(inventory.broker_url, load_topology().exchange, "order.placed.v1", b"{}")

    dead = await take_message(inventory.broker_url, "inventory.dead")

    assert dead == b"{}"


async def test_stock_cannot_be_set_below_what_orders_hold(inventory: Inventory) -> None:
    product, paid = new_product(), uuid7()
    await inventory.set_stock(product, 5)
    await call(inventory.rpc.Reserve, reserve_request(uuid7(), (product, 3)))
    await send(inventory, OrderConfirmed(order_id=str(paid), lines=[OrderLine(product_id=product, quantity=1)]))

    response = await inventory.http.put(f"/api/v1/inventory/{product}", json={"quantity": 3}, headers=inventory.seller)

    assert (response.status_code, response.json()["code"]) == (409, "below_reserved")
    assert "orders hold 4" in response.json()["detail"]
    assert (await inventory.stock(product))["on_hand"] == 5
