"""What this service asks the user service: where somebody is reached, and the secrets that a mail carries."""

from dataclasses import dataclass
from typing import Protocol

from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.types.ids import UserId
from grpc import aio
from shopapi.user.v1 import user_pb2, user_pb2_grpc

from notification_service.domain.errors import RecipientGone, TokenGone


@dataclass(frozen=True, slots=True)
class Contact:
    """Known while a message is made, and never stored. `repr` shows nothing of it."""

    email: str
    display_name: str
    locale: str
    phone: str

    def __repr__(self) -> str:
        return "Contact(…)"


@dataclass(frozen=True, slots=True)
class MailToken:
    """A one-time token, and the one address that it may be sent to: a new one is proved before it is its user's."""

    token: str
    email: str


class Users(Protocol):
    async def contact(self, user_id: UserId) -> Contact:
        """Raises RecipientGone, NeighbourUnavailable."""

    async def mail_token(self, request_id: str) -> MailToken:
        """Raises TokenGone, NeighbourUnavailable."""


class GrpcUsers:
    """The contract knows one refusal of either call: NOT_FOUND."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = user_pb2_grpc.UserServiceStub(channel)

    async def contact(self, user_id: UserId) -> Contact:
        try:
            answer = await call(self._stub.GetContact, user_pb2.GetContactRequest(user_id=user_id))
        except NeighbourRefused as problem:
            raise RecipientGone(str(problem)) from None
        return Contact(answer.email, answer.display_name, answer.locale, answer.phone)

    async def mail_token(self, request_id: str) -> MailToken:
        try:
            answer = await call(self._stub.GetMailToken, user_pb2.GetMailTokenRequest(request_id=request_id))
        except NeighbourRefused as problem:
            raise TokenGone(str(problem)) from None
        return MailToken(answer.token, answer.email)
