"""The use cases of helpful votes, one transaction each."""

from collections.abc import Callable
from datetime import datetime

from chassis.database.engine import Database
from chassis.types.ids import UserId
from prometheus_client import Counter

from review_service.domain.errors import OwnReview, UnknownReview
from review_service.domain.reviews import Review, ReviewId
from review_service.repository.reviews import ReviewRepository

VOTES = Counter("reviews_helpful_votes_total", "Votes that a review is helpful, and votes taken back", ["vote"])


class VoteService:
    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def add_vote(self, user_id: UserId, review_id: ReviewId) -> Review:
        """Adds the user's vote for a review; a second one changes nothing.

        Raises UnknownReview, OwnReview, ErasedAccount.
        """
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            await repository.block_erasure(user_id)
            review = await repository.lock(review_id)
            if review.author_id == user_id:
                raise OwnReview(review_id)
            if review.shown_rating is None:
                raise UnknownReview(review_id)
            if not await repository.add_vote(review_id, user_id, self._now()):
                return review
            voted = await repository.change_helpful_count(review_id, 1)
        VOTES.labels("given").inc()
        return voted

    async def remove_vote(self, user_id: UserId, review_id: ReviewId) -> None:
        """Removes the user's vote for a review; changes nothing without one. Raises UnknownReview."""
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            await repository.lock(review_id)
            if not await repository.remove_vote(review_id, user_id):
                return
            await repository.change_helpful_count(review_id, -1)
        VOTES.labels("taken back").inc()
