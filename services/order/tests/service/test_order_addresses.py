"""Address books, the address that an order keeps, and forgetting both."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from order_harness import Order, erasure_of, running_order

ADA = {
    "recipient": "Ada Lovelace",
    "line1": "12 St James's Square",
    "line2": None,
    "city": "London",
    "region": None,
    "postal_code": "SW1Y 4JH",
    "country": "GB",
    "phone": None,
}
BOB = {"recipient": "Bob", "line1": "Weg 1", "city": "Berlin", "country": "DE"}


async def book(order: Order, buyer: int, method: str = "GET", path: str = "", body: object = None) -> httpx.Response:
    return await order.http.request(method, f"/api/v1/addresses{path}", json=body, headers=order.bearer(buyer))


async def kept(order: Order, buyer: int) -> list[dict[str, Any]]:
    addresses: list[dict[str, Any]] = (await book(order, buyer)).json()["data"]
    return addresses


async def test_a_buyer_keeps_changes_and_forgets_addresses(order: Order) -> None:
    ada = (await book(order, 501, "POST", body=ADA)).json()["data"]
    bob = (await book(order, 501, "POST", body=BOB)).json()["data"]
    assert await kept(order, 501) == [ada, bob]
    assert ada == ADA | {"id": ada["id"]}

    changed = await book(order, 501, "PUT", f"/{bob['id']}", BOB | {"city": "Hamburg"})
    removed = await book(order, 501, "DELETE", f"/{ada['id']}")

    assert (changed.status_code, removed.status_code) == (200, 204)
    assert await kept(order, 501) == [bob | {"city": "Hamburg"}]


async def test_another_buyers_address_is_as_unknown_as_none(order: Order) -> None:
    ada = (await book(order, 502, "POST", body=ADA)).json()["data"]

    for address_id in (ada["id"], str(uuid4())):
        for answer in (
            await book(order, 503, "PUT", f"/{address_id}", BOB),
            await book(order, 503, "DELETE", f"/{address_id}"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_address")
        answer = await order.order_cart(503, items=[{"product_id": 1, "quantity": 1}], address_id=address_id)
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_address")
    assert (await kept(order, 502), await kept(order, 503)) == ([ada], [])


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_nobody_has_addresses_without_a_token(order: Order, method: str) -> None:
    path = f"/{uuid4()}" if method in ("PUT", "DELETE") else ""
    answer = await order.http.request(method, f"/api/v1/addresses{path}")

    assert answer.status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"recipient": None},
        {"recipient": ""},
        {"recipient": "  "},
        {"recipient": "x" * 201},
        {"recipient": "a\x00"},
        {"line1": 1},
        {"country": "Germany"},
        {"country": "de"},
        {"postal_code": "1" * 21},
        {"planet": "Earth"},
    ],
)
async def test_a_bad_address_is_a_bad_field(order: Order, change: dict[str, object]) -> None:
    answers = [
        await book(order, 504, "POST", body=ADA | change),
        await order.order_cart(504, items=[{"product_id": 1, "quantity": 1}], shipping_address=ADA | change),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(422, "invalid_field")}
    assert await kept(order, 504) == []


async def test_half_a_surrogate_pair_is_a_bad_field(order: Order) -> None:
    headers = order.bearer(504) | {"Content-Type": "application/json"}
    body = '{"recipient": "\\ud800", "line1": "x", "city": "x", "country": "DE"}'

    answer = await order.http.post("/api/v1/addresses", content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_an_address_book_holds_fifty_also_when_filled_at_once(order: Order) -> None:
    answers = await asyncio.gather(*(book(order, 505, "POST", body=BOB) for _ in range(55)))

    assert sorted(answer.status_code for answer in answers) == [201] * 50 + [409] * 5
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"address_book_full"}
    assert len(await kept(order, 505)) == 50


async def test_an_order_keeps_the_address_it_was_placed_with(order: Order) -> None:
    ada = (await book(order, 506, "POST", body=ADA)).json()["data"]
    items = [{"product_id": 1, "quantity": 1}]
    known = (await order.order_cart(506, items=items, address_id=ada["id"])).json()["data"]
    sent = (await order.order_cart(506, items=items, shipping_address=BOB)).json()["data"]

    await book(order, 506, "PUT", f"/{ada['id']}", BOB)
    await book(order, 506, "DELETE", f"/{ada['id']}")

    assert (await order.get(known["id"], 506)).json()["data"]["shipping_address"] == ADA
    assert sent["shipping_address"] == dict.fromkeys(ADA) | BOB


async def test_two_addresses_are_one_too_many(order: Order) -> None:
    answer = await order.order_cart(507, shipping_address=ADA, address_id=str(uuid4()))

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_a_key_stands_for_its_address_too(order: Order) -> None:
    items = [{"product_id": 1, "quantity": 1}]
    first = await order.order_cart(508, key="k", items=items, shipping_address=ADA)
    again = await order.order_cart(508, key="k", items=items, shipping_address=ADA)
    other = await order.order_cart(508, key="k", items=items, shipping_address=BOB)

    assert (first.status_code, again.text) == (201, first.text)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_an_erased_buyer_leaves_no_address_and_no_cart(order: Order) -> None:
    await book(order, 509, "POST", body=ADA)
    await order.put_in(509, 1, 1)
    finished = await ordered(order, 509)
    await order.cancel(finished, 509)
    running, delivered = await ordered(order, 509), await ordered(order, 509)
    bystander = await ordered(order, 510)
    await order.cancel(bystander, 510)
    for found in (running, delivered):
        await order.pay((await order.get(found, 509)).json()["data"])

    await order.tell(erasure_of(509), erasure_of(509))

    assert (await kept(order, 509), await order.in_cart(509)) == ([], {})
    assert await address_of(order, finished, 509) is None
    assert await address_of(order, running, 509) == ADA
    await order.cancel(running, 509)
    assert await address_of(order, running, 509) is None
    await order.moved(delivered, "processing", "shipped")
    assert await address_of(order, delivered, 509) == ADA
    await order.moved(delivered, "delivered")
    assert await address_of(order, delivered, 509) is None
    assert await address_of(order, bystander, 510) == ADA
    answer = await book(order, 509, "POST", body=ADA)
    assert (answer.status_code, answer.json()["code"]) == (403, "account_erased")


async def ordered(order: Order, buyer: int) -> str:
    answer = await order.order_cart(buyer, items=[{"product_id": 1, "quantity": 1}], shipping_address=ADA)
    order_id: str = answer.json()["data"]["id"]
    return order_id


async def address_of(order: Order, order_id: str, buyer: int) -> object:
    found: object = (await order.get(order_id, buyer)).json()["data"]["shipping_address"]
    return found


@pytest.mark.parametrize("seed", range(20))
async def test_erasing_while_everything_is_written_leaves_nothing_behind(order: Order, seed: int) -> None:
    buyer = 5100 + seed
    finishing = await ordered(order, buyer)

    await asyncio.gather(
        book(order, buyer, "POST", body=ADA),
        order.cart("POST", body={"product_id": 1, "quantity": 1}, buyer=buyer),
        order.cancel(finishing, buyer),
        order.tell(erasure_of(buyer)),
        book(order, buyer, "POST", body=BOB),
    )

    assert (await kept(order, buyer), await order.in_cart(buyer)) == ([], {})
    assert await address_of(order, finishing, buyer) is None


async def test_shipping_and_tax_come_from_the_settings_and_are_paid() -> None:
    rates = {"USD": {"amount": 499, "free_from": 5000}}
    async with running_order(
        shipping_rates=json.dumps(rates), tax_basis_points=json.dumps({"GB": 2000, "DE": 1900}), home_country="DE"
    ) as order:
        items = [{"product_id": 10, "quantity": 1}]
        british = (await order.order_cart(1, items=items, shipping_address=ADA)).json()["data"]
        domestic = (await order.order_cart(1, items=items)).json()["data"]
        free = (await order.order_cart(1, items=[{"product_id": 10, "quantity": 5}])).json()["data"]
        too_much = await order.place(1, (90, 999_999), (999, 1))
        await order.pay(british)

        assert [british[part]["amount"] for part in ("subtotal", "shipping", "tax", "total")] == [1000, 499, 300, 1799]
        assert [domestic[part]["amount"] for part in ("subtotal", "shipping", "tax", "total")] == [1000, 499, 285, 1784]
        assert [free[part]["amount"] for part in ("subtotal", "shipping", "tax", "total")] == [5000, 0, 950, 5950]
        assert too_much.status_code == 201
        assert (await order.get(british["id"], 1)).json()["data"]["status"] == "confirmed"
        async with order.sql() as sql:
            stored = await sql.fetchrow(
                "SELECT shipping_amount, tax_amount FROM orders WHERE id = $1", UUID(british["id"])
            )
        assert tuple(stored) == (499, 300)
