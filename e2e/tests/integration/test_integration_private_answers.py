"""What a seller sees of the stock reaches no other caller, through the gateway and its answer cache."""

import httpx
import pytest
from devtools.shop_client import Person, Shop

UNITS = 987_654
"""More than `EXACT_STOCK_UP_TO`, so that the public is not told."""


async def get(shop: Shop, path: str, headers: dict[str, str]) -> httpx.Response:
    response = await shop.http.get(f"{shop.url}{path}", headers=headers)
    assert response.status_code == 200, response.text
    return response


@pytest.fixture
async def stocked(shop: Shop, admin: Person) -> tuple[Person, int]:
    """A seller, and a product with so many units that the public is not told how many."""
    return await shop.stocked_product(admin, UNITS)


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
@pytest.mark.parametrize("root", ["/api/v1", "/api"])
async def test_the_stock_that_a_seller_sees_is_never_served_to_another_caller(
    shop: Shop, stocked: tuple[Person, int], accept: str, root: str
) -> None:
    seller, product = stocked
    path, others = f"{root}/inventory/{product}", [await shop.register("customer"), await shop.register("seller")]

    for _ in range(3):
        own = await get(shop, path, {"Accept": accept, **seller.headers})
        assert str(UNITS) in own.text
        assert own.headers["cache-control"] == "private, no-store"
        for headers in ({}, *(other.headers for other in others)):
            for validator in ({}, {"If-None-Match": f"{own.headers['etag']}, *"}):
                shown = await get(shop, path, {"Accept": accept, **headers, **validator})
                assert str(UNITS) not in shown.text


async def test_what_the_public_sees_may_be_stored_and_varies_by_caller(shop: Shop, stocked: tuple[Person, int]) -> None:
    seller, product = stocked
    path = f"/api/v1/inventory/{product}"

    public, own = await get(shop, path, {}), await get(shop, path, dict(seller.headers))

    assert {"cache-control", "etag", "cache-status"}.isdisjoint(public.headers)
    assert "Authorization" in public.headers["vary"].split(", ")
    assert "Authorization" in own.headers["vary"].split(", ")
