"""The client of the order service."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Protocol
from uuid import UUID

from chassis.grpc.client import call
from chassis.types.ids import OrderId
from grpc import aio
from shopapi.order.v1 import order_pb2, order_pb2_grpc

from inventory_service.domain.reservations import OrderState, StateOfOrder

_STATES = {
    order_pb2.ORDER_STATE_UNKNOWN: OrderState.UNKNOWN,
    order_pb2.ORDER_STATE_OPEN: OrderState.OPEN,
    order_pb2.ORDER_STATE_PAID: OrderState.PAID,
    order_pb2.ORDER_STATE_CANCELLED: OrderState.CANCELLED,
}


class Orders(Protocol):
    async def states(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, StateOfOrder]:
        """Returns the state of at most 100 orders. An order is missing if its state cannot be told.

        Raises NeighbourUnavailable, NeighbourRefused.
        """


class GrpcOrders:
    def __init__(self, channel: aio.Channel) -> None:
        self._stub = order_pb2_grpc.OrderServiceStub(channel)

    async def states(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, StateOfOrder]:
        request = order_pb2.GetOrderStatesRequest(order_ids=map(str, order_ids))
        response = await call(self._stub.GetOrderStates, request)
        return {OrderId(UUID(order.order_id)): _state(order) for order in response.orders if order.state in _STATES}


def _state(order: order_pb2.StateOfOrder) -> StateOfOrder:
    expires_at = order.expires_at.ToDatetime(UTC) if order.HasField("expires_at") else None
    return StateOfOrder(_STATES[order.state], expires_at)
