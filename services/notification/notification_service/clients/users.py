"""Calls the user service: for the contact of a recipient, and for the one-time token that a mail contains."""

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
    """The addresses of a user. Used while a message is rendered, never stored; its `repr` shows nothing of it."""

    email: str
    display_name: str
    locale: str
    phone: str

    def __repr__(self) -> str:
        return "Contact(…)"


@dataclass(frozen=True, slots=True)
class MailToken:
    """A one-time token, and the only address that it may be sent to.

    A new address is verified before it becomes the user's, so it may differ from the address in the contact.
    """

    token: str
    email: str


class Users(Protocol):
    """The user service, as this service uses it."""

    async def contact(self, user_id: UserId) -> Contact:
        """Returns the contact of a user. Raises RecipientGone, NeighbourUnavailable."""

    async def mail_token(self, request_id: str) -> MailToken:
        """Returns the token of a request for a mail. Raises TokenGone, NeighbourUnavailable."""

    async def replaced_email(self, change_id: str) -> str:
        """Returns the address that a change of address has replaced. Raises RecipientGone, NeighbourUnavailable."""


class GrpcUsers:
    """Calls the user service over gRPC. The contract has one refusal for all calls: NOT_FOUND."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = user_pb2_grpc.UserServiceStub(channel)

    async def contact(self, user_id: UserId) -> Contact:
        try:
            response = await call(self._stub.GetContact, user_pb2.GetContactRequest(user_id=user_id))
        except NeighbourRefused as refusal:
            raise RecipientGone(str(refusal)) from None
        return Contact(response.email, response.display_name, response.locale, response.phone)

    async def mail_token(self, request_id: str) -> MailToken:
        try:
            response = await call(self._stub.GetMailToken, user_pb2.GetMailTokenRequest(request_id=request_id))
        except NeighbourRefused as refusal:
            raise TokenGone(str(refusal)) from None
        return MailToken(response.token, response.email)

    async def replaced_email(self, change_id: str) -> str:
        try:
            response = await call(self._stub.GetReplacedEmail, user_pb2.GetReplacedEmailRequest(request_id=change_id))
        except NeighbourRefused as refusal:
            raise RecipientGone(str(refusal)) from None
        return response.email
