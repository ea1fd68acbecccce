"""Product statistics that other services report: availability, ratings, orders. Lists are filtered and sorted by them.

Each function runs in the transaction that records its event in the inbox. Reports of availability and ratings may
arrive twice and in any order: one with an older revision changes nothing.
"""

from collections.abc import Sequence

from chassis.types.ids import ProductId
from sqlalchemy.ext.asyncio import AsyncConnection

from product_service.repository.statistics import StatisticsRepository


async def update_availability(
    transaction: AsyncConnection, product_id: ProductId, is_available: bool, revision: int
) -> None:
    """Records that a product came into stock or went out of stock."""
    await StatisticsRepository(transaction).update_availability(product_id, is_available, revision)


async def update_rating(
    transaction: AsyncConnection, product_id: ProductId, stars: int, count: int, revision: int
) -> None:
    """Records the sum of a product's stars, and the number of its ratings."""
    await StatisticsRepository(transaction).update_rating(product_id, stars, count, revision)


async def count_order(transaction: AsyncConnection, product_ids: Sequence[ProductId]) -> None:
    """Counts a paid order of these products. Must be called once for each order, which the inbox guarantees."""
    await StatisticsRepository(transaction).count_order(sorted(set(product_ids)))
