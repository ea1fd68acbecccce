"""The gRPC service of orders."""

from uuid import UUID

from chassis.grpc.wire import timestamp
from chassis.types.ids import OrderId, ProductId, UserId
from grpc import aio
from shopapi.money.v1 import money_pb2
from shopapi.order.v1 import order_pb2 as pb
from shopapi.order.v1 import order_pb2_grpc

from order_service.domain.errors import UnknownOrder
from order_service.service.orders import OrderService


class OrderServicer(order_pb2_grpc.OrderServiceServicer):
    def __init__(self, orders: OrderService) -> None:
        self._orders = orders

    def register(self, server: aio.Server) -> None:
        order_pb2_grpc.add_OrderServiceServicer_to_server(self, server)

    async def HasBought(self, request: pb.HasBoughtRequest, context: object) -> pb.HasBoughtResponse:  # noqa: N802 - the contract's name
        has_bought = await self._orders.has_bought(UserId(request.user_id), ProductId(request.product_id))
        return pb.HasBoughtResponse(has_bought=has_bought)

    async def GetPayable(self, request: pb.GetPayableRequest, context: object) -> pb.GetPayableResponse:  # noqa: N802 - the contract's name
        order, is_payable = await self._orders.get_payable(_order_id(request.order_id))
        return pb.GetPayableResponse(
            order_id=str(order.id),
            buyer_id=order.buyer_id,
            total=money_pb2.Money(amount=order.total.amount, currency=order.total.currency),
            is_payable=is_payable,
            status=order.status,
            expires_at=timestamp(order.expires_at),
        )


def _order_id(text: str) -> OrderId:
    """Raises UnknownOrder if the text is no UUID, since no order has such an id."""
    try:
        return OrderId(UUID(text))
    except ValueError:
        raise UnknownOrder(text) from None
