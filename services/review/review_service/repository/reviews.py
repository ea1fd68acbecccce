"""Statements on reviews and ratings. Locks: a review's row first, then its product's rating."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chassis.kernel.ids import ProductId, UserId
from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.domain.errors import AlreadyReviewed
from review_service.domain.reviews import Opinion, Rating, Review, ReviewId
from review_service.repository.tables import ratings, reviews


class ReviewRepository:
    """Reads and writes within one transaction. Who writes a review also calls `add_to_rating`, in the same one."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def page(self, product_id: ProductId, offset: int, limit: int) -> tuple[Sequence[Review], int]:
        """Newest first, by an index; and how many there are in all."""
        newest_first = reviews.c.created_at.desc(), reviews.c.id.desc()
        of_product = reviews.c.product_id == product_id
        rows = await self._transaction.execute(
            select(reviews).where(of_product).order_by(*newest_first).offset(offset).limit(limit)
        )
        total = await self._transaction.scalar(select(func.count()).select_from(reviews).where(of_product))
        return [_review(row) for row in rows], total or 0

    async def rating(self, product_id: ProductId) -> Rating:
        """By primary key."""
        wanted = select(ratings.c["count"], ratings.c["sum"]).where(ratings.c.product_id == product_id)
        row = (await self._transaction.execute(wanted)).first()
        return Rating() if row is None else Rating(*row)

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

    async def revise(self, review_id: ReviewId, said: Opinion, at: datetime) -> Review:
        """The row must be locked."""
        changed = update(reviews).where(reviews.c.id == review_id).values(**_columns(said), updated_at=at)
        return _review((await self._transaction.execute(changed.returning(reviews))).one())

    async def remove(self, review_id: ReviewId) -> None:
        """The row must be locked."""
        await self._transaction.execute(delete(reviews).where(reviews.c.id == review_id))

    async def add_to_rating(self, product_id: ProductId, added: Rating) -> None:
        """Locks the product's rating until the transaction ends; the first review makes it."""
        summed = {"count": ratings.c["count"] + added.count, "sum": ratings.c["sum"] + added.sum}
        changed = update(ratings).where(ratings.c.product_id == product_id).values(summed)
        if (await self._transaction.execute(changed)).rowcount == 0:
            first = insert(ratings).values(product_id=product_id, count=added.count, sum=added.sum)
            await self._transaction.execute(first.on_conflict_do_update(index_elements=["product_id"], set_=summed))


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
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
