"""Orders over gRPC."""

from chassis.kernel.ids import ProductId, UserId
from grpc import aio
from shopapi.order.v1 import order_pb2 as pb
from shopapi.order.v1 import order_pb2_grpc

from order_service.service.orders import Ordering


class OrderServicer(order_pb2_grpc.OrderServiceServicer):
    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering

    def register(self, server: aio.Server) -> None:
        order_pb2_grpc.add_OrderServiceServicer_to_server(self, server)

    async def HasOrdered(self, request: pb.HasOrderedRequest, context: object) -> pb.HasOrderedResponse:  # noqa: N802 - the contract's name
        has_ordered = await self._ordering.has_ordered(UserId(request.user_id), ProductId(request.product_id))
        return pb.HasOrderedResponse(has_ordered=has_ordered)
