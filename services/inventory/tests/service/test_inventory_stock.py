"""Stock on a real PostgreSQL and RabbitMQ: nothing is oversold, whatever happens at once or twice."""

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
from inventory_harness import PRODUCTS, Inventory
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderLine, OrderPlaced
from shopapi.inventory.v1.inventory_pb2 import GetStocksRequest, ReleaseRequest, ReserveLine, ReserveRequest


def at(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return stamp


def reserve(order_id: UUID, *lines: tuple[int, int], seconds: float = 60) -> ReserveRequest:
    wanted = [ReserveLine(product_id=product, quantity=quantity) for product, quantity in lines]
    return ReserveRequest(order_id=str(order_id), lines=wanted, until=at(seconds))


def placed(order_id: UUID, *lines: tuple[int, int], seconds: float = 600) -> OrderPlaced:
    ordered = [OrderLine(product_id=product, quantity=quantity) for product, quantity in lines]
    return OrderPlaced(order_id=str(order_id), lines=ordered, expires_at=at(seconds))


async def send(inventory: Inventory, *payloads: Message) -> list[Event]:
    sent = [Event(uuid7(), payload.order_id, datetime.now(UTC), payload, {}) for payload in payloads]  # type: ignore[attr-defined]
    await publish_events(inventory.broker_url, sent)
    await received(inventory, sent)
    return sent


async def received(inventory: Inventory, sent: list[Event]) -> None:
    ids = {event.id for event in sent}

    async def all_are_stored() -> bool:
        async with connect_to(inventory.database) as sql:
            return bool(
                await sql.fetchval("SELECT count(*) FROM inbox WHERE event_id = ANY($1)", list(ids)) == len(ids)
            )

    await eventually(all_are_stored)


async def test_stock_is_never_oversold(inventory: Inventory) -> None:
    product = next(PRODUCTS)
    await inventory.count(product, 5)

    outcomes = await asyncio.gather(
        *(call(inventory.rpc.Reserve, reserve(uuid7(), (product, 1))) for _ in range(20)), return_exceptions=True
    )

    refused = [outcome for outcome in outcomes if isinstance(outcome, NeighbourRefused)]
    assert [problem.code for problem in refused] == ["out_of_stock"] * 15
    assert await inventory.stock(product) == {"product_id": product, "on_hand": 5, "reserved": 5, "available": 0}


async def test_orders_over_the_same_products_in_any_order_do_not_deadlock(inventory: Inventory) -> None:
    first, second = next(PRODUCTS), next(PRODUCTS)
    await inventory.count(first, 100)
    await inventory.count(second, 100)

    baskets = [((first, 1), (second, 1)), ((second, 1), (first, 1))] * 15
    await asyncio.gather(*(call(inventory.rpc.Reserve, reserve(uuid7(), *basket), deadline=10) for basket in baskets))

    assert (await inventory.stock(first))["reserved"] == 30
    assert (await inventory.stock(second))["reserved"] == 30


async def test_a_reservation_is_all_or_nothing_and_names_what_lacks(inventory: Inventory) -> None:
    plenty, scarce = next(PRODUCTS), next(PRODUCTS)
    await inventory.count(plenty, 10)
    await inventory.count(scarce, 1)

    with pytest.raises(NeighbourRefused) as refusal:
        await call(inventory.rpc.Reserve, reserve(uuid7(), (plenty, 2), (scarce, 2)))

    assert refusal.value.members == {"products": [{"product_id": scarce, "wanted": 2, "available": 1}]}
    assert (await inventory.stock(plenty))["reserved"] == 0


async def test_many_products_are_asked_about_at_once(inventory: Inventory) -> None:
    some, none, strange = next(PRODUCTS), next(PRODUCTS), next(PRODUCTS)
    await inventory.count(some, 10)
    await inventory.count(none, 0)
    await call(inventory.rpc.Reserve, reserve(uuid7(), (some, 4)))

    answer = await call(inventory.rpc.GetStocks, GetStocksRequest(product_ids=[some, none, strange, some]))

    figures = {stock.product_id: (stock.on_hand, stock.reserved, stock.available) for stock in answer.stocks}
    assert figures == {some: (10, 4, 6), none: (0, 0, 0), strange: (0, 0, 0)}
    assert len(answer.stocks) == 3


async def test_reserving_an_order_twice_reserves_once(inventory: Inventory) -> None:
    product, order = next(PRODUCTS), uuid7()
    await inventory.count(product, 10)

    await asyncio.gather(*(call(inventory.rpc.Reserve, reserve(order, (product, 3))) for _ in range(10)))

    assert (await inventory.stock(product))["reserved"] == 3


async def test_releasing_gives_back_once(inventory: Inventory) -> None:
    product, order = next(PRODUCTS), uuid7()
    await inventory.count(product, 10)
    await call(inventory.rpc.Reserve, reserve(order, (product, 3)))

    await asyncio.gather(*(call(inventory.rpc.Release, ReleaseRequest(order_id=str(order))) for _ in range(5)))

    assert (await inventory.stock(product))["reserved"] == 0


async def test_a_hold_lapses_by_itself(inventory: Inventory) -> None:
    product = next(PRODUCTS)
    await inventory.count(product, 1)
    await call(inventory.rpc.Reserve, reserve(uuid7(), (product, 1), seconds=0.1))

    async def is_back() -> bool:
        return (await inventory.stock(product))["reserved"] == 0

    await eventually(is_back)


async def test_order_placed_extends_the_hold(inventory: Inventory) -> None:
    product, order = next(PRODUCTS), uuid7()
    other = next(PRODUCTS)
    await inventory.count(product, 1)
    await inventory.count(other, 1)
    await call(inventory.rpc.Reserve, reserve(order, (product, 1), seconds=1.0))
    await send(inventory, placed(order, (product, 1)))
    await call(inventory.rpc.Reserve, reserve(uuid7(), (other, 1), seconds=1.0))

    async def the_later_hold_has_lapsed() -> bool:
        return (await inventory.stock(other))["reserved"] == 0

    await eventually(the_later_hold_has_lapsed)
    assert (await inventory.stock(product))["reserved"] == 1


async def test_an_order_whose_hold_lapsed_gets_its_stock_again(inventory: Inventory) -> None:
    product, order = next(PRODUCTS), uuid7()
    await inventory.count(product, 1)
    await call(inventory.rpc.Reserve, reserve(order, (product, 1), seconds=0.0))

    async def has_lapsed() -> bool:
        return (await inventory.stock(product))["reserved"] == 0

    await eventually(has_lapsed)
    await send(inventory, placed(order, (product, 1)))

    assert (await inventory.stock(product))["reserved"] == 1


async def test_an_order_that_cannot_keep_its_stock_is_told(inventory: Inventory) -> None:
    product, order, faster = next(PRODUCTS), uuid7(), uuid7()
    await inventory.count(product, 1)
    await call(inventory.rpc.Reserve, reserve(order, (product, 1), seconds=0.0))

    async def somebody_else_has_it() -> bool:
        try:
            await call(inventory.rpc.Reserve, reserve(faster, (product, 1)))
        except NeighbourRefused:
            return False
        return True

    await eventually(somebody_else_has_it)
    async with recorded_events(inventory.broker_url, "order") as next_event:
        await send(inventory, placed(order, (product, 1)))
        rejected = await next_event()

    assert rejected.type.name == "reservation.rejected.v1"
    assert rejected.subject == str(order)
    assert (await inventory.stock(product))["reserved"] == 1


async def test_events_replayed_and_shuffled_change_nothing(inventory: Inventory) -> None:
    product, order = next(PRODUCTS), uuid7()
    await inventory.count(product, 5)
    await call(inventory.rpc.Reserve, reserve(order, (product, 2)))

    sent = await send(inventory, OrderCancelled(order_id=str(order)), placed(order, (product, 2)))
    await publish_events(inventory.broker_url, [*sent, *reversed(sent)])
    await send(inventory, OrderCancelled(order_id=str(uuid7())))

    assert (await inventory.stock(product))["reserved"] == 0


async def test_a_message_nobody_can_read_goes_to_the_dead_letters(inventory: Inventory) -> None:
    await publish_raw(inventory.broker_url, load_topology().exchange, "order.placed.v1", b"{}")

    dead = await take_message(inventory.broker_url, "inventory.dead")

    assert dead == b"{}"


async def test_stock_is_not_set_below_what_orders_hold(inventory: Inventory) -> None:
    product = next(PRODUCTS)
    await inventory.count(product, 5)
    await call(inventory.rpc.Reserve, reserve(uuid7(), (product, 4)))

    answer = await inventory.http.put(f"/api/v1/inventory/{product}", json={"quantity": 3}, headers=inventory.seller)

    assert (answer.status_code, answer.json()["code"]) == (409, "below_reserved")
    assert (await inventory.stock(product))["on_hand"] == 5
