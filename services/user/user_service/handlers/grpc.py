"""The gRPC API, with which other services read users, contacts, mail tokens and signing keys."""

from uuid import UUID

from chassis.database.change_counts import ChangeCount
from chassis.grpc.access import method_callers
from chassis.types.ids import UserId
from grpc import aio
from shopapi.user.v1 import user_pb2 as pb
from shopapi.user.v1 import user_pb2_grpc

from user_service.domain.errors import UnknownMailRequest
from user_service.service.accounts import AccountService
from user_service.service.mail_tokens import MailTokens
from user_service.service.signing import Signer

ALLOWED_CALLERS = method_callers(
    "shopapi.user.v1.UserService",
    GetUser={"product"},
    GetUserNames={"product", "review"},
    GetContact={"notification"},
    GetMailToken={"notification"},
    GetReplacedEmail={"notification"},
    GetChangeCount={"product"},
    GetSigningKeys={"gateway", "inventory", "notification", "order", "payment", "product", "review"},
)


class UserServicer(user_pb2_grpc.UserServiceServicer):
    def __init__(self, accounts: AccountService, mail_tokens: MailTokens, signer: Signer, changes: ChangeCount) -> None:
        self._accounts = accounts
        self._mail_tokens = mail_tokens
        self._signer = signer
        self._changes = changes

    def register(self, server: aio.Server) -> None:
        user_pb2_grpc.add_UserServiceServicer_to_server(self, server)

    async def GetUser(self, request: pb.GetUserRequest, context: object) -> pb.GetUserResponse:  # noqa: N802 - the contract's name
        user_id = UserId(request.user_id)
        return pb.GetUserResponse(user_id=user_id, display_name=await self._accounts.public_name(user_id))

    async def GetUserNames(  # noqa: N802 - the contract's name
        self, request: pb.GetUserNamesRequest, context: object
    ) -> pb.GetUserNamesResponse:
        names = await self._accounts.public_names([UserId(user_id) for user_id in request.user_ids])
        return pb.GetUserNamesResponse(
            users=[pb.GetUserResponse(user_id=user_id, display_name=name) for user_id, name in names.items()]
        )

    async def GetContact(self, request: pb.GetContactRequest, context: object) -> pb.GetContactResponse:  # noqa: N802 - the contract's name
        account = await self._accounts.get(UserId(request.user_id))
        return pb.GetContactResponse(
            user_id=account.id,
            email=account.email,
            display_name=account.display_name,
            locale=account.locale,
            phone=account.phone or "",
        )

    async def GetMailToken(  # noqa: N802 - the contract's name
        self, request: pb.GetMailTokenRequest, context: object
    ) -> pb.GetMailTokenResponse:
        issued = await self._mail_tokens.issue(_request_id(request.request_id))
        return pb.GetMailTokenResponse(token=issued.token.text(), email=issued.email)

    async def GetReplacedEmail(  # noqa: N802 - the contract's name
        self, request: pb.GetReplacedEmailRequest, context: object
    ) -> pb.GetReplacedEmailResponse:
        return pb.GetReplacedEmailResponse(
            email=await self._mail_tokens.replaced_email(_request_id(request.request_id))
        )

    async def GetSigningKeys(  # noqa: N802 - the contract's name
        self, request: pb.GetSigningKeysRequest, context: object
    ) -> pb.GetSigningKeysResponse:
        return pb.GetSigningKeysResponse(jwks=self._signer.jwks)

    async def GetChangeCount(  # noqa: N802 - the contract's name
        self, request: pb.GetChangeCountRequest, context: object
    ) -> pb.GetChangeCountResponse:
        return pb.GetChangeCountResponse(count=await self._changes.read())


def _request_id(text: str) -> UUID:
    """Raises UnknownMailRequest if the text is not an id, since no request can have it."""
    try:
        return UUID(text)
    except ValueError:
        raise UnknownMailRequest from None
