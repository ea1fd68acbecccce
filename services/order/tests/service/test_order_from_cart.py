"""An order of what is in the cart: placed once, the cart emptied with it, and nothing lost that was put in meanwhile."""

import asyncio
import random
from uuid import UUID

import pytest
from order_harness import Order, erasure_of

SEEDS = range(20)


def lines_of(placed: dict[str, list[dict[str, int]]]) -> dict[int, int]:
    return {item["product_id"]: item["quantity"] for item in placed["items"]}


async def test_a_cart_becomes_an_order_and_is_empty_then(order: Order) -> None:
    await order.put_in(301, 2, 3)
    await order.put_in(301, 1, 1)

    answer = await order.order_cart(301)

    assert answer.status_code == 201
    placed = answer.json()["data"]
    assert lines_of(placed) == {1: 1, 2: 3}
    assert placed["total"] == {"amount": 700, "currency": "USD"}
    assert await order.in_cart(301) == {}
    assert order.inventory.reserved[UUID(placed["id"])] == {1: 1, 2: 3}
    await order.heard(placed["id"], "order.placed.v1")


async def test_an_order_takes_the_prices_of_its_own_moment(order: Order) -> None:
    await order.put_in(302, 1, 2)
    order.products.repriced[1] = 999

    assert (await order.order_cart(302)).json()["data"]["total"]["amount"] == 1998


@pytest.mark.parametrize("body", [{}, {"items": None}])
async def test_an_empty_cart_is_no_order(order: Order, body: dict[str, None]) -> None:
    answer = await order.order_cart(303, key=f"empty-{len(body)}", **body)

    assert (answer.status_code, answer.json()["code"]) == (422, "cart_empty")
    await order.put_in(303, 1, 1)
    assert (await order.order_cart(303, key=f"empty-{len(body)}")).status_code == 201


async def test_items_that_are_sent_leave_the_cart_alone(order: Order) -> None:
    await order.put_in(304, 1, 1)

    await order.placed(304, (1, 1))

    assert await order.in_cart(304) == {1: 1}


async def test_the_same_key_later_gives_the_same_order_of_a_cart_that_is_gone(order: Order) -> None:
    await order.put_in(305, 1, 1)
    first = await order.order_cart(305, key="checkout")
    again = await order.order_cart(305, key="checkout")
    await order.put_in(305, 2, 1)
    much_later = await order.order_cart(305, key="checkout")

    assert {answer.text for answer in (first, again, much_later)} == {first.text}
    assert await order.in_cart(305) == {2: 1}
    assert len(await order.orders_of(305)) == 1


async def test_a_key_of_items_is_no_key_of_a_cart(order: Order) -> None:
    await order.place(306, (1, 1), key="checkout")
    await order.put_in(306, 1, 1)

    answer = await order.order_cart(306, key="checkout")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_refused_cart_may_be_changed_and_ordered_under_the_same_key(order: Order) -> None:
    order.inventory.left[4] = 1
    await order.put_in(307, 4, 2)
    refused = await order.order_cart(307, key="checkout")
    await order.cart("PUT", "/4", {"quantity": 1}, buyer=307)

    accepted = await order.order_cart(307, key="checkout")

    assert (refused.status_code, refused.json()["code"], accepted.status_code) == (409, "out_of_stock", 201)
    assert lines_of(accepted.json()["data"]) == {4: 1}


async def test_a_key_that_was_cut_off_goes_on_with_the_cart_of_its_first_request(order: Order) -> None:
    """What was reserved is what is ordered, whatever came into the cart meanwhile."""
    await order.put_in(308, 1, 1)
    order.inventory.after_reserving = order.cable.sever
    try:
        cut_off = await order.order_cart(308, key="checkout")
    finally:
        order.inventory.after_reserving = None
        await order.cable.restore()
    await order.put_in(308, 1, 1)
    await order.put_in(308, 2, 1)

    finished = await order.order_cart(308, key="checkout")

    assert (cut_off.status_code, finished.status_code) == (503, 201)
    placed = finished.json()["data"]
    assert lines_of(placed) == order.inventory.reserved[UUID(placed["id"])] == {1: 1}
    assert await order.in_cart(308) == {1: 1, 2: 1}


async def test_what_is_taken_out_while_it_is_being_ordered_is_not_ordered(order: Order) -> None:
    async def take_out() -> None:
        order.inventory.after_reserving = None
        await order.cart("DELETE", "/1", buyer=309)

    await order.put_in(309, 1, 1)
    await order.put_in(309, 2, 1)
    before = set(order.inventory.reserved)
    order.inventory.after_reserving = take_out

    refused = await order.order_cart(309, key="checkout")

    assert (refused.status_code, refused.json()["code"]) == (409, "cart_changed")
    (reserved,) = set(order.inventory.reserved) - before
    assert reserved in order.inventory.released
    assert (await order.orders_of(309), await order.in_cart(309)) == ([], {2: 1})
    accepted = await order.order_cart(309, key="checkout")
    assert (accepted.status_code, lines_of(accepted.json()["data"])) == (201, {2: 1})
    assert accepted.json()["data"]["id"] != str(reserved)


