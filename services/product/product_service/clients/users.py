"""The user service, which has the names of sellers."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.types.ids import UserId
from grpc import aio
from shopapi.user.v1 import user_pb2, user_pb2_grpc

from product_service.clients.batches import BatchedRead
from product_service.domain.details import Seller


class Users(Protocol):
    async def get_seller(self, user_id: UserId) -> Seller | None:
        """Returns a seller, None if there is no such user. Raises NeighbourUnavailable, NeighbourRefused."""

    async def read_change_count(self) -> int:
        """Returns how many changes of its data are committed. Raises NeighbourUnavailable, NeighbourRefused."""


class GrpcUsers:
    """The user service over gRPC."""

    def __init__(self, channel: aio.Channel, deadline: float) -> None:
        """`deadline` limits each call, in seconds."""
        self._stub = user_pb2_grpc.UserServiceStub(channel)
        self._deadline = deadline
        self._sellers = BatchedRead("seller", self._read, self._read_one)

    async def get_seller(self, user_id: UserId) -> Seller | None:
        return await self._sellers.get(user_id)

    async def read_change_count(self) -> int:
        return (await call(self._stub.GetChangeCount, user_pb2.GetChangeCountRequest(), self._deadline)).count

    async def _read(self, user_ids: Sequence[UserId]) -> Mapping[UserId, Seller]:
        request = user_pb2.GetUserNamesRequest(user_ids=user_ids)
        users = (await call(self._stub.GetUserNames, request, self._deadline)).users
        return {UserId(user.user_id): Seller(UserId(user.user_id), user.display_name) for user in users}

    async def _read_one(self, user_id: UserId) -> Seller | None:
        """Asks a service of the release before, which lets only review call GetUserNames."""
        try:
            user = await call(self._stub.GetUser, user_pb2.GetUserRequest(user_id=user_id), self._deadline)
        except NeighbourRefused:
            return None
        return Seller(UserId(user.user_id), user.display_name)
