"""The client of the order service."""

from typing import Protocol

from chassis.grpc.client import call
from chassis.types.ids import ProductId, UserId
from grpc import aio
from shopapi.order.v1 import order_pb2, order_pb2_grpc


class Orders(Protocol):
    async def has_bought(self, user_id: UserId, product_id: ProductId) -> bool:
        """Returns whether a paid order of the user, not cancelled, has the product. Raises NeighbourUnavailable."""


class GrpcOrders:
    def __init__(self, channel: aio.Channel) -> None:
        self._stub = order_pb2_grpc.OrderServiceStub(channel)

    async def has_bought(self, user_id: UserId, product_id: ProductId) -> bool:
        request = order_pb2.HasBoughtRequest(user_id=user_id, product_id=product_id)
        return (await call(self._stub.HasBought, request)).has_bought
