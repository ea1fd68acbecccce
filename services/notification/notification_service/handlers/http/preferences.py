"""Serves the caller's preferences over HTTP."""

from typing import Annotated

from chassis.http.authentication import Authenticator, Principal
from chassis.http.schemas import Data
from fastapi import APIRouter, Depends

from notification_service.handlers.schemas import PreferencesDocument
from notification_service.service.preferences import PreferenceService


def routes(preferences: PreferenceService, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/notifications/preferences", tags=["notifications"])
    Caller = Annotated[Principal, Depends(auth.required)]  # noqa: N806 - a type

    @router.get("", summary="Get the caller's notification preferences")
    async def get_preferences(caller: Caller) -> Data[PreferencesDocument]:
        return Data(data=PreferencesDocument.of(await preferences.get(caller.user_id)))

    @router.put("", summary="Update the caller's notification preferences")
    async def put_preferences(request: PreferencesDocument, caller: Caller) -> Data[PreferencesDocument]:
        return Data(data=PreferencesDocument.of(await preferences.update(caller.user_id, request.choices())))

    return router
