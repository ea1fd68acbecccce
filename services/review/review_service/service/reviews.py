"""The use cases of authors, who write, revise and remove reviews. One transaction each."""

from collections.abc import Callable
from datetime import datetime

from chassis.database.engine import Database
from chassis.http.authentication import Principal
from chassis.types.ids import ProductId, UserId
from prometheus_client import Counter

from review_service.clients.orders import Orders
from review_service.clients.products import Products
from review_service.domain.errors import NotABuyer, NotTheAuthor, OwnProduct
from review_service.domain.reviews import Review, ReviewContent, ReviewId, ReviewStatus
from review_service.repository.reviews import ReviewRepository
from review_service.service.ratings import RatingService

WRITTEN = Counter("reviews_written_total", "Reviews that buyers wrote", ["stars"])


class ReviewService:
    def __init__(
        self,
        database: Database,
        products: Products,
        orders: Orders,
        ratings: RatingService,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._products = products
        self._orders = orders
        self._ratings = ratings
        self._now = now

    async def add(self, author_id: UserId, product_id: ProductId, content: ReviewContent) -> Review:
        """Adds a review, which is shown at once.

        Raises UnknownProduct, OwnProduct, NotABuyer, AlreadyReviewed, ErasedAccount.
        """
        if await self._products.seller_of(product_id) == author_id:
            raise OwnProduct(product_id)
        if not await self._orders.has_bought(author_id, product_id):
            raise NotABuyer(product_id)
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            await repository.block_erasure(author_id)
            review = await repository.add(product_id, author_id, content, self._now())
            await self._ratings.apply_change(transaction, product_id, None, review.shown_rating)
        WRITTEN.labels(content.rating).inc()
        return review

    async def revise(self, author_id: UserId, review_id: ReviewId, content: ReviewContent) -> Review:
        """Replaces the whole content of a review. Raises UnknownReview, NotTheAuthor, ErasedAccount."""
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            await repository.block_erasure(author_id)
            review = await repository.lock(review_id)
            if review.author_id != author_id:
                raise NotTheAuthor(review_id)
            revised = await repository.revise(review_id, content, review.status.after_revision, self._now())
            await self._ratings.apply_change(transaction, review.product_id, review.shown_rating, revised.shown_rating)
        return revised

    async def remove(self, principal: Principal, review_id: ReviewId) -> None:
        """Removes a review on behalf of its author or an admin. Raises UnknownReview, NotTheAuthor.

        A hidden review that its author removes is only redacted and remains as rejected: if it were deleted, its author
        could write it again and have it shown.
        """
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            review = await repository.lock(review_id)
            if review.author_id != principal.user_id and not principal.is_admin:
                raise NotTheAuthor(review_id)
            if review.status is ReviewStatus.APPROVED or principal.is_admin:
                await repository.delete(review_id)
            else:
                await repository.redact(review_id, self._now())
            await self._ratings.apply_change(transaction, review.product_id, review.shown_rating, None)
