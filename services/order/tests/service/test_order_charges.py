"""An order whose total the payment provider cannot charge is refused before anything is reserved."""

from order_harness import running_app


async def test_an_order_below_the_providers_minimum_is_not_taken() -> None:
    async with running_app(payment_provider="stripe") as app:
        app.products.prices[1] = 49
        refused = await app.order_items(1040, (1, 1), key="checkout-1")

        assert (refused.status_code, refused.json()["code"]) == (422, "total_too_small")
        assert refused.json()["minimum"] == {"amount": 50, "currency": "USD"}
        assert (await app.orders_of(1040), app.inventory.reservations) == ([], {})

        app.products.prices[1] = 50
        assert (await app.order_items(1040, (1, 1), key="checkout-1")).status_code == 201
