"""Responses that are encoded without their models are what the models, and so the OpenAPI document, say."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from chassis.http.schemas import Data
from product_harness import Catalogue
from product_service.handlers.schemas import (
    ProductDetailsResponse,
    ProductListResponse,
    RecommendedProductResponse,
    SuggestionResponse,
)
from pydantic import BaseModel


@pytest.fixture(scope="module")
async def group(running_service: Catalogue) -> AsyncIterator[dict[str, Any]]:
    """A product with every field set, and a variant of it."""
    category = await running_service.add_category()
    texts = {"name": 'Çay "bardağ"', "description": "Line\n\U0001f375 </script>", "category_id": category}
    small = await running_service.add_product(**texts, images=["https://example.com/a.jpg"], options={"größe": "S"})
    large = await running_service.add_product(**texts, group_id=small["id"], options={"größe": "L"})
    await running_service.execute(
        "UPDATE products SET rating_stars = 7, rating_count = 3, in_stock = true WHERE id = $1", large["id"]
    )
    yield small
    for product in (small, large):
        await running_service.http.delete(f"/api/v1/products/{product['id']}", headers=running_service.seller)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("?category={category_id}&limit=1", ProductListResponse),
        ("?category={category_id}&limit=1&facets=true", ProductListResponse),
        ("?q=bardag&facets=true", ProductListResponse),
        ("?category={category_id}&sort=price_asc&currency=USD&page=9", ProductListResponse),
        ("/{id}", Data[ProductDetailsResponse]),
        ("/{id}/recommendations", Data[list[RecommendedProductResponse]]),
        ("/suggest?q=cay", Data[list[SuggestionResponse]]),
        ("/suggest?q=zzzzqqqq", Data[list[SuggestionResponse]]),
    ],
)
async def test_a_response_has_the_bytes_of_its_model(
    running_service: Catalogue, group: dict[str, Any], path: str, model: type[BaseModel]
) -> None:
    response = await running_service.http.get("/api/v1/products" + path.format_map(group))

    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    parsed = model.model_validate_json(response.content)
    assert response.content.decode() == parsed.model_dump_json(exclude_unset=True)
