"""Orders over gRPC."""

from uuid import UUID

from chassis.grpc.wire import timestamp
from chassis.types.ids import OrderId, ProductId, UserId
from grpc import aio
from shopapi.order.v1 import order_pb2 as pb
from shopapi.order.v1 import order_pb2_grpc

from order_service.domain.errors import UnknownOrder
from order_service.service import events
from order_service.service.orders import Ordering


class OrderServicer(order_pb2_grpc.OrderServiceServicer):
    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering

    def register(self, server: aio.Server) -> None:
        order_pb2_grpc.add_OrderServiceServicer_to_server(self, server)

    async def HasBought(self, request: pb.HasBoughtRequest, context: object) -> pb.HasBoughtResponse:  # noqa: N802 - the contract's name
        has_bought = await self._ordering.has_bought(UserId(request.user_id), ProductId(request.product_id))
        return pb.HasBoughtResponse(has_bought=has_bought)

    async def GetPayable(self, request: pb.GetPayableRequest, context: object) -> pb.GetPayableResponse:  # noqa: N802 - the contract's name
        order, is_payable = await self._ordering.payable(_order_id(request.order_id))
        return pb.GetPayableResponse(
            order_id=str(order.id),
            buyer_id=order.buyer_id,
            total=events.money(order.total),
            is_payable=is_payable,
            status=order.status,
            expires_at=timestamp(order.expires_at),
        )


def _order_id(written: str) -> OrderId:
    """Raises UnknownOrder: what is no UUID is no order's."""
    try:
        return OrderId(UUID(written))
    except ValueError:
        raise UnknownOrder(written) from None
