"""Ratings over gRPC."""

from chassis.database.change_counts import ChangeCount
from chassis.grpc.access import method_callers
from chassis.types.ids import ProductId
from grpc import aio
from shopapi.review.v1 import review_pb2 as pb
from shopapi.review.v1 import review_pb2_grpc

from review_service.domain.reviews import Rating
from review_service.service.queries import ReviewQueries

ALLOWED_CALLERS = method_callers(
    "shopapi.review.v1.ReviewService",
    GetAvgRating={"product"},
    GetAvgRatings={"product"},
    GetChangeCount={"product"},
)


class ReviewServicer(review_pb2_grpc.ReviewServiceServicer):
    def __init__(self, queries: ReviewQueries, changes: ChangeCount) -> None:
        self._queries = queries
        self._changes = changes

    def register(self, server: aio.Server) -> None:
        review_pb2_grpc.add_ReviewServiceServicer_to_server(self, server)

    async def GetAvgRating(self, request: pb.GetAvgRatingRequest, context: object) -> pb.GetAvgRatingResponse:  # noqa: N802 - the contract's name
        product_id = ProductId(request.product_id)
        ratings = await self._queries.ratings({product_id})
        return _response(product_id, ratings[product_id])

    async def GetAvgRatings(self, request: pb.GetAvgRatingsRequest, context: object) -> pb.GetAvgRatingsResponse:  # noqa: N802 - the contract's name
        ratings = await self._queries.ratings({ProductId(product_id) for product_id in request.product_ids})
        return pb.GetAvgRatingsResponse(ratings=[_response(*rating) for rating in ratings.items()])

    async def GetChangeCount(  # noqa: N802 - the contract's name
        self, request: pb.GetChangeCountRequest, context: object
    ) -> pb.GetChangeCountResponse:
        return pb.GetChangeCountResponse(count=await self._changes.read())


def _response(product_id: ProductId, rating: Rating) -> pb.GetAvgRatingResponse:
    return pb.GetAvgRatingResponse(product_id=product_id, average=rating.average, count=rating.count)
