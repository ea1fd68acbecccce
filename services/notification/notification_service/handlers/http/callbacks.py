"""Receives the status callbacks of Twilio.

https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
"""

from urllib.parse import parse_qsl

from chassis.errors import ProblemError
from chassis.types.problem import Problem
from fastapi import APIRouter, Request

from notification_service.clients.sms import TwilioAccount
from notification_service.domain.errors import ForgedCallback
from notification_service.handlers.schemas import NotificationQuery, SignatureHeader
from notification_service.service.delivery_reports import DeliveryReportService

_CALLBACKS_DISABLED = Problem(404, "no_such_route")


def routes(reports: DeliveryReportService, twilio: TwilioAccount | None) -> APIRouter:
    """Returns the routes. Without an account or its callback URL, every callback is answered with 404."""
    router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])

    @router.post("/twilio", status_code=204, summary="Receive the status of an SMS from Twilio")
    async def receive_twilio_status(
        request: Request, notification_id: NotificationQuery, signature: SignatureHeader
    ) -> None:
        if twilio is None or twilio.status_callback is None:
            raise ProblemError(_CALLBACKS_DISABLED, "this shop does not use Twilio's status callbacks")
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        if not twilio.verify_signature(signature, notification_id, form):
            raise ForgedCallback
        await reports.apply(notification_id, form.get("MessageSid", ""), form.get("MessageStatus", ""))

    return router
