"""Registration, sessions, profiles and accounts over HTTP."""

from typing import Annotated
from uuid import UUID

from chassis.http.schemas import Data, PageOf, PageQuery, PathId, StorableText
from chassis.types.ids import UserId
from fastapi import APIRouter, Depends, Header, Query, Response

from user_service.domain import accounts as domain
from user_service.domain.errors import NotAllowed, UnknownUser
from user_service.domain.sessions import readable_user_agent
from user_service.handlers.callers import Caller, Callers
from user_service.handlers.problems import telling_when_to_retry
from user_service.handlers.schemas import (
    AcceptedAnswer,
    ChangeEmailRequest,
    ChangePasswordRequest,
    ExportAnswer,
    ForgotPasswordRequest,
    HeldSessionAnswer,
    LoginRequest,
    ProfileRequest,
    RefreshRequest,
    RegisterRequest,
    ResetPasswordRequest,
    SessionAnswer,
    TokensAnswer,
    UserAnswer,
    UserRequest,
    VerifyEmailRequest,
)
from user_service.service.accounts import Accounts
from user_service.service.mail import MailedTokens
from user_service.service.sessions import Sessions, Tokens
from user_service.service.signing import Signer

UserAgent = Annotated[str | None, Header()]


def routes(
    sessions: Sessions, accounts: Accounts, mailed: MailedTokens, signer: Signer, callers: Callers
) -> list[APIRouter]:
    return [
        _session_routes(sessions),
        _mailed_routes(mailed),
        _own_routes(sessions, accounts, mailed, callers),
        _account_routes(accounts, callers),
        _key_routes(signer),
    ]


def _session_routes(sessions: Sessions) -> APIRouter:
    router = APIRouter(prefix="/api/v1/auth", tags=["auth"])

    @router.post("/register", status_code=201, summary="Register; e-mail and password suffice")
    async def register(
        request: RegisterRequest, response: Response, user_agent: UserAgent = None
    ) -> Data[TokensAnswer]:
        new = domain.NewAccount(request.email, domain.Role(request.role), request.display_name, request.locale)
        return _tokens(await sessions.register(new, request.password, readable_user_agent(user_agent)), response)

    @router.post("/login", summary="Log in; too many wrong passwords make the address wait (429)")
    async def login(request: LoginRequest, response: Response, user_agent: UserAgent = None) -> Data[TokensAnswer]:
        with telling_when_to_retry():
            tokens = await sessions.log_in(request.email, request.password, readable_user_agent(user_agent))
        return _tokens(tokens, response)

    @router.post("/refresh", summary="New tokens for a refresh token, which is good once")
    async def refresh(request: RefreshRequest, response: Response) -> Data[TokensAnswer]:
        return _tokens(await sessions.refresh(request.refresh_token), response)

    @router.post("/logout", status_code=204, summary="End the session of a refresh token")
    async def logout(request: RefreshRequest) -> None:
        await sessions.log_out(request.refresh_token)

    return router


def _mailed_routes(mailed: MailedTokens) -> APIRouter:
    router = APIRouter(prefix="/api/v1/auth", tags=["auth"])

    @router.post("/forgot-password", status_code=202, summary="Have a token mailed; the same answer for every address")
    async def forgot_password(request: ForgotPasswordRequest) -> Data[AcceptedAnswer]:
        await mailed.forgot(request.email)
        return _ACCEPTED

    @router.post("/reset-password", status_code=204, summary="A new password for a mailed token; ends all sessions")
    async def reset_password(request: ResetPasswordRequest) -> None:
        await mailed.reset(request.token, request.new_password)

    @router.post(
        "/verify-email", status_code=204, summary="Prove an address, the first or a new one, by a mailed token"
    )
    async def verify_email(request: VerifyEmailRequest) -> None:
        await mailed.verify(request.token)

    return router


