"""Product recommendations, from this service's own database alone: they depend on no other service."""

from collections.abc import Sequence

from chassis.database.engine import Database
from chassis.types.ids import ProductId

from product_service.domain.products import ListedProduct
from product_service.domain.recommendations import Reason, Recommendation
from product_service.repository.statistics import StatisticsRepository
from product_service.service.products import ProductService


class RecommendationService:
    def __init__(self, database: Database, products: ProductService) -> None:
        self._database = database
        self._products = products

    async def recommend(self, product_id: ProductId, limit: int) -> list[Recommendation]:
        """Returns what was bought together with a product, then what is popular in its category, then what is popular.

        Raises UnknownProduct.
        """
        product = await self._products.get(product_id)
        chosen: list[Recommendation] = []

        def choose(found: Sequence[ListedProduct], reason: Reason) -> None:
            chosen.extend(Recommendation(listed, reason) for listed in found)

        def excluded() -> list[ProductId]:
            return [product_id, *(recommendation.listed.product.id for recommendation in chosen)]

        async with self._database.begin() as transaction:
            statistics = StatisticsRepository(transaction)
            choose(await statistics.list_bought_together(product_id, limit), Reason.BOUGHT_TOGETHER)
            if len(chosen) < limit:
                popular = await statistics.list_popular(limit - len(chosen), excluded(), product.category_id)
                choose(popular, Reason.POPULAR_IN_CATEGORY)
            if len(chosen) < limit:
                choose(await statistics.list_popular(limit - len(chosen), excluded()), Reason.POPULAR)
        return chosen
