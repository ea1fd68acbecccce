"""The order service: what an order costs, whether it may be paid, and whether it exists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.types.ids import OrderId, UserId
from chassis.types.money import Money
from grpc import aio
from shopapi.order.v1 import order_pb2, order_pb2_grpc

from payment_service.domain.errors import UnknownOrder


@dataclass(frozen=True, slots=True)
class PayableOrder:
    """The total of an order, and whether it may be paid now: at the latest until `expires_at`."""

    order_id: OrderId
    buyer_id: UserId
    total: Money
    is_payable: bool
    status: str
    expires_at: datetime | None = None


class Orders(Protocol):
    async def get_payable(self, order_id: OrderId) -> PayableOrder:
        """Returns what the order costs. Raises UnknownOrder."""

    async def are_known(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, bool]:
        """Returns for each of at most 100 orders whether it exists. An order is missing if that cannot be told.

        Raises NeighbourUnavailable, NeighbourRefused.
        """


_KNOWN = {
    order_pb2.ORDER_STATE_UNKNOWN: False,
    order_pb2.ORDER_STATE_OPEN: True,
    order_pb2.ORDER_STATE_PAID: True,
    order_pb2.ORDER_STATE_CANCELLED: True,
}


class GrpcOrders:
    def __init__(self, channel: aio.Channel) -> None:
        self._stub = order_pb2_grpc.OrderServiceStub(channel)

    async def get_payable(self, order_id: OrderId) -> PayableOrder:
        try:
            response = await call(self._stub.GetPayable, order_pb2.GetPayableRequest(order_id=str(order_id)))
        except NeighbourRefused as refusal:
            if refusal.code == "unknown_order":
                raise UnknownOrder(order_id) from None
            raise
        total = Money(response.total.amount, response.total.currency)
        expires_at = response.expires_at.ToDatetime(UTC) if response.HasField("expires_at") else None
        return PayableOrder(
            order_id, UserId(response.buyer_id), total, response.is_payable, response.status, expires_at
        )

    async def are_known(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, bool]:
        request = order_pb2.GetOrderStatesRequest(order_ids=map(str, order_ids))
        response = await call(self._stub.GetOrderStates, request)
        return {
            OrderId(UUID(order.order_id)): _KNOWN[order.state] for order in response.orders if order.state in _KNOWN
        }
