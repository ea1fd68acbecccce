"""What other services may ask about users."""

from chassis.kernel.ids import UserId
from grpc import aio
from shopapi.user.v1 import user_pb2 as pb
from shopapi.user.v1 import user_pb2_grpc

from user_service.service.accounts import Accounts
from user_service.service.signing import Signer


class UserServicer(user_pb2_grpc.UserServiceServicer):
    def __init__(self, accounts: Accounts, signer: Signer) -> None:
        self._accounts = accounts
        self._signer = signer

    def register(self, server: aio.Server) -> None:
        user_pb2_grpc.add_UserServiceServicer_to_server(self, server)

    async def GetUser(self, request: pb.GetUserRequest, context: object) -> pb.GetUserResponse:  # noqa: N802 - the contract's name
        account = await self._accounts.get(UserId(request.user_id))
        return pb.GetUserResponse(user_id=account.id, display_name=account.display_name)

    async def GetSigningKeys(  # noqa: N802 - the contract's name
        self, request: pb.GetSigningKeysRequest, context: object
    ) -> pb.GetSigningKeysResponse:
        return pb.GetSigningKeysResponse(jwks=self._signer.jwks)
