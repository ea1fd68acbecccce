"""The events that this service publishes. They carry ids and times, never an address, a name or a secret."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from chassis.grpc.wire import timestamp
from chassis.messaging.outbox import Outbox
from chassis.types.ids import UserId
from google.protobuf.message import Message
from shopapi.events.v1 import events_pb2 as pb
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import Account
from user_service.domain.mail_tokens import MailRequest, Purpose


class PublishedEvents:
    """Records events in the transaction which causes them."""

    def __init__(self, outbox: Outbox, new_id: Callable[[], UUID]) -> None:
        self._outbox = outbox
        self._new_id = new_id

    async def record_registration(self, transaction: AsyncConnection, account: Account, request: MailRequest) -> None:
        """Records `user.registered`. `request` is for the token that verifies the address."""
        payload = pb.UserRegistered(
            user_id=request.user_id, request_id=str(request.id), registered_at=timestamp(request.created_at)
        )
        await self._record(transaction, account.id, payload, account.created_at)

    async def record_mail_request(self, transaction: AsyncConnection, request: MailRequest) -> None:
        """Records `user.password_reset_requested` or `user.email_verification_requested`."""
        is_reset = request.purpose is Purpose.RESET_PASSWORD
        payload = (pb.PasswordResetRequested if is_reset else pb.EmailVerificationRequested)(
            user_id=request.user_id, request_id=str(request.id), expires_at=timestamp(request.expires_at)
        )
        await self._record(transaction, request.user_id, payload, request.created_at)

    async def record_password_change(self, transaction: AsyncConnection, user_id: UserId, at: datetime) -> None:
        """Records `user.password_changed`."""
        payload = pb.PasswordChanged(user_id=user_id, change_id=str(self._new_id()), changed_at=timestamp(at))
        await self._record(transaction, user_id, payload, at)

    async def record_email_change(self, transaction: AsyncConnection, request: MailRequest, at: datetime) -> None:
        """Records `user.email_changed`. `request` is that for the token which verified the new address."""
        payload = pb.EmailChanged(user_id=request.user_id, request_id=str(request.id), changed_at=timestamp(at))
        await self._record(transaction, request.user_id, payload, at)

    async def record_new_device(
        self, transaction: AsyncConnection, user_id: UserId, session_id: UUID, at: datetime
    ) -> None:
        """Records `user.new_device_login`."""
        payload = pb.NewDeviceLogin(user_id=user_id, session_id=str(session_id), logged_in_at=timestamp(at))
        await self._record(transaction, user_id, payload, at)

    async def record_erasure(self, transaction: AsyncConnection, user_id: UserId, at: datetime) -> None:
        """Records `user.erased`."""
        await self._record(transaction, user_id, pb.UserErased(user_id=user_id, erased_at=timestamp(at)), at)

    async def _record(self, transaction: AsyncConnection, user_id: UserId, payload: Message, at: datetime) -> None:
        await self._outbox.record(transaction, self._new_id(), str(user_id), payload, at)
