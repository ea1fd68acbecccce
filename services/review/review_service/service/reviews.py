"""The use cases of reviews, one transaction each."""

from collections.abc import Callable, Sequence
from datetime import datetime

from chassis import logs
from chassis.database import Database
from chassis.kernel.ids import ProductId, UserId
from chassis.problems import NeighbourUnavailable
from chassis.tokens import Principal

from review_service.clients.orders import Orders
from review_service.clients.products import Products
from review_service.domain.errors import NotABuyer, NotTheAuthor, OwnProduct, UnknownReview
from review_service.domain.reviews import Opinion, Rating, Review, ReviewId, difference
from review_service.repository.reviews import ReviewRepository

_READER_SECONDS = 0.5
"""Who reads does not wait longer for the catalogue; who writes does."""

log = logs.get(__name__)


class Reviews:
    def __init__(self, database: Database, products: Products, orders: Orders, now: Callable[[], datetime]) -> None:
        self._database = database
        self._products = products
        self._orders = orders
        self._now = now

    async def page(self, product_id: ProductId, offset: int, limit: int) -> tuple[Sequence[Review], int]:
        """Newest first; and how many there are in all. Raises UnknownProduct, unless the catalogue is away."""
        try:
            await self._products.seller_of(product_id, _READER_SECONDS)
        except NeighbourUnavailable as error:
            log.warning("reviews are shown without a look into the catalogue", reason=str(error))
        async with self._database.begin() as transaction:
            return await ReviewRepository(transaction).page(product_id, offset, limit)

    async def rating(self, product_id: ProductId) -> Rating:
        """Zeros for a product that nobody has rated."""
        async with self._database.begin() as transaction:
            return await ReviewRepository(transaction).rating(product_id)

    async def add(self, author_id: UserId, product_id: ProductId, said: Opinion) -> Review:
        """Raises UnknownProduct, OwnProduct, NotABuyer, AlreadyReviewed."""
        if await self._products.seller_of(product_id) == author_id:
            raise OwnProduct(product_id)
        if not await self._orders.has_ordered(author_id, product_id):
            raise NotABuyer(product_id)
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            review = await repository.add(product_id, author_id, said, self._now())
            await repository.add_to_rating(product_id, difference(None, said.rating))
        return review

    async def revise(self, author_id: UserId, review_id: ReviewId, said: Opinion) -> Review:
        """Replaces all that a review says. Raises UnknownReview, NotTheAuthor."""
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            review = await _locked(repository, review_id)
            if review.author_id != author_id:
                raise NotTheAuthor(review_id)
            revised = await repository.revise(review_id, said, self._now())
            await repository.add_to_rating(review.product_id, difference(review.rating, said.rating))
        return revised

    async def remove(self, principal: Principal, review_id: ReviewId) -> None:
        """By its author or an admin. Raises UnknownReview, NotTheAuthor."""
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            review = await _locked(repository, review_id)
            if review.author_id != principal.user_id and not principal.is_admin:
                raise NotTheAuthor(review_id)
            await repository.remove(review_id)
            await repository.add_to_rating(review.product_id, difference(review.rating, None))


async def _locked(repository: ReviewRepository, review_id: ReviewId) -> Review:
    review = await repository.lock(review_id)
    if review is None:
        raise UnknownReview(review_id)
    return review
