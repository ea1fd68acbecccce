"""Product details: reads the product, then its variants and the parts of other services in parallel."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chassis.errors import DatabaseUnavailable, NeighbourRefused, NeighbourUnavailable
from chassis.observability import logs
from chassis.types.ids import ProductId
from prometheus_client import Counter

from product_service.clients.inventory import Inventory
from product_service.clients.reviews import Reviews
from product_service.clients.users import Users
from product_service.domain.details import ProductDetails
from product_service.service.products import ProductService

DEGRADED = Counter("product_details_degraded_total", "Parts that were missing from product details", ["part"])

log = logs.get_logger(__name__)


class ProductDetailsService:
    def __init__(self, products: ProductService, users: Users, inventory: Inventory, reviews: Reviews) -> None:
        self._products = products
        self._users = users
        self._inventory = inventory
        self._reviews = reviews

    async def get_details(self, product_id: ProductId) -> ProductDetails:
        """Returns a product without the parts that cannot be read in time. Raises UnknownProduct."""
        product = await self._products.get(product_id)
        seller, stock, rating, variants = await asyncio.gather(
            _part("seller", self._users.get_seller, product.seller_id),
            _part("stock", self._inventory.get_stock, product_id),
            _part("rating", self._reviews.get_rating, product_id),
            _part("variants", self._products.get_variants, product),
        )
        return ProductDetails(product, seller, stock, rating, variants)


_Subject = TypeVar("_Subject")
_Part = TypeVar("_Part")


async def _part(name: str, read: Callable[[_Subject], Awaitable[_Part | None]], subject: _Subject) -> _Part | None:
    """Returns the part, None if its service or the database does not answer in time, refuses or does not have it."""
    try:
        part = await read(subject)
    except (NeighbourUnavailable, NeighbourRefused, DatabaseUnavailable) as error:
        part, reason = None, str(error)
    else:
        reason = "its service does not know it"
    if part is None:
        DEGRADED.labels(name).inc()
        log.warning("product details without a part", part=name, reason=reason)
    return part
