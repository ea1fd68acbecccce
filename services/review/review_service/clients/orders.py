"""What this service asks the order service."""

from chassis.grpc.client import call
from chassis.types.ids import ProductId, UserId
from grpc import aio
from shopapi.order.v1 import order_pb2, order_pb2_grpc


class Orders:
    def __init__(self, channel: aio.Channel) -> None:
        self._stub = order_pb2_grpc.OrderServiceStub(channel)

    async def has_bought(self, user_id: UserId, product_id: ProductId) -> bool:
        """In an order that is paid and was not cancelled. Raises NeighbourUnavailable."""
        request = order_pb2.HasBoughtRequest(user_id=user_id, product_id=product_id)
        return (await call(self._stub.HasBought, request)).has_bought
