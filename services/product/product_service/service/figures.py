"""What other services tell of products, kept beside them, so that lists can be narrowed and sorted by it. Each of these may hear the same
thing twice, and the older thing last.
"""

from collections.abc import Sequence

from chassis.types.ids import ProductId
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.repository.figures import FigureRepository


async def tell_availability_within(
    transaction: AsyncConnection, product_id: ProductId, is_available: bool, revision: int
) -> None:
    """A product came into stock or went out of it; `revision` says which news is newer."""
    await FigureRepository(transaction).tell_availability(product_id, is_available, revision)


async def tell_rating_within(
    transaction: AsyncConnection, product_id: ProductId, stars: int, count: int, revision: int
) -> None:
    """The sum of a product's stars, and how many ratings these are."""
    await FigureRepository(transaction).tell_rating(product_id, stars, count, revision)


async def count_order_within(transaction: AsyncConnection, product_ids: Sequence[ProductId]) -> None:
    """One order was paid. To be called once for each: the inbox sees to that."""
    await FigureRepository(transaction).count_order(sorted(set(product_ids)))
