"""The review service, which has the ratings of products."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from chassis.grpc.client import call
from chassis.types.ids import ProductId
from grpc import aio
from shopapi.review.v1 import review_pb2, review_pb2_grpc

from product_service.clients.batches import BatchedRead
from product_service.domain.products import Rating


class Reviews(Protocol):
    async def get_rating(self, product_id: ProductId) -> Rating | None:
        """Returns None if review does not know it. Raises NeighbourUnavailable, NeighbourRefused."""

    async def read_change_count(self) -> int:
        """Returns how many changes of its data are committed. Raises NeighbourUnavailable, NeighbourRefused."""


class GrpcReviews:
    """The review service over gRPC."""

    def __init__(self, channel: aio.Channel, deadline: float) -> None:
        """`deadline` limits each call, in seconds."""
        self._stub = review_pb2_grpc.ReviewServiceStub(channel)
        self._deadline = deadline
        self._ratings = BatchedRead("rating", self._read, self._read_one)

    async def get_rating(self, product_id: ProductId) -> Rating | None:
        return await self._ratings.get(product_id)

    async def read_change_count(self) -> int:
        return (await call(self._stub.GetChangeCount, review_pb2.GetChangeCountRequest(), self._deadline)).count

    async def _read(self, product_ids: Sequence[ProductId]) -> Mapping[ProductId, Rating]:
        request = review_pb2.GetAvgRatingsRequest(product_ids=product_ids)
        ratings = (await call(self._stub.GetAvgRatings, request, self._deadline)).ratings
        return {ProductId(rating.product_id): _rating(rating) for rating in ratings}

    async def _read_one(self, product_id: ProductId) -> Rating:
        """Asks a service of the release before, which has no GetAvgRatings."""
        request = review_pb2.GetAvgRatingRequest(product_id=product_id)
        return _rating(await call(self._stub.GetAvgRating, request, self._deadline))


def _rating(rating: review_pb2.GetAvgRatingResponse) -> Rating:
    return Rating(rating.average, rating.count)
