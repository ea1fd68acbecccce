"""The gRPC API of the user service."""

import grpc
import httpx
import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call, open_channel
from chassis.runtime.process import Service
from shopapi.user.v1 import user_pb2, user_pb2_grpc


@pytest.fixture
def address(service: Service) -> str:
    assert service.rpc is not None
    return f"127.0.0.1:{service.rpc.port}"


async def test_a_user_is_returned_with_the_name_only(http: httpx.AsyncClient, address: str) -> None:
    body = {"email": "grpc@example.com", "password": "a password", "display_name": "Ada"}
    user = (await http.post("/api/v1/auth/register", json=body)).json()["data"]["user"]
    async with open_channel(address) as channel:
        answer = await call(user_pb2_grpc.UserServiceStub(channel).GetUser, user_pb2.GetUserRequest(user_id=user["id"]))
    assert answer == user_pb2.GetUserResponse(user_id=user["id"], display_name="Ada")


@pytest.mark.parametrize("user_id", [0, -1, 2**63 - 1])
async def test_an_unknown_user_is_not_found(address: str, user_id: int) -> None:
    async with open_channel(address) as channel:
        with pytest.raises(NeighbourRefused) as refused:
            await call(user_pb2_grpc.UserServiceStub(channel).GetUser, user_pb2.GetUserRequest(user_id=user_id))
    assert refused.value.code == "unknown_user"
    assert isinstance(refused.value.__cause__, grpc.aio.AioRpcError)
    assert refused.value.__cause__.code() is grpc.StatusCode.NOT_FOUND


async def test_http_and_grpc_publish_the_same_keys(http: httpx.AsyncClient, address: str) -> None:
    async with open_channel(address) as channel:
        answer = await call(user_pb2_grpc.UserServiceStub(channel).GetSigningKeys, user_pb2.GetSigningKeysRequest())
    assert answer.jwks == (await http.get("/.well-known/jwks.json")).text
