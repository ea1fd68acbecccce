"""The current user's account over HTTP."""

from typing import Annotated
from uuid import UUID

from chassis.http.schemas import Data
from fastapi import APIRouter, Depends, Response

from user_service.handlers.dependencies import Caller, CallerDependencies, RequestClient
from user_service.handlers.problems import retry_after_header
from user_service.handlers.schemas import (
    ACCEPTED,
    AcceptedResponse,
    ChangeEmailRequest,
    ChangePasswordRequest,
    EraseRequest,
    ExportResponse,
    ProfileRequest,
    SessionResponse,
    StoredSessionResponse,
    UserResponse,
    user_response,
)
from user_service.service.accounts import AccountService
from user_service.service.email_verification import EmailVerificationService
from user_service.service.sessions import SessionService


def routes(
    sessions: SessionService,
    accounts: AccountService,
    email_verification: EmailVerificationService,
    callers: CallerDependencies,
) -> APIRouter:
    router = APIRouter(prefix="/api/v1/users/me", tags=["me"])
    authenticated = Annotated[Caller, Depends(callers.authenticated)]

    @router.get("", summary="Get the current user")
    async def get_me(caller: authenticated) -> Data[UserResponse]:
        return user_response(caller.account)

    @router.put("", summary="Update the current user's profile")
    async def put_me(request: ProfileRequest, caller: authenticated) -> Data[UserResponse]:
        return user_response(await accounts.update_profile(caller.account.id, request.to_profile_update()))

    @router.delete(
        "",
        status_code=204,
        summary="Erase the current user's account permanently",
        description="Needs the password, so that a stolen access token cannot erase the account.",
    )
    async def delete_me(request: EraseRequest, caller: authenticated, client: RequestClient) -> None:
        with retry_after_header():
            await accounts.erase_own(caller.account.id, request.current_password, client)

    @router.post(
        "/password",
        status_code=204,
        summary="Change the current user's password",
        description="Ends all other sessions of the user.",
    )
    async def change_password(request: ChangePasswordRequest, caller: authenticated, client: RequestClient) -> None:
        with retry_after_header():
            await accounts.change_password(
                caller.account.id, caller.session_id, request.current_password, request.new_password, client
            )

    @router.post(
        "/email",
        status_code=202,
        summary="Change the current user's e-mail address",
        description="Mails a token to the new address, which replaces the old one once it is verified.",
    )
    async def change_email(
        request: ChangeEmailRequest, caller: authenticated, client: RequestClient
    ) -> Data[AcceptedResponse]:
        with retry_after_header():
            await email_verification.change_email(caller.account.id, request.email, request.current_password, client)
        return ACCEPTED

    @router.post(
        "/verify-email",
        status_code=202,
        summary="Request another verification mail",
        description="Mails a token to the new e-mail address, or else to the account's own, if it is not verified yet.",
    )
    async def send_verification(caller: authenticated) -> Data[AcceptedResponse]:
        with retry_after_header():
            await email_verification.request(caller.account.id)
        return ACCEPTED

    @router.get(
        "/sessions",
        summary="List the current user's sessions",
        description="The last used session comes first.",
    )
    async def list_sessions(caller: authenticated) -> Data[list[SessionResponse]]:
        active = await sessions.list_active(caller.account.id)
        stored = [StoredSessionResponse.model_validate(session) for session in active]
        return Data(data=[SessionResponse(**one.model_dump(), current=one.id == caller.session_id) for one in stored])

    @router.delete("/sessions/{session_id}", status_code=204, summary="End a session of the current user")
    async def end_session(session_id: UUID, caller: authenticated) -> None:
        await sessions.end(caller.account.id, session_id)

    @router.get("/export", summary="Export all data stored about the current user")
    async def export_me(caller: authenticated, response: Response) -> Data[ExportResponse]:
        response.headers["Cache-Control"] = "no-store"
        response.headers["Content-Disposition"] = f'attachment; filename="user-{caller.account.id}.json"'
        return Data(data=ExportResponse.model_validate(await accounts.export(caller.account.id)))

    return router
