"""A price is in a currency of the shop: ISO 4217 by membership, and the shop's own list."""

import pytest
from product_harness import Catalogue, another_process


@pytest.mark.parametrize("currency", ["ZZZ", "XXX", "XTS", "XAU", "HRK", "CLF"])
async def test_a_price_in_no_currency_is_refused(catalogue: Catalogue, currency: str) -> None:
    body = await catalogue.product_body(price={"amount": 5, "currency": currency})
    response = await catalogue.http.post("/api/v1/products", json=body, headers=catalogue.seller)

    assert (response.status_code, response.json()["code"]) == (422, "currency_not_offered")
    assert {"USD", "ISK", "KWD"} < set(response.json()["currencies"])


async def test_a_price_is_in_one_of_the_shops_currencies(catalogue: Catalogue) -> None:
    product = await catalogue.add_product(price={"amount": 500, "currency": "SEK"})
    async with another_process(catalogue, currencies=("USD", "EUR")) as shop:
        body = await shop.product_body(price={"amount": 500, "currency": "SEK"})
        added = await shop.http.post("/api/v1/products", json=body, headers=shop.seller)
        revised = await shop.http.put(f"/api/v1/products/{product['id']}", json=body, headers=shop.seller)
        accepted = await shop.add_product(price={"amount": 500, "currency": "EUR"})

    for refused in (added, revised):
        assert (refused.status_code, refused.json()["code"]) == (422, "currency_not_offered")
        assert refused.json()["currencies"] == ["EUR", "USD"]
        assert "it sells in EUR, USD" in refused.json()["detail"]
    assert accepted["price"] == {"amount": 500, "currency": "EUR"}
