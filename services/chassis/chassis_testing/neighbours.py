"""Fakes of other services at the gRPC boundary."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from grpc import aio
from shopapi.user.v1 import user_pb2, user_pb2_grpc

from chassis_testing.tokens import TokenIssuer


class FakeUserService(user_pb2_grpc.UserServiceServicer):
    """A fake of the user service: it has one signing key, and every user exists, with a name made of the user's id."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer

    async def GetUser(self, request: user_pb2.GetUserRequest, context: object) -> user_pb2.GetUserResponse:  # noqa: N802
        return user_pb2.GetUserResponse(user_id=request.user_id, display_name=f"User {request.user_id}")

    async def GetUserNames(  # noqa: N802
        self, request: user_pb2.GetUserNamesRequest, context: object
    ) -> user_pb2.GetUserNamesResponse:
        users = [user_pb2.GetUserResponse(user_id=user, display_name=f"User {user}") for user in request.user_ids]
        return user_pb2.GetUserNamesResponse(users=users)

    async def GetContact(self, request: user_pb2.GetContactRequest, context: object) -> user_pb2.GetContactResponse:  # noqa: N802
        user_id = request.user_id
        return user_pb2.GetContactResponse(
            user_id=user_id, email=f"user{user_id}@example.com", display_name=f"User {user_id}", locale="en"
        )

    async def GetMailToken(  # noqa: N802
        self, request: user_pb2.GetMailTokenRequest, context: object
    ) -> user_pb2.GetMailTokenResponse:
        return user_pb2.GetMailTokenResponse(token=f"token-of-{request.request_id}", email="proved@example.com")

    async def GetReplacedEmail(  # noqa: N802
        self, request: user_pb2.GetReplacedEmailRequest, context: object
    ) -> user_pb2.GetReplacedEmailResponse:
        return user_pb2.GetReplacedEmailResponse(email=f"former-{request.request_id}@example.com")

    async def GetChangeCount(  # noqa: N802
        self, request: user_pb2.GetChangeCountRequest, context: object
    ) -> user_pb2.GetChangeCountResponse:
        return user_pb2.GetChangeCountResponse(count=0)

    async def GetSigningKeys(  # noqa: N802
        self, request: user_pb2.GetSigningKeysRequest, context: object
    ) -> user_pb2.GetSigningKeysResponse:
        return user_pb2.GetSigningKeysResponse(jwks=self._issuer.jwks())


@asynccontextmanager
async def grpc_server(*registrations: Callable[[aio.Server], None]) -> AsyncIterator[str]:
    """Runs a real gRPC server for fakes of other services, and gives its address."""
    server = aio.server()
    for register in registrations:
        register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
