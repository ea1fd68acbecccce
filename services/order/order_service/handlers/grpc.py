"""The gRPC service of orders."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from chassis.errors import ProblemError
from chassis.grpc.access import method_callers
from chassis.grpc.wire import timestamp
from chassis.http.problems import INVALID_FIELD
from chassis.types.ids import OrderId, ProductId, UserId
from grpc import aio
from shopapi.money.v1 import money_pb2
from shopapi.order.v1 import order_pb2 as pb
from shopapi.order.v1 import order_pb2_grpc

from order_service.domain.errors import UnknownOrder
from order_service.domain.orders import PAID_STATUSES, OrderStatus
from order_service.service.orders import OrderService

_MAX_ORDERS = 100
_STATES = {
    OrderStatus.PENDING: pb.ORDER_STATE_OPEN,
    OrderStatus.CANCELLED: pb.ORDER_STATE_CANCELLED,
    **dict.fromkeys(PAID_STATUSES, pb.ORDER_STATE_PAID),
}
ALLOWED_CALLERS = method_callers(
    "shopapi.order.v1.OrderService",
    HasBought={"review"},
    GetPayable={"payment"},
    GetOrderStates={"inventory", "payment"},
)


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

    async def GetOrderStates(self, request: pb.GetOrderStatesRequest, context: object) -> pb.GetOrderStatesResponse:  # noqa: N802 - the contract's name
        order_ids = _order_ids(request.order_ids)
        statuses = await self._orders.get_statuses(order_ids)
        return pb.GetOrderStatesResponse(orders=[_state(order_id, statuses.get(order_id)) for order_id in order_ids])


def _state(order_id: OrderId, status: tuple[OrderStatus, datetime] | None) -> pb.StateOfOrder:
    if status is None:
        return pb.StateOfOrder(order_id=str(order_id), state=pb.ORDER_STATE_UNKNOWN)
    state = _STATES[status[0]]
    expires_at = timestamp(status[1]) if state == pb.ORDER_STATE_OPEN else None
    return pb.StateOfOrder(order_id=str(order_id), state=state, expires_at=expires_at)


def _order_ids(texts: Sequence[str]) -> list[OrderId]:
    """Returns the ids, each once. Raises a 422 problem for too many, or for a text that is no UUID."""
    if len(texts) > _MAX_ORDERS:
        raise ProblemError(INVALID_FIELD, f"order_ids: must be at most {_MAX_ORDERS}")
    try:
        return [OrderId(UUID(text)) for text in dict.fromkeys(texts)]
    except ValueError:
        raise ProblemError(INVALID_FIELD, "order_ids: must be UUIDs") from None


def _order_id(text: str) -> OrderId:
    """Raises UnknownOrder if the text is no UUID, since no order has such an id."""
    try:
        return OrderId(UUID(text))
    except ValueError:
        raise UnknownOrder(text) from None
