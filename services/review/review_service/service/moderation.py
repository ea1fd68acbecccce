"""The use case of admins, who show and hide reviews."""

from chassis.database.engine import Database
from prometheus_client import Counter

from review_service.domain.errors import UnknownReview
from review_service.domain.reviews import Review, ReviewId, ReviewStatus
from review_service.repository.reviews import ReviewRepository
from review_service.service.ratings import RatingService

MODERATED = Counter("reviews_moderated_total", "Decisions of admins on reviews", ["status"])


class ModerationService:
    def __init__(self, database: Database, ratings: RatingService) -> None:
        self._database = database
        self._ratings = ratings

    async def moderate(self, review_id: ReviewId, status: ReviewStatus, reason: str | None) -> Review:
        """Shows or hides a review; its author can read the reason.

        Raises UnknownReview, also for a review that its author has removed.
        """
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            review = await repository.lock(review_id)
            if review.is_removed:
                raise UnknownReview(review_id)
            stored_reason = None if status is ReviewStatus.APPROVED else reason
            moderated = await repository.moderate(review_id, status, stored_reason)
            await self._ratings.apply_change(
                transaction, review.product_id, review.shown_rating, moderated.shown_rating
            )
        MODERATED.labels(status.value).inc()
        return moderated
