"""The gRPC API of the user service."""

import grpc
import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis_testing.callers import open_caller_channel
from shopapi.user.v1 import user_pb2, user_pb2_grpc
from user_harness import Users
from user_service.handlers.grpc import ALLOWED_CALLERS


async def test_a_user_is_returned_with_the_name_only(users: Users) -> None:
    ada = await users.register(display_name="Ada")
    async with open_caller_channel(users.rpc_address, ALLOWED_CALLERS) as channel:
        answer = await call(user_pb2_grpc.UserServiceStub(channel).GetUser, user_pb2.GetUserRequest(user_id=ada.id))
    assert answer == user_pb2.GetUserResponse(user_id=ada.id, display_name="Ada")


@pytest.mark.parametrize("user_id", [0, -1, 2**63 - 1])
async def test_an_unknown_user_is_not_found(users: Users, user_id: int) -> None:
    async with open_caller_channel(users.rpc_address, ALLOWED_CALLERS) as channel:
        with pytest.raises(NeighbourRefused) as refused:
            await call(user_pb2_grpc.UserServiceStub(channel).GetUser, user_pb2.GetUserRequest(user_id=user_id))
    assert refused.value.code == "unknown_user"
    assert isinstance(refused.value.__cause__, grpc.aio.AioRpcError)
    assert refused.value.__cause__.code() is grpc.StatusCode.NOT_FOUND


async def test_http_and_grpc_publish_the_same_keys(users: Users) -> None:
    async with open_caller_channel(users.rpc_address, ALLOWED_CALLERS) as channel:
        answer = await call(user_pb2_grpc.UserServiceStub(channel).GetSigningKeys, user_pb2.GetSigningKeysRequest())
    assert answer.jwks == (await users.http.get("/.well-known/jwks.json")).text


async def test_changes_of_what_others_see_of_users_are_counted(users: Users) -> None:
    ada = await users.register(display_name="Ada")
    async with open_caller_channel(users.rpc_address, ALLOWED_CALLERS) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)

        async def count() -> int:
            return (await call(stub.GetChangeCount, user_pb2.GetChangeCountRequest())).count

        counts = [await count()]
        renamed = await users.http.put("/api/v1/users/me", json={"display_name": "Ada L."}, headers=ada.bearer)
        assert renamed.status_code == 200, renamed.text
        counts.append(await count())
        assert (await users.new_session(ada.email)).id == ada.id  # it writes, and shows nothing
        assert await count() == counts[-1]
        await users.erase_own(ada)
        counts.append(await count())
    assert counts == sorted(set(counts))
