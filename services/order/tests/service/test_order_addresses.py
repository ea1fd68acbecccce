"""Address books, the address that an order keeps, and the erasure of both."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from order_harness import OrderApp, erasure_of, running_app
from pydantic import ValidationError

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


async def request_addresses(
    app: OrderApp, buyer: int, method: str = "GET", path: str = "", body: object = None
) -> httpx.Response:
    return await app.http.request(method, f"/api/v1/addresses{path}", json=body, headers=app.bearer(buyer))


async def list_addresses(app: OrderApp, buyer: int) -> list[dict[str, Any]]:
    addresses: list[dict[str, Any]] = (await request_addresses(app, buyer)).json()["data"]
    return addresses


async def test_a_buyer_adds_changes_and_deletes_addresses(app: OrderApp) -> None:
    ada = (await request_addresses(app, 501, "POST", body=ADA)).json()["data"]
    bob = (await request_addresses(app, 501, "POST", body=BOB)).json()["data"]
    assert await list_addresses(app, 501) == [ada, bob]
    assert ada == ADA | {"id": ada["id"]}

    changed = await request_addresses(app, 501, "PUT", f"/{bob['id']}", BOB | {"city": "Hamburg"})
    removed = await request_addresses(app, 501, "DELETE", f"/{ada['id']}")

    assert (changed.status_code, removed.status_code) == (200, 204)
    assert await list_addresses(app, 501) == [bob | {"city": "Hamburg"}]


async def test_another_buyers_address_is_unknown(app: OrderApp) -> None:
    ada = (await request_addresses(app, 502, "POST", body=ADA)).json()["data"]

    for address_id in (ada["id"], str(uuid4())):
        for response in (
            await request_addresses(app, 503, "PUT", f"/{address_id}", BOB),
            await request_addresses(app, 503, "DELETE", f"/{address_id}"),
        ):
            assert (response.status_code, response.json()["code"]) == (404, "unknown_address")
        response = await app.post_order(503, items=[{"product_id": 1, "quantity": 1}], address_id=address_id)
        assert (response.status_code, response.json()["code"]) == (422, "unknown_address")
    assert (await list_addresses(app, 502), await list_addresses(app, 503)) == ([ada], [])


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_addresses_need_a_token(app: OrderApp, method: str) -> None:
    path = f"/{uuid4()}" if method in ("PUT", "DELETE") else ""
    response = await app.http.request(method, f"/api/v1/addresses{path}")

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


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
        {"country": "ZZ"},
        {"country": "UK"},
        {"postal_code": "1" * 21},
        {"planet": "Earth"},
    ],
)
async def test_an_invalid_address_is_an_invalid_field(app: OrderApp, change: dict[str, object]) -> None:
    responses = [
        await request_addresses(app, 504, "POST", body=ADA | change),
        await app.post_order(504, items=[{"product_id": 1, "quantity": 1}], shipping_address=ADA | change),
    ]

    assert {(response.status_code, response.json()["code"]) for response in responses} == {(422, "invalid_field")}
    assert await list_addresses(app, 504) == []


async def test_half_a_surrogate_pair_is_an_invalid_field(app: OrderApp) -> None:
    headers = app.bearer(504) | {"Content-Type": "application/json"}
    body = '{"recipient": "\\ud800", "line1": "x", "city": "x", "country": "DE"}'

    response = await app.http.post("/api/v1/addresses", content=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


async def test_an_address_book_holds_at_most_fifty_addresses_under_concurrency(app: OrderApp) -> None:
    responses = await asyncio.gather(*(request_addresses(app, 505, "POST", body=BOB) for _ in range(55)))

    assert sorted(response.status_code for response in responses) == [201] * 50 + [409] * 5
    assert {response.json()["code"] for response in responses if response.status_code == 409} == {"address_book_full"}
    assert len(await list_addresses(app, 505)) == 50


async def test_an_order_keeps_the_address_it_was_placed_with(app: OrderApp) -> None:
    ada = (await request_addresses(app, 506, "POST", body=ADA)).json()["data"]
    items = [{"product_id": 1, "quantity": 1}]
    known = (await app.post_order(506, items=items, address_id=ada["id"])).json()["data"]
    sent = (await app.post_order(506, items=items, shipping_address=BOB)).json()["data"]

    await request_addresses(app, 506, "PUT", f"/{ada['id']}", BOB)
    await request_addresses(app, 506, "DELETE", f"/{ada['id']}")

    assert (await app.get(known["id"], 506)).json()["data"]["shipping_address"] == ADA
    assert sent["shipping_address"] == dict.fromkeys(ADA) | BOB


async def test_an_order_takes_only_one_address(app: OrderApp) -> None:
    response = await app.post_order(507, shipping_address=ADA, address_id=str(uuid4()))

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


async def test_a_key_cannot_be_reused_with_another_address(app: OrderApp) -> None:
    items = [{"product_id": 1, "quantity": 1}]
    first = await app.post_order(508, key="k", items=items, shipping_address=ADA)
    again = await app.post_order(508, key="k", items=items, shipping_address=ADA)
    other = await app.post_order(508, key="k", items=items, shipping_address=BOB)

    assert (first.status_code, again.text) == (201, first.text)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_erasure_deletes_the_addresses_and_the_cart(app: OrderApp) -> None:
    await request_addresses(app, 509, "POST", body=ADA)
    await app.add_to_cart(509, 1, 1)
    finished = await place_order_with_address(app, 509)
    await app.cancel(finished, 509)
    running, delivered = await place_order_with_address(app, 509), await place_order_with_address(app, 509)
    other_buyers = await place_order_with_address(app, 510)
    await app.cancel(other_buyers, 510)
    for found in (running, delivered):
        await app.pay((await app.get(found, 509)).json()["data"])

    await app.publish(erasure_of(509), erasure_of(509))

    assert (await list_addresses(app, 509), await app.cart_quantities(509)) == ([], {})
    assert await shipping_address_of(app, finished, 509) is None
    assert await shipping_address_of(app, running, 509) == ADA
    await app.cancel(running, 509)
    assert await shipping_address_of(app, running, 509) is None
    await app.change_status(delivered, "processing", "shipped")
    assert await shipping_address_of(app, delivered, 509) == ADA
    await app.change_status(delivered, "delivered")
    assert await shipping_address_of(app, delivered, 509) is None
    assert await shipping_address_of(app, other_buyers, 510) == ADA
    response = await request_addresses(app, 509, "POST", body=ADA)
    assert (response.status_code, response.json()["code"]) == (403, "account_erased")


async def place_order_with_address(app: OrderApp, buyer: int) -> str:
    response = await app.post_order(buyer, items=[{"product_id": 1, "quantity": 1}], shipping_address=ADA)
    order_id: str = response.json()["data"]["id"]
    return order_id


async def shipping_address_of(app: OrderApp, order_id: str, buyer: int) -> object:
    found: object = (await app.get(order_id, buyer)).json()["data"]["shipping_address"]
    return found


@pytest.mark.parametrize("seed", range(20))
async def test_erasure_leaves_nothing_behind_under_concurrent_writes(app: OrderApp, seed: int) -> None:
    buyer = 5100 + seed
    finishing = await place_order_with_address(app, buyer)

    await asyncio.gather(
        request_addresses(app, buyer, "POST", body=ADA),
        app.request_cart("POST", body={"product_id": 1, "quantity": 1}, buyer=buyer),
        app.cancel(finishing, buyer),
        app.publish(erasure_of(buyer)),
        request_addresses(app, buyer, "POST", body=BOB),
    )

    assert (await list_addresses(app, buyer), await app.cart_quantities(buyer)) == ([], {})
    assert await shipping_address_of(app, finishing, buyer) is None


async def test_shipping_and_tax_follow_the_settings_and_are_part_of_the_total() -> None:
    rates = {"USD": {"amount": 499, "freeFrom": 5000}}
    async with running_app(
        shipping_rates=json.dumps(rates), tax_basis_points=json.dumps({"GB": 2000, "DE": 1900}), home_country="DE"
    ) as app:
        items = [{"product_id": 10, "quantity": 1}]
        british = (await app.post_order(1, items=items, shipping_address=ADA)).json()["data"]
        domestic = (await app.post_order(1, items=items)).json()["data"]
        free = (await app.post_order(1, items=[{"product_id": 10, "quantity": 5}])).json()["data"]
        too_much = await app.order_items(1, (90, 999), (999, 1))
        await app.pay(british)

        assert [british[part]["amount"] for part in ("subtotal", "shipping", "tax", "total")] == [1000, 499, 300, 1799]
        assert [domestic[part]["amount"] for part in ("subtotal", "shipping", "tax", "total")] == [1000, 499, 285, 1784]
        assert [free[part]["amount"] for part in ("subtotal", "shipping", "tax", "total")] == [5000, 0, 950, 5950]
        assert too_much.status_code == 201
        assert (await app.get(british["id"], 1)).json()["data"]["status"] == "confirmed"
        async with app.sql() as sql:
            stored = await sql.fetchrow(
                "SELECT shipping_amount, tax_amount FROM orders WHERE id = $1", UUID(british["id"])
            )
        assert tuple(stored) == (499, 300)


async def test_a_wrong_country_is_refused_with_the_right_one(app: OrderApp) -> None:
    british = ADA | {"country": "UK"}
    saved = await request_addresses(app, 960, "POST", body=british)
    placed = await app.post_order(960, items=[{"product_id": 1, "quantity": 1}], shipping_address=british)

    for response, field in ((saved, "country"), (placed, "shipping_address.country")):
        assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
        (error,) = response.json()["errors"]
        assert error["field"] == field
        assert error["message"].endswith("write GB")


async def test_no_order_is_shipped_to_an_unknown_country_of_the_address_book(app: OrderApp) -> None:
    """Addresses were stored before countries were checked."""
    saved = (await request_addresses(app, 961, "POST", body=ADA)).json()["data"]
    async with app.sql() as sql:
        await sql.execute('UPDATE addresses SET address = address || \'{"country": "ZZ"}\' WHERE buyer_id = 961')

    listed = await list_addresses(app, 961)
    refused = await app.post_order(961, items=[{"product_id": 1, "quantity": 1}], address_id=saved["id"])

    assert listed[0]["country"] == "ZZ"
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_country")


async def test_an_order_without_an_address_is_refused_if_taxes_have_no_home_country() -> None:
    async with running_app(tax_basis_points=json.dumps({"DE": 1900})) as app:
        items = [{"product_id": 10, "quantity": 1}]
        refused = await app.post_order(1, items=items)
        abroad = await app.post_order(1, items=items, shipping_address=ADA)

        assert (refused.status_code, refused.json()["code"]) == (422, "address_required")
        assert abroad.json()["data"]["tax"]["amount"] == 0
        assert len(app.inventory.reservations) == 1


@pytest.mark.parametrize("setting", [{"home_country": "UK"}, {"tax_basis_points": '{"ZZ": 100}'}])
async def test_a_setting_names_known_countries(setting: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="is not a country of ISO 3166-1"):
        async with running_app(**setting):
            pass
