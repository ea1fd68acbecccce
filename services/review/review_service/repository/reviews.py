"""Statements on reviews and their votes.

Locks: first the advisory lock of the author's erasure, then the review's row, then the row of its product's rating.
"""

from datetime import datetime
from typing import Any

from chassis.types.ids import ProductId, UserId
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Row,
    and_,
    delete,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.domain.errors import AlreadyReviewed, ErasedAccount, UnknownReview
from review_service.domain.reviews import (
    Review,
    ReviewContent,
    ReviewId,
    ReviewPosition,
    ReviewQuery,
    ReviewStatus,
    Sort,
)
from review_service.repository.tables import erased_users, helpful_votes, reviews

_RANKS: dict[Sort, ColumnElement[int]] = {
    Sort.HELPFUL: reviews.c.helpful_count,
    Sort.RATING_HIGH: reviews.c.rating,
    Sort.RATING_LOW: -reviews.c.rating,
}
"""What orders a list before the age of its reviews, in descending order. A list without a rank is ordered by age."""


class ReviewRepository:
    """Reads and writes within one transaction.

    A transaction that changes shown stars also calls `RatingRepository.apply_change`.
    """

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def page(
        self, query: ReviewQuery, offset: int, limit: int, after: ReviewPosition | None = None
    ) -> list[Review]:
        """Returns one page of reviews; its order is `query.sort`.

        Along reviews_by_age, reviews_shown_by_helpful, reviews_shown_by_rating or reviews_shown_by_low_rating for one
        product, reviews_hidden or reviews_shown_by_time for all. The page begins after the review at `after`, or else
        after `offset` reviews.
        """
        keys = _keys(query.sort)
        follows = true() if after is None else tuple_(*keys) < tuple_(*_values(after))
        page = select(reviews).where(_matches(query), follows).order_by(*(key.desc() for key in keys))
        return [_review(row) for row in await self._transaction.execute(page.offset(offset).limit(limit))]

    async def count(self, query: ReviewQuery) -> int:
        """Counts with the same indexes as `page`."""
        count = select(func.count()).select_from(reviews).where(_matches(query))
        return await self._transaction.scalar(count) or 0

    async def add(self, product_id: ProductId, author_id: UserId, content: ReviewContent, at: datetime) -> Review:
        """Adds a review. Waits for a concurrent one of the same author. Raises AlreadyReviewed."""
        new = insert(reviews).values(
            product_id=product_id, author_id=author_id, **_columns(content), created_at=at, updated_at=at
        )
        insertion = new.on_conflict_do_nothing(constraint="one_review_of_a_product_each").returning(reviews)
        added = (await self._transaction.execute(insertion)).first()
        if added is None:
            raise AlreadyReviewed(product_id)
        return _review(added)

    async def lock(self, review_id: ReviewId) -> Review:
        """Reads a review by primary key and locks its row. Raises UnknownReview."""
        query = select(reviews).where(reviews.c.id == review_id).with_for_update()
        row = (await self._transaction.execute(query)).first()
        if row is None:
            raise UnknownReview(review_id)
        return _review(row)

    async def revise(self, review_id: ReviewId, content: ReviewContent, status: ReviewStatus, at: datetime) -> Review:
        """Replaces the content of a review. Its row must be locked."""
        changed = update(reviews).values(**_columns(content), status=status, updated_at=at)
        return await self._update(changed.where(reviews.c.id == review_id).returning(reviews))

    async def moderate(self, review_id: ReviewId, status: ReviewStatus, reason: str | None) -> Review:
        """Writes the status of a review and the reason. Its row must be locked."""
        changed = update(reviews).values(status=status, moderation_reason=reason)
        return await self._update(changed.where(reviews.c.id == review_id).returning(reviews))

    async def delete(self, review_id: ReviewId) -> None:
        """Deletes a review with its votes. Its row must be locked."""
        await self._transaction.execute(delete(reviews).where(reviews.c.id == review_id))

    async def redact(self, review_id: ReviewId, at: datetime) -> None:
        """Deletes a review's title and text, and keeps it as the one review that its author may write of the product.

        Its row must be locked.
        """
        redaction = update(reviews).values(
            title=None, text=None, status=ReviewStatus.REJECTED, updated_at=at, removed_at=at
        )
        await self._transaction.execute(redaction.where(reviews.c.id == review_id))

    async def add_vote(self, review_id: ReviewId, user_id: UserId, at: datetime) -> bool:
        """Returns False where the user has voted for the review already. The review's row must be locked."""
        new = insert(helpful_votes).values(review_id=review_id, user_id=user_id, created_at=at)
        return (await self._transaction.execute(new.on_conflict_do_nothing())).rowcount == 1

    async def remove_vote(self, review_id: ReviewId, user_id: UserId) -> bool:
        """Returns whether there was a vote. The review's row must be locked."""
        vote = helpful_votes.c.review_id == review_id, helpful_votes.c.user_id == user_id
        return (await self._transaction.execute(delete(helpful_votes).where(*vote))).rowcount == 1

    async def change_helpful_count(self, review_id: ReviewId, by: int) -> Review:
        """Adds `by` votes to the count of a review. Its row must be locked."""
        changed = update(reviews).values(helpful_count=reviews.c.helpful_count + by)
        return await self._update(changed.where(reviews.c.id == review_id).returning(reviews))

    async def block_erasure(self, user_id: UserId) -> None:
        """Delays the erasure of an account until this transaction ends.

        The erasure then also covers what this transaction writes. Raises ErasedAccount for an account erased already.
        """
        await self._transaction.execute(select(func.pg_advisory_xact_lock_shared(user_id)))
        erased = await self._transaction.scalar(select(erased_users.c.user_id).where(erased_users.c.user_id == user_id))
        if erased is not None:
            raise ErasedAccount

    async def erase(self, user_id: UserId, at: datetime) -> None:
        """Deletes the titles, texts and votes of a user, and refuses later ones; the stars remain.

        Waits for the user's transactions that have blocked the erasure.
        """
        await self._transaction.execute(select(func.pg_advisory_xact_lock(user_id)))
        await self._transaction.execute(
            insert(erased_users).values(user_id=user_id, erased_at=at).on_conflict_do_nothing()
        )
        is_author = reviews.c.author_id == user_id
        has_vote = reviews.c.id.in_(select(helpful_votes.c.review_id).where(helpful_votes.c.user_id == user_id))
        affected = select(reviews.c.id).where(or_(is_author, has_vote)).order_by(reviews.c.id).with_for_update()
        await self._transaction.execute(affected)
        redacted = update(reviews).where(is_author).values(title=None, text=None, moderation_reason=None)
        await self._transaction.execute(redacted)
        removed = delete(helpful_votes).where(helpful_votes.c.user_id == user_id).returning(helpful_votes.c.review_id)
        votes = removed.cte("removed")
        recounted = update(reviews).where(reviews.c.id == votes.c.review_id)
        await self._transaction.execute(recounted.values(helpful_count=reviews.c.helpful_count - 1))

    async def _update(self, statement: Any) -> Review:
        return _review((await self._transaction.execute(statement)).one())