def _own_routes(sessions: Sessions, accounts: Accounts, mailed: MailedTokens, callers: Callers) -> APIRouter:
    router = APIRouter(prefix="/api/v1/users/me", tags=["me"])
    me = Annotated[Caller, Depends(callers.anybody)]

    @router.get("", summary="Oneself")
    async def get_me(caller: me) -> Data[UserAnswer]:
        return _user(caller.account)

    @router.put("", summary="Change how one is shown to others, written to and reached")
    async def put_me(request: ProfileRequest, caller: me) -> Data[UserAnswer]:
        return _user(await accounts.change_profile(caller.account.id, request.to_profile()))

    @router.delete("", status_code=204, summary="Erase one's account, for ever")
    async def delete_me(caller: me) -> None:
        await accounts.erase(caller.account.id, caller.account.id)

    @router.post("/password", status_code=204, summary="Change one's password; ends all other sessions")
    async def change_password(request: ChangePasswordRequest, caller: me) -> None:
        with telling_when_to_retry():
            await accounts.change_password(
                caller.account.id, caller.session_id, request.current_password, request.new_password
            )

    @router.post(
        "/email", status_code=202, summary="Change one's address, once the new one is verified by a mailed token"
    )
    async def change_email(request: ChangeEmailRequest, caller: me) -> Data[AcceptedAnswer]:
        with telling_when_to_retry():
            await mailed.change_email(caller.account.id, request.email, request.current_password)
        return _ACCEPTED

    @router.post("/verify-email", status_code=202, summary="Have the token that verifies one's address mailed again")
    async def send_verification(caller: me) -> Data[AcceptedAnswer]:
        with telling_when_to_retry():
            await mailed.send_verification(caller.account.id)
        return _ACCEPTED

    @router.get("/sessions", summary="Where one is logged in, the last used first")
    async def list_sessions(caller: me) -> Data[list[SessionAnswer]]:
        live = await sessions.live_of(caller.account.id)
        held = [HeldSessionAnswer.model_validate(session) for session in live]
        return Data(data=[SessionAnswer(**one.model_dump(), current=one.id == caller.session_id) for one in held])

    @router.delete("/sessions/{session_id}", status_code=204, summary="Log out somewhere")
    async def end_session(session_id: UUID, caller: me) -> None:
        await sessions.end(caller.account.id, session_id)

    @router.get("/export", summary="All that is held about oneself")
    async def export_me(caller: me, response: Response) -> Data[ExportAnswer]:
        response.headers["Cache-Control"] = "no-store"
        response.headers["Content-Disposition"] = f'attachment; filename="user-{caller.account.id}.json"'
        return Data(data=ExportAnswer.model_validate(await accounts.holdings(caller.account.id)))

    return router


def _account_routes(accounts: Accounts, callers: Callers) -> APIRouter:
    router = APIRouter(prefix="/api/v1/users", tags=["users"])
    anybody = Annotated[Caller, Depends(callers.anybody)]
    admin = Depends(callers.admin)

    @router.get("", summary="All users, for an admin", dependencies=[admin])
    async def list_users(paging: PageQuery, search: Annotated[domain.Search, Depends(_search)]) -> PageOf[UserAnswer]:
        users, total = await accounts.page(search, paging.offset, paging.limit)
        shown = [UserAnswer.model_validate(user) for user in users]
        return PageOf(data=shown, page=paging.page, limit=paging.limit, total=total)

    @router.get("/{user_id}", summary="A user: oneself, or anybody for an admin")
    async def get_user(user_id: PathId, caller: anybody) -> Data[UserAnswer]:
        return _user(await accounts.get(_visible(user_id, caller)))

    @router.put(
        "/{user_id}", summary="Change a user: oneself, or anybody for an admin, who also decides on role and activity"
    )
    async def put_user(user_id: PathId, request: UserRequest, caller: anybody) -> Data[UserAnswer]:
        wanted, profile, standing = _visible(user_id, caller), request.to_profile(), request.to_standing()
        if caller.account.is_active_admin:
            return _user(await accounts.manage(caller.account.id, wanted, profile, standing))
        if not standing.is_unchanged:
            raise NotAllowed
        return _user(await accounts.change_profile(wanted, profile))

    @router.delete("/{user_id}", status_code=204, summary="Erase an account, for ever: one's own, or any for an admin")
    async def delete_user(user_id: PathId, caller: anybody) -> None:
        await accounts.erase(caller.account.id, _visible(user_id, caller))

    return router


def _key_routes(signer: Signer) -> APIRouter:
    router = APIRouter(tags=["keys"])

    @router.get(
        "/.well-known/jwks.json",
        summary="The public keys that verify access tokens (RFC 7517)",
        response_class=_KeySetResponse,
        responses={200: {"content": {_KeySetResponse.media_type: {"schema": _KEY_SET_SCHEMA}}}},
    )
    async def signing_keys() -> Response:
        return _KeySetResponse(signer.jwks, headers={"Cache-Control": _KEYS_CACHING})

    return router


class _KeySetResponse(Response):
    media_type = "application/jwk-set+json"


_KEY_SET_SCHEMA = {
    "type": "object",
    "required": ["keys"],
    "properties": {"keys": {"type": "array", "items": {"type": "object", "required": ["kty", "kid"]}}},
}
_KEYS_CACHING = "public, max-age=300"
_ACCEPTED = Data[AcceptedAnswer](data=AcceptedAnswer())


def _search(
    q: Annotated[StorableText | None, Query(max_length=100, description="part of the address or the name")] = None,
    role: domain.Role | None = None,
    is_active: bool | None = None,
) -> domain.Search:
    return domain.Search(q, role, is_active)


def _visible(user_id: int, caller: Caller) -> UserId:
    """Raises UnknownUser for somebody else's account, which does not tell whether there is such a user."""
    if caller.account.id != user_id and not caller.account.is_active_admin:
        raise UnknownUser(UserId(user_id))
    return UserId(user_id)


def _tokens(tokens: Tokens, response: Response) -> Data[TokensAnswer]:
    response.headers["Cache-Control"] = "no-store"  # RFC 6749, 5.1
    return Data(data=TokensAnswer.model_validate(tokens))


def _user(account: domain.Account) -> Data[UserAnswer]:
    return Data(data=UserAnswer.model_validate(account))
