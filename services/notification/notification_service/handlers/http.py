"""Delivery history and preferences over HTTP, and what carriers report."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import parse_qsl
from uuid import UUID

from chassis.errors import ProblemError
from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.schemas import Data, Id, PageOf, PageQuery, RequestBody, ResponseBody
from chassis.types.ids import UserId
from chassis.types.problem import Problem
from fastapi import APIRouter, Depends, Header, Query
from fastapi import Request as HttpRequest

from notification_service.clients.sms import TwilioAccount
from notification_service.domain.errors import ForgedCallback
from notification_service.domain.notifications import Channel, Kind, Status, Template
from notification_service.domain.preferences import Preferences
from notification_service.service.history import History

_NO_TWILIO = Problem(404, "no_such_route")


class AttemptAnswer(ResponseBody):
    """One try. Without an outcome: begun, and not known how it ended."""

    number: int
    at: datetime
    outcome: Literal["accepted", "transient", "permanent", "unknown"] | None
    error: str | None


class NotificationAnswer(ResponseBody):
    """What was sent, about what, and what became of it; never its words, for they may hold secrets."""

    id: UUID
    user_id: int
    template: Template
    kind: Kind
    channel: Channel
    status: Status
    reason: str | None
    order_id: UUID | None
    product_id: int | None
    created_at: datetime
    sent_at: datetime | None
    attempts: list[AttemptAnswer]


class OrderUpdates(RequestBody):
    email: bool
    sms: bool


class StockAlerts(RequestBody):
    email: bool


class Security(RequestBody):
    """What protects the account cannot be switched off."""

    email: Literal[True] = True


class PreferencesDocument(RequestBody):
    """Text messages need a phone number in one's profile."""

    order_updates: OrderUpdates
    stock_alerts: StockAlerts
    security: Security = Security()

    def chosen(self) -> Mapping[tuple[Kind, Channel], bool]:
        return {
            (Kind.ORDER_UPDATES, Channel.EMAIL): self.order_updates.email,
            (Kind.ORDER_UPDATES, Channel.SMS): self.order_updates.sms,
            (Kind.STOCK_ALERTS, Channel.EMAIL): self.stock_alerts.email,
        }


def _document(preferences: Preferences) -> PreferencesDocument:
    return PreferencesDocument(
        order_updates=OrderUpdates(
            email=preferences.wants(Kind.ORDER_UPDATES, Channel.EMAIL),
            sms=preferences.wants(Kind.ORDER_UPDATES, Channel.SMS),
        ),
        stock_alerts=StockAlerts(email=preferences.wants(Kind.STOCK_ALERTS, Channel.EMAIL)),
    )


def routes(history: History, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/notifications", tags=["notifications"])
    Caller = Annotated[Principal, Depends(auth.required)]  # noqa: N806 - a type
    only_admins = [Depends(auth.role(Role.ADMIN))]

    @router.get("", summary="What was sent to one, newest first; an admin may ask for anybody's")
    async def list_notifications(
        caller: Caller, paging: PageQuery, user_id: Annotated[Id | None, Query()] = None
    ) -> PageOf[NotificationAnswer]:
        found, total = await history.told_to(caller, None if user_id is None else UserId(user_id), paging)
        answers = [NotificationAnswer.model_validate(notification) for notification in found]
        return PageOf(data=answers, page=paging.page, limit=paging.limit, total=total)

    @router.get("/preferences", summary="What one is told, and how")
    async def get_preferences(caller: Caller) -> Data[PreferencesDocument]:
        return Data(data=_document(await history.preferences(caller.user_id)))

    @router.put("/preferences", summary="Choose what one is told, and how")
    async def put_preferences(request: PreferencesDocument, caller: Caller) -> Data[PreferencesDocument]:
        return Data(data=_document(await history.choose(caller.user_id, request.chosen())))

    @router.get("/dead", summary="What failed for good, newest first", dependencies=only_admins)
    async def list_dead(paging: PageQuery) -> PageOf[NotificationAnswer]:
        found, total = await history.dead(paging)
        answers = [NotificationAnswer.model_validate(notification) for notification in found]
        return PageOf(data=answers, page=paging.page, limit=paging.limit, total=total)

    @router.post("/{notification_id}/retry", summary="Try a failed one again", dependencies=only_admins)
    async def retry_notification(notification_id: UUID) -> Data[NotificationAnswer]:
        return Data(data=NotificationAnswer.model_validate(await history.retry(notification_id)))

    return router


def callbacks(history: History, twilio: TwilioAccount | None) -> APIRouter:
    """`twilio` is None where it is not asked to report. https://www.twilio.com/docs/messaging/guides/track-outbound-message-status"""
    router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])

    @router.post("/twilio", status_code=204, summary="Twilio reports what became of a text message")
    async def receive_twilio_status(
        request: HttpRequest,
        notification_id: Annotated[UUID, Query()],
        signature: Annotated[str, Header(alias="X-Twilio-Signature")],
    ) -> None:
        if twilio is None or twilio.status_callback is None:
            raise ProblemError(_NO_TWILIO, "this shop does not ask Twilio to report")
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        if not twilio.has_signed(signature, notification_id, form):
            raise ForgedCallback
        await history.carrier_says(notification_id, form.get("MessageSid", ""), form.get("MessageStatus", ""))

    return router
