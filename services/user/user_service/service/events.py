"""What this service tells the others: ids and times, never an address, a name or a secret."""

from datetime import datetime

from chassis.grpc.wire import timestamp
from chassis.types.ids import UserId
from shopapi.events.v1 import events_pb2 as pb

from user_service.domain.mail import MailRequest, Purpose


def registered(request: MailRequest) -> pb.UserRegistered:
    """`request` is for the token that verifies the address."""
    return pb.UserRegistered(
        user_id=request.user_id, request_id=str(request.id), registered_at=timestamp(request.created_at)
    )


def mail_requested(request: MailRequest) -> pb.EmailVerificationRequested | pb.PasswordResetRequested:
    kind = pb.PasswordResetRequested if request.purpose is Purpose.RESET_PASSWORD else pb.EmailVerificationRequested
    return kind(user_id=request.user_id, request_id=str(request.id), expires_at=timestamp(request.expires_at))


def erased(user_id: UserId, at: datetime) -> pb.UserErased:
    return pb.UserErased(user_id=user_id, erased_at=timestamp(at))
