"""The total that the buyer agreed to: an order that costs another one is not placed, and its key is free again."""

import asyncio
from uuid import UUID

import pytest
from order_harness import OrderApp


def usd(amount: int) -> dict[str, object]:
    return {"amount": amount, "currency": "USD"}


def items(product: int, quantity: int) -> list[dict[str, int]]:
    return [{"product_id": product, "quantity": quantity}]


async def test_an_order_of_another_total_than_agreed_is_not_placed(app: OrderApp) -> None:
    """The cart was seen at 10.00, then the seller raised the price to 12.00."""
    await app.add_to_cart(1101, 10, 1)
    app.products.prices[10] = 1200
    before = set(app.inventory.reservations)

    refused = await app.post_order(1101, expected_total=usd(1000))

    assert (refused.status_code, refused.json()["code"]) == (409, "total_changed")
    assert refused.json()["total"] == usd(1200)
    assert await app.orders_of(1101) == []
    assert await app.cart_quantities(1101) == {10: 1}
    assert set(app.inventory.reservations) == before


@pytest.mark.parametrize("has_items", [True, False])
async def test_the_same_key_orders_at_the_new_total(app: OrderApp, has_items: bool) -> None:
    buyer = 1102 + has_items
    await app.add_to_cart(buyer, 10, 1)
    app.products.prices[10] = 1200
    body = {"items": items(10, 1)} if has_items else {}

    refused = await app.post_order(buyer, "checkout", expected_total=usd(1000), **body)
    placed = await app.post_order(buyer, "checkout", expected_total=usd(1200), **body)
    again = await app.post_order(buyer, "checkout", expected_total=usd(1200), **body)
    other = await app.post_order(buyer, "checkout", expected_total=usd(1000), **body)

    assert [response.status_code for response in (refused, placed, again, other)] == [409, 201, 201, 422]
    assert placed.json()["data"]["total"] == usd(1200)
    assert again.text == placed.text
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(await app.orders_of(buyer)) == 1


async def test_a_placed_order_is_returned_under_its_key_after_the_price_changed(app: OrderApp) -> None:
    placed = await app.post_order(1104, "checkout", items=items(10, 1), expected_total=usd(1000))
    app.products.prices[10] = 1200

    again = await app.post_order(1104, "checkout", items=items(10, 1), expected_total=usd(1000))

    assert (placed.status_code, again.text) == (201, placed.text)


@pytest.mark.parametrize("expected", [usd(999), usd(0), {"amount": 1000, "currency": "EUR"}])
async def test_any_other_total_is_refused(app: OrderApp, expected: dict[str, object]) -> None:
    response = await app.post_order(1105, items=items(10, 1), expected_total=expected)

    assert (response.status_code, response.json()["code"], response.json()["total"]) == (
        409,
        "total_changed",
        usd(1000),
    )


async def test_stock_reserved_by_an_interrupted_request_is_released(app: OrderApp) -> None:
    before = set(app.inventory.reservations)
    app.inventory.loses_responses = True
    interrupted = await app.post_order(1106, "checkout", items=items(10, 1), expected_total=usd(1000))
    app.inventory.loses_responses = False
    (reserved,) = set(app.inventory.reservations) - before
    app.products.prices[10] = 1200

    refused = await app.post_order(1106, "checkout", items=items(10, 1), expected_total=usd(1000))

    assert (interrupted.status_code, refused.status_code) == (503, 409)
    assert reserved in app.inventory.released


async def test_a_price_change_during_concurrent_requests_of_one_key_loses_nothing(app: OrderApp) -> None:
    """The request that was priced before the change finds its key released, and starts again at the new price."""

    async def raise_price() -> None:
        app.inventory.after_reserving = None
        app.products.prices[10] = 1200
        refused = await app.post_order(1107, "checkout", items=items(10, 1), expected_total=usd(1000))
        assert refused.json()["code"] == "total_changed"

    before = set(app.inventory.reservations)
    app.inventory.after_reserving = raise_price

    overtaken = await app.post_order(1107, "checkout", items=items(10, 1), expected_total=usd(1000))

    assert (overtaken.status_code, overtaken.json()["code"]) == (409, "total_changed")
    assert await app.orders_of(1107) == []
    assert set(app.inventory.reservations) - before <= set(app.inventory.released)


async def test_concurrent_requests_of_one_key_place_one_order(app: OrderApp) -> None:
    responses = await asyncio.gather(
        *(app.post_order(1108, "checkout", items=items(10, 1), expected_total=usd(1000)) for _ in range(5))
    )

    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["data"]["id"] for response in responses}) == 1
    assert UUID(responses[0].json()["data"]["id"]) not in app.inventory.released


@pytest.mark.parametrize("expected", [{"amount": -1, "currency": "USD"}, {"amount": 1}, usd(2**53), "10.00", 1000])
async def test_an_invalid_total_is_an_invalid_field(app: OrderApp, expected: object) -> None:
    response = await app.post_order(1109, items=items(10, 1), expected_total=expected)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