def _keys(sort: Sort) -> tuple[ColumnElement[Any], ...]:
    by_age = reviews.c.created_at, reviews.c.id
    return (_RANKS[sort], *by_age) if sort in _RANKS else by_age


def _values(position: ReviewPosition) -> tuple[ColumnElement[Any], ...]:
    by_age = literal(position.created_at, DateTime(timezone=True)), literal(position.id, BigInteger)
    return (literal(position.rank, BigInteger), *by_age) if position.sort in _RANKS else by_age


def _matches(query: ReviewQuery) -> ColumnElement[bool]:
    """Leaves out reviews that their authors removed while they were hidden."""
    conditions: list[ColumnElement[bool]] = [reviews.c.status == query.status]
    if query.status is not ReviewStatus.APPROVED:
        conditions.append(reviews.c.removed_at.is_distinct_from(reviews.c.updated_at))
    if query.product_id is not None:
        conditions.append(reviews.c.product_id == query.product_id)
    if query.min_rating > 1:
        conditions.append(reviews.c.rating >= query.min_rating)
    return and_(*conditions)


def _columns(content: ReviewContent) -> dict[str, object]:
    return {"rating": content.rating, "title": content.title, "text": content.text}


def _review(row: Row[Any]) -> Review:
    return Review(
        id=ReviewId(row.id),
        product_id=ProductId(row.product_id),
        author_id=UserId(row.author_id),
        rating=row.rating,
        title=row.title,
        text=row.text,
        status=ReviewStatus(row.status),
        moderation_reason=row.moderation_reason,
        helpful_count=row.helpful_count,
        created_at=row.created_at,
        updated_at=row.updated_at,
        removed_at=row.removed_at,
    )
