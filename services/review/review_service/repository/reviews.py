"""Statements on reviews and their votes. Locks: an author against their erasure, then a review's row, then its product's rating."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chassis.types.ids import ProductId, UserId
from sqlalchemy import ColumnElement, Row, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.domain.errors import AlreadyReviewed
from review_service.domain.reviews import Opinion, Review, ReviewId, ReviewStatus, Sort
from review_service.repository.tables import erased_users, helpful_votes, reviews

_NEWEST = (reviews.c.created_at.desc(), reviews.c.id.desc())
_ORDERS: dict[Sort, tuple[ColumnElement[Any], ...]] = {
    Sort.NEWEST: _NEWEST,
    Sort.HELPFUL: (reviews.c.helpful_count.desc(), *_NEWEST),
    Sort.RATING_HIGH: (reviews.c.rating.desc(), *_NEWEST),
    Sort.RATING_LOW: (reviews.c.rating, *_NEWEST),
}


class ReviewRepository:
    """Reads and writes within one transaction. Who changes what is shown also calls `RatingRepository.change`, in the same one."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def shown(
        self, product_id: ProductId, sort: Sort, min_rating: int, offset: int, limit: int
    ) -> tuple[Sequence[Review], int]:
        """A page of what everybody may read, each order by its index; and how many there are in all."""
        wanted = [reviews.c.product_id == product_id, reviews.c.status == ReviewStatus.APPROVED]
        if min_rating > 1:
            wanted.append(reviews.c.rating >= min_rating)
        return await self._page(wanted, _ORDERS[sort], offset, limit)

    async def by_status(self, status: ReviewStatus, offset: int, limit: int) -> tuple[Sequence[Review], int]:
        """Of all products, newest first, but for those that their authors removed; hidden ones along reviews_hidden."""
        is_there = reviews.c.removed_at.is_distinct_from(reviews.c.updated_at)
        return await self._page([reviews.c.status == status, is_there], _NEWEST, offset, limit)

    async def _page(
        self, wanted: Sequence[ColumnElement[bool]], order: Sequence[ColumnElement[Any]], offset: int, limit: int
    ) -> tuple[Sequence[Review], int]:
        page = select(reviews).where(*wanted).order_by(*order).offset(offset).limit(limit)
        rows = (await self._transaction.execute(page)).all()
        total = await self._transaction.scalar(select(func.count()).select_from(reviews).where(*wanted))
        return [_review(row) for row in rows], total or 0

    async def add(self, product_id: ProductId, author_id: UserId, said: Opinion, at: datetime) -> Review:
        """Raises AlreadyReviewed; waits for a review that the author adds at the same time."""
        new = insert(reviews).values(
            product_id=product_id, author_id=author_id, **_columns(said), created_at=at, updated_at=at
        )
        once = new.on_conflict_do_nothing(constraint="one_review_of_a_product_each").returning(reviews)
        added = (await self._transaction.execute(once)).first()
        if added is None:
            raise AlreadyReviewed(product_id)
        return _review(added)

    async def lock(self, review_id: ReviewId) -> Review | None:
        """By primary key, its row locked."""
        wanted = select(reviews).where(reviews.c.id == review_id).with_for_update()
        row = (await self._transaction.execute(wanted)).first()
        return None if row is None else _review(row)

    async def revise(self, review_id: ReviewId, said: Opinion, status: ReviewStatus, at: datetime) -> Review:
        """The row must be locked."""
        changed = update(reviews).values(**_columns(said), status=status, updated_at=at)
        return await self._changed(changed.where(reviews.c.id == review_id).returning(reviews))

    async def moderate(self, review_id: ReviewId, status: ReviewStatus, reason: str | None) -> Review:
        """The row must be locked."""
        changed = update(reviews).values(status=status, moderation_reason=reason)
        return await self._changed(changed.where(reviews.c.id == review_id).returning(reviews))

    async def remove(self, review_id: ReviewId) -> None:
        """Its votes go with it. The row must be locked."""
        await self._transaction.execute(delete(reviews).where(reviews.c.id == review_id))

    async def blank(self, review_id: ReviewId, at: datetime) -> None:
        """Takes its words, and keeps it as the one review that its author may write of the product. The row must be locked."""
        blank = update(reviews).values(
            title=None, text=None, status=ReviewStatus.REJECTED, updated_at=at, removed_at=at
        )
        await self._transaction.execute(blank.where(reviews.c.id == review_id))

    async def vote(self, review_id: ReviewId, user_id: UserId, at: datetime) -> bool:
        """Whether this is the user's first vote for it. The review's row must be locked."""
        new = insert(helpful_votes).values(review_id=review_id, user_id=user_id, created_at=at)
        return (await self._transaction.execute(new.on_conflict_do_nothing())).rowcount == 1

    async def unvote(self, review_id: ReviewId, user_id: UserId) -> bool:
        """Whether there was a vote. The review's row must be locked."""
        theirs = helpful_votes.c.review_id == review_id, helpful_votes.c.user_id == user_id
        return (await self._transaction.execute(delete(helpful_votes).where(*theirs))).rowcount == 1

    async def count_votes(self, review_id: ReviewId, more: int) -> Review:
        """The row must be locked."""
        changed = update(reviews).values(helpful_count=reviews.c.helpful_count + more)
        return await self._changed(changed.where(reviews.c.id == review_id).returning(reviews))

    async def hold_off_erasure(self, user_id: UserId) -> bool:
        """Whether the account is still there. If so, its erasure waits until this transaction ends, and erases what it wrote."""
        await self._transaction.execute(select(func.pg_advisory_xact_lock_shared(user_id)))
        gone = await self._transaction.scalar(select(erased_users.c.user_id).where(erased_users.c.user_id == user_id))
        return gone is None

    async def erase(self, user_id: UserId, at: datetime) -> None:
        """A user's words and votes, now and for ever; the stars stay. Waits for what they are writing at this moment."""
        await self._transaction.execute(select(func.pg_advisory_xact_lock(user_id)))
        await self._transaction.execute(
            insert(erased_users).values(user_id=user_id, erased_at=at).on_conflict_do_nothing()
        )
        theirs = reviews.c.author_id == user_id
        voted_for = reviews.c.id.in_(select(helpful_votes.c.review_id).where(helpful_votes.c.user_id == user_id))
        touched = select(reviews.c.id).where(or_(theirs, voted_for)).order_by(reviews.c.id).with_for_update()
        await self._transaction.execute(touched)
        silenced = update(reviews).where(theirs).values(title=None, text=None, moderation_reason=None)
        await self._transaction.execute(silenced)
        withdrawn = delete(helpful_votes).where(helpful_votes.c.user_id == user_id).returning(helpful_votes.c.review_id)
        votes = withdrawn.cte("withdrawn")
        fewer = update(reviews).where(reviews.c.id == votes.c.review_id)
        await self._transaction.execute(fewer.values(helpful_count=reviews.c.helpful_count - 1))

    async def _changed(self, statement: Any) -> Review:
        return _review((await self._transaction.execute(statement)).one())


def _columns(said: Opinion) -> dict[str, object]:
    return {"rating": said.rating, "title": said.title, "text": said.text}


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
