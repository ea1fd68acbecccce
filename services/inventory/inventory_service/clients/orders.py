"""The client of the order service."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Protocol
from uuid import UUID

from chassis.grpc.client import call
from chassis.types.ids import OrderId
from grpc import aio
from shopapi.order.v1 import order_pb2, order_pb2_grpc

from inventory_service.domain.reservations import OrderStanding, OrderState

_STATES = {
    order_pb2.ORDER_STATE_UNKNOWN: OrderState.UNKNOWN,
    order_pb2.ORDER_STATE_OPEN: OrderState.OPEN,
    order_pb2.ORDER_STATE_PAID: OrderState.PAID,
    order_pb2.ORDER_STATE_CANCELLED: OrderState.CANCELLED,
}


class Orders(Protocol):
    async def standings(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, OrderStanding]:
        """Returns the standing of at most 100 orders. An order is missing if its state cannot be told.

        Raises NeighbourUnavailable, NeighbourRefused.
        """


class GrpcOrders:
    def __init__(self, channel: aio.Channel) -> None:
        self._stub = order_pb2_grpc.OrderServiceStub(channel)

    async def standings(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, OrderStanding]:
        request = order_pb2.GetOrderStatesRequest(order_ids=map(str, order_ids))
        response = await call(self._stub.GetOrderStates, request)
        return {OrderId(UUID(order.order_id)): _standing(order) for order in response.orders if order.state in _STATES}


def _standing(order: order_pb2.StateOfOrder) -> OrderStanding:
    expires_at = order.expires_at.ToDatetime(UTC) if order.HasField("expires_at") else None
    return OrderStanding(_STATES[order.state], expires_at)
