"""Statements on ratings: one row per product, which its reviews keep up to date. Locked after the review that changes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chassis.types.ids import ProductId
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.domain.reviews import Distribution, Rating, difference
from review_service.repository.tables import ratings

_STARS = (ratings.c.stars_1, ratings.c.stars_2, ratings.c.stars_3, ratings.c.stars_4, ratings.c.stars_5)
_REVISED = (ratings.c.product_id, ratings.c["count"], ratings.c["sum"], ratings.c.revision)


@dataclass(frozen=True, slots=True)
class Revised:
    """A product's rating after a change, and the number of that change."""

    product_id: ProductId
    rating: Rating
    revision: int


class RatingRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def rating(self, product_id: ProductId) -> Rating:
        """By primary key."""
        wanted = select(ratings.c["count"], ratings.c["sum"]).where(ratings.c.product_id == product_id)
        row = (await self._transaction.execute(wanted)).first()
        return Rating() if row is None else Rating(*row)

    async def distribution(self, product_id: ProductId) -> Distribution:
        """By primary key."""
        wanted = select(ratings.c["count"], ratings.c["sum"], *_STARS).where(ratings.c.product_id == product_id)
        row = (await self._transaction.execute(wanted)).first()
        if row is None:
            return Distribution()
        count, total, *counts = row
        return Distribution(Rating(count, total), tuple(counts))

    async def change(self, product_id: ProductId, before: int | None, after: int | None) -> Revised:
        """One review changed from `before` to `after` shown stars. Locks the product's rating; the first review makes it."""
        added = difference(before, after)
        per_star = {column: (after == stars) - (before == stars) for stars, column in enumerate(_STARS, start=1)}
        changed = {
            "count": ratings.c["count"] + added.count,
            "sum": ratings.c["sum"] + added.sum,
            "revision": ratings.c.revision + 1,
            **{column.name: column + more for column, more in per_star.items()},
        }
        found = update(ratings).where(ratings.c.product_id == product_id).values(changed).returning(*_REVISED)
        row = (await self._transaction.execute(found)).first()
        if row is None:
            first = insert(ratings).values(
                product_id=product_id,
                count=added.count,
                sum=added.sum,
                revision=1,
                **{column.name: more for column, more in per_star.items()},
            )
            made = first.on_conflict_do_update(index_elements=["product_id"], set_=changed).returning(*_REVISED)
            row = (await self._transaction.execute(made)).one()
        return _revised(row)

    async def mend(self, limit: int) -> Sequence[Revised]:
        """Counts anew, for ratings that the shop never heard of and those that do not add up: the release before this one
        knows neither revisions nor distributions. Reads all ratings.
        """
        locked = (await self._transaction.scalars(_STRANGE, {"limit": limit})).all()
        if not locked:
            return []
        return [_revised(row) for row in await self._transaction.execute(_COUNT_ANEW, {"products": list(locked)})]


def _revised(row: Sequence[Any]) -> Revised:
    product_id, count, total, revision = row
    return Revised(ProductId(product_id), Rating(count, total), revision)


_STRANGE = text("""
SELECT product_id FROM ratings
WHERE revision = 0
   OR count <> stars_1 + stars_2 + stars_3 + stars_4 + stars_5
   OR sum <> stars_1 + 2 * stars_2 + 3 * stars_3 + 4 * stars_4 + 5 * stars_5
ORDER BY product_id LIMIT :limit FOR UPDATE SKIP LOCKED
""")

# Sees every review whose change has reached the rating: whoever changes one waits for the rating's row, which is locked.
_COUNT_ANEW = text("""
UPDATE ratings SET
    count = found.all_stars, sum = found.sum, revision = revision + 1,
    stars_1 = found.s1, stars_2 = found.s2, stars_3 = found.s3, stars_4 = found.s4, stars_5 = found.s5
FROM (
    SELECT
        wanted.product_id,
        count(rating) AS all_stars,
        coalesce(sum(rating), 0) AS sum,
        count(*) FILTER (WHERE rating = 1) AS s1,
        count(*) FILTER (WHERE rating = 2) AS s2,
        count(*) FILTER (WHERE rating = 3) AS s3,
        count(*) FILTER (WHERE rating = 4) AS s4,
        count(*) FILTER (WHERE rating = 5) AS s5
    FROM unnest(CAST(:products AS bigint[])) AS wanted (product_id)
    LEFT JOIN reviews ON reviews.product_id = wanted.product_id AND reviews.status = 'approved'
    GROUP BY wanted.product_id
) AS found
WHERE ratings.product_id = found.product_id
RETURNING ratings.product_id, ratings.count, ratings.sum, ratings.revision
""")
