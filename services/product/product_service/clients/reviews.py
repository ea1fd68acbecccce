"""The review service, which has the ratings of products."""

from typing import Protocol

from chassis.grpc.client import call
from chassis.types.ids import ProductId
from grpc import aio
from shopapi.review.v1 import review_pb2, review_pb2_grpc

from product_service.domain.products import Rating


class Reviews(Protocol):
    async def get_rating(self, product_id: ProductId) -> Rating:
        """Raises NeighbourUnavailable, NeighbourRefused."""


class GrpcReviews:
    """The review service over gRPC."""

    def __init__(self, channel: aio.Channel, deadline: float) -> None:
        """`deadline` limits each call, in seconds."""
        self._stub = review_pb2_grpc.ReviewServiceStub(channel)
        self._deadline = deadline

    async def get_rating(self, product_id: ProductId) -> Rating:
        request = review_pb2.GetAvgRatingRequest(product_id=product_id)
        rating = await call(self._stub.GetAvgRating, request, self._deadline)
        return Rating(rating.average, rating.count)