async def test_what_is_put_in_while_it_is_being_ordered_stays_in_the_cart(order: Order) -> None:
    async def put_more_in() -> None:
        order.inventory.after_reserving = None
        await order.put_in(310, 1, 4)
        await order.put_in(310, 2, 1)

    await order.put_in(310, 1, 1)
    order.inventory.after_reserving = put_more_in

    placed = (await order.order_cart(310)).json()["data"]

    assert (lines_of(placed), await order.in_cart(310)) == ({1: 1}, {1: 4, 2: 1})


async def test_an_erased_account_orders_nothing(order: Order) -> None:
    await order.put_in(311, 1, 1)
    await order.tell(erasure_of(311))

    for answer in (await order.order_cart(311), await order.place(311, (1, 1))):
        assert (answer.status_code, answer.json()["code"]) == (403, "account_erased")
    answer = await order.cart("POST", body={"product_id": 1, "quantity": 1}, buyer=311)
    assert (answer.status_code, answer.json()["code"]) == (403, "account_erased")


async def test_one_key_fifty_times_at_once_is_one_order_and_the_cart_emptied_once(order: Order) -> None:
    await order.put_in(312, 1, 5)
    await order.put_in(312, 2, 1)
    before = set(order.inventory.reserved)

    async def put_more_in() -> None:
        order.inventory.after_reserving = None
        await order.put_in(312, 1, 5)

    order.inventory.after_reserving = put_more_in
    answers = await asyncio.gather(*(order.order_cart(312, key="checkout") for _ in range(50)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    (stored,) = await order.orders_of(312)
    assert lines_of(stored) == {1: 5, 2: 1}
    assert set(order.inventory.reserved) - before == {UUID(stored["id"])}
    assert await order.in_cart(312) == {1: 5}
    await order.heard(stored["id"], "order.placed.v1")


@pytest.mark.parametrize("seed", SEEDS)
async def test_one_cart_is_ordered_once_by_many_at_once_whatever_their_keys(order: Order, seed: int) -> None:
    chance, buyer = random.Random(seed), 3000 + seed
    await order.put_in(buyer, 1, 2)
    keys: list[str | None] = [chance.choice([None, "a", "b", "c"]) for _ in range(8)]
    before = set(order.inventory.reserved)

    answers = await asyncio.gather(*(order.order_cart(buyer, key=key) for key in keys))

    assert {answer.status_code for answer in answers} <= {201, 409, 422}
    (stored,) = await order.orders_of(buyer)
    assert {answer.json()["data"]["id"] for answer in answers if answer.status_code == 201} == {stored["id"]}
    refused = {answer.json()["code"] for answer in answers if answer.status_code != 201}
    assert refused <= {"cart_changed", "cart_empty"}
    others = set(order.inventory.reserved) - before - {UUID(stored["id"])}
    assert others <= set(order.inventory.released)
    assert await order.in_cart(buyer) == {}


@pytest.mark.parametrize("seed", SEEDS)
async def test_ordering_and_editing_at_once_lose_and_double_nothing(order: Order, seed: int) -> None:
    chance, buyer = random.Random(seed), 3100 + seed
    await order.put_in(buyer, 1, 1)
    added = [(chance.randint(1, 3), chance.randint(1, 5)) for _ in range(6)]
    work = [order.put_in(buyer, product, quantity) for product, quantity in added]
    work += [order.order_cart(buyer, key=f"key-{n}") for n in range(3)]
    chance.shuffle(work)

    await asyncio.gather(*work)

    expected = {1: 1}
    for product, quantity in added:
        expected[product] = expected.get(product, 0) + quantity
    found = dict(await order.in_cart(buyer))
    for placed in await order.orders_of(buyer):
        for product, quantity in lines_of(placed).items():
            found[product] = found.get(product, 0) + quantity
        assert order.inventory.reserved[UUID(placed["id"])] == lines_of(placed)
    assert found == expected


async def test_who_finds_their_key_let_go_by_another_request_begins_again_under_it(order: Order) -> None:
    await order.put_in(313, 4, 1)
    before = set(order.inventory.reserved)

    async def refuse_another() -> None:
        order.inventory.after_reserving = None
        order.inventory.left[4] = 0
        assert (await order.order_cart(313, key="checkout")).status_code == 409
        del order.inventory.left[4]

    order.inventory.after_reserving = refuse_another
    placed = await order.order_cart(313, key="checkout")
    again = await order.order_cart(313, key="checkout")

    assert (placed.status_code, again.text) == (201, placed.text)
    (stored,) = await order.orders_of(313)
    (given_up,) = set(order.inventory.reserved) - before - {UUID(stored["id"])}
    assert given_up in order.inventory.released
