"""Ratings over gRPC."""

from chassis.grpc.access import method_callers
from chassis.types.ids import ProductId
from grpc import aio
from shopapi.review.v1 import review_pb2 as pb
from shopapi.review.v1 import review_pb2_grpc

from review_service.service.queries import ReviewQueries

ALLOWED_CALLERS = method_callers(
    "shopapi.review.v1.ReviewService",
    GetAvgRating={"product"},
)


class ReviewServicer(review_pb2_grpc.ReviewServiceServicer):
    def __init__(self, queries: ReviewQueries) -> None:
        self._queries = queries

    def register(self, server: aio.Server) -> None:
        review_pb2_grpc.add_ReviewServiceServicer_to_server(self, server)

    async def GetAvgRating(self, request: pb.GetAvgRatingRequest, context: object) -> pb.GetAvgRatingResponse:  # noqa: N802 - the contract's name
        rating = await self._queries.rating(ProductId(request.product_id))
        return pb.GetAvgRatingResponse(product_id=request.product_id, average=rating.average, count=rating.count)
