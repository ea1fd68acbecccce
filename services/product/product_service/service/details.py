"""The product page: the product, then its variants and its neighbours' parts in parallel. A part that does not come is left out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chassis.errors import DatabaseUnavailable, NeighbourRefused, NeighbourUnavailable
from chassis.observability import logs
from chassis.types.ids import ProductId
from prometheus_client import Counter

from product_service.clients.neighbours import Neighbours
from product_service.domain.details import Details
from product_service.service.products import Products

DEGRADED = Counter("product_details_degraded_total", "Parts that product pages went without", ["part"])

log = logs.get_logger(__name__)


class ProductPages:
    def __init__(self, products: Products, neighbours: Neighbours) -> None:
        self._products = products
        self._neighbours = neighbours

    async def details(self, product_id: ProductId) -> Details:
        """Raises UnknownProduct."""
        product = await self._products.product(product_id)
        seller, stock, rating, variants = await asyncio.gather(
            _part("seller", self._neighbours.seller, product.seller_id),
            _part("stock", self._neighbours.stock, product_id),
            _part("rating", self._neighbours.rating, product_id),
            _part("variants", self._products.variants, product),
        )
        return Details(product, seller, stock, rating, variants)


_Subject = TypeVar("_Subject")
_Part = TypeVar("_Part")


async def _part(name: str, ask: Callable[[_Subject], Awaitable[_Part]], subject: _Subject) -> _Part | None:
    try:
        return await ask(subject)
    except (NeighbourUnavailable, NeighbourRefused, DatabaseUnavailable) as error:
        DEGRADED.labels(name).inc()
        log.warning("a page goes without a part", part=name, reason=str(error))
        return None
