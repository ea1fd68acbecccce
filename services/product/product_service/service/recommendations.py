"""What else a shopper may like: from this service's own books alone, so that no neighbour can take it away."""

from collections.abc import Sequence

from chassis.database.engine import Database
from chassis.types.ids import ProductId

from product_service.domain.products import Listing
from product_service.domain.recommendations import Reason, Recommendation
from product_service.repository.figures import FigureRepository
from product_service.service.products import Products


class Recommending:
    def __init__(self, database: Database, products: Products) -> None:
        self._database = database
        self._products = products

    async def beside(self, product_id: ProductId, limit: int) -> list[Recommendation]:
        """What was bought together with a product, then what is popular in its category, then what is popular. Raises UnknownProduct."""
        product = await self._products.product(product_id)
        chosen: list[Recommendation] = []

        def choose(listings: Sequence[Listing], reason: Reason) -> None:
            chosen.extend(Recommendation(listing, reason) for listing in listings)

        def seen() -> list[ProductId]:
            return [product_id, *(recommendation.listing.product.id for recommendation in chosen)]

        async with self._database.begin() as transaction:
            figures = FigureRepository(transaction)
            choose(await figures.bought_with(product_id, limit), Reason.BOUGHT_TOGETHER)
            if len(chosen) < limit:
                popular = await figures.popular(limit - len(chosen), seen(), product.category_id)
                choose(popular, Reason.POPULAR_IN_CATEGORY)
            if len(chosen) < limit:
                choose(await figures.popular(limit - len(chosen), seen()), Reason.POPULAR)
        return chosen
