"""Statements on ratings. Each product has one row, which is locked after the row of the review that changes it."""

from collections.abc import Collection, Sequence
from typing import Any

from chassis.database.statements import Connection, Statement
from chassis.types.ids import ProductId
from sqlalchemy import ARRAY, BigInteger, any_, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.domain.reviews import Rating, RatingDistribution, RatingRevision, rating_difference
from review_service.repository.tables import ratings

_STARS = (ratings.c.stars_1, ratings.c.stars_2, ratings.c.stars_3, ratings.c.stars_4, ratings.c.stars_5)
_REVISION = (ratings.c.product_id, ratings.c["count"], ratings.c["sum"], ratings.c.revision)


_RATINGS = Statement(
    select(ratings.c.product_id, ratings.c["count"], ratings.c["sum"]).where(
        ratings.c.product_id == any_(bindparam("products", type_=ARRAY(BigInteger)))
    ),
    lambda row: (ProductId(row["product_id"]), Rating(row["count"], row["sum"])),
)
_DISTRIBUTION = Statement(
    select(ratings.c["count"], ratings.c["sum"], *_STARS).where(ratings.c.product_id == bindparam("product_id")),
    lambda row: RatingDistribution(
        Rating(row["count"], row["sum"]), tuple(row[f"stars_{stars}"] for stars in range(1, 6))
    ),
)


class DisplayedRatingRepository:
    """Reads ratings without locks, by prepared statements along the primary key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ratings(self, product_ids: Collection[ProductId]) -> dict[ProductId, Rating]:
        """Returns the ratings of those products that ever had a review."""
        return dict(await _RATINGS.all(self._connection, products=list(product_ids)))

    async def distribution(self, product_id: ProductId) -> RatingDistribution:
        found = await _DISTRIBUTION.first(self._connection, product_id=product_id)
        return found or RatingDistribution()


class RatingRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def apply_change(self, product_id: ProductId, before: int | None, after: int | None) -> RatingRevision:
        """Adds the change of one review from `before` to `after` shown stars to the product's rating.

        Locks the row of the rating; creates it for the first review.
        """
        added = rating_difference(before, after)
        per_star = {column: (after == stars) - (before == stars) for stars, column in enumerate(_STARS, start=1)}
        changed = {
            "count": ratings.c["count"] + added.count,
            "sum": ratings.c["sum"] + added.sum,
            "revision": ratings.c.revision + 1,
            **{column.name: column + difference for column, difference in per_star.items()},
        }
        existing = update(ratings).where(ratings.c.product_id == product_id).values(changed).returning(*_REVISION)
        row = (await self._transaction.execute(existing)).first()
        if row is None:
            new = insert(ratings).values(
                product_id=product_id,
                count=added.count,
                sum=added.sum,
                revision=1,
                **{column.name: difference for column, difference in per_star.items()},
            )
            upsert = new.on_conflict_do_update(index_elements=["product_id"], set_=changed).returning(*_REVISION)
            row = (await self._transaction.execute(upsert)).one()
        return _revision(row)

    async def repair(self, limit: int) -> Sequence[RatingRevision]:
        """Recalculates at most `limit` ratings that were never published or whose distribution does not add up.

        The previous release writes neither revisions nor distributions. Reads all ratings.
        """
        locked = (await self._transaction.scalars(_LOCK_INCONSISTENT, {"limit": limit})).all()
        if not locked:
            return []
        return [_revision(row) for row in await self._transaction.execute(_RECALCULATE, {"products": list(locked)})]


def _revision(row: Sequence[Any]) -> RatingRevision:
    product_id, count, total, revision = row
    return RatingRevision(ProductId(product_id), Rating(count, total), revision)


_LOCK_INCONSISTENT = text("""
SELECT product_id FROM ratings
WHERE revision = 0
   OR count <> stars_1 + stars_2 + stars_3 + stars_4 + stars_5
   OR sum <> stars_1 + 2 * stars_2 + 3 * stars_3 + 4 * stars_4 + 5 * stars_5
ORDER BY product_id LIMIT :limit FOR UPDATE SKIP LOCKED
""")

# Sees every review whose change has reached the rating: a transaction that changes one waits for the locked rating row.
_RECALCULATE = text("""
UPDATE ratings SET
    count = recounted.all_stars, sum = recounted.sum, revision = revision + 1,
    stars_1 = recounted.s1, stars_2 = recounted.s2, stars_3 = recounted.s3,
    stars_4 = recounted.s4, stars_5 = recounted.s5
FROM (
    SELECT
        requested.product_id,
        count(rating) AS all_stars,
        coalesce(sum(rating), 0) AS sum,
        count(*) FILTER (WHERE rating = 1) AS s1,
        count(*) FILTER (WHERE rating = 2) AS s2,
        count(*) FILTER (WHERE rating = 3) AS s3,
        count(*) FILTER (WHERE rating = 4) AS s4,
        count(*) FILTER (WHERE rating = 5) AS s5
    FROM unnest(CAST(:products AS bigint[])) AS requested (product_id)
    LEFT JOIN reviews ON reviews.product_id = requested.product_id AND reviews.status = 'approved'
    GROUP BY requested.product_id
) AS recounted
WHERE ratings.product_id = recounted.product_id
RETURNING ratings.product_id, ratings.count, ratings.sum, ratings.revision
""")
