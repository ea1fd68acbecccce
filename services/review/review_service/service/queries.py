"""The use cases that read reviews and ratings, one transaction each."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.database.engine import Database
from chassis.errors import NeighbourUnavailable
from chassis.http.schemas import Paging
from chassis.observability import logs
from chassis.types.ids import ProductId

from review_service.clients.products import Products
from review_service.clients.users import UserNames, Users
from review_service.domain.reviews import Rating, RatingDistribution, Review, ReviewStatus, Sort
from review_service.repository.ratings import RatingRepository
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

    async def reviews_of(self, product_id: ProductId, sort: Sort, min_rating: int, paging: Paging) -> Page:
        """Returns a page of a product's shown reviews. Raises UnknownProduct, unless the catalogue is unavailable."""
        await self._check_product(product_id)
        async with self._database.begin() as transaction:
            shown, total = await ReviewRepository(transaction).list_shown(
                product_id, sort, min_rating, paging.offset, paging.limit
            )
        return await self._page(shown, total)

    async def reviews_by_status(self, status: ReviewStatus, paging: Paging) -> Page:
        """Returns a page of the reviews of all products with a status, newest first."""
        async with self._database.begin() as transaction:
            reviews, total = await ReviewRepository(transaction).list_by_status(status, paging.offset, paging.limit)
        return await self._page(reviews, total)

    async def author_name(self, review: Review) -> str | None:
        """Returns None where the name is unknown or cannot be read now."""
        return (await self._users.names_of([review.author_id])).by_user.get(review.author_id)

    async def rating(self, product_id: ProductId) -> Rating:
        """Returns zeros for a product without reviews."""
        async with self._database.begin() as transaction:
            return await RatingRepository(transaction).rating(product_id)

    async def rating_distribution(self, product_id: ProductId) -> RatingDistribution:
        """Returns zeros for a product without reviews. Raises UnknownProduct, unless the catalogue is unavailable."""
        await self._check_product(product_id)
        async with self._database.begin() as transaction:
            return await RatingRepository(transaction).distribution(product_id)

    async def _check_product(self, product_id: ProductId) -> None:
        try:
            await self._products.seller_of(product_id, _PRODUCT_DEADLINE_SECONDS)
        except NeighbourUnavailable as error:
            log.warning("reviews are shown without checking that the product exists", reason=str(error))

    async def _page(self, reviews: Sequence[Review], total: int) -> Page:
        return Page(reviews, total, await self._users.names_of({review.author_id for review in reviews}))
