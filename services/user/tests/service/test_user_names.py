"""The names of users that other services show."""

import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis_testing.callers import open_caller_channel
from shopapi.user.v1 import user_pb2, user_pb2_grpc
from user_harness import Users
from user_service.handlers.grpc import ALLOWED_CALLERS


async def names(users: Users, *user_ids: int) -> dict[int, str]:
    async with open_caller_channel(users.rpc_address, ALLOWED_CALLERS) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        response = await call(stub.GetUserNames, user_pb2.GetUserNamesRequest(user_ids=user_ids))
    return {user.user_id: user.display_name for user in response.users}


async def test_the_names_of_many_users_are_read_in_one_call(users: Users) -> None:
    ada, bob = await users.register(display_name="Ada"), await users.register()
    unknown = bob.id + 1_000_000

    assert await names(users, ada.id, unknown, bob.id) == {ada.id: "Ada", bob.id: f"User {bob.id}"}
    assert await names(users) == {}


async def test_more_names_than_a_page_has_are_refused(users: Users) -> None:
    with pytest.raises(NeighbourRefused, match="at most 1000") as refused:
        await names(users, *range(1, 1002))

    assert refused.value.code == "too_many_users"
