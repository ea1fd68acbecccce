"""The use cases of reviews, one transaction each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis.database.engine import Database
from chassis.errors import NeighbourUnavailable
from chassis.http.authentication import Principal
from chassis.http.schemas import Paging
from chassis.messaging.outbox import Outbox
from chassis.observability import logs
from chassis.types.ids import ProductId, UserId
from prometheus_client import Counter
from shopapi.events.v1.events_pb2 import RatingChanged
from sqlalchemy.ext.asyncio import AsyncConnection

from review_service.clients.orders import Orders
from review_service.clients.products import Products
from review_service.clients.users import Names, Users
from review_service.domain.errors import ErasedAccount, NotABuyer, NotTheAuthor, OwnProduct, OwnReview, UnknownReview
from review_service.domain.reviews import Distribution, Opinion, Rating, Review, ReviewId, ReviewStatus, Sort
from review_service.repository.ratings import RatingRepository, Revised
from review_service.repository.reviews import ReviewRepository

WRITTEN = Counter("reviews_written_total", "Reviews that buyers wrote", ["stars"])
MODERATED = Counter("reviews_moderated_total", "Decisions of admins on reviews", ["status"])
VOTES = Counter("reviews_helpful_votes_total", "Votes that a review is helpful, and votes taken back", ["vote"])

_READER_SECONDS = 0.5
"""Who reads does not wait longer for the catalogue; who writes does."""
_BATCH = 100

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """Some of `total` reviews, and what their authors call themselves."""

    reviews: Sequence[Review]
    total: int
    names: Names


class Reviews:
    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        users: Users,
        products: Products,
        orders: Orders,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._users = users
        self._products = products
        self._orders = orders
        self._now = now
        self._new_id = new_id

    async def page(self, product_id: ProductId, sort: Sort, min_rating: int, paging: Paging) -> Page:
        """Of the reviews that everybody may read. Raises UnknownProduct, unless the catalogue is away."""
        await self._look_up(product_id)
        async with self._database.begin() as transaction:
            shown, total = await ReviewRepository(transaction).shown(
                product_id, sort, min_rating, paging.offset, paging.limit
            )
        return await self._with_names(shown, total)

    async def queue(self, status: ReviewStatus, paging: Paging) -> Page:
        """What admins look at: reviews of all products, newest first."""
        async with self._database.begin() as transaction:
            found, total = await ReviewRepository(transaction).by_status(status, paging.offset, paging.limit)
        return await self._with_names(found, total)

    async def name_of(self, user_id: UserId) -> str | None:
        """None where it cannot be known now."""
        return (await self._users.names_of([user_id])).by_user.get(user_id)

    async def rating(self, product_id: ProductId) -> Rating:
        """Zeros for a product that nobody has rated."""
        async with self._database.begin() as transaction:
            return await RatingRepository(transaction).rating(product_id)

    async def distribution(self, product_id: ProductId) -> Distribution:
        """Raises UnknownProduct, unless the catalogue is away."""
        await self._look_up(product_id)
        async with self._database.begin() as transaction:
            return await RatingRepository(transaction).distribution(product_id)

    async def add(self, author_id: UserId, product_id: ProductId, said: Opinion) -> Review:
        """Raises UnknownProduct, OwnProduct, NotABuyer, AlreadyReviewed, ErasedAccount."""
        if await self._products.seller_of(product_id) == author_id:
            raise OwnProduct(product_id)
        if not await self._orders.has_bought(author_id, product_id):
            raise NotABuyer(product_id)
        async with self._database.begin() as transaction:
            await _hold_off_erasure(transaction, author_id)
            review = await ReviewRepository(transaction).add(product_id, author_id, said, self._now())
            await self._rate(transaction, product_id, None, review.shown_rating)
        self._outbox.wake()
        WRITTEN.labels(said.rating).inc()
        return review

    async def revise(self, author_id: UserId, review_id: ReviewId, said: Opinion) -> Review:
        """Replaces all that a review says. Raises UnknownReview, NotTheAuthor, ErasedAccount."""
        async with self._database.begin() as transaction:
            await _hold_off_erasure(transaction, author_id)
            repository = ReviewRepository(transaction)
            review = await _locked(repository, review_id)
            if review.author_id != author_id:
                raise NotTheAuthor(review_id)
            revised = await repository.revise(review_id, said, review.status.when_revised, self._now())
            await self._rate(transaction, review.product_id, review.shown_rating, revised.shown_rating)
        self._outbox.wake()
        return revised

    async def remove(self, principal: Principal, review_id: ReviewId) -> None:
        """By its author or an admin. What is hidden is kept from its author as rejected and without words: whoever could remove it
        wholly might write it anew, and have it shown again. Raises UnknownReview, NotTheAuthor.
        """
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            review = await _locked(repository, review_id)
            if review.author_id != principal.user_id and not principal.is_admin:
                raise NotTheAuthor(review_id)
            if review.status is ReviewStatus.APPROVED or principal.is_admin:
                await repository.remove(review_id)
            else:
                await repository.blank(review_id, self._now())
            await self._rate(transaction, review.product_id, review.shown_rating, None)
        self._outbox.wake()

    async def moderate(self, review_id: ReviewId, status: ReviewStatus, reason: str | None) -> Review:
        """Shows or hides a review; the reason is for its author. Raises UnknownReview, also for one that its author has removed."""
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            review = await _locked(repository, review_id)
            if review.is_removed:
                raise UnknownReview(review_id)
            kept_reason = None if status is ReviewStatus.APPROVED else reason
            moderated = await repository.moderate(review_id, status, kept_reason)
            await self._rate(transaction, review.product_id, review.shown_rating, moderated.shown_rating)
        self._outbox.wake()
        MODERATED.labels(status.value).inc()
        return moderated

    async def find_helpful(self, user_id: UserId, review_id: ReviewId) -> Review:
        """A user's vote for a review; a second one changes nothing. Raises UnknownReview, OwnReview, ErasedAccount."""
        async with self._database.begin() as transaction:
            await _hold_off_erasure(transaction, user_id)
            repository = ReviewRepository(transaction)
            review = await _locked(repository, review_id)
            if review.author_id == user_id:
                raise OwnReview(review_id)
            if review.shown_rating is None:
                raise UnknownReview(review_id)
            if not await repository.vote(review_id, user_id, self._now()):
                return review
            voted = await repository.count_votes(review_id, 1)
        VOTES.labels("given").inc()
        return voted

    async def find_no_longer_helpful(self, user_id: UserId, review_id: ReviewId) -> None:
        """Takes a vote back; without one, nothing changes. Raises UnknownReview."""
        async with self._database.begin() as transaction:
            repository = ReviewRepository(transaction)
            await _locked(repository, review_id)
            if not await repository.unvote(review_id, user_id):
                return
            await repository.count_votes(review_id, -1)
        VOTES.labels("taken back").inc()

    async def erase_within(self, transaction: AsyncConnection, user_id: UserId) -> None:
        """The account is gone: so are its words and votes, and its name as far as we keep it. Its stars count on."""
        self._users.forget(user_id)
        await ReviewRepository(transaction).erase(user_id, self._now())

    async def mend(self) -> None:
        """Brings up to date what the release before this one has left of ratings, and tells the shop."""
        async with self._database.begin() as transaction:
            mended = await RatingRepository(transaction).mend(_BATCH)
            for revised in mended:
                await self._tell(transaction, revised)
        if mended:
            log.info("ratings were counted anew", products=len(mended))
            self._outbox.wake()

    async def _look_up(self, product_id: ProductId) -> None:
        try:
            await self._products.seller_of(product_id, _READER_SECONDS)
        except NeighbourUnavailable as error:
            log.warning("reviews are shown without a look into the catalogue", reason=str(error))

    async def _with_names(self, found: Sequence[Review], total: int) -> Page:
        return Page(found, total, await self._users.names_of({review.author_id for review in found}))

    async def _rate(
        self, transaction: AsyncConnection, product_id: ProductId, before: int | None, after: int | None
    ) -> None:
        """One review changed from `before` to `after` shown stars. The review's row must be locked."""
        if before != after:
            await self._tell(transaction, await RatingRepository(transaction).change(product_id, before, after))

    async def _tell(self, transaction: AsyncConnection, revised: Revised) -> None:
        payload = RatingChanged(
            product_id=revised.product_id,
            stars=revised.rating.sum,
            count=revised.rating.count,
            revision=revised.revision,
        )
        await self._outbox.record(transaction, self._new_id(), str(revised.product_id), payload, self._now())


async def _locked(repository: ReviewRepository, review_id: ReviewId) -> Review:
    review = await repository.lock(review_id)
    if review is None:
        raise UnknownReview(review_id)
    return review


async def _hold_off_erasure(transaction: AsyncConnection, user_id: UserId) -> None:
    """So that nothing which this transaction writes outlives its author's erasure. Raises ErasedAccount."""
    if not await ReviewRepository(transaction).hold_off_erasure(user_id):
        raise ErasedAccount
