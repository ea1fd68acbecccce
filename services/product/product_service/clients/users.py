"""The user service, which has the names of sellers."""

from typing import Protocol

from chassis.grpc.client import call
from chassis.types.ids import UserId
from grpc import aio
from shopapi.user.v1 import user_pb2, user_pb2_grpc

from product_service.domain.details import Seller


class Users(Protocol):
    async def get_seller(self, user_id: UserId) -> Seller:
        """Raises NeighbourUnavailable, NeighbourRefused."""


class GrpcUsers:
    """The user service over gRPC."""

    def __init__(self, channel: aio.Channel, deadline: float) -> None:
        """`deadline` limits each call, in seconds."""
        self._stub = user_pb2_grpc.UserServiceStub(channel)
        self._deadline = deadline

    async def get_seller(self, user_id: UserId) -> Seller:
        user = await call(self._stub.GetUser, user_pb2.GetUserRequest(user_id=user_id), self._deadline)
        return Seller(user_id, user.display_name)
