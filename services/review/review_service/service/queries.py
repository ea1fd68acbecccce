"""The use cases that read reviews, one transaction each, and ratings, one prepared statement each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chassis.database.engine import Database
from chassis.errors import NeighbourUnavailable
from chassis.http.cursors import CursorPaging
from chassis.observability import logs
from chassis.types.ids import ProductId

from review_service.clients.products import Products
from review_service.clients.users import UserNames, Users
from review_service.domain.reviews import Rating, RatingDistribution, Review, ReviewPosition, ReviewQuery
from review_service.repository.ratings import DisplayedRatingRepository
from review_service.repository.reviews import ReviewRepository

_PRODUCT_DEADLINE_SECONDS = 0.5
"""Readers do not wait longer for the catalogue; authors do."""

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of `total` reviews, with the names of their authors."""

    reviews: Sequence[Review]
    total: int
    names: UserNames


class ReviewQueries:
    def __init__(self, database: Database, users: Users, products: Products) -> None:
        self._database = database
        self._users = users
        self._products = products

    async def list_reviews(self, query: ReviewQuery, paging: CursorPaging[ReviewPosition]) -> Page:
        """Returns a page of reviews, in the order `query.sort`.

        Raises UnknownProduct for a query of one product, unless the catalogue is unavailable. The caller of this method
        checks that the user may see what the query selects.
        """
        if query.product_id is not None:
            await self._check_product(query.product_id)
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            reviews = await repository.page(query, paging.offset, paging.limit, paging.after)
            total = await repository.count(query) if paging.counted is None else paging.counted
        return Page(reviews, total, await self._users.names_of({review.author_id for review in reviews}))

    async def author_name(self, review: Review) -> str | None:
        """Returns None where the name is unknown or cannot be read now."""
        return (await self._users.names_of([review.author_id])).by_user.get(review.author_id)

    async def ratings(self, product_ids: Collection[ProductId]) -> dict[ProductId, Rating]:
        """Returns the rating of each product, with zeros for one without reviews."""
        async with self._database.read() as connection:
            found = await DisplayedRatingRepository(connection).ratings(product_ids)
        return {product_id: found.get(product_id, Rating()) for product_id in product_ids}

    async def rating_distribution(self, product_id: ProductId) -> tuple[RatingDistribution, bool]:
        """Returns zeros for a product without reviews, and whether it is certain that the product exists.

        Raises UnknownProduct, unless the catalogue is unavailable.
        """
        exists = await self._check_product(product_id)
        async with self._database.read() as connection:
            return await DisplayedRatingRepository(connection).distribution(product_id), exists

    async def _check_product(self, product_id: ProductId) -> bool:
        """Returns True, or False if the catalogue is unavailable. Raises UnknownProduct."""
        try:
            await self._products.seller_of(product_id, _PRODUCT_DEADLINE_SECONDS)
        except NeighbourUnavailable as error:
            log.warning("reviews are shown without checking that the product exists", reason=str(error))
            return False
        return True
