"""Serves the history of notifications over HTTP, and the retry of failed ones."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.cursors import CursorPageOf, CursorPaging, cursor_paging
from chassis.http.schemas import Data
from chassis.types.ids import UserId
from fastapi import APIRouter, Depends

from notification_service.domain.notifications import Notification, NotificationPosition
from notification_service.handlers.schemas import NotificationResponse, RecipientQuery
from notification_service.service.history import NotificationHistory

PagingQuery = Annotated[CursorPaging[NotificationPosition], Depends(cursor_paging(NotificationPosition))]


def routes(history: NotificationHistory, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/notifications", tags=["notifications"])
    Caller = Annotated[Principal, Depends(auth.required)]  # noqa: N806 - a type
    only_admins = [Depends(auth.role(Role.ADMIN))]

    @router.get(
        "",
        summary="List the caller's notifications",
        description="Newest first. An admin may list those of another user."
        " A list is followed to its end by `next`: send it as `cursor`.",
    )
    async def list_notifications(
        caller: Caller, paging: PagingQuery, user_id: RecipientQuery = None
    ) -> CursorPageOf[NotificationResponse]:
        found, total = await history.list_for_user(caller, None if user_id is None else UserId(user_id), paging)
        return _page(found, paging, total)

    @router.get(
        "/dead",
        summary="List the failed notifications",
        description="Newest first. A list is followed to its end by `next`: send it as `cursor`.",
        dependencies=only_admins,
    )
    async def list_dead(paging: PagingQuery) -> CursorPageOf[NotificationResponse]:
        found, total = await history.list_failed(paging)
        return _page(found, paging, total)

    @router.post("/{notification_id}/retry", summary="Retry a failed notification", dependencies=only_admins)
    async def retry_notification(notification_id: UUID) -> Data[NotificationResponse]:
        return Data(data=NotificationResponse.model_validate(await history.retry(notification_id)))

    return router


def _page(
    found: Sequence[Notification], paging: CursorPaging[NotificationPosition], total: int
) -> CursorPageOf[NotificationResponse]:
    responses = [NotificationResponse.model_validate(notification) for notification in found]
    return paging.page_of(found, responses, total, NotificationPosition.of)
