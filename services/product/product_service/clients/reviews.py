"""The review service, which has the ratings of products."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from chassis.errors import MethodNotServed
from chassis.grpc.client import call
from chassis.types.ids import ProductId
from grpc import aio
from shopapi.review.v1 import review_pb2, review_pb2_grpc

from product_service.clients.batches import BatchedRead
from product_service.domain.products import Rating


class Reviews(Protocol):
    async def get_rating(self, product_id: ProductId) -> Rating | None:
        """Returns None if review does not know it. Raises NeighbourUnavailable, NeighbourRefused."""


class GrpcReviews:
    """The review service over gRPC."""

    def __init__(self, channel: aio.Channel, deadline: float) -> None:
        """`deadline` limits each call, in seconds."""
        self._stub = review_pb2_grpc.ReviewServiceStub(channel)
        self._deadline = deadline
        self._ratings = BatchedRead("rating", self._read)

    async def get_rating(self, product_id: ProductId) -> Rating | None:
        return await self._ratings.get(product_id)

    async def _read(self, product_ids: Sequence[ProductId]) -> Mapping[ProductId, Rating]:
        request = review_pb2.GetAvgRatingsRequest(product_ids=product_ids)
        try:
            ratings = list((await call(self._stub.GetAvgRatings, request, self._deadline)).ratings)
        except MethodNotServed:  # the release before has no such method
            ratings = await asyncio.gather(*map(self._read_one, product_ids))
        return {ProductId(rating.product_id): Rating(rating.average, rating.count) for rating in ratings}

    async def _read_one(self, product_id: ProductId) -> review_pb2.GetAvgRatingResponse:
        request = review_pb2.GetAvgRatingRequest(product_id=product_id)
        return await call(self._stub.GetAvgRating, request, self._deadline)
